//! The run as a whole: what it was, its design in numbers, and what failed.

use std::collections::{BTreeMap, HashMap};

use super::cells::{Arranged, parse_point};
use super::family::ADJUSTMENT;
use super::findings::{Design, MishapFindings, RunFindings};
use super::warmth::not_steady;
use crate::sample::{Arm, MishapRecord, Phase, RunRecord, StopReason};

/// Why a run ended whose file does not say.
const KILLED: &str = "killed";
const NS_PER_S: f64 = 1e9;

/// The run.
pub(super) fn run(record: &RunRecord) -> RunFindings {
    RunFindings {
        id: record.run.id.clone(),
        started: record.run.started.clone(),
        seed: record.plan.seed,
        preset: record.plan.preset.clone(),
        plimsoll: record.run.plimsoll.clone(),
        host: record.host.clone(),
        stopped_because: record.run.stopped_because.map_or(KILLED, StopReason::name).to_owned(),
    }
}

/// Its design.
pub(super) fn design(arranged: &Arranged<'_>) -> Design {
    let record = arranged.record;
    let plan = &record.plan;
    Design {
        blocks: arranged.blocks.len() as u32,
        slices: plan.slices,
        slice_seconds_min: plan.slice_ns_min as f64 / NS_PER_S,
        margin: plan.margin,
        cpus: plan.cpus.clone(),
        memory_bytes: plan.memory_bytes,
        seconds: seconds(record),
        adjustment: ADJUSTMENT.to_owned(),
        spoiled: spoiled(record),
        not_steady: not_steady(arranged),
    }
}

/// What failed, in the order in which it happened.
pub(super) fn mishaps(record: &RunRecord) -> Vec<MishapFindings> {
    let mut mishaps: Vec<&MishapRecord> = record.mishaps.iter().collect();
    mishaps.sort_by(|a, b| a.at.total_cmp(&b.at));
    let mishap = |mishap: &MishapRecord| MishapFindings {
        environment: mishap.arm.as_ref().map(|arm| record.arm_name(arm)),
        workload: mishap.workload.clone(),
        point: mishap.point.as_deref().map(parse_point),
        block: mishap.block,
        cause: mishap.cause.name().to_owned(),
        message: mishap.message.clone(),
    };
    mishaps.into_iter().map(mishap).collect()
}

/// From the first launch's request to the end of the last slice or launch.
fn seconds(record: &RunRecord) -> f64 {
    let slices = record.slices.iter().map(|bundle| bundle.slice.started_at + bundle.slice.seconds_outside);
    let launches = record.launches.iter().map(|launch| launch.requested_at + launch.ready_seconds);
    let end = slices.chain(launches).filter(|at| at.is_finite()).fold(0.0, f64::max);
    let requests = record.launches.iter().map(|launch| launch.requested_at).filter(|at| at.is_finite());
    requests.reduce(f64::min).map_or(0.0, |start| (end - start).max(0.0))
}

/// Measured slices that a host-wide cause spoiled, by arm.
fn spoiled(record: &RunRecord) -> BTreeMap<String, u32> {
    let arms: HashMap<u64, &Arm> = record.launches.iter().map(|launch| (launch.id, &launch.arm)).collect();
    let mut spoiled = BTreeMap::new();
    for bundle in record.slices.iter().filter(|it| it.slice.phase == Phase::Measured && it.slice.spoiled.is_some()) {
        let Some(arm) = arms.get(&bundle.slice.launch) else { continue };
        *spoiled.entry(record.arm_name(arm)).or_insert(0) += 1;
    }
    spoiled
}
