//! Whether a workload that must read from the disk was served by it. A cache that answers "direct" reads is not a disk,
//! and comparing the two would call the cache a gain: such a cell is not as asked and gets no verdict.

use super::cells::Cell;
use crate::evidence::DISK_READ;

/// Share of the bytes that must come from the disk under which a cache must have served the rest.
const SHARE_MIN: f64 = 0.5;
/// Label of a cell that compares a cache with a disk.
pub(super) const SERVED_BY_A_CACHE: &str = "spoiled: served from the host's cache, not from the disk";

/// The label, if less than half of what native or this environment asked of the disk came from it. `None` also where the
/// workload may be cached, or where nobody counted.
pub(super) fn of(cell: &Cell<'_>, environment: u32) -> Option<&'static str> {
    let bytes_per_work = cell.workload.disk_bytes_per_work?;
    let by_cache = |arm: u32| share(cell, arm, bytes_per_work).is_some_and(|share| share < SHARE_MIN);
    (by_cache(environment) || by_cache(0)).then_some(SERVED_BY_A_CACHE)
}

/// What the disk delivered over what was asked of it; lead-in and verification read too, so it may exceed 1.
fn share(cell: &Cell<'_>, environment: u32, bytes_per_work: f64) -> Option<f64> {
    let launches = cell.launches.iter().filter(|(slot, _)| slot.environment == environment);
    let (mut asked, mut delivered) = (0.0, 0.0);
    for bundle in launches.flat_map(|(_, measured)| measured.sound()) {
        let row = bundle.evidence_host.iter().find(|row| row.name == DISK_READ)?;
        asked += bundle.slice.work * bytes_per_work;
        delivered += row.value;
    }
    (asked > 0.0).then(|| delivered / asked)
}

#[cfg(test)]
mod tests {
    use super::SERVED_BY_A_CACHE;
    use crate::analysis::analyse;
    use crate::analysis::findings::Verdict;
    use crate::analysis::simulated::{Simulated, evidence};
    use crate::evidence::DISK_READ;
    use crate::sample::RunRecord;

    /// One environment that takes a third of native's time, and whose disk delivers this share of what is asked of it.
    fn record(share: f64, native_share: f64) -> RunRecord {
        let mut record = Simulated::without_effects(1, 1).exact().cost(0, 1, -0.66).record();
        record.plan.workloads[0].disk_bytes_per_work = Some(4096.0);
        for bundle in &mut record.slices {
            let launch = record.launches.iter().find(|launch| launch.id == bundle.slice.launch).unwrap();
            let share = if launch.arm.environment == 0 { native_share } else { share };
            bundle.evidence_host = vec![evidence("disk", DISK_READ, bundle.slice.work * 4096.0 * share)];
        }
        record
    }

    fn verdict(record: &RunRecord) -> (Verdict, bool) {
        let comparison = analyse(record).comparisons.remove(0);
        (comparison.verdict, comparison.labels.iter().any(|label| label == SERVED_BY_A_CACHE))
    }

    #[test]
    fn a_cache_that_stands_in_for_a_disk_is_no_gain() {
        assert_eq!(verdict(&record(0.02, 1.1)), (Verdict::Unresolved, true));
        assert_eq!(verdict(&record(1.1, 0.02)), (Verdict::Unresolved, true), "neither is one in native's place");
        assert_eq!(verdict(&record(1.1, 1.1)), (Verdict::Gain, false));
    }

    #[test]
    fn where_nobody_counted_or_a_cache_may_serve_nothing_is_judged() {
        let mut uncounted = record(0.02, 1.1);
        uncounted.slices.iter_mut().for_each(|bundle| bundle.evidence_host.clear());
        assert_eq!(verdict(&uncounted), (Verdict::Gain, false));
        let mut cached = record(0.02, 1.1);
        cached.plan.workloads[0].disk_bytes_per_work = None;
        assert_eq!(verdict(&cached), (Verdict::Gain, false));
    }
}
