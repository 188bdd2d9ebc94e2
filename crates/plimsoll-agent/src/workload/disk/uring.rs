//! io_uring with registered buffers.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::super::{WorkloadError, mib};
use super::engine::{Ended, Engine, Request, Slots, not_to_be_had, outcome};
use super::sys::Ring;

pub(super) struct Uring {
    ring: Ring,
    file: File,
}

impl Uring {
    pub(super) fn start(file: File, slots: Slots) -> Result<Self, WorkloadError> {
        let bytes = (slots.count() * slots.block_bytes()) as u64;
        let ring = Ring::set_up(slots).map_err(|error| match error.raw_os_error() {
            Some(errno) if errno == Errno::ENOMEM as i32 => WorkloadError::Missing(format!(
                "the I/O engine `io_uring` may not lock its buffers of {} MiB in memory here (RLIMIT_MEMLOCK)",
                mib(bytes)
            )),
            _ => not_to_be_had("io_uring", error),
        })?;
        Ok(Self { ring, file })
    }
}

impl Engine for Uring {
    fn start(&mut self, slot: usize, request: Request) -> io::Result<()> {
        self.ring.submit(self.file.as_fd(), slot, request)
    }

    fn wait(&mut self, ended: &mut Vec<Ended>) -> io::Result<()> {
        self.ring.wait(|slot, result| ended.push(Ended { slot, outcome: outcome(result) }))
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.ring.buffer(slot)
    }
}
