//! Linux asynchronous I/O: `io_submit` and `io_getevents`, as fio's `libaio`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::super::WorkloadError;
use super::engine::{Ended, Engine, Request, Slots};
use super::sys::Context;

pub(super) struct Aio {
    context: Context,
    file: File,
    queued: Vec<(usize, Request)>,
}

impl Aio {
    pub(super) fn start(file: File, slots: Slots) -> Result<Self, WorkloadError> {
        let queued = Vec::with_capacity(slots.count());
        match Context::set_up(slots) {
            Ok(context) => Ok(Self { context, file, queued }),
            Err(errno @ (Errno::ENOSYS | Errno::EPERM | Errno::EACCES)) => {
                let message = format!("asynchronous I/O (io_setup) is not permitted here: {}", errno.desc());
                Err(WorkloadError::Missing(message))
            }
            Err(errno) => Err(WorkloadError::system("setting up asynchronous I/O", errno)),
        }
    }
}

impl Engine for Aio {
    fn queue(&mut self, slot: usize, request: Request) {
        self.queued.push((slot, request));
    }

    fn submit(&mut self) -> io::Result<()> {
        let submitted = self.context.submit(self.file.as_fd(), &self.queued);
        self.queued.clear();
        Ok(submitted?)
    }

    fn wait(&mut self, ended: &mut Vec<Ended>) -> io::Result<()> {
        let outcome = |result: i64| match usize::try_from(result) {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc_eio()))),
        };
        self.context.wait(|slot, result| ended.push(Ended { slot, outcome: outcome(result) }))?;
        Ok(())
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.context.buffer(slot)
    }
}

fn libc_eio() -> i32 {
    Errno::EIO as i32
}
