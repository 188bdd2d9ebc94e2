//! Quantities as people write them: `1GiB`, `200ms`, `1%`, `1,3-5`.

use std::time::Duration;

/// The most CPUs that a list may name: as many as Linux can be built for.
const CPU_MAX: u32 = 8192;

/// Bytes: a whole number with KiB, MiB, GiB, TiB, kB, MB, GB, TB, B or nothing behind it.
///
/// # Errors
/// What is wrong, with an example.
pub fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let (number, unit) = split(text);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.ok_or_else(|| format!("`{text}` is no size; write it like 1GiB or 512MiB"))
}

/// A time: a number with ns, us, ms, s, m or h behind it.
///
/// # Errors
/// What is wrong, with an example.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 6] = [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) = split(text);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let seconds = number.parse::<f64>().ok().zip(factor).map(|(number, factor)| number * factor);
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| format!("`{text}` is no time; write it like 200ms, 90s, 10m or 2h"))
}

/// A share: `1%` is 0.01.
///
/// # Errors
/// What is wrong, with an example.
pub fn percent(text: &str) -> Result<f64, String> {
    let number =
        text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).filter(|number| number.is_finite());
    number.map(|number| number / 100.0).ok_or_else(|| format!("`{text}` is no percentage; write it like 1%"))
}

/// A list of CPUs as the kernel writes it, sorted, without repetition.
///
/// # Errors
/// What is wrong, with an example.
pub fn cpus(text: &str) -> Result<Vec<u32>, String> {
    let wrong = || format!("`{text}` is no list of CPUs; write it like 1,3-5");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>(), last.trim().parse::<u32>());
        let (Ok(first), Ok(last)) = (first, last) else { return Err(wrong()) };
        if first > last || last >= CPU_MAX {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_or_decimal_as_written() {
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert_eq!(bytes("1GB"), Ok(1_000_000_000));
        assert_eq!(bytes("4096"), Ok(4096));
        for wrong in ["", "GiB", "1.5GiB", "1 giB", "-1", "99999999999TiB", "1GiBs"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "10", "m", "1d", "-1s", "1e999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_has_its_sign() {
        assert_eq!(percent("1%"), Ok(0.01));
        assert_eq!(percent("0.5%"), Ok(0.005));
        for wrong in ["1", "%", "x%", "inf%", "NaN%"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cpu_list_is_sorted_and_holds_each_once() {
        assert_eq!(cpus("3-5,1,4"), Ok(vec![1, 3, 4, 5]));
        for wrong in ["", "1,", "5-3", "a", "0-999999999", "-1"] {
            assert!(cpus(wrong).is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,20}") {
            let _ = (bytes(&text), duration(&text), percent(&text), cpus(&text));
        }
    }
}
