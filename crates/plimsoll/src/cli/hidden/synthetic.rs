//! A run file of a run that never happened, as large as asked, so that reports of large runs can be timed.
//!
//! It goes through the store like a real one: same events, same tables, the evidence and the histograms that real slices
//! carry. The file says of itself that it is made up: in the run's id, in the host's facts and as a label of every
//! environment. It measures nothing.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use plimsoll::clock;
use plimsoll::rounds::{Event, Listener};
use plimsoll::sample::{
    Arm, Evidence, Histogram, LaunchRecord, MetricKindRecord, MetricRecord, Phase, PlanRecord, Profile, RunInfo,
    SliceBundle, SliceRecord, StopReason, WorkloadRecord,
};
use plimsoll::store::Store;
use plimsoll_stats::simulate::{Model, Shape, SimulatedRun, simulate};

/// Environments with the log cost that is planted in each of their workloads; `native` is beside them.
const COMPARED: [(&str, f64); 8] = [
    ("sandbox", 0.0),
    ("sandbox:disk=volume", 0.0),
    ("docker", 0.02),
    ("runc", 0.01),
    ("crun", 0.01),
    ("gvisor", 0.5),
    ("qemu", 0.1),
    ("qemu/sandbox", 0.11),
];
const WORKLOADS: [&str; 5] = ["cpu.lzma", "mem.triad", "kernel.syscall", "disk.seqread", DISK];
/// The one with latencies.
const DISK: &str = "disk.randread";
const BLOCKS: u32 = 20;
const LAUNCHES_PER_BLOCK: u64 = COMPARED.len() as u64 + 2;
const LAUNCH_SD: f64 = 0.02;
const SLICE_SD: f64 = 0.03;
const SLICE_SECONDS: f64 = 0.2;
/// Latencies that a slice's histogram holds, spread over a hundredfold.
const LATENCIES: u32 = 1_000;
const MADE_UP: &str = "made up";

/// Writes the file; the number of samples is rounded up to whole slices per launch, and returned.
pub(super) fn write(path: &Path, samples: u64, seed: u64) -> Result<u64> {
    let per_slice = u64::from(BLOCKS) * LAUNCHES_PER_BLOCK * WORKLOADS.len() as u64;
    let slices = u32::try_from(samples.div_ceil(per_slice).max(1)).context("too many samples")?;
    let shape = Shape {
        blocks: BLOCKS as usize,
        slices: slices as usize,
        launch_sd: LAUNCH_SD,
        slice_sd: SLICE_SD,
        effects: COMPARED.iter().map(|(_, effect)| *effect).collect(),
    };
    let runs = (0..WORKLOADS.len() as u64).map(|number| simulate(Model::Drift, &shape, seed.wrapping_add(number)));
    let runs: Vec<SimulatedRun> = runs.collect::<Option<_>>().context("too many samples")?;
    let mut writer = Writer { store: create(path, slices, seed)?, launches: 0, slices: 0, runs };
    for block in 1..=BLOCKS {
        writer.block(block, slices as usize)?;
    }
    writer.store.hear(&Event::Stopped { reason: StopReason::Blocks })?;
    Ok(writer.slices)
}

struct Writer {
    store: Store,
    launches: u64,
    slices: u64,
    /// One per workload.
    runs: Vec<SimulatedRun>,
}

impl Writer {
    fn block(&mut self, block: u32, slices: usize) -> Result<()> {
        let first = self.launches + 1;
        let natives = [1, 2].map(|replica| Arm { environment: 0, replica });
        let others = (1..=COMPARED.len() as u32).map(|environment| Arm { environment, replica: 1 });
        for (position, arm) in (0..).zip(natives.into_iter().chain(others)) {
            self.launches += 1;
            let requested_at = self.slices as f64 * SLICE_SECONDS;
            let profile = Profile { labels: vec![MADE_UP.to_owned()], ..Profile::default() };
            let id = self.launches;
            let record = LaunchRecord { id, block, group: 0, arm, position, requested_at, ready_seconds: 0.1, profile };
            self.store.hear(&Event::Launched(record))?;
        }
        for (workload, name) in WORKLOADS.into_iter().enumerate() {
            for visit in 0..slices {
                for (position, launch) in (0..).zip(first..=self.launches) {
                    let log_time = self.runs[workload].slices[block as usize - 1][position as usize][visit];
                    let spot = Spot { launch, visit: visit as u32, position };
                    self.slice(name, &spot, log_time.exp())?;
                }
            }
        }
        Ok(self.store.hear(&Event::BlockFinished { block })?)
    }

    fn slice(&mut self, workload: &str, spot: &Spot, seconds_per_work: f64) -> Result<()> {
        self.slices += 1;
        let seconds = SLICE_SECONDS;
        let slice = SliceRecord {
            id: self.slices,
            launch: spot.launch,
            workload: workload.to_owned(),
            point: None,
            phase: Phase::Measured,
            visit: spot.visit,
            position: spot.position,
            started_at: self.slices as f64 * SLICE_SECONDS,
            work: seconds / seconds_per_work,
            seconds_inside: seconds,
            seconds_outside: seconds * 1.1,
            spoiled: None,
        };
        let evidence = |source: &str, name: &str| Evidence {
            source: source.to_owned(),
            name: name.to_owned(),
            unit: "s".to_owned(),
            value: seconds_per_work / 1_000.0,
        };
        let bundle = SliceBundle {
            slice,
            histograms: if workload == DISK { vec![latencies(seconds_per_work)?] } else { Vec::new() },
            evidence_inside: vec![evidence("workload", "verification")],
            evidence_host: vec![evidence("host", "steal"), evidence("host", "softirq")],
        };
        Ok(self.store.hear(&Event::Sliced(bundle))?)
    }
}

/// Where in a block a slice stands.
struct Spot {
    launch: u64,
    visit: u32,
    position: u32,
}

/// From about 10 µs to 1 ms, scaled by the slice's slowness.
fn latencies(slowness: f64) -> Result<Histogram> {
    let mut histogram: Hdr<u64> = Hdr::new_with_bounds(1, 60_000_000_000, 3)?;
    for number in 0..LATENCIES {
        let share = f64::from(number) / f64::from(LATENCIES);
        histogram.saturating_record((slowness * 1e4 * 100_f64.powf(share)) as u64);
    }
    let mut v2 = Vec::new();
    V2Serializer::new().serialize(&histogram, &mut v2).context("a histogram cannot be encoded")?;
    Ok(Histogram { name: "latency".to_owned(), v2 })
}

fn create(path: &Path, slices: u32, seed: u64) -> Result<Store> {
    let run = RunInfo {
        id: "made-up".to_owned(),
        started: clock::rfc3339(0),
        plimsoll: env!("CARGO_PKG_VERSION").to_owned(),
        stopped_because: None,
    };
    let host = BTreeMap::from([("cpu.model".to_owned(), "none: this run never happened".to_owned())]);
    Ok(Store::create(path, &run, &plan(slices, seed), &host)?)
}

fn plan(slices: u32, seed: u64) -> PlanRecord {
    let compared = COMPARED.iter().map(|(name, _)| (*name).to_owned());
    PlanRecord {
        environments: std::iter::once("native".to_owned()).chain(compared).collect(),
        rungs: Vec::new(),
        unusable: Vec::new(),
        workloads: WORKLOADS.iter().map(|name| workload(name)).collect(),
        groups: vec![(0..=COMPARED.len() as u32).collect()],
        preset: None,
        seed,
        blocks: BLOCKS,
        slices,
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

fn workload(name: &str) -> WorkloadRecord {
    let metric = |name: &str, unit: &str, kind, headline| MetricRecord {
        name: name.to_owned(),
        unit: unit.to_owned(),
        kind,
        headline,
    };
    let mut metrics = vec![metric("rate", "1/s", MetricKindRecord::Rate, true)];
    if name == DISK {
        let percentile = |p| MetricKindRecord::Percentile { histogram: "latency".to_owned(), p };
        metrics.push(metric("latency.p50", "s", percentile(0.5), false));
        metrics.push(metric("latency.p99", "s", percentile(0.99), false));
    }
    WorkloadRecord {
        name: name.to_owned(),
        parameters: BTreeMap::new(),
        points: Vec::new(),
        work: "operation".to_owned(),
        measured_by: "slices".to_owned(),
        metrics,
        warm_up_tolerance: 0.05,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll::analysis::analyse;
    use plimsoll::store::load;

    #[test]
    fn a_made_up_run_holds_so_many_samples_and_its_planted_cost_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.sqlite");
        assert_eq!(write(&path, 1_001, 1).unwrap(), 2_000);
        let record = load(&path).unwrap();
        assert_eq!(record.slices.len(), 2_000);
        let findings = analyse(&record);
        let gvisor = findings.comparisons.iter().filter(|cell| cell.environment == "gvisor" && cell.headline);
        let found: Vec<f64> = gvisor.map(|cell| cell.cost).collect();
        assert_eq!(found.len(), WORKLOADS.len());
        assert!(found.iter().all(|cost| (0.55..0.75).contains(cost)), "e^0.5 - 1 was planted, found {found:?}");
        assert!(findings.comparisons.iter().any(|cell| cell.metric == "latency.p99"), "no percentile was computed");
        assert!(findings.environments.iter().all(|environment| environment.labels == [MADE_UP]));
    }
}
