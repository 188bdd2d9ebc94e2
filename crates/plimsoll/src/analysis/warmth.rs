//! Warm-ups that ended before the workload was steady, as far as the record shows.
//!
//! What is listed are launches whose last two warm-up slices differ by more than the workload's own tolerance in time per
//! unit of work, as the rule that ended the warm-up compared them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::cells::Arranged;
use crate::sample::{Arm, Phase, RunRecord, SliceRecord};

/// `environment: workload (2 blocks)`, in the plan's order.
pub(super) fn not_steady(arranged: &Arranged<'_>) -> Vec<String> {
    let record = arranged.record;
    let launches: HashMap<u64, _> = record.launches.iter().map(|launch| (launch.id, launch)).collect();
    let workloads: HashMap<&str, usize> =
        record.plan.workloads.iter().enumerate().map(|(position, it)| (it.name.as_str(), position)).collect();
    let mut found: BTreeMap<(u32, u32, usize), BTreeSet<u32>> = BTreeMap::new();
    for ((launch, workload, _), slices) in warm_ups(record) {
        let (Some(launch), Some(workload)) = (launches.get(&launch), workloads.get(workload)) else { continue };
        let tolerance = record.plan.workloads[*workload].warm_up_tolerance;
        if arranged.blocks.contains(&launch.block) && !is_steady(&slices, tolerance) {
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
fn is_steady(slices: &[&SliceRecord], tolerance: f64) -> bool {
    let time = |slice: &SliceRecord| slice.seconds_inside / slice.work;
    match slices {
        [.., before, last] => (time(last) / time(before) - 1.0).abs() <= tolerance,
        _ => true,
    }
}
