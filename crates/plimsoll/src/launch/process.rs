//! The one caller that starts processes on the host: engines say what, as data, and this starts it.
//!
//! Every process is journalled, leads a session of its own (so that a Ctrl-C at the terminal reaches only us), dies with
//! us (parent-death signal), and is inside its pen before its first instruction. The number of a process is not known
//! before it exists, so its note follows the start at once; until then the pen's note and the parent-death signal,
//! which belongs to the thread that started it, stand for it.

mod tool;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sched::CpuSet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll_agent::wire::Wire;

pub use tool::{ToolOutput, find_program, run_tool, run_tool_for_its_output};

use super::cgroup::Pen;
use super::journal::{Entry, Journal, Resource, start_ticks};
use super::patience;
use super::place::Place;
use super::sys::{BeforeExec, before_exec};
use crate::sample::{Cause, Failure};

/// How much of a log is quoted in a message.
const LOG_TAIL_BYTES: u64 = 2048;
/// How long a killed process may take to vanish; a process in uninterruptible sleep takes longer and is an error.
const KILLED_BOUND: Duration = Duration::from_secs(5);

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
    child: Child,
    pid: Pid,
    entry: Entry,
    journal: Journal,
    wire: Option<Wire>,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// When the program cannot be started; names it.
    pub fn start(place: &Place, spec: &Spec, pen: Option<&Pen>) -> Result<Self, Failure> {
        let named = |error: std::io::Error| {
            Failure::from(error).while_doing(&format!("cannot start {}", spec.program.display()))
        };
        let mut command = command_of(spec).map_err(named)?;
        let wire = if spec.wired { Some(wire_up(&mut command, place.interrupted).map_err(named)?) } else { None };
        let setup = BeforeExec {
            entrances: pen.map(Pen::entrances).transpose()?.unwrap_or_default(),
            affinity: spec.affinity.as_deref().map(cpu_set).transpose()?,
            dies_with_parent: !spec.outlives_parent,
        };
        before_exec(&mut command, setup);
        let mut child = command.spawn().map_err(named)?;
        drop(command);
        let pid = Pid::from_raw(child.id().cast_signed());
        let noted = start_ticks(pid.as_raw())
            .ok_or_else(|| Failure::new(Cause::Died, format!("{} vanished at its start", spec.program.display())))
            .and_then(|start_ticks| place.journal.note(Resource::Process { pid: pid.as_raw(), start_ticks }));
        let entry = noted.inspect_err(|_| {
            let _ = child.kill().and_then(|()| child.wait());
        })?;
        let journal = place.journal.clone();
        Ok(Self { child, pid, entry, journal, wire, log: spec.log.clone(), ended: None })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Takes the stream on its stdin and stdout; `None` if it was not wired or was taken before.
    pub fn take_wire(&mut self) -> Option<Wire> {
        self.wire.take()
    }

    /// Its exit, if it has ended, as words: `exit status 1`, `signal 9`.
    pub fn ended(&mut self) -> Option<String> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
            if self.ended.is_some() {
                self.journal.forget(self.entry);
            }
        }
        self.ended.map(exit_words)
    }

    /// Waits for its end; `None` when the time is up.
    pub fn wait(&mut self, time: Duration) -> Option<String> {
        patience::until(time, || self.ended().is_some());
        self.ended()
    }

    /// SIGSTOP or SIGCONT for it alone.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop(&mut self, stopped: bool) -> Result<(), Failure> {
        self.signal(self.pid, if stopped { Signal::SIGSTOP } else { Signal::SIGCONT })
    }

    /// SIGSTOP or SIGCONT for it and everything in its process group, where there is no pen to freeze. Whoever left
    /// the group is not reached.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop_group(&mut self, stopped: bool) -> Result<(), Failure> {
        self.signal(Pid::from_raw(-self.pid.as_raw()), if stopped { Signal::SIGSTOP } else { Signal::SIGCONT })
    }

    fn signal(&mut self, target: Pid, signal: Signal) -> Result<(), Failure> {
        if let Some(words) = self.ended() {
            return Err(Failure::new(Cause::Died, format!("process {} has ended: {words}", self.pid)));
        }
        kill(target, signal)
            .map_err(|error| Failure::new(Cause::Died, format!("cannot signal process {}: {error}", self.pid)))
    }

    /// The last lines of its log, at most 2 KiB.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// SIGTERM, up to `grace`, then SIGKILL; reaps; forgets the journal's entry. Safe to call twice.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(&mut self, grace: Duration) -> Result<(), Failure> {
        if !grace.is_zero() && self.ended().is_none() {
            let _ = kill(self.pid, Signal::SIGTERM);
            self.wait(grace);
        }
        if self.ended().is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
        match self.wait(KILLED_BOUND) {
            Some(_) => Ok(()),
            None => Err(Failure::new(Cause::TearDown, format!("process {} does not end after SIGKILL", self.pid))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end(Duration::ZERO);
    }
}

fn command_of(spec: &Spec) -> std::io::Result<Command> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(&spec.program);
    if let Some(argv0) = &spec.argv0 {
        command.arg0(argv0);
    }
    command.args(&spec.args).env_clear().envs(spec.env.iter().cloned());
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&spec.log)?);
    Ok(command)
}

/// Two pipes: what the process reads and what it writes.
fn wire_up(command: &mut Command, interrupted: fn() -> bool) -> std::io::Result<Wire> {
    let (its_stdin, to_it) = std::io::pipe()?;
    let (from_it, its_stdout) = std::io::pipe()?;
    command.stdin(its_stdin).stdout(its_stdout);
    Wire::new(from_it.into(), to_it.into(), interrupted)
}

/// Starts a program beside this process, which lives until whoever this process becomes ends. It is given nothing to read,
/// and what it says on stderr goes where ours goes.
///
/// # Errors
/// When it cannot be started; names it.
pub(super) fn start_beside(program: &Path, args: &[String]) -> Result<Child, Failure> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    before_exec(&mut command, BeforeExec { dies_with_parent: true, ..BeforeExec::default() });
    command.spawn().map_err(|error| Failure::from(error).while_doing(&format!("cannot start {}", program.display())))
}

/// Becomes another program, with the environment of this process; returns only what went wrong.
pub(super) fn replace_self(program: &Path, args: &[String]) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    Command::new(program).args(args).exec()
}

/// CPUs by number as the kernel's set.
pub(super) fn cpu_set(cpus: &[u32]) -> Result<CpuSet, Failure> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu as usize).map_err(|_| Failure::launch(format!("there is no CPU {cpu}")))?;
    }
    Ok(set)
}

fn exit_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The end of a text file, whole lines where possible.
pub(super) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let cut = length > LOG_TAIL_BYTES;
        Ok(text.split_once('\n').filter(|_| cut).map_or(text.clone(), |(_, rest)| rest.to_owned()))
    };
    read().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests;
