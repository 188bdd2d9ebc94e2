//! A checked plan, settled on this host's numbers: sizes, groups, memory. Pure: the numbers are handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_agent::workload::{About, MeasuredBy, MetricKind, Room, Workload};
use plimsoll_protocol::{Parameter, TreeOrder, WorkloadOrder};

use super::groups::{Bytes, HOST_SHARE_MAX, files_bytes_max, groups, refusals};
use super::sweep::{self, Point};
use super::{Plan, PlanError};
use crate::environment::Environment;
use crate::launch::place::DATA_DISK_BYTES_MIN;
use crate::rounds::{Design, WorkloadDesign, visits_max};
use crate::sample::{
    Arm, MetricKindRecord, MetricRecord, PlanRecord, PointRecord, RungRecord, UnusableRecord, WorkloadRecord,
};

/// Untimed lead-in of every slice: rewarms caches after parking.
const LEAD_IN: Duration = Duration::from_millis(20);
/// A warm-up slice is this much shorter than a measured one: it has to be compared with the next, not to be precise.
const WARM_UP_SHARE: u32 = 4;
/// An environment is at least alive with two natives.
const ARMS_MIN: u64 = 3;
/// Share of stolen CPU time above which a slice is spoiled. The kernel counts in ticks of 10 ms: in a slice of 0.2 s on
/// one CPU a single tick reads as 5 %, so this is the smallest share that more than one tick must have caused.
const STEAL_SHARE_MAX: f64 = 0.06;
const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// STREAM wants three arrays of four times the last-level cache each, and they may fill half of the memory.
const MEMORY_PER_CACHE_BYTE: u64 = 24;
/// liblzma's threaded encoder and its input take up to 25 MiB for each CPU, and that may fill half of the memory.
const MEMORY_PER_CPU_BYTES: u64 = 50 << 20;
const MEMORY_STEP_BYTES: u64 = 256 << 20;
/// A guest's data disk is a multiple of this.
const DATA_DISK_STEP_BYTES: u64 = 256 << 20;

/// What a plan must know of the host.
#[derive(Debug, Clone)]
pub struct HostNumbers {
    /// CPUs for the environments.
    pub cpus: Vec<u32>,
    /// Whether the harness has no CPU of its own.
    pub shared_cpu: bool,
    /// Memory that could be used now, bytes.
    pub memory_available_bytes: u64,
    /// Free room on the disk under test, bytes.
    pub disk_free_bytes: u64,
    /// Whether files on the disk under test can be opened for direct I/O.
    pub takes_direct_io: bool,
    /// Last-level cache, bytes.
    pub cache_bytes: u64,
}

/// A plan with every number fixed.
#[derive(Debug)]
pub struct Settled {
    /// What is stored.
    pub record: PlanRecord,
    /// What is walked.
    pub design: Design,
    /// Files that lie in the layers of roots, if a workload looks for them there.
    pub tree: Option<TreeOrder>,
    /// The environments that take part, in the record's order, `native` first.
    pub environments: Vec<Environment>,
    /// Size of every guest's data disk, bytes.
    pub data_disk_bytes: u64,
}

impl Plan {
    /// Fixes sizes and groups. `unusable` are the environments that this host cannot run: they are left out.
    ///
    /// # Errors
    /// One error per workload that the host or the limits cannot hold; or the memory or the disk that lacks.
    pub fn settle(
        &self,
        host: &HostNumbers,
        unusable: Vec<UnusableRecord>,
        seed: u64,
    ) -> Result<Settled, Vec<PlanError>> {
        let environments: Vec<Environment> = self
            .environments
            .iter()
            .map(|planned| planned.environment.clone())
            .filter(|environment| unusable.iter().all(|other| other.environment != environment.name()))
            .collect();
        let memory_bytes =
            self.memory_bytes.unwrap_or_else(|| default_memory(host.cache_bytes, host.cpus.len() as u64));
        let disk_bytes = (host.disk_free_bytes as f64 * HOST_SHARE_MAX) as u64 / ARMS_MIN;
        let room = Room {
            cpus: host.cpus.len() as u32,
            memory_bytes,
            disk_bytes,
            files_bytes_max: files_bytes_max(&environments, memory_bytes).unwrap_or(disk_bytes),
            cache_bytes: host.cache_bytes,
        };
        let sized = self.sized(&room)?;
        if !host.takes_direct_io {
            needs_no_direct_io(&sized)?;
        }
        let files_bytes = files_bytes(&sized);
        let each = Bytes { memory: memory_bytes, disk: files_bytes };
        let data_disk_bytes = data_disk_bytes(files_bytes);
        let refusals = refusals(&environments, each, data_disk_bytes, self.memory_bytes.is_some(), host);
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let groups = groups(&environments, each, data_disk_bytes, host);
        Ok(Settled {
            tree: tree(&sized, seed),
            design: self.design(&sized, &groups, seed),
            record: self.record(host, &environments, unusable, &sized, groups, memory_bytes, seed),
            environments,
            data_disk_bytes,
        })
    }

    fn sized(&self, room: &Room) -> Result<Vec<Sized>, Vec<PlanError>> {
        let mut errors = Vec::new();
        let mut sized = Vec::new();
        for workload in &self.workloads {
            let name = workload.about().name;
            let written = self.parameters.get(name).cloned().unwrap_or_default();
            let points = sweep::points(*workload, room, &written, self.points.tested_only(name));
            match points.and_then(|points| self.check_slices(*workload, points)) {
                Ok(points) => sized.push(Sized { workload: *workload, points }),
                Err(wrong) => {
                    errors
                        .extend(wrong.into_iter().map(|message| PlanError { at: format!("workload {name}"), message }));
                }
            }
        }
        if errors.is_empty() { Ok(sized) } else { Err(errors) }
    }

    /// Whether every point can be measured as often as the plan may want it in a launch.
    fn check_slices(&self, workload: &dyn Workload, points: Vec<Point>) -> Result<Vec<Point>, Vec<String>> {
        let (warm_up, visits) = (workload.about().warm_up.slices_max, visits_max(self.slices));
        let wanted = u64::from(warm_up) + u64::from(visits);
        let lacks = |point: &Point| {
            let limit = workload.slices_max(&point.parameters).filter(|limit| limit.slices < wanted)?;
            let (parameter, slices) = (limit.parameter, limit.slices);
            Some(format!(
                "{} slices may take {wanted} turns in a launch, with those for slices that the host disturbs, and there is \
                 data for {slices}: set `{parameter}` to {wanted} in the plan, or fewer slices",
                self.slices
            ))
        };
        let mut errors: Vec<String> = points.iter().filter_map(lacks).collect();
        errors.dedup();
        if errors.is_empty() { Ok(points) } else { Err(errors) }
    }

    fn design(&self, sized: &[Sized], groups: &[Vec<u32>], seed: u64) -> Design {
        let sliced = sized.iter().filter(|one| one.about().measured_by == MeasuredBy::Slices);
        Design {
            seed,
            groups: groups.iter().map(|group| arms(group)).collect(),
            workloads: sliced
                .flat_map(|one| one.points.iter().map(|point| workload_design(one.about(), point, seed)))
                .collect(),
            blocks: self.blocks,
            slices: self.slices,
            lead_in: LEAD_IN,
            slice_min: self.slice_min,
            warm_up_min: self.slice_min / WARM_UP_SHARE,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "every argument is one part of the record, and the record is flat")]
    fn record(
        &self,
        host: &HostNumbers,
        environments: &[Environment],
        unusable: Vec<UnusableRecord>,
        sized: &[Sized],
        groups: Vec<Vec<u32>>,
        memory_bytes: u64,
        seed: u64,
    ) -> PlanRecord {
        PlanRecord {
            environments: environments.iter().map(|environment| environment.name().to_owned()).collect(),
            rungs: environments.iter().map(rungs).collect(),
            unusable,
            workloads: sized.iter().map(workload_record).collect(),
            groups,
            preset: self.preset.clone(),
            seed,
            blocks: self.blocks,
            slices: self.slices,
            slice_ns_min: self.slice_min.as_nanos() as u64,
            lead_in_ns: LEAD_IN.as_nanos() as u64,
            precision: self.precision,
            time_limit_seconds: self.time.map(|time| time.as_secs_f64()),
            margin: self.margin,
            cpus: host.cpus.clone(),
            shared_cpu: host.shared_cpu,
            memory_bytes,
            steal_share_max: STEAL_SHARE_MAX,
        }
    }
}

/// Native itself would fail where the disk refuses what is asked of it; then there is nothing to compare with.
fn needs_no_direct_io(sized: &[Sized]) -> Result<(), Vec<PlanError>> {
    let is_direct = |point: &Point| point.parameters.0.get("access") == Some(&Parameter::from("direct"));
    let names: Vec<&str> =
        sized.iter().filter(|one| one.points.iter().any(is_direct)).map(|one| one.workload.about().name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the filesystem refuses direct I/O (O_DIRECT), which {} ask for: choose a folder on a disk that takes it, or set \
         access = \"buffered\" in the plan, which measures the page cache",
        names.join(", ")
    );
    Err(vec![PlanError { at: "--data".to_owned(), message }])
}

fn tree(sized: &[Sized], seed: u64) -> Option<TreeOrder> {
    let points = |one: &Sized| one.points.iter().map(|point| point.parameters.clone()).collect::<Vec<_>>();
    sized.iter().find_map(|one| one.workload.tree(&points(one), seed))
}

fn rungs(environment: &Environment) -> Vec<RungRecord> {
    let numbers = environment.numbers().into_iter();
    numbers.map(|(option, value, rest)| RungRecord { option: option.to_owned(), value, rest }).collect()
}

/// A workload with its points.
struct Sized {
    workload: &'static dyn Workload,
    points: Vec<Point>,
}

impl Sized {
    fn about(&self) -> &'static About {
        self.workload.about()
    }
}

/// The files of the workload that keeps most; a workload's files go before the next one's are made.
fn files_bytes(sized: &[Sized]) -> u64 {
    let of_one = |one: &Sized| one.points.iter().map(|point| one.workload.files_bytes(&point.parameters)).max();
    sized.iter().filter_map(of_one).max().unwrap_or(0)
}

/// A disk of which the largest files take three quarters at most: the filesystem on it needs the rest.
fn data_disk_bytes(files_bytes: u64) -> u64 {
    let needed = files_bytes.saturating_add(files_bytes / 3).max(DATA_DISK_BYTES_MIN);
    needed.checked_next_multiple_of(DATA_DISK_STEP_BYTES).unwrap_or(needed)
}

/// Enough for every workload at its derived size; the tests hold it against what the workloads ask for.
pub(super) fn default_memory(cache_bytes: u64, cpus: u64) -> u64 {
    let by_cache = cache_bytes.saturating_mul(MEMORY_PER_CACHE_BYTE);
    let needed = by_cache.max(cpus.saturating_mul(MEMORY_PER_CPU_BYTES)).max(MEMORY_BYTES_DEFAULT);
    needed.checked_next_multiple_of(MEMORY_STEP_BYTES).unwrap_or(needed)
}

fn arms(group: &[u32]) -> Vec<Arm> {
    let mut arms = vec![Arm { environment: 0, replica: 1 }, Arm { environment: 0, replica: 2 }];
    arms.extend(group.iter().skip(1).map(|environment| Arm { environment: *environment, replica: 1 }));
    arms
}

fn workload_design(about: &About, point: &Point, seed: u64) -> WorkloadDesign {
    let (name, parameters) = (about.name.to_owned(), point.parameters.clone());
    let order = WorkloadOrder { name, parameters, data_dir: String::new(), seed };
    WorkloadDesign { order, point: point.json(), warm_up: about.warm_up }
}

fn workload_record(sized: &Sized) -> WorkloadRecord {
    let (about, points) = (sized.about(), &sized.points);
    let all_share =
        |name: &String, value: &Parameter| points.iter().all(|point| point.parameters.0.get(name) == Some(value));
    let as_text = |point: &Point, shared: bool| {
        let parameters = point.parameters.0.iter().filter(|(name, value)| all_share(name, value) == shared);
        parameters.map(|(name, value)| (name.clone(), value.to_string())).collect::<BTreeMap<_, _>>()
    };
    let point_record = |point: &Point| Some(PointRecord { point: point.json()?, parameters: as_text(point, false) });
    let metrics = about.metrics.iter().map(|metric| MetricRecord {
        name: metric.name.to_owned(),
        unit: metric.unit.to_owned(),
        kind: match metric.kind {
            MetricKind::Rate => MetricKindRecord::Rate,
            MetricKind::Time => MetricKindRecord::Time,
            MetricKind::CpuTime => MetricKindRecord::CpuTime,
            MetricKind::Percentile(histogram, p) => MetricKindRecord::Percentile { histogram: histogram.to_owned(), p },
        },
        headline: metric.headline,
    });
    WorkloadRecord {
        name: about.name.to_owned(),
        parameters: points.first().map(|point| as_text(point, true)).unwrap_or_default(),
        points: points.iter().filter_map(point_record).collect(),
        work: about.work.to_owned(),
        measured_by: match about.measured_by {
            MeasuredBy::Slices => "slices",
            MeasuredBy::Launch => "launch",
        }
        .to_owned(),
        metrics: metrics.collect(),
        warm_up_tolerance: about.warm_up.tolerance,
    }
}
