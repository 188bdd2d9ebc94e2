//! When to stop: after the planned blocks, when precise enough, or when the time is up. Never on significance.

use plimsoll::analysis::precision::Precision;
use plimsoll::rounds::StopRule;
use plimsoll::sample::{PlanRecord, StopReason};

use super::listeners::SoFar;

/// The rule of a plan.
pub(super) struct Stop {
    precision: Option<f64>,
    time_limit_seconds: Option<f64>,
    so_far: SoFar,
}

impl Stop {
    pub(super) fn new(plan: &PlanRecord, so_far: SoFar) -> Self {
        Self { precision: plan.precision, time_limit_seconds: plan.time_limit_seconds, so_far }
    }

    fn is_precise(&self) -> bool {
        let Some(target) = self.precision else { return false };
        self.so_far.look(Precision::of).is_some_and(|precision| precision.reaches(target))
    }
}

impl StopRule for Stop {
    /// A block is not started if, taking as long as the mean block so far, it would end after the limit.
    fn after_block(&mut self, blocks_done: u32, seconds: f64) -> Option<StopReason> {
        if self.is_precise() {
            return Some(StopReason::Precision);
        }
        let next_end = seconds * (1.0 + 1.0 / f64::from(blocks_done));
        self.time_limit_seconds.is_some_and(|limit| next_end > limit).then_some(StopReason::Time)
    }
}
