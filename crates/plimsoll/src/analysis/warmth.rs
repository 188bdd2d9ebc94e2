//! Warm-ups that ended before the workload was steady, as far as the record shows.
//!
//! The record does not hold each workload's own rule. What is listed here is coarser and the same for all: the last two
//! warm-up slices of a launch differ by more than [`STEADY_DIFFERENCE_MAX`] in time per unit of work.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::cells::Arranged;
use crate::sample::{Arm, Phase, RunRecord, SliceRecord};

/// Relative difference of two slices up to which they count as the same.
const STEADY_DIFFERENCE_MAX: f64 = 0.10;

/// `environment: workload (2 blocks)`, in the plan's order.
pub(super) fn not_steady(arranged: &Arranged<'_>) -> Vec<String> {
    let record = arranged.record;
    let launches: HashMap<u64, _> = record.launches.iter().map(|launch| (launch.id, launch)).collect();
    let workloads: HashMap<&str, usize> =
        record.plan.workloads.iter().enumerate().map(|(position, it)| (it.name.as_str(), position)).collect();
    let mut found: BTreeMap<(u32, u32, usize), BTreeSet<u32>> = BTreeMap::new();
    for ((launch, workload, _), slices) in warm_ups(record) {
        let (Some(launch), Some(workload)) = (launches.get(&launch), workloads.get(workload)) else { continue };
        if arranged.blocks.contains(&launch.block) && !is_steady(&slices) {
            let place = (launch.arm.environment, launch.arm.replica, *workload);
            found.entry(place).or_default().insert(launch.block);
        }
    }
    let sentence = |((environment, replica, workload), blocks): (&(u32, u32, usize), &BTreeSet<u32>)| {
        let arm = Arm { environment: *environment, replica: *replica };
        let word = if blocks.len() == 1 { "block" } else { "blocks" };
        let workload = &record.plan.workloads[*workload].name;
        format!("{}: {workload} ({} {word})", record.arm_name(&arm), blocks.len())
    };
    found.iter().map(sentence).collect()
}

type WarmUps<'a> = HashMap<(u64, &'a str, Option<&'a str>), Vec<&'a SliceRecord>>;

fn warm_ups(record: &RunRecord) -> WarmUps<'_> {
    let mut warm_ups: WarmUps<'_> = HashMap::new();
    let slices = record.slices.iter().map(|bundle| &bundle.slice);
    for slice in slices.filter(|slice| slice.phase == Phase::WarmUp && slice.spoiled.is_none()) {
        warm_ups.entry((slice.launch, &slice.workload, slice.point.as_deref())).or_default().push(slice);
    }
    for slices in warm_ups.values_mut() {
        slices.sort_by_key(|slice| slice.id);
    }
    warm_ups
}

/// One slice alone cannot tell, and is let pass.
fn is_steady(slices: &[&SliceRecord]) -> bool {
    let time = |slice: &SliceRecord| slice.seconds_inside / slice.work;
    match slices {
        [.., before, last] => (time(last) / time(before)).ln().abs() <= STEADY_DIFFERENCE_MAX.ln_1p(),
        _ => true,
    }
}
