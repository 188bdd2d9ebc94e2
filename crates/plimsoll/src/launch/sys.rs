//! The unsafe corner of the program: what runs between fork and exec.
//!
//! Only calls that are safe after a fork of a threaded process stand here: no allocation, no lock.

#![expect(unsafe_code, reason = "`pre_exec` and some `ioctl` have no safe wrapper; every use is argued below")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, getpid, getppid, setsid, write};

/// What a child does before its first instruction.
#[derive(Debug, Default)]
pub(super) struct BeforeExec {
    /// `cgroup.procs` files: writing "0" puts the writer in.
    pub(super) entrances: Vec<File>,
    /// CPUs that it may run on, where no pen says so.
    pub(super) affinity: Option<CpuSet>,
    /// Killed when the thread that started it ends.
    pub(super) dies_with_parent: bool,
}

/// Arranges that the child does this between fork and exec. It leads a session of its own and blocks no signal.
pub(super) fn before_exec(command: &mut Command, setup: BeforeExec) {
    let parent = getpid();
    // SAFETY: the closure only makes system calls on values that were allocated before the fork; it neither allocates
    // nor takes a lock, so it may run in the child of a threaded process.
    unsafe {
        command.pre_exec(move || run(&setup, parent));
    }
}

fn run(setup: &BeforeExec, parent: Pid) -> io::Result<()> {
    for entrance in &setup.entrances {
        write(entrance, b"0")?;
    }
    setsid()?;
    if setup.dies_with_parent {
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            // The parent ended before the line above: nobody would ever send the signal.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
    if let Some(cpus) = &setup.affinity {
        sched_setaffinity(Pid::from_raw(0), cpus)?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Brings the loopback of this network namespace up.
pub(crate) fn raise_loopback() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(1);
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives on this stack and whose name and flags are set.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
