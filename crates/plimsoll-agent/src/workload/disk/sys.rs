//! Linux AIO and io_uring, behind safe types that own the buffers for as long as the kernel may use them.
#![allow(unsafe_code, reason = "the kernel reads and writes buffers between calls; each use says why it is sound")]

use std::ffi::c_long;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::slice;

use io_uring::{IoUring, opcode, types};
use nix::errno::Errno;
use nix::libc::{self, iocb};

use super::engine::{Direction, Request, Slots};

const READ: u16 = 0;
const WRITE: u16 = 1;

/// Buffers, some of which the kernel has. Those are reached by address alone: no reference covers them.
struct Lent {
    slots: Slots,
    start: NonNull<u8>,
    busy: Vec<bool>,
}

impl Lent {
    fn new(mut slots: Slots) -> Self {
        let start = NonNull::from(slots.all()).cast();
        Self { busy: vec![false; slots.count()], slots, start }
    }

    /// From now on it is the kernel's.
    fn lend(&mut self, slot: usize) -> (NonNull<u8>, usize) {
        let bytes = self.buffer(slot).len();
        self.busy[slot] = true;
        // SAFETY: `buffer` has shown that there is such a slot.
        (unsafe { self.start.add(slot * bytes) }, bytes)
    }

    fn take_back(&mut self, slot: usize) {
        self.busy[slot] = false;
    }

    fn is_any_out(&self) -> bool {
        self.busy.contains(&true)
    }

    /// One that the kernel has not.
    fn buffer(&mut self, slot: usize) -> &mut [u8] {
        assert!(!self.busy[slot], "slot {slot} is under way");
        let bytes = self.slots.block_bytes();
        // SAFETY: there are as many slots as entries in `busy`, each of so many bytes, and nobody else touches this one.
        unsafe { slice::from_raw_parts_mut(self.start.add(slot * bytes).as_ptr(), bytes) }
    }
}

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
    lent: Lent,
    /// One for each slot.
    blocks: Vec<iocb>,
    events: Vec<Event>,
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
            lent: Lent::new(slots),
            blocks: (0..count).map(|_| empty()).collect(),
            events: vec![Event::default(); count],
        })
    }

    /// Starts a request in a slot that is at rest.
    ///
    /// # Errors
    /// What `io_submit` says; then the slot is at rest again.
    pub(super) fn submit(&mut self, file: BorrowedFd<'_>, slot: usize, request: Request) -> nix::Result<()> {
        let (buffer, bytes) = self.lent.lend(slot);
        let block = &mut self.blocks[slot];
        block.aio_data = slot as u64;
        block.aio_lio_opcode = if request.direction == Direction::Read { READ } else { WRITE };
        block.aio_fildes = file.as_raw_fd().cast_unsigned();
        block.aio_buf = buffer.as_ptr().expose_provenance() as u64;
        block.aio_nbytes = bytes as u64;
        block.aio_offset = request.offset.cast_signed();
        let mut pointer: *mut iocb = block;
        loop {
            // SAFETY: the kernel copies the block during the call. Nobody else touches its buffer while it is lent, and it
            // goes only after the context.
            match Errno::result(unsafe { libc::syscall(libc::SYS_io_submit, self.id, 1, &raw mut pointer) }) {
                Ok(1) => return Ok(()),
                Err(Errno::EINTR) => {}
                refused => {
                    self.lent.take_back(slot);
                    return Err(refused.err().unwrap_or(Errno::EAGAIN));
                }
            }
        }
    }

    /// Waits until at least one request has ended and tells each that has: its slot, and bytes or a negative error.
    ///
    /// # Errors
    /// What `io_getevents` says; `EINVAL` where nothing is under way.
    pub(super) fn wait(&mut self, mut ended: impl FnMut(usize, i64)) -> nix::Result<()> {
        if !self.lent.is_any_out() {
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
            self.lent.take_back(slot);
            ended(slot, event.result);
        }
        Ok(())
    }

    /// The buffer of a slot that is at rest.
    pub(super) fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.lent.buffer(slot)
    }
}

impl Drop for Context {
    /// Waits for what is under way: the buffers go next.
    fn drop(&mut self) {
        while self.lent.is_any_out() && self.wait(|_, _| ()).is_ok() {}
        // SAFETY: the context is this value's own. The kernel, too, returns only when nothing is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}

/// An io_uring with the buffers of all slots registered. Goes only when no request is under way.
pub(super) struct Ring {
    ring: IoUring,
    lent: Lent,
}

impl Ring {
    /// # Errors
    /// What the kernel says to the ring or to its buffers.
    pub(super) fn set_up(slots: Slots) -> io::Result<Self> {
        let (count, mut lent) = (slots.count(), Lent::new(slots));
        let ring = IoUring::new(u32::try_from(count).map_err(io::Error::other)?)?;
        let vector = |slot| {
            let buffer = lent.buffer(slot);
            libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }
        };
        let vectors: Vec<libc::iovec> = (0..count).map(vector).collect();
        // SAFETY: the buffers go after the ring, and the kernel touches one only for a request that names it.
        unsafe { ring.submitter().register_buffers(&vectors) }?;
        Ok(Self { ring, lent })
    }

    /// Starts a request in a slot that is at rest.
    ///
    /// # Errors
    /// What `io_uring_enter` says.
    pub(super) fn submit(&mut self, file: BorrowedFd<'_>, slot: usize, request: Request) -> io::Result<()> {
        let (file, (start, bytes)) = (types::Fd(file.as_raw_fd()), self.lent.lend(slot));
        // A block is at most some MiB, and there are fewer slots than numbers of registered buffers.
        let (start, bytes, index) = (start.as_ptr(), bytes as u32, slot as u16);
        let entry = match request.direction {
            Direction::Read => opcode::ReadFixed::new(file, start, bytes, index).offset(request.offset).build(),
            Direction::Write => opcode::WriteFixed::new(file, start, bytes, index).offset(request.offset).build(),
        };
        // SAFETY: the buffer is whole and registered, nobody else touches it while it is lent, and it goes only after the
        // ring.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(slot as u64)) };
        if let Err(full) = pushed {
            self.lent.take_back(slot);
            return Err(io::Error::other(full.to_string()));
        }
        uninterrupted(|| self.ring.submit())
    }

    /// Waits until at least one request has ended and tells each that has: its slot, and bytes or a negative error.
    ///
    /// # Errors
    /// What `io_uring_enter` says; `EINVAL` where nothing is under way.
    pub(super) fn wait(&mut self, mut ended: impl FnMut(usize, i64)) -> io::Result<()> {
        if !self.lent.is_any_out() {
            return Err(Errno::EINVAL.into());
        }
        if self.ring.completion().is_empty() {
            uninterrupted(|| self.ring.submit_and_wait(1))?;
        }
        for entry in self.ring.completion() {
            let slot = entry.user_data() as usize;
            self.lent.take_back(slot);
            ended(slot, i64::from(entry.result()));
        }
        Ok(())
    }

    /// The buffer of a slot that is at rest.
    pub(super) fn buffer(&mut self, slot: usize) -> &mut [u8] {
        self.lent.buffer(slot)
    }
}

impl Drop for Ring {
    /// Waits for what is under way: the buffers go next. Should that fail, they are pinned until the kernel is done.
    fn drop(&mut self) {
        while self.lent.is_any_out() && self.wait(|_, _| ()).is_ok() {}
    }
}

fn uninterrupted(call: impl Fn() -> io::Result<usize>) -> io::Result<()> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
}
