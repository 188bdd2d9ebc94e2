//! The records that flow: raw facts of a run, as they were measured. No statistic, no SQL.

use std::collections::BTreeMap;

pub use plimsoll_protocol::{Cause, Evidence, Histogram};
use serde::{Deserialize, Serialize};

/// Something that failed, with its cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its kind.
    pub cause: Cause,
    /// What happened and, where the user can do something, what.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into() }
    }

    /// The engine refused or failed to start something.
    pub fn launch(message: impl Into<String>) -> Self {
        Self::new(Cause::Launch, message)
    }

    /// The same failure with what was being done in front.
    #[must_use]
    pub fn while_doing(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let cause = match error.raw_os_error() {
            Some(libc_enospc) if libc_enospc == nix::libc::ENOSPC => Cause::DiskFull,
            _ => Cause::Launch,
        };
        Self::new(cause, error.to_string())
    }
}

/// Which of a block's launches: an environment, and for `native` the first or the second.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Arm {
    /// Position of the environment in the plan; `native` is always 0.
    pub environment: u32,
    /// 1, or 2 for the second native.
    pub replica: u32,
}

/// One launch of an arm in a block. Times are seconds since the run's start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchRecord {
    /// Number of the launch in the run, from 1.
    pub id: u64,
    /// Block, from 1.
    pub block: u32,
    /// Group within the block, from 0.
    pub group: u32,
    /// What was launched.
    pub arm: Arm,
    /// Position in the block's random launch order, from 0.
    pub position: u32,
    /// When it was requested.
    pub requested_at: f64,
    /// Seconds from the request to the agent's first answer.
    pub ready_seconds: f64,
    /// What it turned out to be: labels, asked, got, engine facts.
    pub profile: Profile,
}

/// What an environment was asked to be and turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Words that qualify every number of the environment, such as `emulated`.
    pub labels: Vec<String>,
    /// What the plan asked for.
    pub asked: BTreeMap<String, String>,
    /// What was seen, inside and out.
    pub got: BTreeMap<String, String>,
    /// Sentences for each thing asked and not got; not empty means spoiled.
    pub mismatches: Vec<String>,
}

/// Which slices a figure may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before the workload was warm: kept, never analysed.
    WarmUp,
    /// Measured.
    Measured,
}

/// One slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceRecord {
    /// Number of the slice in the run, from 1.
    pub id: u64,
    /// Launch that it belongs to.
    pub launch: u64,
    /// `family.name`.
    pub workload: String,
    /// Point of a parameter sweep, as JSON; `None` where there is none.
    pub point: Option<String>,
    /// Warm-up or measured.
    pub phase: Phase,
    /// Which visit of this workload to all environments, from 0.
    pub visit: u32,
    /// Position of this slice within the visit's random order, from 0.
    pub position: u32,
    /// When it was requested, seconds since the run's start.
    pub started_at: f64,
    /// Work done, in the workload's unit of work.
    pub work: f64,
    /// Seconds by the agent's clock, the timed region alone.
    pub seconds_inside: f64,
    /// Seconds by the host's clock, from request to reply (with lead-in and verification).
    pub seconds_outside: f64,
    /// Host-wide cause that spoils the slice, by the rule of the plan.
    pub spoiled: Option<String>,
}

/// A slice with everything that was recorded beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceBundle {
    /// The slice.
    pub slice: SliceRecord,
    /// Its histograms.
    pub histograms: Vec<Histogram>,
    /// Counters read by the agent.
    pub evidence_inside: Vec<Evidence>,
    /// Counters read on the host.
    pub evidence_host: Vec<Evidence>,
}

/// A slice, launch or block that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MishapRecord {
    /// Block, from 1; 0 before the first.
    pub block: u32,
    /// What it happened to; `None` for the run as a whole.
    pub arm: Option<Arm>,
    /// The workload, if it was one's.
    pub workload: Option<String>,
    /// The point of the workload's sweep, as JSON.
    pub point: Option<String>,
    /// Its kind.
    pub cause: Cause,
    /// What happened.
    pub message: String,
    /// When, seconds since the run's start.
    pub at: f64,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// All planned blocks were done.
    Blocks,
    /// The asked precision was reached.
    Precision,
    /// The time was up.
    Time,
    /// The user stopped it.
    Interrupted,
    /// It could not go on.
    Failed,
}

impl StopReason {
    /// The name that is stored and printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Precision => "precision",
            Self::Time => "time",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// A workload as planned, kept in the run file so that a report needs nothing but the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    /// `family.name`.
    pub name: String,
    /// Parameters as text; of a sweep, those that all points share.
    pub parameters: BTreeMap<String, String>,
    /// The points of a sweep, the tested one first; none where there is no sweep.
    #[serde(default)]
    pub points: Vec<PointRecord>,
    /// What one unit of work is.
    pub work: String,
    /// `slices` or `launch`.
    pub measured_by: String,
    /// Its metrics.
    pub metrics: Vec<MetricRecord>,
    /// Relative difference of two warm-up slices up to which they count as the same.
    #[serde(default = "warm_up_tolerance_unsaid")]
    pub warm_up_tolerance: f64,
}

/// A point of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointRecord {
    /// The values of the axes as a JSON object, as slices name their point.
    pub point: String,
    /// Parameters as text that not all points share.
    pub parameters: BTreeMap<String, String>,
}

impl WorkloadRecord {
    /// Whether comparisons at this point are tested; those at other points of a sweep are exploratory.
    #[must_use]
    pub fn tests(&self, point: Option<&str>) -> bool {
        self.points.first().is_none_or(|tested| Some(tested.point.as_str()) == point)
    }

    /// How often it is measured in a launch: once at each point.
    #[must_use]
    pub fn points_count(&self) -> usize {
        self.points.len().max(1)
    }
}

/// For run files that do not say it: 10 %.
fn warm_up_tolerance_unsaid() -> f64 {
    0.1
}

/// A metric as planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Its name.
    pub name: String,
    /// Base unit.
    pub unit: String,
    /// How it follows from slices.
    pub kind: MetricKindRecord,
    /// Whether it is the one that is tested.
    pub headline: bool,
}

/// How a metric follows from slices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum MetricKindRecord {
    /// Work per second; higher is better.
    Rate,
    /// Seconds per unit of work; lower is better.
    Time,
    /// CPU seconds on the host per unit of work, its lead-in's work included; lower is better.
    CpuTime,
    /// A percentile of a merged histogram, seconds; lower is better.
    Percentile {
        /// Name of the histogram.
        histogram: String,
        /// 0 to 1.
        p: f64,
    },
}

/// An environment among those that differ from it in one number alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungRecord {
    /// The option, such as `layers`.
    pub option: String,
    /// Its value, written or by default.
    pub value: u64,
    /// The environment's name without the option.
    pub rest: String,
}

/// The plan as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Names of environments as written; `native` is first.
    pub environments: Vec<String>,
    /// For each of the environments, the options that are numbers; empty in records of versions that had none.
    #[serde(default)]
    pub rungs: Vec<Vec<RungRecord>>,
    /// Environments that were asked for and cannot run here: name, why, remedy.
    pub unusable: Vec<UnusableRecord>,
    /// Workloads with their sizes.
    pub workloads: Vec<WorkloadRecord>,
    /// Groups of a block: which environments (positions) are alive together; every group has its own two natives.
    pub groups: Vec<Vec<u32>>,
    /// Preset, if one was used.
    pub preset: Option<String>,
    /// Seed of the order.
    pub seed: u64,
    /// Blocks at most.
    pub blocks: u32,
    /// Measured slices per launch and workload.
    pub slices: u32,
    /// Shortest slice, nanoseconds.
    pub slice_ns_min: u64,
    /// Lead-in, nanoseconds.
    pub lead_in_ns: u64,
    /// Half-width of the interval at which to stop, relative; `None` for fixed blocks.
    pub precision: Option<f64>,
    /// Seconds after which no new block starts.
    pub time_limit_seconds: Option<f64>,
    /// Margin of equivalence, relative.
    pub margin: f64,
    /// CPUs of the environments.
    pub cpus: Vec<u32>,
    /// Whether harness and environments share a CPU.
    pub shared_cpu: bool,
    /// Memory limit of an environment, bytes.
    pub memory_bytes: u64,
    /// Share of stolen CPU time in a slice above which it is spoiled, 0 to 1.
    pub steal_share_max: f64,
}

/// An environment that cannot run on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusableRecord {
    /// Its name as written.
    pub environment: String,
    /// Why, one line.
    pub why: String,
    /// What to do about it, if anything.
    pub remedy: Option<String>,
    /// Whether the user asked for it by name (`-e`, a plan file), rather than through a preset.
    pub asked_by_name: bool,
}

/// The run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Id of the run.
    pub id: String,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// Version of the program that measured.
    pub plimsoll: String,
    /// Why it ended; `None` for a run that was killed.
    pub stopped_because: Option<StopReason>,
}

/// Everything that a run file holds, loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// The run.
    pub run: RunInfo,
    /// Its plan.
    pub plan: PlanRecord,
    /// The host, fact by fact (`cpu.model`, `kernel.release`, ...).
    pub host: BTreeMap<String, String>,
    /// Every launch that answered.
    pub launches: Vec<LaunchRecord>,
    /// Every slice with its histograms and evidence.
    pub slices: Vec<SliceBundle>,
    /// Every mishap.
    pub mishaps: Vec<MishapRecord>,
}

impl RunRecord {
    /// How an arm is printed: the environment's name, and `native#1`, `native#2` for the two natives.
    #[must_use]
    pub fn arm_name(&self, arm: &Arm) -> String {
        let name = self.plan.environments.get(arm.environment as usize).map_or("?", String::as_str);
        if arm.environment == 0 { format!("{name}#{}", arm.replica) } else { name.to_owned() }
    }
}
