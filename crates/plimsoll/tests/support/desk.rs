//! The program on a desk of its own: starts runs of it, stops them in their middle, and looks for what they leave on the
//! host. It knows the host by /proc, /sys and the run's name, never by asking Plimsoll.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll::launch::journal::Journal;
use plimsoll::sample::{MishapRecord, RunRecord};
use plimsoll::store;

pub(crate) const PLIMSOLL: &str = env!("CARGO_BIN_EXE_plimsoll");
/// A run that has not ended by then is killed, and its test fails: far more than any needs.
const END_BOUND: Duration = Duration::from_secs(240);
/// Directories in which a run, or an engine that it starts, could leave something under the run's name.
const HAUNTS: [&str; 9] = [
    "/tmp",
    "/var/tmp",
    "/run",
    "/run/plimsoll",
    "/run/docker",
    "/run/containerd",
    "/var/lib",
    "/var/lib/docker",
    "/dev/shm",
];

/// A folder of its own on a disk, with the run file that a test makes in it.
pub(crate) struct Desk {
    pub(crate) folder: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("plimsoll-test-").tempdir_in("/var/tmp").unwrap() }
    }

    pub(crate) fn run_file(&self) -> PathBuf {
        self.folder.path().join("run.sqlite")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PLIMSOLL);
        command.args(["run", "-o", "run.sqlite"]);
        if !arguments.iter().any(|argument| argument.starts_with("--data")) {
            command.arg("--data").arg(self.folder.path());
        }
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a run.
    pub(crate) fn start(&self, arguments: &[&str]) -> Live {
        let mut child = self.command(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let progress = BufReader::new(child.stderr.take().unwrap());
        Live { child, progress }
    }

    /// Starts a run and reads its progress until a line contains `mark`.
    pub(crate) fn run_until(&self, arguments: &[&str], mark: &str) -> Live {
        let mut live = self.start(arguments);
        live.read_until(mark);
        live
    }

    pub(crate) fn record(&self) -> RunRecord {
        store::load(&self.run_file()).unwrap()
    }

    /// What everything that the run makes is named after; `None` before it has named itself.
    pub(crate) fn run_name(&self) -> Option<String> {
        let record = store::load(&self.run_file()).ok()?;
        Some(format!("plimsoll-{}", record.run.id))
    }

    /// What the run left in its folder beside its two files.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.to_string_lossy().into_owned()).filter(|name| !name.starts_with("run.")).collect()
    }

    /// Everything on the host that carries the run's name: files, cgroups, mounts in any namespace, processes, sockets
    /// and the journal.
    pub(crate) fn traces(&self) -> Vec<String> {
        let run = self.run_name().unwrap();
        let mut traces = self.leftovers();
        traces.extend(HAUNTS.iter().flat_map(|haunt| entries_named(Path::new(haunt), &run)));
        traces.extend(cgroups_named(Path::new("/sys/fs/cgroup"), &run, 4));
        traces.extend(mounts_with(&run));
        traces.extend(processes_with(&run).into_iter().map(|(pid, line)| format!("{pid} {line}")));
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        traces.extend(sockets.lines().filter(|line| line.contains(&run)).map(str::to_owned));
        let journal = Journal::directory().join(format!("{run}.journal"));
        traces.extend(journal.exists().then(|| journal.display().to_string()));
        traces
    }
}

/// A run in its middle.
pub(crate) struct Live {
    child: Child,
    progress: BufReader<std::process::ChildStderr>,
}

impl Live {
    pub(crate) fn read_until(&mut self, mark: &str) {
        let mut read = String::new();
        while !read.contains(mark) {
            assert_ne!(self.progress.read_line(&mut read).unwrap(), 0, "ended before `{mark}`: {read}");
        }
    }

    /// Looks again and again for something that the run does not announce, as long as the run lives.
    pub(crate) fn look_until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut rest = String::new();
                self.progress.read_to_string(&mut rest).unwrap();
                panic!("ended ({status}) before {what}: {rest}");
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Its exit code (`None` for a signal, also that of the bound) and the rest of its progress.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let pid = Pid::from_raw(self.child.id() as i32);
        let (ended, end) = channel::<()>();
        let bound = std::thread::spawn(move || {
            if end.recv_timeout(END_BOUND) == Err(RecvTimeoutError::Timeout) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        let mut rest = String::new();
        self.progress.read_to_string(&mut rest).unwrap();
        // Not reaped before the bound is gone, so that its number is not somebody else's.
        nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(pid),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        )
        .unwrap();
        drop(ended);
        bound.join().unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

/// A test that failed in the middle of a run ends it as a user would.
impl Drop for Live {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::SIGINT);
            let _ = self.progress.read_to_string(&mut String::new());
            let _ = self.child.wait();
        }
    }
}

/// The mishaps of one environment.
pub(crate) fn mishaps_of<'a>(record: &'a RunRecord, environment: &str) -> Vec<&'a MishapRecord> {
    let is_its = |mishap: &&MishapRecord| {
        let name = mishap.arm.as_ref().and_then(|arm| record.plan.environments.get(arm.environment as usize));
        name.is_some_and(|name| name == environment)
    };
    record.mishaps.iter().filter(is_its).collect()
}

fn entries_named(folder: &Path, name: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| path.display().to_string()).filter(|path| path.contains(name)).collect()
}

pub(crate) fn cgroups_named(folder: &Path, name: &str, depth: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(path.display().to_string());
        } else if depth > 0 {
            found.extend(cgroups_named(&path, name, depth - 1));
        }
    }
    found
}

/// Mounts with this text, of every mount namespace that a process holds.
fn mounts_with(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        found.extend(mounts.lines().filter(|line| line.contains(text)).map(str::to_owned));
    }
    found
}

/// Processes whose command line contains this text, as id and command line.
pub(crate) fn processes_with(text: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(text) {
            found.push((pid, line));
        }
    }
    found
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
