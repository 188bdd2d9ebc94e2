//! A pen: the cgroup of ours around everything that one environment runs on the host. v1, hybrid and v2.

use std::fs::File;

use super::place::{Limits, Place};
use crate::sample::Failure;

/// A cgroup with CPU set and memory limit that can be frozen and killed as one.
#[derive(Debug)]
pub struct Pen {
    _private: (),
}

impl Pen {
    /// Makes it, journalled; `memory_extra_bytes` is what the engine itself may use on top of the limit.
    /// `Ok(None)` where cgroups cannot be written (no root): the caller then pins by affinity and labels it.
    ///
    /// # Errors
    /// When a controller is there and refuses.
    pub fn make(
        _place: &Place,
        _name: &str,
        _limits: &Limits,
        _memory_extra_bytes: u64,
    ) -> Result<Option<Self>, Failure> {
        Ok(None)
    }

    /// Opened `cgroup.procs` files: whoever writes "0" to all of them is in.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn entrances(&self) -> Result<Vec<File>, Failure> {
        Ok(Vec::new())
    }

    /// The path below each controller's root, such as `/plimsoll-1a2b3c4d-17`, for engines that make children of it.
    #[must_use]
    pub fn path(&self) -> &str {
        ""
    }

    /// Freezes every process in it and below; returns when all are frozen.
    ///
    /// # Errors
    /// When that takes longer than a second.
    pub fn freeze(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// When that takes longer than a second.
    pub fn thaw(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// How many processes the kernel killed in it and below for want of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        0
    }

    /// Kills everything in it and removes it. Safe to call twice.
    ///
    /// # Errors
    /// When it is not empty after a bounded wait.
    pub fn remove(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
