//! Precision: whether a run may stop because it knows enough. Never because of what it found.
//!
//! The half-width of a log ratio's 95 % interval says nothing about the ratio itself, so stopping on it hardly biases
//! a verdict; stopping on a verdict would (13 to 29 % false ones). With a floor of 10 blocks the coverage of a nominal
//! 95 % is 94.5 %; with a floor of 3 it would be 90.7 %.

use serde_json::Value;

use super::cells::arrange;
use super::progress::{Standing, standings};
use crate::sample::RunRecord;

/// No run stops for its precision before so many blocks.
pub const PRECISION_BLOCKS_MIN: u32 = 10;

/// How well one headline comparison is known.
#[derive(Debug, Clone, PartialEq)]
pub struct HalfWidth {
    /// `family.name`.
    pub workload: String,
    /// Point of a sweep.
    pub point: Option<Value>,
    /// The environment.
    pub environment: String,
    /// Blocks in which both sides finished.
    pub blocks: u32,
    /// Half-width of the 95 % interval of the log ratio; `None` under 2 blocks.
    pub log_half_width: Option<f64>,
}

/// The half-widths that count for stopping: every headline comparison that is neither emulated nor spoiled and has a
/// value in one of the last 3 finished blocks (an environment that does not start any more must not hold up the rest).
#[must_use]
pub fn half_widths(record: &RunRecord) -> Vec<HalfWidth> {
    let counts = |standing: &Standing| !standing.emulated && !standing.spoiled && standing.recent;
    standings(record).into_iter().filter(counts).map(HalfWidth::from).collect()
}

impl From<Standing> for HalfWidth {
    fn from(standing: Standing) -> Self {
        let Standing { workload, point, environment, blocks, log_half_width, .. } = standing;
        Self { workload, point, environment, blocks, log_half_width }
    }
}

/// How well a run knows what it was asked to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precision {
    /// How many comparisons count.
    pub comparisons: u32,
    /// Fewest blocks of any comparison that counts; the finished blocks where none does.
    pub blocks_min: u32,
    /// The largest half-width, in log units; `None` while one is not known.
    pub log_half_width_max: Option<f64>,
}

impl Precision {
    /// Of this record so far; `None` before the first finished block.
    #[must_use]
    pub fn of(record: &RunRecord) -> Option<Self> {
        let half_widths = half_widths(record);
        let finished = arrange(record).blocks.len() as u32;
        let blocks_min = half_widths.iter().map(|it| it.blocks).min().unwrap_or(finished);
        let known: Option<Vec<f64>> = half_widths.iter().map(|it| it.log_half_width).collect();
        let log_half_width_max = known.and_then(|known| known.into_iter().reduce(f64::max));
        let comparisons = half_widths.len() as u32;
        (finished > 0).then_some(Self { comparisons, blocks_min, log_half_width_max })
    }

    /// Whether every comparison that counts has [`PRECISION_BLOCKS_MIN`] blocks and a half-width of at most
    /// `ln(1 + target)`; `target` is relative, 0.01 for 1 %. Where nothing counts (all is emulated, spoiled or silent),
    /// more blocks would not change that, and so many are enough.
    #[must_use]
    pub fn reaches(&self, target: f64) -> bool {
        let is_narrow = self.log_half_width_max.is_some_and(|half_width| half_width <= target.ln_1p());
        let is_narrow = is_narrow || self.comparisons == 0;
        self.blocks_min >= PRECISION_BLOCKS_MIN && is_narrow
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulated::{Simulated, fail};
    use super::*;
    use crate::sample::Arm;

    #[test]
    fn a_run_stops_for_precision_only_with_ten_blocks_and_narrow_intervals() {
        let precision = |blocks| Precision::of(&Simulated::without_effects(2, 2).blocks(blocks).record()).unwrap();
        assert!(!precision(9).reaches(10.0));
        assert!(precision(10).reaches(10.0) && !precision(10).reaches(0.001));
        assert_eq!(precision(1).log_half_width_max, None);
        let record = Simulated::without_effects(2, 2).blocks(10).record();
        let widest = half_widths(&record).into_iter().filter_map(|it| it.log_half_width).fold(0.0, f64::max);
        assert_eq!(precision(10).log_half_width_max, Some(widest));
    }

    #[test]
    fn an_environment_that_gives_no_value_any_more_does_not_hold_up_stopping() {
        let silent_from = |first: u32| {
            let mut record = Simulated::without_effects(1, 2).blocks(12).record();
            for block in first..=12 {
                fail(&mut record, block, &Arm { environment: 1, replica: 1 }, "cpu.w0");
            }
            Precision::of(&record).unwrap()
        };
        assert_eq!((silent_from(10).comparisons, silent_from(10).blocks_min), (1, 12));
        assert!(silent_from(3).reaches(10.0));
        assert_eq!(silent_from(11).comparisons, 2, "two failures may be mischance");
    }

    #[test]
    fn a_run_in_which_nothing_counts_stops_after_the_fewest_blocks() {
        let emulated = |blocks| {
            let mut record = Simulated::without_effects(1, 1).blocks(blocks).record();
            record.launches.iter_mut().for_each(|launch| launch.profile.labels.push("emulated".to_owned()));
            Precision::of(&record).unwrap()
        };
        assert!(!emulated(9).reaches(0.01) && emulated(10).reaches(0.01));
    }
}
