//! Numbers for people: three digits, prefixes, signs. Every format prints numbers through here, so that they agree.
//!
//! It rounds and names; it never derives a number from another.

const PREFIXES: [(i32, &str); 9] =
    [(-9, "n"), (-6, "µ"), (-3, "m"), (0, ""), (3, "k"), (6, "M"), (9, "G"), (12, "T"), (15, "P")];

/// What stands where there is no number.
pub const NO_NUMBER: &str = "n/a";

/// A value in a base unit (`s`, `B`, `B/s`, `1/s`, `FLOP/s`, `1`) with three digits and a prefix: `12.3 MB/s`.
#[must_use]
pub fn quantity(value: f64, unit: &str) -> String {
    let (low, high, name) = match unit {
        "s" => (-9, 0, "s"),
        "1/s" => (0, 15, "/s"),
        "B" | "B/s" | "FLOP/s" => (0, 15, unit),
        "1" | "" => (0, 0, ""),
        _ => (0, 0, unit),
    };
    if value == 0.0 {
        return format!("0 {name}").trim_end().to_owned();
    }
    let (number, prefix) = three_digits(value, low, high);
    if number == NO_NUMBER { number } else { format!("{number} {prefix}{name}").trim_end().to_owned() }
}

/// Three significant digits of `value` as a multiple of a prefix whose power of ten lies within `low..=high`.
fn three_digits(value: f64, low: i32, high: i32) -> (String, &'static str) {
    let Some(exponent) = exponent_after_rounding(value) else {
        return (NO_NUMBER.to_owned(), "");
    };
    if !(-18..=21).contains(&exponent) {
        return (signed(&format!("{value:.2e}")), "");
    }
    let group = (exponent.div_euclid(3) * 3).clamp(low, high);
    let prefix = PREFIXES.iter().find(|(power, _)| *power == group).map_or("", |(_, prefix)| prefix);
    let decimals = usize::try_from(2 - (exponent - group)).unwrap_or(0);
    (signed(&format!("{:.decimals$}", value / 10_f64.powi(group))), prefix)
}

/// The power of ten of `value` once it is rounded to three digits: 999.6 counts as 1000. 0 has 0.
fn exponent_after_rounding(value: f64) -> Option<i32> {
    if !value.is_finite() {
        return None;
    }
    let rounded = format!("{value:.2e}");
    rounded.split_once('e').and_then(|(_, exponent)| exponent.parse().ok())
}

/// A real minus sign in the place of the hyphen.
fn signed(number: &str) -> String {
    number.replacen('-', "−", 1)
}

/// A relative cost as a percentage with its sign: `+25 %`, `−0.4 %`, `0.0 %`.
#[must_use]
pub fn cost(cost: f64) -> String {
    with_plus(&percent(cost, cost.abs() < 0.0995))
}

/// A cost and, where there is one, its interval: `+25 % [22, 28]`.
#[must_use]
pub fn cost_with_interval(value: f64, interval: Option<[f64; 2]>) -> String {
    match cost_and_interval(value, interval) {
        (cost, None) => cost,
        (cost, Some(interval)) => format!("{cost} {interval}"),
    }
}

/// The two apart: `+25 %` and `[22, 28]`.
#[must_use]
pub fn cost_and_interval(value: f64, interval: Option<[f64; 2]>) -> (String, Option<String>) {
    let Some([low, high]) = interval else {
        return (cost(value), None);
    };
    // Without a decimal, a narrow interval would print as one number three times, and a bound near 0 as 0.
    let narrow = high - low < 0.03;
    let number = |number: f64| percent(number, narrow && number.abs() < 10.0 || number.abs() < 0.0995);
    let bound = |bound: f64| number(bound).trim_end_matches(" %").to_owned();
    (with_plus(&number(value)), Some(format!("[{}, {}]", bound(low), bound(high))))
}

/// A share without a sign: `1 %`, `0.5 %`, `4.2 %`, `25 %`.
#[must_use]
pub fn share(share: f64) -> String {
    let text = percent(share, share.abs() < 0.0995);
    text.replace(".0 %", " %")
}

/// From here on a percentage is written with an exponent: what is known of it are its digits, and it must fit a column.
const WHOLE_PERCENT_MAX: f64 = 1e7;

fn percent(value: f64, decimal: bool) -> String {
    if !value.is_finite() {
        return NO_NUMBER.to_owned();
    }
    let percent = value * 100.0;
    let number = match (decimal, percent.abs() < WHOLE_PERCENT_MAX) {
        (true, _) => format!("{percent:.1}"),
        (false, true) => format!("{percent:.0}"),
        (false, false) => format!("{percent:.2e}"),
    };
    let zero = number.chars().all(|character| matches!(character, '-' | '0' | '.'));
    let number = if zero { number.trim_start_matches('-').to_owned() } else { signed(&number) };
    format!("{number} %")
}

fn with_plus(percent: &str) -> String {
    let unsigned = percent.starts_with('−') || percent == NO_NUMBER || percent == "0 %" || percent == "0.0 %";
    if unsigned { percent.to_owned() } else { format!("+{percent}") }
}

/// A stretch of time in words: `45 s`, `2 min 4 s`, `1 h 20 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds >= 1e9 {
        return NO_NUMBER.to_owned();
    }
    if seconds < 9.95 {
        return quantity(seconds.max(0.0), "s");
    }
    let whole = format!("{seconds:.0}").parse::<u64>().unwrap_or(0);
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// An amount of memory as it is written in a plan: `1 GiB`, `512 MiB`, `1.5 GiB`.
#[must_use]
pub fn memory(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((size, name)) = units.into_iter().find(|(size, _)| bytes >= *size) else {
        return format!("{bytes} B");
    };
    if bytes.is_multiple_of(size) {
        return format!("{} {name}", bytes / size);
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    let amount = bytes as f64 / size as f64;
    format!("{} {name}", three_digits(amount, 0, 0).0)
}

/// A count with its noun: `1 block`, `5 blocks`.
#[must_use]
pub fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_has_three_digits_and_a_prefix() {
        let cases = [
            (12_345_678.0, "B/s", "12.3 MB/s"),
            (999.6, "B/s", "1.00 kB/s"),
            (0.000_012_34, "s", "12.3 µs"),
            (1234.0, "s", "1234 s"),
            (72_000.0, "1/s", "72.0 k/s"),
            (0.5, "1/s", "0.500 /s"),
            (3.2e10, "FLOP/s", "32.0 GFLOP/s"),
            (0.0, "s", "0 s"),
            (7.0, "1", "7.00"),
            (2.5, "page", "2.50 page"),
            (1e300, "B/s", "1.00e300 B/s"),
            (f64::NAN, "s", "n/a"),
        ];
        for (value, unit, text) in cases {
            assert_eq!(quantity(value, unit), text);
        }
    }

    #[test]
    fn a_cost_has_a_sign_and_a_decimal_under_ten_percent() {
        let cases = [
            (0.25, "+25 %"),
            (0.0041, "+0.4 %"),
            (-0.031, "−3.1 %"),
            (-0.31, "−31 %"),
            (0.099_7, "+10 %"),
            (-0.000_1, "0.0 %"),
            (9.02, "+902 %"),
            (f64::INFINITY, "n/a"),
        ];
        for (value, text) in cases {
            assert_eq!(cost(value), text);
        }
    }

    #[test]
    fn an_interval_never_hides_on_which_side_of_zero_it_lies() {
        assert_eq!(cost_with_interval(0.25, Some([0.22, 0.28])), "+25 % [22, 28]");
        assert_eq!(cost_with_interval(0.002, Some([-0.006, 0.01])), "+0.2 % [−0.6, 1.0]");
        assert_eq!(cost_with_interval(0.12, Some([0.004, 0.25])), "+12 % [0.4, 25]");
        assert_eq!(cost_with_interval(0.25, Some([0.248, 0.253])), "+25.0 % [24.8, 25.3]");
        assert_eq!(cost_with_interval(0.25, None), "+25 %");
    }

    #[test]
    fn a_share_drops_an_idle_decimal() {
        assert_eq!(share(0.01), "1 %");
        assert_eq!(share(0.005), "0.5 %");
        assert_eq!(share(0.25), "25 %");
    }

    #[test]
    fn time_and_memory_read_as_people_say_them() {
        assert_eq!(duration(0.2), "200 ms");
        assert_eq!(duration(59.6), "1 min");
        assert_eq!(duration(124.0), "2 min 4 s");
        assert_eq!(duration(4800.0), "1 h 20 min");
        assert_eq!(duration(f64::NAN), "n/a");
        assert_eq!(memory(1 << 30), "1 GiB");
        assert_eq!(memory(3 << 29), "1.50 GiB");
        assert_eq!(memory(100), "100 B");
    }

    proptest::proptest! {
        #[test]
        fn any_number_can_be_printed(value in proptest::num::f64::ANY, low in proptest::num::f64::ANY) {
            for text in [quantity(value, "B/s"), quantity(value, "s"), cost_with_interval(value, Some([low, value])), duration(value)] {
                proptest::prop_assert!(text.len() < 120, "{text}");
            }
        }
    }
}
