//! Runs that never happened, with one of everything that a report can meet. The numbers are invented, for tests only.

mod sweep;

use std::collections::BTreeMap;

use super::Format;
use crate::analysis::Findings;
use crate::analysis::findings::{Comparison, Design, EnvironmentFindings, MishapFindings, RunFindings, Verdict};
use crate::sample::{
    Arm, LaunchRecord, MetricKindRecord, MetricRecord, Phase, PlanRecord, Profile, RunInfo, RunRecord, SliceBundle,
    SliceRecord, StopReason, UnusableRecord, WorkloadRecord,
};

pub(super) use sweep::{hostile_sweeps, ladder, sweeps};

pub(super) fn written(format: &dyn Format, findings: &Findings) -> String {
    let mut bytes = Vec::new();
    format.write(findings, &record(), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn environment(name: &str, labels: &[&str]) -> EnvironmentFindings {
    EnvironmentFindings {
        name: name.to_owned(),
        labels: words(labels),
        asked: map(&[("cpus", "1"), ("data_filesystem", "overlay"), ("kernel", "6.1.0-18-cloud-amd64")]),
        got: map(&[
            ("cpus", "1"),
            ("data_filesystem", "overlay"),
            ("kernel", "6.1.0-18-cloud-amd64"),
            ("clock_source", "tsc"),
            ("seccomp", "filter"),
            ("transparent_hugepages", "always [madvise] never"),
        ]),
        mismatches: Vec::new(),
        rungs: Vec::new(),
    }
}

/// `cost`, half the interval, the verdict.
type Cell = (f64, f64, Verdict);

struct Measure<'a> {
    workload: &'a str,
    metric: &'a str,
    unit: &'a str,
    headline: bool,
    baseline: f64,
}

impl Measure<'_> {
    fn against(&self, environment: &str, labels: &[&str], (cost, half, verdict): Cell) -> Comparison {
        let higher = self.unit != "s";
        let ratio = if higher { 1.0 / (1.0 + cost) } else { 1.0 + cost };
        Comparison {
            workload: self.workload.to_owned(),
            metric: self.metric.to_owned(),
            headline: self.headline,
            unit: self.unit.to_owned(),
            better: if higher { "higher" } else { "lower" }.to_owned(),
            point: None,
            environment: environment.to_owned(),
            baseline: "native".to_owned(),
            blocks: 5,
            slices: 40,
            baseline_value: self.baseline,
            value: self.baseline * ratio,
            ratio,
            cost,
            cost_ci95: Some([cost - half, cost + half]),
            cost_ci90: Some([cost - 0.8 * half, cost + 0.8 * half]),
            margin: 0.01,
            cost_typical: None,
            cost_typical_ci95: None,
            mde: Some(half * 1.4),
            p_adjusted: self.headline.then_some(if half < cost.abs() { 0.001 } else { 0.4 }),
            family_size: 35,
            verdict,
            labels: words(labels),
            evidence: BTreeMap::from([("host.ctx_switches".to_owned(), 12.5)]),
            block_costs: vec![cost - half / 2.0, cost, cost, cost + half / 4.0, cost + half / 4.0],
            blocks_for_one_percent: (verdict == Verdict::Unresolved).then_some([40, 90]),
        }
    }

    fn control(&self, cell: Cell) -> Comparison {
        Comparison { baseline: "native#1".to_owned(), family_size: 1, ..self.against("native#2", &[], cell) }
    }
}

fn measure<'a>(workload: &'a str, metric: &'a str, unit: &'a str, baseline: f64) -> Measure<'a> {
    Measure { workload, metric, unit, headline: true, baseline }
}

const ENVIRONMENTS: [(&str, &[&str]); 7] = [
    ("sandbox", &[]),
    ("sandbox:disk=volume", &[]),
    ("docker:net=none", &["net=none"]),
    ("runc", &[]),
    ("gvisor", &["platform=ptrace"]),
    ("qemu", &["emulated"]),
    ("qemu/sandbox", &["emulated"]),
];

/// Workload, metric, unit, native's value; native against itself; each of [`ENVIRONMENTS`].
type Line = (&'static str, &'static str, &'static str, f64, Cell, [Cell; 7]);

const fn cost(cost: f64, half: f64) -> Cell {
    (cost, half, Verdict::Cost)
}

const fn gain(cost: f64, half: f64) -> Cell {
    (cost, half, Verdict::Gain)
}

const fn same(cost: f64, half: f64) -> Cell {
    (cost, half, Verdict::Equivalent)
}

const fn open(cost: f64, half: f64) -> Cell {
    (cost, half, Verdict::Unresolved)
}

#[rustfmt::skip]
const LINES: [Line; 6] = [
    ("null", "rate", "1/s", 4.1e9, same(0.0002, 0.001),
        [same(0.0001, 0.001), same(0.0003, 0.001), same(-0.0002, 0.001), open(0.0, 0.0015), same(0.001, 0.003),
         open(0.02, 0.01), open(0.03, 0.02)]),
    ("cpu.lzma", "throughput", "B/s", 12.34e6, same(0.002, 0.008),
        [same(0.003, 0.004), same(0.001, 0.005), open(0.012, 0.03), open(-0.004, 0.005), cost(0.04, 0.015),
         cost(9.02, 0.4), cost(9.4, 0.5)]),
    ("mem.copy", "throughput", "B/s", 9.87e9, cost(0.021, 0.016),
        [open(0.002, 0.018), open(-0.003, 0.02), open(0.005, 0.02), open(0.004, 0.02), gain(-0.031, 0.012),
         cost(3.2, 0.3), cost(3.3, 0.4)]),
    ("kernel.syscall", "time", "s", 71.2e-9, open(-0.001, 0.009),
        [cost(0.62, 0.03), cost(0.61, 0.04), cost(0.64, 0.03), open(0.63, 0.05), cost(24.5, 0.6),
         cost(11.8, 0.9), cost(19.0, 1.2)]),
    ("disk.fsync", "time", "s", 1.23e-3, open(0.01, 0.09),
        [open(0.05, 0.12), open(0.01, 0.11), cost(0.31, 0.14), open(0.02, 0.12), cost(0.8, 0.2),
         cost(1.9, 0.4), cost(2.2, 0.5)]),
    ("start.ready", "time", "s", 2.1e-3, open(0.0, 0.04),
        [cost(5.4, 0.3), cost(5.6, 0.3), cost(118.0, 6.0), open(9.1, 0.5), cost(160.0, 9.0),
         cost(640.0, 30.0), cost(655.0, 30.0)]),
];

/// Eight environments, six families, mishaps, emulated and spoiled environments, a control that failed.
pub(super) fn rich() -> Findings {
    let mut findings = frame();
    for (workload, metric, unit, baseline, itself, cells) in LINES {
        let measure = measure(workload, metric, unit, baseline);
        for ((name, labels), cell) in ENVIRONMENTS.iter().zip(cells) {
            findings.comparisons.push(measure.against(name, labels, cell));
        }
        findings.control.push(measure.control(itself));
    }
    qualify(&mut findings.comparisons);
    let p99 = Measure { headline: false, ..measure("disk.fsync", "latency.p99", "s", 3.4e-3) };
    findings.comparisons.push(p99.against("sandbox", &["exploratory"], open(0.02, 0.2)));
    findings.comparisons.push(p99.against("docker:net=none", &["net=none", "exploratory"], open(0.44, 0.3)));
    findings.control.push(p99.control(open(0.05, 0.2)));
    findings
}

/// What the analysis says of single figures and of a spoiled environment.
fn qualify(comparisons: &mut [Comparison]) {
    for cell in comparisons.iter_mut().filter(|cell| cell.environment == "runc") {
        cell.labels.push("spoiled: asked ≠ got".to_owned());
        cell.p_adjusted = None;
    }
    for cell in comparisons.iter_mut().filter(|cell| cell.workload == "disk.fsync") {
        match cell.environment.as_str() {
            "docker:net=none" => {
                cell.labels.push("heavy tail".to_owned());
                cell.cost_typical = Some(0.12);
                cell.cost_typical_ci95 = Some([0.08, 0.17]);
            }
            "qemu" => cell.labels.push("1 of 6 blocks left out: gave no value".to_owned()),
            _ => {}
        }
    }
}

fn frame() -> Findings {
    let mut environments = vec![environment("native", &[])];
    environments.extend(ENVIRONMENTS.iter().map(|(name, labels)| environment(name, labels)));
    environments[4].mismatches.push("asked for seccomp `filter`, got `none`".to_owned());
    Findings {
        schema: 1,
        run: RunFindings {
            id: "1a2b3c4d".to_owned(),
            started: "2026-01-31T12:00:00Z".to_owned(),
            seed: 42,
            preset: Some("quick".to_owned()),
            plimsoll: "0.1.0".to_owned(),
            host: map(&[
                ("cpu.model", "Imaginary CPU @ 2.80GHz"),
                ("kernel.release", "6.1.0-18-amd64"),
                ("memory.bytes", "25769803776"),
                ("governor", "performance"),
            ]),
            stopped_because: "blocks".to_owned(),
        },
        environments,
        comparisons: Vec::new(),
        control: Vec::new(),
        mishaps: vec![
            MishapFindings {
                environment: Some("gvisor".to_owned()),
                workload: Some("disk.fsync".to_owned()),
                point: None,
                block: 3,
                cause: "timeout".to_owned(),
                message: "no answer within 30 s".to_owned(),
            },
            MishapFindings {
                environment: None,
                workload: None,
                point: None,
                block: 0,
                cause: "launch".to_owned(),
                message: "the pilot block was started twice".to_owned(),
            },
        ],
        unusable: vec![UnusableRecord {
            environment: "crun".to_owned(),
            why: "crun 1.8 refuses this host's hybrid cgroup layout".to_owned(),
            remedy: Some("boot with `systemd.unified_cgroup_hierarchy=1`".to_owned()),
            asked_by_name: false,
        }],
        design: Design {
            blocks: 5,
            slices: 8,
            slice_seconds_min: 0.2,
            margin: 0.01,
            cpus: vec![1],
            memory_bytes: 1 << 30,
            seconds: 124.0,
            adjustment: "holm".to_owned(),
            spoiled: BTreeMap::from([("gvisor".to_owned(), 3), ("native#1".to_owned(), 1)]),
            not_steady: vec!["qemu: mem.copy (2 blocks)".to_owned()],
        },
    }
}

/// The same with two blocks only.
pub(super) fn two_blocks() -> Findings {
    let mut findings = rich();
    findings.design.blocks = 2;
    findings.run.stopped_because = "interrupted".to_owned();
    for cell in findings.comparisons.iter_mut().chain(&mut findings.control) {
        cell.blocks = 2;
        cell.verdict = Verdict::Unresolved;
        cell.p_adjusted = None;
    }
    findings
}

/// Native was never compared with itself.
pub(super) fn without_control() -> Findings {
    Findings { control: Vec::new(), ..rich() }
}

/// Nothing was finished.
pub(super) fn empty() -> Findings {
    let mut findings = frame();
    findings.design.blocks = 0;
    findings.design.seconds = 0.0;
    findings.run.stopped_because = "failed".to_owned();
    findings.run.host.clear();
    findings.environments.truncate(1);
    findings.design.spoiled.clear();
    findings.design.not_steady.clear();
    findings
}

/// A text that tries to be markup.
pub(super) const BAD: &str = "</script><script>alert(1)</script>|\"'&`<!--";

/// Every text of the run tries to be markup.
pub(super) fn hostile() -> Findings {
    let bad = BAD.to_owned();
    let mut findings = rich();
    for environment in &mut findings.environments {
        environment.labels.push(bad.clone());
        environment.mismatches.push(bad.clone());
        environment.asked.insert(bad.clone(), bad.clone());
        environment.got.insert(bad.clone(), bad.clone());
    }
    findings.environments[1].name = bad.clone();
    for cell in &mut findings.comparisons {
        cell.workload.push_str(&bad);
        cell.metric.push_str(&bad);
        cell.unit = bad.clone();
        cell.labels.push(bad.clone());
        cell.point = Some(serde_json::json!({ bad.clone(): bad.clone() }));
    }
    findings.comparisons[0].environment = bad.clone();
    findings.run.host.insert(bad.clone(), bad.clone());
    findings.run.id = bad.clone();
    findings.run.started = bad.clone();
    findings.run.preset = Some(bad.clone());
    findings.run.stopped_because = bad.clone();
    findings.design.not_steady.push(bad.clone());
    findings.mishaps[0].message = bad.clone();
    findings.unusable[0].why = bad;
    findings
}

/// Twelve numbers, wherever a number can stand.
pub(super) fn arbitrary(numbers: &[f64], name: &str, blocks: u32) -> Findings {
    let mut findings = rich();
    findings.design.blocks = blocks;
    findings.design.seconds = numbers[0];
    findings.design.slice_seconds_min = numbers[1];
    for cell in findings.comparisons.iter_mut().chain(&mut findings.control).take(3) {
        cell.environment = name.to_owned();
        cell.unit = name.to_owned();
        cell.labels.push(name.to_owned());
        cell.blocks = blocks;
        (cell.value, cell.baseline_value, cell.ratio, cell.cost) = (numbers[2], numbers[3], numbers[4], numbers[5]);
        cell.cost_ci95 = Some([numbers[6], numbers[7]]);
        (cell.margin, cell.mde) = (numbers[8], Some(numbers[9]));
        cell.cost_typical = Some(numbers[10]);
        cell.cost_typical_ci95 = Some([numbers[11], numbers[2]]);
    }
    findings
}

/// A plan with two groups.
pub(super) fn plan() -> PlanRecord {
    let metric = |name: &str, unit: &str, kind: MetricKindRecord, headline: bool| MetricRecord {
        name: name.to_owned(),
        unit: unit.to_owned(),
        kind,
        headline,
    };
    PlanRecord {
        environments: words(&["native", "docker:net=host,disk=volume", "qemu"]),
        rungs: Vec::new(),
        unusable: frame().unusable,
        workloads: vec![
            WorkloadRecord {
                name: "cpu.lzma".to_owned(),
                parameters: map(&[("input_bytes", "1048576"), ("level", "6")]),
                points: Vec::new(),
                work: "byte of input".to_owned(),
                measured_by: "slices".to_owned(),
                warm_up_tolerance: 0.1,
                metrics: vec![metric("throughput", "B/s", MetricKindRecord::Rate, true)],
            },
            WorkloadRecord {
                name: "start.ready".to_owned(),
                parameters: BTreeMap::new(),
                points: Vec::new(),
                work: "launch".to_owned(),
                measured_by: "launch".to_owned(),
                warm_up_tolerance: 0.1,
                metrics: vec![metric("time", "s", MetricKindRecord::Time, true)],
            },
        ],
        groups: vec![vec![1], vec![2]],
        preset: Some("quick".to_owned()),
        seed: 42,
        blocks: 5,
        slices: 2,
        slice_ns_min: 200_000_000,
        lead_in_ns: 20_000_000,
        precision: None,
        time_limit_seconds: Some(600.0),
        margin: 0.01,
        cpus: vec![1],
        shared_cpu: false,
        memory_bytes: 1 << 30,
        steal_share_max: 0.05,
    }
}

/// A launch as the run's first.
pub(super) fn launch(id: u64, arm: Arm) -> LaunchRecord {
    LaunchRecord {
        id,
        block: 1,
        group: 0,
        arm,
        position: 0,
        requested_at: 0.25,
        ready_seconds: 0.0125,
        profile: Profile::default(),
    }
}

/// A slice of a launch.
pub(super) fn slice(id: u64, launch: u64, phase: Phase) -> SliceBundle {
    SliceBundle {
        slice: SliceRecord {
            id,
            launch,
            workload: "cpu.lzma".to_owned(),
            point: None,
            phase,
            visit: 0,
            position: 0,
            started_at: 1.5,
            work: 2_500_000.0,
            seconds_inside: 0.2025,
            seconds_outside: 0.2031,
            spoiled: None,
        },
        histograms: Vec::new(),
        evidence_inside: Vec::new(),
        evidence_host: Vec::new(),
    }
}

/// A raw record of three launches and four slices.
pub(super) fn record() -> RunRecord {
    let mut spoiled = slice(4, 3, Phase::Measured);
    spoiled.slice.spoiled = Some("12 % of CPU 1 stolen, \"steal\" limit 5 %".to_owned());
    spoiled.slice.point = Some("{\"threads\":4}".to_owned());
    RunRecord {
        run: RunInfo {
            id: "1a2b3c4d".to_owned(),
            started: "2026-01-31T12:00:00Z".to_owned(),
            plimsoll: "0.1.0".to_owned(),
            stopped_because: Some(StopReason::Blocks),
        },
        plan: plan(),
        host: frame().run.host,
        launches: vec![
            launch(1, Arm { environment: 0, replica: 1 }),
            launch(2, Arm { environment: 0, replica: 2 }),
            launch(3, Arm { environment: 1, replica: 1 }),
        ],
        slices: vec![slice(1, 1, Phase::WarmUp), slice(2, 1, Phase::Measured), slice(3, 2, Phase::Measured), spoiled],
        mishaps: Vec::new(),
    }
}
