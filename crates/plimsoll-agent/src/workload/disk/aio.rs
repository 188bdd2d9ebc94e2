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
}

impl Aio {
    pub(super) fn start(file: File, slots: Slots) -> Result<Self, WorkloadError> {
        let context = Context::set_up(slots).map_err(|errno| not_to_be_had("aio", errno.into()))?;
        Ok(Self { context, file })
    }
}

impl Engine for Aio {
    fn start(&mut self, slot: usize, request: Request) -> io::Result<()> {
        Ok(self.context.submit(self.file.as_fd(), slot, request)?)
    }

    fn wait(&mut self, ended: &mut Vec<Ended>) -> io::Result<()> {
        Ok(self.context.wait(|slot, result| ended.push(Ended { slot, outcome: outcome(result) }))?)
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.context.buffer(slot)
    }
}
