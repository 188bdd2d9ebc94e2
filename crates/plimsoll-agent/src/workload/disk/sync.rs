//! `pread` and `pwrite`, one at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::engine::{Direction, Ended, Engine, Request, Slots};

pub(super) struct Sync {
    file: File,
    slots: Slots,
    queued: Vec<(usize, Request)>,
    ended: Vec<Ended>,
}

impl Sync {
    pub(super) fn start(file: File, slots: Slots) -> Self {
        let count = slots.count();
        Self { file, slots, queued: Vec::with_capacity(count), ended: Vec::with_capacity(count) }
    }
}

impl Engine for Sync {
    fn queue(&mut self, slot: usize, request: Request) {
        self.queued.push((slot, request));
    }

    fn submit(&mut self) -> io::Result<()> {
        for (slot, Request { direction, offset }) in self.queued.drain(..) {
            let buffer = self.slots.buffer(slot);
            let outcome = match direction {
                Direction::Read => self.file.read_at(buffer, offset),
                Direction::Write => self.file.write_at(buffer, offset),
            };
            self.ended.push(Ended { slot, outcome });
        }
        Ok(())
    }

    fn wait(&mut self, ended: &mut Vec<Ended>) -> io::Result<()> {
        ended.append(&mut self.ended);
        Ok(())
    }

    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.slots.buffer(slot)
    }
}
