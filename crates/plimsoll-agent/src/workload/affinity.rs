//! Which CPUs a thread may run on, and back again.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, gettid};

/// The CPUs that this thread might use before; it may again when this goes.
#[derive(Debug)]
pub(super) struct Affinity {
    thread: Pid,
    before: CpuSet,
}

impl Affinity {
    /// Of the calling thread.
    pub(super) fn of_this_thread() -> nix::Result<Self> {
        let thread = gettid();
        Ok(Self { thread, before: sched_getaffinity(thread)? })
    }

    pub(super) fn thread(&self) -> Pid {
        self.thread
    }

    /// Numbers of the CPUs, rising.
    pub(super) fn cpus(&self) -> impl Iterator<Item = usize> {
        (0..CpuSet::count()).filter(|cpu| self.before.is_set(*cpu) == Ok(true))
    }

    /// Back to the CPUs of before; dropping does the same and keeps silent about a refusal.
    pub(super) fn restore(&self) -> nix::Result<()> {
        sched_setaffinity(self.thread, &self.before)
    }
}

impl Drop for Affinity {
    fn drop(&mut self) {
        let _ = self.restore();
    }
}

/// The set of one CPU.
pub(super) fn only(cpu: usize) -> nix::Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(set)
}
