//! The one caller that starts processes on the host: engines say what, as data, and this starts it.
//!
//! Every process is journalled, leads a session of its own (so that a Ctrl-C at the terminal reaches only us), dies with
//! us (parent-death signal), and is inside its pen before its first instruction.

use std::path::PathBuf;
use std::time::Duration;

use plimsoll_agent::wire::Wire;

use super::cgroup::Pen;
use super::place::Place;
use crate::sample::Failure;

/// A process to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Program, as a path.
    pub program: PathBuf,
    /// argv\[0\], if it differs from the program.
    pub argv0: Option<String>,
    /// Arguments after argv\[0\].
    pub args: Vec<String>,
    /// The whole environment of the process.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// CPUs that it may run on, where there is no pen.
    pub affinity: Option<Vec<u32>>,
    /// Whether stdin and stdout become a [`Wire`]; else both are /dev/null.
    pub wired: bool,
    /// Where stderr goes (made or truncated).
    pub log: PathBuf,
    /// Whether it must survive us for a moment (a daemon that cleans up on SIGTERM): no parent-death signal.
    pub outlives_parent: bool,
}

/// A started process.
#[derive(Debug)]
pub struct Running {
    _private: (),
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// When the program cannot be started; names it.
    pub fn start(_place: &Place, _spec: &Spec, _pen: Option<&Pen>) -> Result<Self, Failure> {
        Err(Failure::launch("not built yet"))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        0
    }

    /// Takes the stream on its stdin and stdout; `None` if it was not wired or was taken before.
    pub fn take_wire(&mut self) -> Option<Wire> {
        None
    }

    /// Its exit, if it has ended, as words: `exit status 1`, `signal 9`.
    pub fn ended(&mut self) -> Option<String> {
        None
    }

    /// Waits for its end; `None` when the time is up.
    pub fn wait(&mut self, _time: Duration) -> Option<String> {
        None
    }

    /// SIGSTOP or SIGCONT for it alone.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop(&mut self, _stopped: bool) -> Result<(), Failure> {
        Ok(())
    }

    /// The last lines of its log, at most 2 KiB.
    #[must_use]
    pub fn log_tail(&self) -> String {
        String::new()
    }

    /// SIGTERM, up to `grace`, then SIGKILL; reaps; forgets the journal's entry. Safe to call twice.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(&mut self, _grace: Duration) -> Result<(), Failure> {
        Ok(())
    }
}
