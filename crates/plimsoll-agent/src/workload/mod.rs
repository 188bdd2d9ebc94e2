//! What is measured. One workload, one file; the table is [`WORKLOADS`].
//!
//! A workload declares itself (name, metrics, warm-up, sizes) so that the host can plan it, and runs itself where the
//! agent is. Sizes are decided on the host, once, and travel as parameters: nothing is derived inside.

use std::path::Path;

use hdrhistogram::Histogram;
use plimsoll_protocol::{Evidence, Parameters};

/// Every workload, in the order in which reports show them. A new workload is one file and one line here.
pub const WORKLOADS: &[&dyn Workload] = &[];

/// One thing that can be measured.
pub trait Workload: Sync {
    /// What it is, as data.
    fn about(&self) -> &'static About;

    /// Its sizes on this host, as plan values. Every key listed in [`About::parameters`] is present in the result.
    ///
    /// # Errors
    /// One line that says why this host or these limits cannot hold it, and what to change.
    fn size(&self, room: &Room) -> Result<Parameters, String>;

    /// Checks parameters, makes the data and verifies it.
    ///
    /// # Errors
    /// [`WorkloadError`] when the scene cannot hold it.
    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError>;
}

/// A workload that is ready to be measured.
pub trait Prepared {
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

/// What a unit may record beside its work.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Latency histograms by name; values in nanoseconds.
    pub histograms: Vec<(&'static str, Histogram<u64>)>,
    /// Counters of the workload's own.
    pub evidence: Vec<Evidence>,
}

/// Why a workload could not be prepared, run, verified or cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The plan asked for what the workload cannot do.
    #[error(transparent)]
    Parameter(#[from] plimsoll_protocol::ParameterError),
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The work was done and is wrong.
    #[error("{0}")]
    Wrong(String),
}
