//! `pread` and `pwrite`, one at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::engine::{Direction, Ended, Engine, Request, Slots};

pub(super) struct Sync {
    file: File,
    slots: Slots,
    ended: Vec<Ended>,
}

impl Sync {
    pub(super) fn start(file: File, slots: Slots) -> Self {
        Self { ended: Vec::with_capacity(slots.count()), file, slots }
    }
}

impl Engine for Sync {
    /// Does it.
    fn start(&mut self, slot: usize, Request { direction, offset }: Request) -> io::Result<()> {
        let buffer = self.slots.buffer(slot);
        let outcome = match direction {
            Direction::Read => self.file.read_at(buffer, offset),
            Direction::Write => self.file.write_at(buffer, offset),
        };
        self.ended.push(Ended { slot, outcome });
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
