//! What is measured. One workload, one file; the table is [`WORKLOADS`].
//!
//! A workload declares itself (name, metrics, warm-up, sizes) so that the host can plan it, and runs itself where the
//! agent is. Sizes are decided on the host, once, and travel as parameters: nothing is derived inside.

use std::io;
use std::path::Path;

use plimsoll_protocol::{Cause, Parameter, ParameterError, Parameters, TreeOrder};

mod affinity;
mod cpu_lu;
mod cpu_lzma;
mod disk;
mod disk_fsync;
mod disk_layers;
mod disk_metadata;
mod disk_mixed;
mod disk_randread;
mod disk_randwrite;
mod disk_seqread;
mod disk_seqwrite;
mod kernel_clock;
mod kernel_fault;
mod kernel_fork;
mod kernel_mmap;
mod kernel_signal;
mod kernel_stat;
mod kernel_switch;
mod kernel_syscall;
mod kernel_thread;
mod kernel_timer;
pub mod layer_tree;
mod listing;
mod lu;
mod made;
mod mem_add;
mod mem_copy;
mod mem_latency;
mod mem_random;
mod mem_scale;
mod mem_triad;
mod null;
mod recorder;
mod region;
mod start_ready;
mod stream;
mod sys;
mod team;
mod text;
mod words;

pub use recorder::Recorder;
pub use text::text;

/// Every workload, in the order in which reports show them. A new workload is one file and one line here.
pub const WORKLOADS: &[&dyn Workload] = &[
    &null::Null,
    &cpu_lzma::Lzma,
    &cpu_lu::Lu,
    &mem_copy::COPY,
    &mem_scale::SCALE,
    &mem_add::ADD,
    &mem_triad::TRIAD,
    &mem_random::Random,
    &mem_latency::Latency,
    &kernel_syscall::Syscall,
    &kernel_switch::Switch,
    &kernel_fault::Fault,
    &kernel_fork::Fork,
    &kernel_thread::Thread,
    &kernel_signal::Signals,
    &kernel_timer::Timer,
    &kernel_mmap::Mmap,
    &kernel_stat::Stat,
    &kernel_clock::Clock,
    &disk_seqread::SEQ_READ,
    &disk_seqwrite::SEQ_WRITE,
    &disk_randread::RAND_READ,
    &disk_randwrite::RAND_WRITE,
    &disk_mixed::MIXED,
    &disk_fsync::Fsync,
    &disk_metadata::Metadata,
    &disk_layers::Layers,
    &start_ready::Ready,
];

/// The workload of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Workload> {
    WORKLOADS.iter().copied().find(|workload| workload.about().name == name)
}

/// The families, in the order of [`WORKLOADS`]; a bare name is a family of its own.
#[must_use]
pub fn families() -> Vec<&'static str> {
    let mut families: Vec<_> = WORKLOADS.iter().map(|workload| workload.about().family()).collect();
    families.dedup();
    families
}

/// What is wrong with parameters that a plan sets, one line for each; parameters that are absent are not wrong.
#[must_use]
pub fn check_parameters(about: &About, parameters: &Parameters) -> Vec<String> {
    let wrong = |(name, value): (&String, &Parameter)| match about.parameter(name) {
        None => Some(format!("`{}` has no parameter `{name}`; it has {}", about.name, about.parameter_names())),
        Some(known) => known.check(value, parameters).err().map(|error| error.to_string()),
    };
    parameters.0.iter().filter_map(wrong).collect()
}

/// One thing that can be measured.
pub trait Workload: Sync {
    /// What it is, as data.
    fn about(&self) -> &'static About;

    /// Its sizes on this host, as plan values: those that were written, and derived ones for the rest. Every key listed
    /// in [`About::parameters`] is present in the result.
    ///
    /// # Errors
    /// One line that says why this host or these limits cannot hold it, and what to change.
    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String>;

    /// The points at which it is measured, each by itself: values of some of its parameters, on top of which it is sized.
    /// The first is the one that is tested; the others are exploratory. A plan may set these parameters, to one value or
    /// to a list.
    fn points(&self, _room: &Room) -> Vec<Parameters> {
        vec![Parameters::default()]
    }

    /// How many slices of it a launch can have, where that has an end; the lead-in takes none of them.
    fn slices_max(&self, _parameters: &Parameters) -> Option<SlicesMax> {
        None
    }

    /// Most bytes of files that it keeps in the data directory, where that is many.
    fn files_bytes(&self, _parameters: &Parameters) -> u64 {
        0
    }

    /// The files that it looks for in the layers of a root, for all its points in a run, where it does so.
    fn tree(&self, _points: &[Parameters], _seed: u64) -> Option<TreeOrder> {
        None
    }

    /// Checks parameters, makes the data and verifies it.
    ///
    /// # Errors
    /// [`WorkloadError`] when the scene cannot hold it.
    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError>;
}

/// Most slices of a workload in one launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlicesMax {
    /// Slices, those of the warm-up among them.
    pub slices: u64,
    /// The parameter that sets them.
    pub parameter: &'static str,
}

/// A workload that is ready to be measured.
pub trait Prepared {
    /// Makes anew what a unit uses up; called before every unit. Whether anything was made: that is not timed.
    ///
    /// # Errors
    /// [`WorkloadError`] when it cannot.
    fn renew(&mut self) -> Result<bool, WorkloadError> {
        Ok(false)
    }

    /// What the lead-in does in a unit's place, to make caches warm again: something much like it where units use up what
    /// there is only so much of. Returns the work done.
    ///
    /// # Errors
    /// As [`Prepared::unit`].
    fn rehearse(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.unit(recorder)
    }

    /// How much of it a slice is.
    fn pace(&self) -> Pace {
        Pace::Time
    }

    /// Does one whole unit, timed by the caller, and returns the work done in the workload's unit of work.
    /// Verification that costs time belongs in [`Prepared::verify`].
    ///
    /// # Errors
    /// [`WorkloadError`] when the unit could not be finished.
    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError>;

    /// Checks, outside the timed region and after every slice, that the work was really done.
    ///
    /// # Errors
    /// [`WorkloadError`] when it was not.
    fn verify(&mut self) -> Result<(), WorkloadError> {
        Ok(())
    }

    /// Removes what was made.
    ///
    /// # Errors
    /// [`WorkloadError`] when something stays behind.
    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        Ok(())
    }
}

/// How much of a workload a slice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Whole units for as long as the host asks.
    Time,
    /// Exactly one unit, however long it takes.
    Amount,
}

/// What a workload is.
#[derive(Debug)]
pub struct About {
    /// `family.name`, or a bare family such as `null`.
    pub name: &'static str,
    /// One line for `list workloads`.
    pub summary: &'static str,
    /// What one unit of work is, in words: "byte of input", "system call".
    pub work: &'static str,
    /// Metrics; exactly one is the headline.
    pub metrics: &'static [Metric],
    /// When it is warm.
    pub warm_up: WarmUp,
    /// How it is measured.
    pub measured_by: MeasuredBy,
    /// Parameters that a plan may set: name, unit, meaning.
    pub parameters: &'static [ParameterAbout],
    /// Whether it keeps files in the data directory.
    pub uses_disk: bool,
}

impl About {
    /// The part of the name before the dot.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(family, _)| family)
    }

    /// The metric that is tested; the table's own test holds that there is one.
    #[must_use]
    pub fn headline(&self) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.headline)
    }

    fn parameter(&self, name: &str) -> Option<&ParameterAbout> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    fn parameter_names(&self) -> String {
        let names: Vec<_> = self.parameters.iter().map(|parameter| format!("`{}`", parameter.name)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The derived parameters with the written ones in their place.
    fn merged(&self, derived: Parameters, written: &Parameters) -> Result<Parameters, String> {
        let mut parameters = derived;
        parameters.0.extend(written.0.clone());
        let wrong = check_parameters(self, &parameters);
        if wrong.is_empty() { Ok(parameters) } else { Err(wrong.join("; ")) }
    }

    /// Refuses parameters that a plan may not set, at preparation: the host's check is not the agent's.
    fn accept(&self, parameters: &Parameters) -> Result<(), WorkloadError> {
        let wrong = check_parameters(self, parameters);
        if wrong.is_empty() { Ok(()) } else { Err(WorkloadError::Wrong(wrong.join("; "))) }
    }

    /// A number within the range that this declares for it.
    fn number(&self, parameters: &Parameters, name: &str) -> Result<u64, ParameterError> {
        let range = self.parameter(name).and_then(|parameter| parameter.range);
        let (low, high) = range.unwrap_or((0, u64::MAX));
        parameters.integer(name, low, high)
    }

    /// As [`About::number`], for what is used as a count in memory.
    fn count(&self, parameters: &Parameters, name: &str) -> Result<usize, ParameterError> {
        let value = self.number(parameters, name)?;
        let range = || ParameterError::Range { name: name.to_owned(), value, low: 0, high: usize::MAX as u64 };
        usize::try_from(value).map_err(|_| range())
    }
}

/// One parameter that a plan may set.
#[derive(Debug)]
pub struct ParameterAbout {
    /// Its name, with the unit at its end where it has one.
    pub name: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
    /// Smallest and largest value of a number; `None` for a word.
    pub range: Option<(u64, u64)>,
}

impl ParameterAbout {
    fn check(&self, value: &Parameter, parameters: &Parameters) -> Result<(), ParameterError> {
        match (self.range, value) {
            (Some((low, high)), _) => parameters.integer(self.name, low, high).map(drop),
            (None, Parameter::Text(_)) => Ok(()),
            (None, Parameter::Integer(_)) => Err(ParameterError::Kind(self.name.to_owned())),
        }
    }
}

/// Who takes the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasuredBy {
    /// The agent, in slices.
    Slices,
    /// The host, once per launch: from the request to the agent's first answer.
    Launch,
}

/// One figure of a workload.
#[derive(Debug)]
pub struct Metric {
    /// Its name, such as `throughput` or `latency.p99`.
    pub name: &'static str,
    /// Base unit: `s`, `B/s`, `1/s`, `FLOP/s`.
    pub unit: &'static str,
    /// How it follows from the raw record.
    pub kind: MetricKind,
    /// Whether this is the one that is tested; all others are exploratory.
    pub headline: bool,
}

/// How a metric follows from slices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Work per second; higher is better.
    Rate,
    /// Seconds per unit of work; lower is better.
    Time,
    /// Seconds of CPU time per unit of work, of everything that the environment runs on the host: lower is better.
    CpuTime,
    /// A percentile (0 to 1) of the launch's merged histogram of this name; seconds; lower is better.
    Percentile(&'static str, f64),
}

/// When a workload is warm: the last two slices differ by at most `tolerance` (relative, in time per unit of work).
#[derive(Debug, Clone, Copy)]
pub struct WarmUp {
    /// Slices run before anyone looks.
    pub slices_min: u32,
    /// Slices after which measuring starts anyway; the report says that steady state was not reached.
    pub slices_max: u32,
    /// Relative difference under which two slices count as the same.
    pub tolerance: f64,
}

/// The room that every environment of the run has: what sizes are derived from.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// CPUs of an environment.
    pub cpus: u32,
    /// Memory limit of an environment, bytes.
    pub memory_bytes: u64,
    /// Free disk for one environment, bytes.
    pub disk_bytes: u64,
    /// Most bytes of files that the data directory of every environment holds: a guest's memory may be smaller than the disk.
    pub files_bytes_max: u64,
    /// Last-level cache of the host, bytes.
    pub cache_bytes: u64,
}

/// Where a workload runs.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Directory for its files.
    pub data_dir: &'a Path,
    /// Seed of its randomness.
    pub seed: u64,
}

/// Why a workload could not be prepared, run, verified or cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The plan asked for what the workload cannot do.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The environment lacks what this point needs; it is said, and is no failure.
    #[error("{0}")]
    Missing(String),
    /// The work was done and is wrong.
    #[error("{0}")]
    Wrong(String),
}

impl WorkloadError {
    fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { what: what.into(), source: source.into() }
    }

    fn no_memory(what: impl Into<String>) -> Self {
        Self::system(what, nix::errno::Errno::ENOMEM)
    }

    /// Its kind, as it is stored and counted.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Missing(_) => Cause::Missing,
            Self::System { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::DiskFull,
                io::ErrorKind::OutOfMemory => Cause::OutOfMemory,
                _ => Cause::Workload,
            },
            Self::Parameter(_) | Self::Wrong(_) => Cause::Workload,
        }
    }
}

/// Refuses a value of this parameter that is no multiple.
fn check_multiple(parameter: &str, value: u64, of: u64) -> Result<(), String> {
    if value.is_multiple_of(of) { Ok(()) } else { Err(format!("`{parameter}` is {value}, not a multiple of {of}")) }
}

/// `bytes` in MiB, rounded up, for messages.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests;
