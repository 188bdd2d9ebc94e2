//! The system calls of Linux AIO, behind a safe type that owns the buffers for as long as the kernel may use them.
#![allow(unsafe_code, reason = "io_setup and its like have no safe wrapper; each use says why it is sound")]

use std::ffi::c_long;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, iocb};

use super::engine::{Direction, Request, Slots};

const READ: u16 = 0;
const WRITE: u16 = 1;

/// `struct io_event` of linux/aio_abi.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    result_2: i64,
}

/// A context of asynchronous I/O with room for one request in each slot. Goes only when no request is under way.
pub(super) struct Context {
    id: libc::c_ulong,
    slots: Slots,
    /// One for each slot; the kernel copies it when it is submitted.
    blocks: Vec<iocb>,
    pointers: Vec<*mut iocb>,
    events: Vec<Event>,
    /// Slots whose buffers belong to the kernel.
    busy: Vec<bool>,
}

impl Context {
    /// # Errors
    /// What `io_setup` says.
    pub(super) fn set_up(slots: Slots) -> nix::Result<Self> {
        let count = slots.count();
        let mut id: libc::c_ulong = 0;
        // SAFETY: the kernel writes one number.
        Errno::result(unsafe { libc::syscall(libc::SYS_io_setup, count as c_long, &raw mut id) })?;
        // SAFETY: zeros are a valid iocb, which is numbers only.
        let empty = || unsafe { MaybeUninit::<iocb>::zeroed().assume_init() };
        Ok(Self {
            id,
            slots,
            blocks: (0..count).map(|_| empty()).collect(),
            pointers: Vec::with_capacity(count),
            events: vec![Event::default(); count],
            busy: vec![false; count],
        })
    }

    /// Starts requests in slots that are at rest.
    ///
    /// # Errors
    /// What `io_submit` says; requests that it did not take are at rest again.
    pub(super) fn submit(&mut self, file: BorrowedFd<'_>, requests: &[(usize, Request)]) -> nix::Result<()> {
        self.pointers.clear();
        for (slot, request) in requests {
            assert!(!self.busy[*slot], "slot {slot} is under way");
            let buffer = self.slots.buffer(*slot);
            let block = &mut self.blocks[*slot];
            block.aio_data = *slot as u64;
            block.aio_lio_opcode = if request.direction == Direction::Read { READ } else { WRITE };
            block.aio_fildes = file.as_raw_fd().cast_unsigned();
            block.aio_buf = buffer.as_mut_ptr().expose_provenance() as u64;
            block.aio_nbytes = buffer.len() as u64;
            block.aio_offset = request.offset.cast_signed();
            self.pointers.push(block);
            self.busy[*slot] = true;
        }
        let mut taken = 0;
        while taken < requests.len() {
            let (rest, count) = (&mut self.pointers[taken..], (requests.len() - taken) as c_long);
            // SAFETY: the pointers are to blocks of this context, each with a buffer that nobody else touches while its
            // slot is busy and that goes only after the context.
            match Errno::result(unsafe { libc::syscall(libc::SYS_io_submit, self.id, count, rest.as_mut_ptr()) }) {
                Ok(more) if more > 0 => taken += more.cast_unsigned() as usize,
                Err(Errno::EINTR) => {}
                failed => {
                    for (slot, _) in &requests[taken..] {
                        self.busy[*slot] = false;
                    }
                    return Err(failed.err().unwrap_or(Errno::EAGAIN));
                }
            }
        }
        Ok(())
    }

    /// Waits until at least one request has ended and tells each that has: its slot, and bytes or a negative error.
    ///
    /// # Errors
    /// What `io_getevents` says; `EINVAL` where nothing is under way.
    pub(super) fn wait(&mut self, mut ended: impl FnMut(usize, i64)) -> nix::Result<()> {
        if !self.busy.contains(&true) {
            return Err(Errno::EINVAL);
        }
        let (room, events) = (self.events.len() as c_long, self.events.as_mut_ptr());
        let no_limit = ptr::null_mut::<libc::timespec>();
        let count = loop {
            // SAFETY: there is room for so many events, and the time limit may be absent.
            match Errno::result(unsafe { libc::syscall(libc::SYS_io_getevents, self.id, 1, room, events, no_limit) }) {
                Err(Errno::EINTR) => {}
                count => break count?.cast_unsigned() as usize,
            }
        };
        for event in &self.events[..count] {
            let slot = event.data as usize;
            self.busy[slot] = false;
            ended(slot, event.result);
        }
        Ok(())
    }

    /// The buffer of a slot that is at rest.
    pub(super) fn buffer(&mut self, slot: usize) -> &mut [u8] {
        assert!(!self.busy[slot], "slot {slot} is under way");
        self.slots.buffer(slot)
    }
}

impl Drop for Context {
    /// Waits for what is under way: the buffers go next.
    fn drop(&mut self) {
        while self.busy.contains(&true) && self.wait(|_, _| ()).is_ok() {}
        // SAFETY: the context is this value's own. The kernel, too, returns only when nothing is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}
