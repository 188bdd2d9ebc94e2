//! Whether a workload that asked the disk itself reached it. A cache that answers "direct" reads, or keeps "direct"
//! writes, is no disk, and comparing the two would call the cache a gain: such a cell is not as asked and gets no verdict.

use super::cells::Cell;
use super::evidence::value_of;
use crate::sample::Evidence;

/// Share of the bytes that must have reached the disk, or come from it; else a cache must have had the rest.
const SHARE_MIN: f64 = 0.5;
/// Labels of a cell that compares a cache with a disk.
pub(super) const SERVED_BY_A_CACHE: &str = "spoiled: served from the host's cache, not from the disk";
pub(super) const KEPT_IN_A_CACHE: &str = "spoiled: kept in the host's cache, not written to the disk";
pub(super) const VOLATILE: &str = "spoiled: volatile, what was committed was not on the disk";
/// The label of an environment whose data lie in memory and are meant to: it has no disk to reach.
const MEMORY: &str = "memory";

/// The label, if less than half of what native or this environment asked of the disk went to it or came from it. `None`
/// also where the workload may be cached, or where nobody counted.
pub(super) fn of(cell: &Cell<'_>, environment: u32, labels: &[String]) -> Option<&'static str> {
    let is_memory = labels.iter().any(|label| label == MEMORY);
    let judged: &[u32] = if is_memory { &[0] } else { &[environment, 0] };
    let missed =
        |asked, done| judged.iter().any(|arm| share(cell, *arm, asked, done).is_some_and(|share| share < SHARE_MIN));
    if missed(Evidence::DISK_ASKED_READ, Evidence::DISK_READ) {
        return Some(SERVED_BY_A_CACHE);
    }
    if missed(Evidence::DISK_ASKED_KEEP, Evidence::DISK_WRITTEN) {
        return Some(VOLATILE);
    }
    missed(Evidence::DISK_ASKED_WRITE, Evidence::DISK_WRITTEN).then_some(KEPT_IN_A_CACHE)
}

/// What the disk did over what was asked of it, in the slices and their lead-ins; verification asks too, so it may exceed 1.
fn share(cell: &Cell<'_>, environment: u32, asked: &str, done: &str) -> Option<f64> {
    let launches = cell.launches.iter().filter(|(slot, _)| slot.environment == environment);
    let (mut all_asked, mut all_done) = (0.0, 0.0);
    for bundle in launches.flat_map(|(_, measured)| measured.sound()) {
        // A slice of which one side says nothing is not judged.
        if let (Some(asked), Some(done)) =
            (value_of(&bundle.evidence_inside, asked), value_of(&bundle.evidence_host, done))
        {
            let with_lead_in = value_of(&bundle.evidence_inside, Evidence::WORK_WITH_LEAD_IN);
            all_asked += asked * with_lead_in.map_or(1.0, |work| work / bundle.slice.work);
            all_done += done;
        }
    }
    (all_asked > 0.0).then(|| all_done / all_asked)
}

#[cfg(test)]
mod tests {
    use super::{KEPT_IN_A_CACHE, MEMORY, SERVED_BY_A_CACHE, VOLATILE};
    use crate::analysis::analyse;
    use crate::analysis::findings::Verdict;
    use crate::analysis::simulated::{Simulated, evidence};
    use crate::sample::{Evidence, RunRecord};

    /// The rows of an environment and of native, from a slice's bytes and the share of them that the disk had.
    type Rows = fn(f64, f64) -> [Evidence; 2];

    fn read(bytes: f64, share: f64) -> [Evidence; 2] {
        let asked = evidence("workload", Evidence::DISK_ASKED_READ, bytes);
        [asked, evidence("disk", Evidence::DISK_READ, bytes * share)]
    }

    fn written(bytes: f64, share: f64) -> [Evidence; 2] {
        let asked = evidence("workload", Evidence::DISK_ASKED_WRITE, bytes);
        [asked, evidence("disk", Evidence::DISK_WRITTEN, bytes * share)]
    }

    fn committed(bytes: f64, share: f64) -> [Evidence; 2] {
        let asked = evidence("workload", Evidence::DISK_ASKED_KEEP, bytes);
        [asked, evidence("disk", Evidence::DISK_WRITTEN, bytes * share)]
    }

    /// One environment that takes a third of native's time, and whose disk has this share of what is asked of it.
    fn record(rows: Rows, share: f64, native_share: f64) -> RunRecord {
        let mut record = Simulated::without_effects(1, 1).exact().cost(0, 1, -0.66).record();
        for bundle in &mut record.slices {
            let launch = record.launches.iter().find(|launch| launch.id == bundle.slice.launch).unwrap();
            let share = if launch.arm.environment == 0 { native_share } else { share };
            let [asked, done] = rows(bundle.slice.work * 4096.0, share);
            (bundle.evidence_inside, bundle.evidence_host) = (vec![asked], vec![done]);
        }
        record
    }

    fn verdict(record: &RunRecord) -> (Verdict, Option<String>) {
        let comparison = analyse(record).comparisons.remove(0);
        (comparison.verdict, comparison.labels.into_iter().find(|label| label.starts_with("spoiled")))
    }

    #[test]
    fn a_cache_that_stands_in_for_a_disk_is_no_gain() {
        let kinds = [(read as Rows, SERVED_BY_A_CACHE), (written, KEPT_IN_A_CACHE), (committed, VOLATILE)];
        for (rows, label) in kinds {
            let spoiled = (Verdict::Unresolved, Some(label.to_owned()));
            assert_eq!(verdict(&record(rows, 0.02, 1.1)), spoiled);
            assert_eq!(verdict(&record(rows, 1.1, 0.02)), spoiled, "neither is one in native's place");
            assert_eq!(verdict(&record(rows, 1.1, 1.1)), (Verdict::Gain, None));
        }
    }

    #[test]
    fn data_that_are_meant_to_lie_in_memory_reach_no_disk() {
        let mut record = record(read, 0.0, 1.1);
        for launch in record.launches.iter_mut().filter(|launch| launch.arm.environment == 1) {
            launch.profile.labels.push(MEMORY.to_owned());
        }
        assert_eq!(verdict(&record), (Verdict::Gain, None));
    }

    #[test]
    fn the_work_of_the_lead_in_was_asked_for_too() {
        let mut record = record(read, 0.9, 1.1);
        for bundle in &mut record.slices {
            let twice = 2.0 * bundle.slice.work;
            bundle.evidence_inside.push(evidence("slice", Evidence::WORK_WITH_LEAD_IN, twice));
        }
        assert_eq!(verdict(&record).1.as_deref(), Some(SERVED_BY_A_CACHE), "less than half of what both asked for");
    }

    #[test]
    fn where_nobody_counted_or_a_cache_may_serve_nothing_is_judged() {
        let mut uncounted = record(read, 0.02, 1.1);
        uncounted.slices.iter_mut().for_each(|bundle| bundle.evidence_host.clear());
        assert_eq!(verdict(&uncounted), (Verdict::Gain, None));
        let mut cached = record(read, 0.02, 1.1);
        cached.slices.iter_mut().for_each(|bundle| bundle.evidence_inside.clear());
        assert_eq!(verdict(&cached), (Verdict::Gain, None));
    }
}
