//! Unsafe code of the agent itself, behind safe functions; that of the workloads is in `workload/sys.rs`.
#![allow(unsafe_code, reason = "system calls for which nix has no safe wrapper; each says why it is sound")]

use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigHandler, Signal};
use nix::unistd::ForkResult;

/// Forks, if this process has a single thread.
///
/// # Errors
/// `EDEADLK` when there are other threads, whose locks would stay held in the child for ever; else what the system
/// says.
pub(crate) fn fork() -> nix::Result<ForkResult> {
    let threads = Path::new("/proc/self/task").read_dir().map_or(1, Iterator::count);
    if threads > 1 {
        return Err(Errno::EDEADLK);
    }
    // SAFETY: the process has one thread, this one, so the child owns a consistent copy of everything. Where /proc is
    // missing this rests on the caller, who is told in `run_under_init` to come before any thread.
    unsafe { nix::unistd::fork() }
}

/// Ends the process at once, without the exit handlers that a fork has inherited.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(code) }
}

/// Lets ended children wait to be reaped, even if whoever started this process ignored them.
pub(crate) fn keep_ended_children() -> nix::Result<()> {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { nix::sys::signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// Closes standard input and output of this process.
pub(crate) fn close_stdio() {
    for descriptor in [libc::STDIN_FILENO, libc::STDOUT_FILENO] {
        // SAFETY: nothing in this crate owns the standard descriptors; std only writes to them by number.
        unsafe { libc::close(descriptor) };
    }
}

/// Asks the kernel for the parent's process id, past any cache in the C library.
#[inline]
pub(crate) fn getppid_uncached() -> i64 {
    // SAFETY: getppid takes no arguments and cannot fail.
    unsafe { libc::syscall(libc::SYS_getppid) }
}
