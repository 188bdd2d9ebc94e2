//! Linux asynchronous I/O: `io_submit` and `io_getevents`, as fio's `libaio`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::super::WorkloadError;
use super::engine::{Ended, Engine, Request, Slots, not_to_be_had, outcome};
use super::sys::Context;

pub(super) struct Aio {
    context: Context,
    file: File,
    queued: Vec<(usize, Request)>,
}

impl Aio {
    pub(super) fn start(file: File, slots: Slots) -> Result<Self, WorkloadError> {
        let queued = Vec::with_capacity(slots.count());
        let context = Context::set_up(slots).map_err(|errno| not_to_be_had("aio", errno.into()))?;
        Ok(Self { context, file, queued })
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
        Ok(self.context.wait(|slot, result| ended.push(Ended { slot, outcome: outcome(result) }))?)
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.context.buffer(slot)
    }
}
