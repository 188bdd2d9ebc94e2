//! The messages: one reply for every request.
//!
//! ```text
//! Hello -> Hello        Observe -> Observation      Nest -> Nested (from then on the agent only relays)
//! Prepare -> Prepared   Settle -> Settled           Slice -> Slice (any number of both)
//! CleanUp -> CleanedUp  ShutDown -> Bye             and Failed for any of them
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Parameters;

/// The most evidence rows that one slice may carry.
pub const EVIDENCE_ROWS_MAX: usize = 256;
const HISTOGRAMS_MAX: usize = 16;
const FACTS_MAX: usize = 1024;
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What the host asks of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Are you there? The first thing ever said.
    Hello,
    /// What do you see around you, and under this directory?
    Observe {
        /// Directory, as the agent sees it, under which workloads keep their data.
        data_dir: String,
    },
    /// Get a workload ready; it replaces whichever was ready before.
    Prepare(WorkloadOrder),
    /// Bring everything that waits to be written to the filesystem of the prepared workload's files down to it, where it
    /// keeps files. Asked before every slice, and apart from it: what is written then is no part of what the slice did.
    Settle,
    /// Measure one slice of the prepared workload.
    Slice(SliceOrder),
    /// Remove what the prepared workload left behind.
    CleanUp,
    /// Start the rest of a stack inside, and relay everything from then on.
    Nest(NestOrder),
    /// Say goodbye and exit.
    ShutDown,
}

/// Which workload, with which plan values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadOrder {
    /// `family.name`.
    pub name: String,
    /// Plan values, identical in every environment.
    pub parameters: Parameters,
    /// Directory, as the agent sees it, for the workload's files.
    pub data_dir: String,
    /// Seed of the workload's own randomness, identical in every environment.
    pub seed: u64,
}

/// How long a slice takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceOrder {
    /// Whole units are run, untimed, for at least this long first, so that caches are warm again after parking.
    pub lead_in_ns: u64,
    /// Whole units are then run and timed for at least this long.
    pub slice_ns_min: u64,
}

/// The layers to start inside an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NestOrder {
    /// The inner part of the environment's name, such as `sandbox:disk=volume`.
    pub stack: String,
    /// Name of the launch, for the names of what is made inside.
    pub launch: String,
    /// CPUs of the place inside which the layers start.
    pub cpus: Vec<u32>,
    /// Memory limit of the environment, bytes.
    pub memory_bytes: u64,
    /// Files that lie in the layers of a root, if any do.
    pub tree: Option<TreeOrder>,
}

/// Files that a workload finds in the layers of a root: what they are follows from its points and the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeOrder {
    /// Every point of the workload, with all parameters.
    pub points: Vec<Parameters>,
    /// Seed of their contents.
    pub seed: u64,
}

/// What an agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// To [`Request::Observe`].
    Observation(Box<Observation>),
    /// To [`Request::Prepare`]: data is made and verified.
    Prepared,
    /// To [`Request::Settle`]: nothing waits to be written any more, or there are no files.
    Settled,
    /// To [`Request::Slice`].
    Slice(SliceReport),
    /// To [`Request::CleanUp`].
    CleanedUp,
    /// To [`Request::Nest`]: whoever answers next is the agent inside.
    Nested {
        /// Labels and facts that the inner launch adds.
        facts: BTreeMap<String, String>,
        /// Where the inner environment keeps its data, as its agent sees it.
        data_dir: String,
    },
    /// To [`Request::ShutDown`].
    Bye,
    /// The request could not be done; the agent lives on and takes the next one.
    Failed {
        /// Its kind.
        cause: Cause,
        /// What happened, for a person.
        message: String,
    },
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the program.
    pub program: String,
    /// Process id of the agent as it sees itself; never 1.
    pub pid: u32,
}

/// What an agent sees around itself. Facts, read where they stand; what cannot be read is `None` or absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Process id; the agent is PID 1 nowhere.
    pub pid: u32,
    /// SHA-256 of the agent's executable, in hexadecimal.
    pub executable_sha256: String,
    /// Kernel release (`uname -r`).
    pub kernel_release: String,
    /// CPUs that the agent may run on.
    pub cpus_allowed: u32,
    /// CPUs that are online.
    pub cpus_online: u32,
    /// `MemTotal`, bytes.
    pub memory_total_bytes: u64,
    /// The tightest memory limit of the agent's cgroups, where one is visible, bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Type of the root filesystem, as in /proc/self/mountinfo.
    pub root_filesystem: String,
    /// Lower layers of the root, where it is an overlay that tells them.
    pub root_layers: Option<u32>,
    /// Type of the filesystem under the data directory.
    pub data_filesystem: String,
    /// Mount point of that filesystem.
    pub data_mount: String,
    /// Source of that mount.
    pub data_source: String,
    /// Options of that mount, then those of its filesystem, as in /proc/self/mountinfo: `rw,noatime,discard`.
    pub data_options: String,
    /// Clock source in use, such as `tsc`.
    pub clock_source: String,
    /// User id.
    pub uid: u32,
    /// Seccomp mode: 0 none, 1 strict, 2 filter.
    pub seccomp_mode: u32,
    /// Effective capabilities, as the bit mask of /proc/self/status.
    pub capabilities_effective: u64,
    /// Names of network interfaces.
    pub interfaces: Vec<String>,
    /// Anything else worth keeping: CPU model and flags, transparent huge pages, mitigations, hypervisor.
    pub facts: BTreeMap<String, String>,
}

/// One measured slice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SliceReport {
    /// Work done, in the workload's unit of work (bytes, calls, operations); above 0.
    pub work: f64,
    /// Seconds that it took by the agent's monotonic clock; above 0.
    pub seconds: f64,
    /// Seconds by the same clock from taking the request to answering it: lead-in, timed region, verification. The host
    /// compares it with its own clock.
    pub handled_seconds: f64,
    /// Whole units run, at least 1.
    pub units: u64,
    /// Latency histograms of the slice.
    pub histograms: Vec<Histogram>,
    /// Counters read around the slice by the agent.
    pub evidence: Vec<Evidence>,
}

/// A latency distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Which latency, such as `latency`.
    pub name: String,
    /// HdrHistogram V2 encoding; values in nanoseconds.
    pub v2: Vec<u8>,
}

/// One counter's change over a slice or launch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it was read, such as `getrusage`.
    pub source: String,
    /// What it counts.
    pub name: String,
    /// Its unit: `s`, `B`, `1`.
    pub unit: String,
    /// The change.
    pub value: f64,
}

impl Evidence {
    /// Name of the row, from inside, with the bytes that a slice wanted from the disk itself and from no cache.
    pub const DISK_ASKED_READ: &str = "disk asked to read";
    /// The same of bytes that the disk itself should take.
    pub const DISK_ASKED_WRITE: &str = "disk asked to write";
    /// The same of bytes that must be on the disk when a call returns: those of commits.
    pub const DISK_ASKED_KEEP: &str = "disk asked to keep";
    /// Name of the row, from inside, with the work of the slice and of its lead-in: what the host counts around a slice
    /// was used for both.
    pub const WORK_WITH_LEAD_IN: &str = "work with lead-in";
    /// Name of the row, from the host, with the CPU time of everything that the environment runs on the host.
    pub const CPU: &str = "cpu";
    /// Name of the row, from the host, with the bytes that the disk delivered.
    pub const DISK_READ: &str = "disk read";
    /// The same of bytes that the disk took.
    pub const DISK_WRITTEN: &str = "disk written";
}

/// The kinds of failure: a closed set, stored and counted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The engine refused or failed to start the environment.
    Launch,
    /// It did not answer within its bound.
    Timeout,
    /// The agent or what carries it ended by itself.
    Died,
    /// The kernel killed it for want of memory.
    OutOfMemory,
    /// The disk has no room.
    DiskFull,
    /// The workload could not be prepared, run or verified.
    Workload,
    /// What the agent said makes no sense.
    Protocol,
    /// Asked was not got.
    Mismatch,
    /// The clock inside and the clock outside disagree.
    Clock,
    /// Removing what was made failed.
    TearDown,
    /// The user stopped the run.
    Interrupted,
    /// The environment lacks what a point of a workload needs. It is said, and is no failure.
    Missing,
}

impl Cause {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Launch,
        Self::Timeout,
        Self::Died,
        Self::OutOfMemory,
        Self::DiskFull,
        Self::Workload,
        Self::Protocol,
        Self::Mismatch,
        Self::Clock,
        Self::TearDown,
        Self::Interrupted,
        Self::Missing,
    ];

    /// The name that is stored and printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Timeout => "timeout",
            Self::Died => "died",
            Self::OutOfMemory => "out-of-memory",
            Self::DiskFull => "disk-full",
            Self::Workload => "workload",
            Self::Protocol => "protocol",
            Self::Mismatch => "mismatch",
            Self::Clock => "clock",
            Self::TearDown => "tear-down",
            Self::Interrupted => "interrupted",
            Self::Missing => "missing",
        }
    }
}

/// A reply that is well formed and yet cannot be true.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent's reply cannot be used: {0}")]
pub struct UntrustedNumber(pub String);

impl Reply {
    /// Refuses numbers and sizes that no honest agent sends.
    ///
    /// # Errors
    /// [`UntrustedNumber`] with the first field that is wrong.
    pub fn check(&self) -> Result<(), UntrustedNumber> {
        match self {
            Self::Slice(report) => report.check(),
            Self::Observation(observation) => bounded(observation.facts.len(), FACTS_MAX, "facts")
                .and_then(|()| bounded(observation.interfaces.len(), FACTS_MAX, "interfaces")),
            Self::Nested { facts, .. } => bounded(facts.len(), FACTS_MAX, "facts"),
            Self::Failed { message, .. } => bounded(message.len(), TEXT_BYTES_MAX, "message bytes"),
            Self::Hello(hello) => bounded(hello.program.len(), TEXT_BYTES_MAX, "program bytes"),
            Self::Prepared | Self::Settled | Self::CleanedUp | Self::Bye => Ok(()),
        }
    }
}

impl SliceReport {
    fn check(&self) -> Result<(), UntrustedNumber> {
        positive(self.work, "work")?;
        positive(self.seconds, "seconds")?;
        positive(self.handled_seconds, "handled seconds")?;
        if self.units == 0 {
            return Err(UntrustedNumber("no unit was finished".to_owned()));
        }
        bounded(self.histograms.len(), HISTOGRAMS_MAX, "histograms")?;
        bounded(self.evidence.len(), EVIDENCE_ROWS_MAX, "evidence rows")?;
        match self.evidence.iter().find(|row| !row.value.is_finite()) {
            Some(row) => Err(UntrustedNumber(format!("evidence `{}` is {}", row.name, row.value))),
            None => Ok(()),
        }
    }
}

fn positive(value: f64, name: &str) -> Result<(), UntrustedNumber> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(UntrustedNumber(format!("{name} is {value}"))) }
}

fn bounded(count: usize, limit: usize, name: &str) -> Result<(), UntrustedNumber> {
    if count <= limit { Ok(()) } else { Err(UntrustedNumber(format!("{count} {name}, more than {limit}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(work: f64, seconds: f64, units: u64) -> Reply {
        Reply::Slice(SliceReport { work, seconds, units, handled_seconds: 1.0, ..SliceReport::default() })
    }

    #[test]
    fn numbers_that_cannot_be_true_are_refused() {
        assert!(slice(1.0, 1.0, 1).check().is_ok());
        for reply in [slice(0.0, 1.0, 1), slice(1.0, -1.0, 1), slice(f64::NAN, 1.0, 1), slice(1.0, f64::INFINITY, 1)] {
            assert!(reply.check().is_err(), "{reply:?}");
        }
        assert!(slice(1.0, 1.0, 0).check().is_err());
    }

    #[test]
    fn too_many_rows_are_refused() {
        let row = Evidence { source: "s".into(), name: "n".into(), unit: "1".into(), value: 1.0 };
        let report = SliceReport {
            work: 1.0,
            seconds: 1.0,
            handled_seconds: 1.0,
            units: 1,
            evidence: vec![row; EVIDENCE_ROWS_MAX + 1],
            ..SliceReport::default()
        };
        assert!(Reply::Slice(report).check().is_err());
    }
}
