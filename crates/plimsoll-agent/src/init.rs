//! A tiny init, so that the agent is PID 1 nowhere and lives the same way in every place.
//!
//! ```text
//! parent: reaps whatever ends, forwards SIGTERM and SIGINT, holds no end of the stream  --exits with--> agent's code
//!   `- child: the agent; killed when the parent dies
//! ```
//!
//! It starts nothing but the agent and mounts nothing: whoever made the place did that.

use std::fs::File;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, getpid, getppid};

use crate::sys;

/// Exit code when the agent panicked outside a workload: a bug of ours.
pub const EXIT_BUG: i32 = 70;
/// Exit code when the system refused to start the agent.
pub const EXIT_SYSTEM: i32 = 71;

/// Runs `agent` in a child and returns its exit code, 128 + signal if it was killed. To be called before any thread
/// is started, and followed by exit: standard input and output are gone afterwards.
///
/// In the child it does not return. Where the system refuses, the reason goes to standard error.
pub fn run_under_init(agent: impl FnOnce() -> i32) -> i32 {
    match start(agent).and_then(tend) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "plimsoll: the agent's init cannot start or wait for it: {error}");
            EXIT_SYSTEM
        }
    }
}

/// The agent's process id, with the signals that init waits for already blocked: none can be missed.
fn start(agent: impl FnOnce() -> i32) -> nix::Result<Pid> {
    sys::keep_ended_children()?;
    // Where it is not PID 1, orphans come to it all the same. Old kernels and gVisor may not know how.
    let _ = prctl::set_child_subreaper(true);
    let before = awaited().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let parent = getpid();
    match sys::fork()? {
        ForkResult::Parent { child } => {
            let_go_of_stdio();
            Ok(child)
        }
        ForkResult::Child => sys::exit_now(be_the_agent(agent, parent, &before)),
    }
}

fn be_the_agent(agent: impl FnOnce() -> i32, parent: Pid, mask: &SigSet) -> i32 {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    // The parent may have died before the request above; then nobody will ever send the signal.
    if getppid() != parent || mask.thread_set_mask().is_err() {
        return EXIT_SYSTEM;
    }
    catch_unwind(AssertUnwindSafe(agent)).unwrap_or(EXIT_BUG)
}

/// Waits for signals until the agent has ended.
fn tend(agent: Pid) -> nix::Result<i32> {
    let signals = awaited();
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => {
                if let Some(code) = reap(agent)? {
                    return Ok(code);
                }
            }
            // It may have ended in the meantime; SIGCHLD is then on its way.
            signal => drop(kill(agent, signal)),
        }
    }
}

/// Reaps every child that has ended; several may share one SIGCHLD. The agent's exit code, if it was among them.
fn reap(agent: Pid) -> nix::Result<Option<i32>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == agent => return Ok(Some(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == agent => return Ok(Some(128 + signal as i32)),
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn awaited() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

/// Only the agent may hold the stream, or its end would not be seen when it dies.
fn let_go_of_stdio() {
    let null = File::options().read(true).write(true).open("/dev/null");
    let replaced = null.is_ok_and(|null| dup2_stdin(&null).is_ok() && dup2_stdout(&null).is_ok());
    if !replaced {
        sys::close_stdio();
    }
}
