//! Percentiles of a launch: its slices' histograms are merged first; percentiles are never averaged.
//!
//! A histogram that cannot be read, or claims what no launch can hold, makes the launch's percentile absent.

use hdrhistogram::Histogram;

use super::histogram::Sum;
use crate::sample::SliceBundle;

/// A percentile p is shown from this many samples beyond it: 10 / (1 - p) samples in all.
const SAMPLES_BEYOND_MIN: f64 = 10.0;
const NS_PER_S: f64 = 1e9;

/// All histograms of one name in these slices, merged; `None` where there is none or one of them cannot be used.
pub(super) fn merged<'a>(slices: impl Iterator<Item = &'a SliceBundle>, name: &str) -> Option<Histogram<u64>> {
    let mut histograms =
        slices.flat_map(|bundle| &bundle.histograms).filter(|histogram| histogram.name == name).peekable();
    histograms.peek()?;
    let mut sum = Sum::new()?;
    for histogram in histograms {
        sum.add(&histogram.v2)?;
    }
    sum.whole()
}

/// The percentile p (0 to 1), seconds; `None` where the histogram has too few samples for it. 0 and 1 are the least and
/// the greatest that were seen, which says nothing of what was not: one sample is enough.
pub(super) fn percentile_seconds(histogram: &Histogram<u64>, p: f64) -> Option<f64> {
    // Rounded: 10 / (1 - 0.99) is a hair over 1000 in floating point.
    let samples_min = if p == 0.0 || p == 1.0 { 1.0 } else { (SAMPLES_BEYOND_MIN / (1.0 - p)).round() };
    if !(0.0..=1.0).contains(&p) || (histogram.len() as f64) < samples_min {
        return None;
    }
    Some(histogram.value_at_quantile(p) as f64 / NS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulated::{encoded, slice_with_histogram};

    fn uniform(samples: u64) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=samples).for_each(|us| histogram.record(us * 1_000).unwrap());
        histogram
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        assert_eq!(percentile_seconds(&uniform(999), 0.99), None);
        let p99 = percentile_seconds(&uniform(1_000), 0.99).unwrap();
        assert!((p99 / 0.000_990 - 1.0).abs() < 0.002, "{p99}");
        assert!(percentile_seconds(&uniform(20), 0.5).is_some());
        for p in [-1.0, 2.0, f64::NAN] {
            assert_eq!(percentile_seconds(&uniform(1_000), p), None);
        }
    }

    #[test]
    fn the_extremes_need_one_sample() {
        let extremes = |samples| [0.0, 1.0].map(|p| percentile_seconds(&uniform(samples), p));
        assert_eq!(extremes(0), [None, None]);
        let [least, greatest] = extremes(3).map(Option::unwrap);
        assert!((least / 0.000_001 - 1.0).abs() < 0.002 && (greatest / 0.000_003 - 1.0).abs() < 0.002);
    }

    #[test]
    fn slices_are_merged_before_the_percentile_is_taken() {
        let slices = [slice_with_histogram("latency", &uniform(600)), slice_with_histogram("latency", &uniform(600))];
        let whole = merged(slices.iter(), "latency").unwrap();
        assert_eq!(whole.len(), 1_200);
        assert!(percentile_seconds(&whole, 0.99).is_some());
        assert!(merged(slices.iter(), "other").is_none());
    }

    proptest::proptest! {
        #[test]
        fn damaged_histograms_never_make_it_panic(at in 0_usize..200, byte: u8, cut in 0_usize..400) {
            let mut bytes = encoded(&uniform(300));
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut % 40));
            let mut bundle = slice_with_histogram("latency", &uniform(10));
            bundle.histograms[0].v2 = bytes;
            let _ = merged([bundle.clone(), bundle].iter(), "latency").and_then(|whole| percentile_seconds(&whole, 0.9));
        }
    }
}
