//! Run records that never happened, with a known truth: for the tests alone.
//!
//! The numbers come from `plimsoll_stats::simulate`, which makes up runs of the real design; here they become rows.

use std::collections::BTreeMap;

use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use plimsoll_stats::simulate::{Model, Shape, simulate};

use crate::sample::{
    Arm, Cause, Evidence, Histogram, LaunchRecord, MetricKindRecord, MetricRecord, MishapRecord, Phase, PlanRecord,
    Profile, RunInfo, RunRecord, SliceBundle, SliceRecord, StopReason, WorkloadRecord,
};

/// Work of every slice; seconds follow from the simulated time per unit.
const WORK: f64 = 1_000.0;

/// A run to be made up.
#[derive(Clone)]
pub(super) struct Simulated {
    pub(super) blocks: u32,
    pub(super) slices: u32,
    pub(super) launch_sd: f64,
    pub(super) slice_sd: f64,
    pub(super) model: Model,
    pub(super) workloads: Vec<WorkloadRecord>,
    /// Log effect of environment e + 1 on workload w: `effects[w][e]`.
    pub(super) effects: Vec<Vec<f64>>,
    pub(super) seed: u64,
}

impl Simulated {
    /// Nothing costs anything: so many workloads, so many environments beside native.
    pub(super) fn without_effects(workloads: usize, environments: usize) -> Self {
        Self {
            blocks: 5,
            slices: 4,
            launch_sd: 0.02,
            slice_sd: 0.03,
            model: Model::Quiet,
            workloads: (0..workloads).map(|number| rate_workload(&format!("cpu.w{number}"))).collect(),
            effects: vec![vec![0.0; environments]; workloads],
            seed: 1,
        }
    }

    pub(super) fn blocks(self, blocks: u32) -> Self {
        Self { blocks, ..self }
    }

    pub(super) fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// No noise at all: what is planted is what is found.
    pub(super) fn exact(self) -> Self {
        Self { launch_sd: 0.0, slice_sd: 0.0, ..self }
    }

    /// Plants a relative cost: 1.0 doubles the time per unit of work.
    pub(super) fn cost(mut self, workload: usize, environment: u32, cost: f64) -> Self {
        self.effects[workload][environment as usize - 1] = cost.ln_1p();
        self
    }

    pub(super) fn record(&self) -> RunRecord {
        let environments = self.effects.first().map_or(0, Vec::len);
        let launches = self.launches(environments as u32);
        let mut slices: Vec<SliceBundle> = Vec::new();
        for (number, (workload, effects)) in self.workloads.iter().zip(&self.effects).enumerate() {
            let shape = Shape {
                blocks: self.blocks as usize,
                slices: self.slices as usize,
                launch_sd: self.launch_sd,
                slice_sd: self.slice_sd,
                effects: effects.clone(),
            };
            let run = simulate(self.model, &shape, self.seed * 1_000 + number as u64).unwrap();
            for (launch, values) in launches.iter().zip(run.slices.iter().flatten()) {
                slices.extend(values.iter().map(|log_time| slice(launch.id, &workload.name, log_time.exp())));
            }
        }
        for (id, bundle) in (1..).zip(&mut slices) {
            bundle.slice.id = id;
        }
        RunRecord {
            run: info(),
            plan: self.plan(environments as u32),
            host: BTreeMap::new(),
            launches,
            slices,
            mishaps: Vec::new(),
        }
    }

    /// In each block native, native again, then the others: the order of the simulation's launches.
    fn launches(&self, environments: u32) -> Vec<LaunchRecord> {
        let mut launches = Vec::new();
        for block in 1..=self.blocks {
            let others = (1..=environments).map(|environment| Arm { environment, replica: 1 });
            let arms = [1, 2].map(|replica| Arm { environment: 0, replica }).into_iter().chain(others);
            for (position, arm) in (0..).zip(arms) {
                let id = launches.len() as u64 + 1;
                launches.push(LaunchRecord {
                    id,
                    block,
                    group: 0,
                    arm,
                    position,
                    requested_at: id as f64,
                    ready_seconds: 0.1,
                    profile: Profile::default(),
                });
            }
        }
        launches
    }

    fn plan(&self, environments: u32) -> PlanRecord {
        let others = (1..=environments).map(|environment| format!("environment{environment}"));
        PlanRecord {
            environments: ["native".to_owned()].into_iter().chain(others).collect(),
            rungs: Vec::new(),
            unusable: Vec::new(),
            workloads: self.workloads.clone(),
            groups: vec![(0..=environments).collect()],
            preset: None,
            seed: self.seed,
            blocks: self.blocks,
            slices: self.slices,
            slice_ns_min: 200_000_000,
            lead_in_ns: 20_000_000,
            precision: None,
            time_limit_seconds: None,
            margin: 0.01,
            cpus: vec![1],
            shared_cpu: false,
            memory_bytes: 1 << 30,
            steal_share_max: 0.05,
        }
    }
}

fn info() -> RunInfo {
    RunInfo {
        id: "simulated".to_owned(),
        started: "2026-01-01T00:00:00Z".to_owned(),
        plimsoll: "0.1.0".to_owned(),
        stopped_because: Some(StopReason::Blocks),
    }
}

pub(super) fn workload(name: &str, metrics: &[(&str, MetricKindRecord, bool)]) -> WorkloadRecord {
    let metric = |(name, kind, headline): &(&str, MetricKindRecord, bool)| MetricRecord {
        name: (*name).to_owned(),
        unit: if *kind == MetricKindRecord::Rate { "1/s" } else { "s" }.to_owned(),
        kind: kind.clone(),
        headline: *headline,
    };
    WorkloadRecord {
        name: name.to_owned(),
        parameters: BTreeMap::new(),
        points: Vec::new(),
        work: "call".to_owned(),
        measured_by: "slices".to_owned(),
        warm_up_tolerance: 0.1,
        metrics: metrics.iter().map(metric).collect(),
    }
}

pub(super) fn rate_workload(name: &str) -> WorkloadRecord {
    workload(name, &[("rate", MetricKindRecord::Rate, true)])
}

/// A measured slice, to be numbered by whoever puts it into a record.
pub(super) fn slice(launch: u64, workload: &str, seconds_per_work: f64) -> SliceBundle {
    SliceBundle {
        slice: SliceRecord {
            id: 0,
            launch,
            workload: workload.to_owned(),
            point: None,
            phase: Phase::Measured,
            visit: 0,
            position: 0,
            started_at: 0.0,
            work: WORK,
            seconds_inside: WORK * seconds_per_work,
            seconds_outside: WORK * seconds_per_work,
            spoiled: None,
        },
        histograms: Vec::new(),
        evidence_inside: Vec::new(),
        evidence_host: Vec::new(),
    }
}

pub(super) fn slice_with_histogram(name: &str, histogram: &Hdr<u64>) -> SliceBundle {
    let histograms = vec![Histogram { name: name.to_owned(), v2: encoded(histogram) }];
    SliceBundle { histograms, ..slice(1, "app.redis", 1.0) }
}

pub(super) fn encoded(histogram: &Hdr<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(histogram, &mut bytes).unwrap();
    bytes
}

pub(super) fn slice_with_evidence(id: u64, inside: Vec<Evidence>, host: Vec<Evidence>) -> SliceBundle {
    let mut bundle = slice(1, "cpu.w0", 1.0);
    bundle.slice.id = id;
    SliceBundle { evidence_inside: inside, evidence_host: host, ..bundle }
}

pub(super) fn evidence(source: &str, name: &str, value: f64) -> Evidence {
    Evidence { source: source.to_owned(), name: name.to_owned(), unit: "1".to_owned(), value }
}

/// Removes an arm's slices of a workload from a block, as a failure does, and says so.
pub(super) fn fail(record: &mut RunRecord, block: u32, arm: &Arm, workload: &str) {
    let is_hit = |launch: &&LaunchRecord| launch.block == block && launch.arm == *arm;
    let launch = record.launches.iter().find(is_hit).unwrap().id;
    record.slices.retain(|bundle| bundle.slice.launch != launch || bundle.slice.workload != workload);
    record.mishaps.push(MishapRecord {
        block,
        arm: Some(arm.clone()),
        workload: Some(workload.to_owned()),
        point: None,
        cause: Cause::Workload,
        message: "the server did not answer".to_owned(),
        at: f64::from(block),
    });
}
