//! What carries reads and writes to the kernel. There is one file for each way; which there are stands in [`super::kind`].

use std::io;

use nix::errno::Errno;

use super::super::region::Region;
use super::super::{WorkloadError, mib};

/// One read or write of a whole block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) direction: Direction,
    /// Where in the file, in bytes.
    pub(super) offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// What became of a request.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) slot: usize,
    /// Bytes read or written.
    pub(super) outcome: io::Result<usize>,
}

/// The kernel's result of a request: bytes, or a negative error.
pub(super) fn outcome(result: i64) -> io::Result<usize> {
    let errno = || i32::try_from(-result).unwrap_or(Errno::EIO as i32);
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(errno()))
}

/// Why an engine could not be set up. That an environment does not permit it is no failure.
pub(super) fn not_to_be_had(engine: &str, error: io::Error) -> WorkloadError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => {
            WorkloadError::Missing(format!("the I/O engine `{engine}` is not permitted here: {error}"))
        }
        Some(Errno::EAGAIN) => WorkloadError::Missing(format!(
            "the I/O engine `{engine}` has no room here (the limit may be /proc/sys/fs/aio-max-nr): {error}"
        )),
        _ => WorkloadError::system(format!("setting up the I/O engine `{engine}`"), error),
    }
}

/// Carries requests, each in a slot of its own with a buffer of one block.
pub(super) trait Engine {
    /// Starts a request in a slot that is at rest.
    fn start(&mut self, slot: usize, request: Request) -> io::Result<()>;

    /// Waits until at least one request has ended, and appends all that have; there must be one.
    fn wait(&mut self, ended: &mut Vec<Ended>) -> io::Result<()>;

    /// The buffer of a slot that is at rest.
    fn buffer(&mut self, slot: usize) -> &mut [u8];
}

/// Buffers of one block for each slot, on pages of their own as direct I/O wants them.
#[derive(Debug)]
pub(super) struct Slots {
    bytes: Region<u8>,
    block_bytes: usize,
}

impl Slots {
    pub(super) fn new(count: usize, block_bytes: usize) -> Result<Self, WorkloadError> {
        let too_large = || WorkloadError::no_memory(format!("{count} buffers of {} MiB", mib(block_bytes as u64)));
        Ok(Self { bytes: Region::new(count.checked_mul(block_bytes).ok_or_else(too_large)?)?, block_bytes })
    }

    pub(super) fn count(&self) -> usize {
        self.bytes.len() / self.block_bytes
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// All buffers, one after the other.
    pub(super) fn all(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(super) fn buffer(&mut self, slot: usize) -> &mut [u8] {
        &mut self.bytes[slot * self.block_bytes..][..self.block_bytes]
    }
}
