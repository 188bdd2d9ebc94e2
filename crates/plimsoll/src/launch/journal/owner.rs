//! Who keeps a journal: a process, known beyond its number by its start time and the boot.

use std::io;

use serde::{Deserialize, Serialize};

/// The process that keeps a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pid: i32,
    start_ticks: u64,
    boot: String,
}

impl Owner {
    pub(super) fn this_process() -> io::Result<Self> {
        let pid = nix::unistd::getpid().as_raw();
        let start_ticks = start_ticks(pid).ok_or_else(|| io::Error::other("/proc cannot be read; mount it"))?;
        Ok(Self { pid, start_ticks, boot: boot()? })
    }

    /// Whether that very process still runs.
    pub(super) fn lives(&self) -> bool {
        self.is_of_this_boot() && start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Whether the machine has not been restarted since.
    pub(super) fn is_of_this_boot(&self) -> bool {
        boot().is_ok_and(|boot| boot == self.boot)
    }
}

fn boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); `None` when there is none, or when
/// it is dead and only waits for its parent.
#[must_use]
pub fn start_ticks(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in parentheses and may hold anything, parentheses too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
