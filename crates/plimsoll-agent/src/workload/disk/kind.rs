//! The ways to ask for I/O that a plan can choose from.

use std::fs::File;

use super::super::WorkloadError;
use super::super::words::Words;
use super::aio::Aio;
use super::engine::{Engine, Slots};
use super::sync::Sync;
use super::uring::Uring;

/// Ways to ask for I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EngineKind {
    /// Linux asynchronous I/O (`io_submit`), as in the 2014 study.
    Aio,
    /// io_uring, with registered buffers.
    Uring,
    /// `pread` and `pwrite`, one at a time.
    Sync,
}

impl EngineKind {
    /// As plans name them; the first is the default.
    pub(super) const WORDS: &Words<Self> = &[("aio", Self::Aio), ("io_uring", Self::Uring), ("sync", Self::Sync)];

    /// An engine at rest.
    ///
    /// # Errors
    /// [`WorkloadError::Missing`] where the environment does not permit it.
    pub(super) fn start(self, file: File, slots: Slots) -> Result<Box<dyn Engine>, WorkloadError> {
        match self {
            Self::Aio => Ok(Box::new(Aio::start(file, slots)?)),
            Self::Uring => Ok(Box::new(Uring::start(file, slots)?)),
            Self::Sync => Ok(Box::new(Sync::start(file, slots))),
        }
    }
}
