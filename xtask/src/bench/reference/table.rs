//! What the rounds came to, as text.

use std::fmt::Write as _;

use plimsoll_stats::{geometric_mean, mean, t_interval};

const CONFIDENCE: f64 = 0.95;

/// A pair and what was seen of it.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: &'static str,
    /// Ours and theirs, by rounds.
    pub(super) seen: Vec<(f64, f64)>,
}

impl Row {
    fn log_ratios(&self) -> Vec<f64> {
        self.seen.iter().map(|(ours, theirs)| (ours / theirs).ln()).collect()
    }

    /// Ours over theirs, and the interval of it: Student's, of the logarithms of the rounds' ratios.
    fn ratio(&self) -> (f64, Option<(f64, f64)>) {
        let logs = self.log_ratios();
        let interval = t_interval(&logs, CONFIDENCE).map(|interval| (interval.low.exp(), interval.high.exp()));
        (mean(&logs).map_or(f64::NAN, f64::exp), interval)
    }
}

/// The table with its notes.
pub(super) fn write(rows: &[Row], notes: &[String]) -> String {
    let mut text = format!("{:46} {:>13} {:>13} {:>7}  95 % interval\n", "", "ours", "theirs", "ratio");
    for row in rows {
        let of = |pick: fn(&(f64, f64)) -> f64| {
            let mean = geometric_mean(&row.seen.iter().map(pick).collect::<Vec<f64>>());
            figure(mean.unwrap_or(f64::NAN), row.unit)
        };
        let (ratio, interval) = row.ratio();
        let interval = interval.map_or("none: one round".to_owned(), |(low, high)| format!("[{low:.3}, {high:.3}]"));
        let _ = writeln!(text, "{:46} {:>13} {:>13} {ratio:>7.3}  {interval}", row.name, of(|s| s.0), of(|s| s.1));
    }
    text +=
        "\nGeometric means of the rounds; ours over theirs: more is better in what is per second, less in seconds.\n";
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// What one round saw of a pair.
pub(super) fn line(name: &str, unit: &str, (ours, theirs): (f64, f64)) -> String {
    format!("{name}: {} / {} = {:.3}", figure(ours, unit), figure(theirs, unit), ours / theirs)
}

/// Every figure of every round, as CSV.
pub(super) fn rounds(rows: &[Row]) -> String {
    let mut text = "pair,unit,round,ours,theirs\n".to_owned();
    for row in rows {
        for (round, (ours, theirs)) in row.seen.iter().enumerate() {
            let _ = writeln!(text, "\"{}\",{},{},{ours},{theirs}", row.name, row.unit, round + 1);
        }
    }
    text
}

/// Four digits with the prefix that suits.
fn figure(value: f64, unit: &str) -> String {
    const PREFIXES: [(f64, &str); 7] =
        [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")];
    let (scale, prefix) = PREFIXES.into_iter().find(|(scale, _)| value >= *scale).unwrap_or((1e-9, "n"));
    let value = value / scale;
    let digits = if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let unit = unit.strip_prefix('1').map_or_else(|| format!(" {prefix}{unit}"), |rest| format!(" {prefix}{rest}"));
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_four_digits_and_a_prefix() {
        assert_eq!(figure(9.423e9, "B/s"), "9.423 GB/s");
        assert_eq!(figure(49_896_300.0, "1/s"), "49.90 M/s");
        assert_eq!(figure(1.8025e-7, "s"), "180.2 ns");
        assert_eq!(figure(4.3e-6, "s"), "4.300 µs");
    }

    #[test]
    fn a_round_is_told_while_the_others_are_measured() {
        assert_eq!(line("a / b", "B/s", (2e9, 1.6e9)), "a / b: 2.000 GB/s / 1.600 GB/s = 1.250");
    }

    #[test]
    fn the_interval_is_students_of_the_log_ratios() {
        let row = |seen: &[(f64, f64)]| Row { name: "a / b".to_owned(), unit: "s", seen: seen.to_vec() };
        let (ratio, interval) = row(&[(2.0, 1.0), (8.0, 1.0)]).ratio();
        let (low, high) = interval.expect("two rounds give one");
        // The logs are ln 2 and ln 8: mean ln 4, standard error ln 2, and t(0.975, 1) = 12.7062.
        let half_width = 12.706_204_736_174_69 * 2.0_f64.ln();
        assert!((ratio - 4.0).abs() < 1e-9);
        assert!((low.ln() - (4.0_f64.ln() - half_width)).abs() < 1e-6, "{low}");
        assert!((high.ln() - (4.0_f64.ln() + half_width)).abs() < 1e-6, "{high}");
        assert_eq!(row(&[(1.0, 2.0)]).ratio(), (0.5, None));
    }

    #[test]
    fn every_round_is_kept_as_it_was_seen() {
        let row = Row { name: "a, b / c".to_owned(), unit: "s", seen: vec![(1.5, 2.0), (1.25, 3.0)] };
        assert_eq!(rounds(&[row]), "pair,unit,round,ours,theirs\n\"a, b / c\",s,1,1.5,2\n\"a, b / c\",s,2,1.25,3\n");
    }
}
