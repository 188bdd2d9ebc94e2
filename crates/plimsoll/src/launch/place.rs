//! Somewhere a file can be put and a process started: the host, or the inside of a guest.

use std::path::PathBuf;

use super::bundle::Bundle;
use super::journal::Journal;

/// A place, opened for one run.
#[derive(Debug)]
pub struct Place {
    /// Name of the run, such as `plimsoll-1a2b3c4d`: everything made carries it.
    pub run: String,
    /// Directory for sockets, logs and bundles; removed at the end.
    pub scratch: PathBuf,
    /// Directory on the disk under test, for environments' data and roots; removed at the end.
    pub data: PathBuf,
    /// What was made and is not undone yet.
    pub journal: Journal,
    /// The agent's executable with everything that it needs, copied once per run.
    pub bundle: Bundle,
    /// Whether we are root (in a guest: always).
    pub root: bool,
    /// Asked by everything that waits.
    pub interrupted: fn() -> bool,
}

/// What an environment may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// CPUs of this place that it may run on.
    pub cpus: Vec<u32>,
    /// Memory, bytes.
    pub memory_bytes: u64,
}

impl Limits {
    /// The CPUs as the kernel's lists are written: `1,3`.
    #[must_use]
    pub fn cpu_list(&self) -> String {
        let cpus: Vec<String> = self.cpus.iter().map(ToString::to_string).collect();
        cpus.join(",")
    }
}
