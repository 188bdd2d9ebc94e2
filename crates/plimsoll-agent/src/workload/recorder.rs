//! What units record beside their work: allocated before a slice is timed, emptied after its lead-in.

use std::time::Duration;

use hdrhistogram::Histogram;
use plimsoll_protocol::Evidence;

use super::{About, MetricKind};

/// Latencies are kept to three digits from 1 ns to this; longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// What a unit may record beside its work.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Latency histograms by name; values in nanoseconds.
    pub histograms: Vec<(&'static str, Histogram<u64>)>,
    /// Counters of the workload's own.
    pub evidence: Vec<Evidence>,
    /// What has been recorded of a latency in parts.
    begun: Option<Duration>,
}

impl Recorder {
    /// With one empty histogram for each that the workload's percentiles are read from.
    #[must_use]
    pub fn new(about: &About) -> Self {
        let mut names: Vec<&'static str> = Vec::new();
        for metric in about.metrics {
            if let MetricKind::Percentile(name, _) = metric.kind
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        Self::with(&names)
    }

    /// With one empty histogram for each name.
    #[must_use]
    pub fn with(names: &[&'static str]) -> Self {
        let empty = || Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).ok();
        let histograms = names.iter().filter_map(|name| Some((*name, empty()?))).collect();
        Self { histograms, evidence: Vec::new(), begun: None }
    }

    /// Records one latency; without a histogram of this name it is dropped.
    pub fn record(&mut self, name: &str, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some((_, histogram)) = self.histograms.iter_mut().find(|(known, _)| *known == name) {
            histogram.saturating_record(nanoseconds);
        }
    }

    /// Records a latency that successive units make up together: the part of this `index`, of so many in all. It counts
    /// when its last part comes, unless the recorder was reset since its first: then it began before the slice did.
    pub fn record_part(&mut self, name: &str, part: Duration, index: usize, parts: usize) {
        if index == 0 {
            self.begun = Some(Duration::ZERO);
        }
        self.begun = self.begun.map(|sum| sum + part);
        if index + 1 == parts
            && let Some(whole) = self.begun.take()
        {
            self.record(name, whole);
        }
    }

    /// States a fact about the slice as evidence of source `workload`; the last statement counts.
    pub fn note(&mut self, name: &str, unit: &str, value: f64) {
        match self.evidence.iter_mut().find(|row| row.name == name) {
            Some(row) => row.value = value,
            None => self.evidence.push(Evidence {
                source: "workload".to_owned(),
                name: name.to_owned(),
                unit: unit.to_owned(),
                value,
            }),
        }
    }

    /// Adds to a fact about the slice, which begins at zero.
    pub fn add(&mut self, name: &str, unit: &str, value: f64) {
        let before = self.evidence.iter().find(|row| row.name == name).map_or(0.0, |row| row.value);
        self.note(name, unit, before + value);
    }

    /// Forgets what was recorded and keeps the memory.
    pub fn reset(&mut self) {
        for (_, histogram) in &mut self.histograms {
            histogram.reset();
        }
        self.evidence.clear();
        self.begun = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_beyond_a_minute_and_of_unknown_names_do_no_harm() {
        let mut recorder = Recorder::with(&["latency"]);
        recorder.record("latency", Duration::from_secs(3600));
        recorder.record("other", Duration::from_secs(1));
        assert_eq!(recorder.histograms[0].1.len(), 1);
        assert!(recorder.histograms[0].1.max() >= LATENCY_NS_MAX);
    }

    #[test]
    fn a_latency_in_parts_counts_only_if_all_of_them_came_since_the_reset() {
        let mut recorder = Recorder::with(&["pass"]);
        let part = |recorder: &mut Recorder, index| {
            recorder.record_part("pass", Duration::from_millis(1 + index as u64), index, 3);
        };
        part(&mut recorder, 0);
        part(&mut recorder, 1);
        recorder.reset();
        for index in [2, 0, 1, 2, 0, 1] {
            part(&mut recorder, index);
        }
        let passes = &recorder.histograms[0].1;
        assert_eq!(passes.len(), 1);
        assert!(passes.max().abs_diff(6_000_000) < 6_000, "{}", passes.max());
    }

    #[test]
    fn a_reset_recorder_is_empty() {
        let mut recorder = Recorder::with(&["latency"]);
        recorder.record("latency", Duration::from_millis(1));
        recorder.note("kind", "1", 1.0);
        recorder.add("bytes", "B", 2.0);
        recorder.add("bytes", "B", 3.0);
        assert_eq!(recorder.evidence[1].value, 5.0);
        recorder.reset();
        assert!(recorder.histograms[0].1.is_empty());
        assert!(recorder.evidence.is_empty());
    }
}
