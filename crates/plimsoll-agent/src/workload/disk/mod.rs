//! What the workloads of reads and writes share, after fio: a file laid out whole, jobs that each keep a number of
//! requests under way in a part of it, and an engine that carries them.
//!
//! A unit is a number of requests that end, by whichever job; the queues stay full from unit to unit and are emptied
//! only after a slice, which is as many units as fit its time, or one of the size that the plan says. Then what was read is compared, and some of what was written is read again.

mod aio;
mod content;
mod engine;
mod job;
mod kind;
mod sync;
mod sys;
mod uring;

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use plimsoll_protocol::{Evidence, Parameters};

pub(super) use self::content::{Content, PAGE_BYTES};
use self::job::{Job, Shape, Shared, Task};
use self::kind::EngineKind;
use super::made::Made;
use super::team::Team;
use super::words::{Words, chosen};
use super::{
    About, MeasuredBy, Metric, MetricKind, Pace, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, check_multiple, mib,
};

const FILE_BYTES: u64 = 32 << 20;
const DEPTH_MAX: u64 = 1024;
const JOBS_MAX: u64 = 256;
const UNIT_BYTES: u64 = 8 << 20;
const REQUESTS: u64 = 256;
const REQUESTS_PER_SLOT: u64 = 64;
const REQUESTS_MAX: u64 = 1 << 30;
const ACCESS: &Words<bool> = &[("direct", true), ("buffered", false)];

/// One of the workloads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Io {
    pub(super) about: &'static About,
    pub(super) random: bool,
    /// Reads among a hundred requests; where it is a parameter, what the plan may change.
    pub(super) read_percent: u64,
    pub(super) block_bytes: u64,
    /// Whether its work is counted in bytes; else in requests.
    pub(super) counts_bytes: bool,
    /// Depths and numbers of jobs at which it is measured, the tested one first.
    pub(super) points: &'static [(u64, u64)],
}

/// What they declare alike.
pub(super) const fn about(
    name: &'static str,
    summary: &'static str,
    work: &'static str,
    metrics: &'static [Metric],
    parameters: &'static [ParameterAbout],
) -> About {
    About {
        name,
        summary,
        work,
        metrics,
        warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.15 },
        measured_by: MeasuredBy::Slices,
        parameters,
        uses_disk: true,
    }
}

/// Parameters of a workload that reads and writes.
pub(super) const OF_A_MIXTURE: &[ParameterAbout] = &[
    ParameterAbout {
        name: "file_bytes",
        meaning: "size of the file, a multiple of the block",
        range: Some((PAGE_BYTES as u64, 1 << 40)),
    },
    ParameterAbout {
        name: "block_bytes",
        meaning: "size of a request, a multiple of 4096",
        range: Some((PAGE_BYTES as u64, 64 << 20)),
    },
    ParameterAbout { name: "depth", meaning: "requests under way in each job", range: Some((1, DEPTH_MAX)) },
    ParameterAbout { name: "jobs", meaning: "threads, each with a part of the file", range: Some((1, JOBS_MAX)) },
    ParameterAbout { name: "engine", meaning: "how the kernel is asked: aio, io_uring or sync", range: None },
    ParameterAbout {
        name: "access",
        meaning: "direct, or buffered for the page cache of whoever runs it",
        range: None,
    },
    ParameterAbout {
        name: "requests",
        meaning: "requests that a slice is; 0: as many as end in its time",
        range: Some((0, REQUESTS_MAX)),
    },
    READ_PERCENT,
];
const READ_PERCENT: ParameterAbout =
    ParameterAbout { name: "read_percent", meaning: "reads among 100 requests", range: Some((0, 100)) };
/// Parameters of one that does either: what its name says is no parameter.
pub(super) const OF_ONE_DIRECTION: &[ParameterAbout] = OF_A_MIXTURE.split_at(OF_A_MIXTURE.len() - 1).0;

/// CPU time on the host per unit of work, of everything in the environment's cgroup: also that of emptying the queues and
/// of comparing after a slice, which is little beside it.
pub(super) const CPU: Metric = Metric { name: "cpu", unit: "s", kind: MetricKind::CpuTime, headline: false };

/// Metrics of small requests.
pub(super) const PER_REQUEST: &[Metric] = &[
    Metric { name: "iops", unit: "1/s", kind: MetricKind::Rate, headline: true },
    Metric { name: "latency.p50", unit: "s", kind: MetricKind::Percentile("latency", 0.50), headline: false },
    Metric { name: "latency.p99", unit: "s", kind: MetricKind::Percentile("latency", 0.99), headline: false },
    CPU,
];

/// Metrics of large ones.
pub(super) const PER_BYTE: &[Metric] = &[
    Metric { name: "throughput", unit: "B/s", kind: MetricKind::Rate, headline: true },
    Metric { name: "latency.p50", unit: "s", kind: MetricKind::Percentile("latency", 0.50), headline: false },
    Metric { name: "latency.p99", unit: "s", kind: MetricKind::Percentile("latency", 0.99), headline: false },
    CPU,
];

/// Points of small requests, as fio is mostly asked for.
pub(super) const SMALL: &[(u64, u64)] = &[(1, 1), (16, 1), (1, 4), (16, 4)];
/// Points of large requests.
pub(super) const LARGE: &[(u64, u64)] = &[(1, 1), (16, 1)];

/// The numbers of a plan, checked against each other.
struct Sizes {
    shape: Shape,
    jobs: usize,
    file_bytes: u64,
    /// Requests that a slice is; else it goes by time.
    amount: Option<u32>,
}

impl Sizes {
    fn blocks(&self) -> u64 {
        self.file_bytes / self.shape.block_bytes as u64
    }

    /// The blocks of a job.
    fn part(&self, job: usize) -> Range<u64> {
        let (blocks, job, jobs) = (self.blocks(), job as u64, self.jobs as u64);
        blocks * job / jobs..blocks * (job + 1) / jobs
    }

    /// Requests in a unit: those of a slice if it goes by amount. Else about 8 MiB, but no more than 256, and twice that if it
    /// takes so much to have many times as many as there are under way: around a unit's end the queues are looked after less
    /// promptly.
    fn requests(&self) -> u32 {
        if let Some(amount) = self.amount {
            return amount;
        }
        let (block_bytes, under_way) = (self.shape.block_bytes as u64, (self.jobs * self.shape.depth) as u64);
        let base = (UNIT_BYTES / block_bytes).clamp(1, REQUESTS);
        let many = (REQUESTS_PER_SLOT * under_way).min((2 * UNIT_BYTES / block_bytes).max(under_way));
        base.max(many) as u32
    }
}

impl Io {
    fn sizes(&self, parameters: &Parameters) -> Result<Sizes, WorkloadError> {
        let about = self.about;
        let sizes = Sizes {
            shape: Shape {
                engine: chosen(parameters, "engine", EngineKind::WORDS)?,
                direct: chosen(parameters, "access", ACCESS)?,
                random: self.random,
                read_percent: match about.parameter(READ_PERCENT.name) {
                    Some(_) => about.number(parameters, READ_PERCENT.name)?,
                    None => self.read_percent,
                },
                block_bytes: about.count(parameters, "block_bytes")?,
                depth: about.count(parameters, "depth")?,
            },
            jobs: about.count(parameters, "jobs")?,
            file_bytes: about.number(parameters, "file_bytes")?,
            amount: match about.number(parameters, "requests")? {
                0 => None,
                amount => Some(amount as u32),
            },
        };
        let wrong = |message: String| WorkloadError::Wrong(format!("{}: {message}", about.name));
        let (block_bytes, depth) = (sizes.shape.block_bytes as u64, sizes.shape.depth as u64);
        check_multiple("block_bytes", block_bytes, PAGE_BYTES as u64).map_err(wrong)?;
        check_multiple("file_bytes", sizes.file_bytes, block_bytes).map_err(wrong)?;
        // While all but one are under way there must be a block left that is not.
        let needed = (sizes.jobs as u64) * (depth + 1) * block_bytes;
        if sizes.file_bytes < needed {
            return Err(wrong(format!(
                "{} jobs with {depth} requests of {block_bytes} bytes under way need a file of {needed} bytes, and \
                 `file_bytes` is {}",
                sizes.jobs, sizes.file_bytes
            )));
        }
        if sizes.shape.engine == EngineKind::Sync && depth > 1 {
            return Err(wrong(format!(
                "engine `sync` has one request under way, and `depth` is {depth}: set more `jobs`"
            )));
        }
        Ok(sizes)
    }
}

/// Whether files of so many bytes find room, twice: another launch may still hold its own.
pub(super) fn check_room(name: &str, file_bytes: u64, room: &Room) -> Result<(), String> {
    let needed = file_bytes.saturating_mul(2);
    if room.disk_bytes < needed {
        return Err(format!(
            "{name} needs {} MiB of free disk for each environment and finds {} MiB: free some, choose another --data \
             folder or set a smaller `file_bytes` in the plan",
            mib(needed),
            mib(room.disk_bytes),
        ));
    }
    if file_bytes > room.files_bytes_max {
        return Err(format!(
            "{name}'s file of {} MiB does not fit the memory of a guest that keeps its data there, which holds files of up \
             to {} MiB: set a smaller `file_bytes` in the plan, or a larger --memory",
            mib(file_bytes),
            mib(room.files_bytes_max),
        ));
    }
    Ok(())
}

impl Workload for Io {
    fn about(&self) -> &'static About {
        self.about
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let mut derived = Parameters::default()
            .with("file_bytes", FILE_BYTES)
            .with("block_bytes", self.block_bytes)
            .with("depth", 1)
            .with("jobs", 1)
            .with("engine", EngineKind::WORDS[0].0)
            .with("access", ACCESS[0].0)
            .with("requests", 0);
        if self.about.parameter(READ_PERCENT.name).is_some() {
            derived = derived.with(READ_PERCENT.name, self.read_percent);
        }
        let parameters = self.about.merged(derived, written)?;
        let sizes = self.sizes(&parameters).map_err(|error| error.to_string())?;
        let name = self.about.name;
        let buffers = 2 * (sizes.jobs * sizes.shape.depth * sizes.shape.block_bytes) as u64;
        if buffers > room.memory_bytes {
            return Err(format!(
                "{name}'s buffers must fit half of the memory and need {} MiB of it, and the limit is {} MiB: set smaller \
                 `depth`, `jobs` or `block_bytes` in the plan, or a larger --memory",
                mib(buffers),
                mib(room.memory_bytes),
            ));
        }
        check_room(name, sizes.file_bytes, room)?;
        Ok(parameters)
    }

    fn files_bytes(&self, parameters: &Parameters) -> u64 {
        self.about.number(parameters, "file_bytes").unwrap_or(0)
    }

    fn points(&self, _room: &Room) -> Vec<Parameters> {
        let point = |depth: u64, jobs: u64, engine: &str| {
            Parameters::default().with("depth", depth).with("jobs", jobs).with("engine", engine)
        };
        let [(first, _), others @ ..] = EngineKind::WORDS else { return Vec::new() };
        let deep = self.points.iter().map(|(depth, jobs)| point(*depth, *jobs, first));
        deep.chain(others.iter().map(|(engine, _)| point(1, 1, engine))).collect()
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        self.about.accept(parameters)?;
        let sizes = self.sizes(parameters)?;
        let content = Content::new(scene.seed);
        let path = scene.data_dir.join(self.about.name);
        let made = Made::by(path, |path| content.lay_out(path, sizes.file_bytes / PAGE_BYTES as u64))?;
        let mut requests = Requests::start(self, made, &content, sizes, scene.seed)?;
        requests.unit(&mut Recorder::default())?;
        requests.verify()?;
        Ok(Box::new(requests))
    }
}

/// The jobs, and their file.
struct Requests {
    team: Team<Job>,
    shared: Arc<Shared>,
    per_unit: u32,
    pace: Pace,
    direct: bool,
    block_bytes: u64,
    /// Of each request.
    work: u64,
    made: Made,
}

impl Requests {
    fn start(io: &Io, made: Made, content: &Content, sizes: Sizes, seed: u64) -> Result<Self, WorkloadError> {
        let shared = Arc::new(Shared::new(sizes.jobs));
        let (path, content, jobs, direct) = (made.path().to_owned(), content.clone(), sizes.jobs, sizes.shape.direct);
        let block_bytes = sizes.shape.block_bytes as u64;
        let (per_unit, work) = (sizes.requests(), if io.counts_bytes { block_bytes } else { 1 });
        let pace = sizes.amount.map_or(Pace::Time, |_| Pace::Amount);
        let of_job = Arc::clone(&shared);
        let team = Team::assemble(jobs, move |job| {
            Job::start(sizes.shape.clone(), &path, content.clone(), sizes.part(job), seed, Arc::clone(&of_job))
        })?;
        Ok(Self { team, shared, per_unit, pace, direct, block_bytes, work, made })
    }
}

impl Prepared for Requests {
    fn pace(&self) -> Pace {
        self.pace
    }

    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.shared.begin(self.per_unit);
        let done = self.team.all(Task::Work)?;
        for latency in self.shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            recorder.record("latency", latency);
        }
        let writes = self.shared.writes.swap(0, Ordering::Relaxed).min(done);
        if self.direct {
            recorder.add(Evidence::DISK_ASKED_READ, "B", ((done - writes) * self.block_bytes) as f64);
            recorder.add(Evidence::DISK_ASKED_WRITE, "B", (writes * self.block_bytes) as f64);
        }
        Ok((u64::from(self.per_unit) * self.work) as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        self.team.all(Task::Drain)?;
        self.shared.rest();
        self.team.all(Task::Check).map(drop)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.made.remove()
    }
}

#[cfg(test)]
mod tests;
