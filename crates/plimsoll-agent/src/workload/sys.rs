//! What workloads ask of the system and nix has no safe wrapper for, behind safe functions.
#![allow(unsafe_code, reason = "system calls for which nix has no safe wrapper; each says why it is sound")]

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};
use nix::unistd::{ForkResult, Pid, fork, getpid, gettid};

/// Descriptors that are closed one by one where the kernel cannot close a range of them.
const DESCRIPTORS_CLOSED: RawFd = 1024;

/// Asks the kernel for the personality of this process, which changes nothing; -1 where that is refused.
#[inline]
pub(super) fn personality_queried() -> i64 {
    // SAFETY: with this argument the call only answers.
    unsafe { libc::syscall(libc::SYS_personality, 0xffff_ffff_u64) }
}

/// Forks a child that answers every byte with the next one until a pipe ends or the calling thread does. It keeps no
/// other descriptor.
pub(super) fn fork_answering(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> nix::Result<Pid> {
    let parent = getpid();
    // SAFETY: the child makes system calls and nothing else until it exits: it takes no lock, allocates nothing and
    // drops nothing, so it does not matter what other threads of this process were doing.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => answer(parent.as_raw(), from.as_raw_fd(), to.as_raw_fd()),
    }
}

fn answer(parent: libc::pid_t, from: RawFd, to: RawFd) -> ! {
    let mut byte = 0_u8;
    // SAFETY: these are system calls, on numbers and on one byte that lives as long as the loop. The descriptors that
    // are closed belong to the child alone, which never gets back to whoever owns them.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // The parent may have died before it asked; then nobody will ever send the signal.
        if libc::getppid() != parent {
            libc::_exit(1);
        }
        close_all_but(from.min(to), from.max(to));
        loop {
            if libc::read(from, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(0);
            }
            byte = byte.wrapping_add(1);
            if libc::write(to, (&raw const byte).cast(), 1) != 1 {
                libc::_exit(0);
            }
        }
    }
}

/// # Safety
/// Nobody in this process uses another descriptor any more.
unsafe fn close_all_but(low: RawFd, high: RawFd) {
    for (first, last) in [(0, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)] {
        // SAFETY: the caller's promise; a number that is no descriptor is skipped.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            for descriptor in first..=last.min(DESCRIPTORS_CLOSED) {
                // SAFETY: as above.
                unsafe { libc::close(descriptor) };
            }
        }
    }
}

/// Forks a child that becomes `program`, without arguments and environment. If it cannot, its exit code is the error
/// number.
pub(super) fn fork_exec(program: &CStr) -> nix::Result<Pid> {
    let arguments = [program.as_ptr(), ptr::null()];
    let environment = [ptr::null()];
    // SAFETY: as for `fork_answering`.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // SAFETY: both lists end with a null pointer and live here; all three calls are safe after a fork.
            unsafe {
                libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                libc::_exit(*libc::__errno_location())
            }
        }
    }
}

/// Creates a thread with the default attributes that adds one to `number`, joins it, and returns its sum.
pub(super) fn add_one_in_a_thread(number: usize) -> nix::Result<usize> {
    extern "C" fn add_one(number: *mut c_void) -> *mut c_void {
        ptr::without_provenance_mut(number.addr().wrapping_add(1))
    }
    let mut thread = 0;
    let mut sum = ptr::null_mut();
    // SAFETY: the pointer that the thread gets and the one that it returns are numbers which nobody follows, so it
    // borrows nothing; its handle is joined once, right after it was made.
    let code = unsafe {
        match libc::pthread_create(&raw mut thread, ptr::null(), add_one, ptr::without_provenance_mut(number)) {
            0 => libc::pthread_join(thread, &raw mut sum),
            code => code,
        }
    };
    if code == 0 { Ok(sum.addr()) } else { Err(Errno::from_raw(code)) }
}

/// A signal whose deliveries are counted; its old disposition returns when this goes. There is one at a time, since
/// there is one counter.
#[derive(Debug)]
pub(super) struct CountedSignal {
    signal: Signal,
    before: SigAction,
    blocked: SigSet,
}

static SIGNAL_IS_COUNTED: AtomicBool = AtomicBool::new(false);
static DELIVERIES: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_delivery(_signal: c_int) {
    DELIVERIES.fetch_add(1, Ordering::Relaxed);
}

impl CountedSignal {
    /// Installs the counting handler and lets the signal through to this thread; `EBUSY` if another one is counted.
    pub(super) fn catch(signal: Signal) -> nix::Result<Self> {
        if SIGNAL_IS_COUNTED.swap(true, Ordering::Relaxed) {
            return Err(Errno::EBUSY);
        }
        let action = SigAction::new(SigHandler::Handler(count_delivery), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler does nothing but add to a lock-free counter, which is allowed at any moment.
        let before = unsafe { sigaction(signal, &action) };
        let unblocked = |before| {
            let blocked = SigSet::from_iter([signal]).thread_swap_mask(SigmaskHow::SIG_UNBLOCK)?;
            Ok(Self { signal, before, blocked })
        };
        before.and_then(unblocked).inspect_err(|_| SIGNAL_IS_COUNTED.store(false, Ordering::Relaxed))
    }

    /// Sends it to this thread `count` times. The kernel delivers each before the call that sent it returns.
    pub(super) fn send(&self, count: u64) -> nix::Result<()> {
        let (process, thread) = (getpid().as_raw(), gettid().as_raw());
        for _ in 0..count {
            // SAFETY: the signal is caught, or as harmless as whoever uncaught it has made it.
            Errno::result(unsafe { libc::syscall(libc::SYS_tgkill, process, thread, self.signal as c_int) })?;
        }
        Ok(())
    }

    /// Deliveries since the process began.
    pub(super) fn deliveries(&self) -> u64 {
        DELIVERIES.load(Ordering::Relaxed)
    }
}

impl Drop for CountedSignal {
    fn drop(&mut self) {
        // SAFETY: what was installed before was somebody's sound choice.
        let _ = unsafe { sigaction(self.signal, &self.before) };
        let _ = self.blocked.thread_set_mask();
        SIGNAL_IS_COUNTED.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_returns_its_sum() {
        assert_eq!(add_one_in_a_thread(41), Ok(42));
        assert_eq!(add_one_in_a_thread(usize::MAX), Ok(0));
    }
}
