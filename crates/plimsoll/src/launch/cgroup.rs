//! A pen: the cgroup of ours around everything that one environment runs on the host. v1, hybrid and v2.
//!
//! On v1 a pen lies at the root of every hierarchy, on v2 below the nearest ancestor of our own cgroup that we may write
//! to and that can hand on its controllers. A controller of v2 that had to be enabled for that stays enabled: it limits
//! nothing by itself, and others may have come to use it. This module starts no process.

mod cpu;
mod hierarchies;
mod tree;

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use cpu::{folder_of_process as cpu_folder_of_process, time as cpu_time_of};
pub(crate) use tree::{kill_frozen, remove_tree};

use super::journal::{Entry, Journal, Resource};
use super::patience;
use super::place::{Limits, Place};
use crate::sample::{Cause, Failure};
use hierarchies::Hierarchies;

/// How long freezing or thawing is waited for before it is taken back, and how often it is tried.
/// A process that another one traces, as gVisor does it, freezes only when its tracer lets it: seconds on a busy host.
const FREEZE_TRY: Duration = Duration::from_millis(500);
const FREEZE_TRIES: u32 = 10;
/// How long it may run in between.
const LET_GO: Duration = Duration::from_millis(20);
/// Counts processes killed for want of memory, wherever.
const VMSTAT: &str = "/proc/vmstat";
/// The controllers of v1 that a pen uses.
const CONTROLLERS_V1: [&str; 4] = ["cpuset", "memory", "cpuacct", "freezer"];

/// A cgroup with CPU set and memory limit that can be frozen and killed as one.
#[derive(Debug)]
pub struct Pen {
    path: String,
    kind: Kind,
    limit_bytes: u64,
    extra_bytes: u64,
    oom_kills_on_host: u64,
    entries: Vec<Entry>,
    journal: Journal,
}

#[derive(Debug)]
enum Kind {
    /// One directory per controller.
    V1 { cpuset: PathBuf, memory: PathBuf, cpuacct: Option<PathBuf>, freezer: PathBuf },
    /// One directory with the limits, and below it the one that processes enter: engines make children beside that one,
    /// and on v2 a directory with such children holds no processes itself.
    V2 { folder: PathBuf, own: PathBuf, cpuset: bool },
}

impl Pen {
    /// Makes it, journalled; `memory_extra_bytes` is what the engine itself may use on top of the limit.
    /// `Ok(None)` where cgroups cannot be written (no root): the caller then pins by affinity and labels it.
    ///
    /// # Errors
    /// When a controller is there and refuses.
    pub fn make(place: &Place, name: &str, limits: &Limits, memory_extra_bytes: u64) -> Result<Option<Self>, Failure> {
        let found = Hierarchies::of_this_process()?;
        let Some((path, kind)) = layout(&found, name) else { return Ok(None) };
        let mut pen = Self {
            path,
            kind,
            limit_bytes: limits.memory_bytes,
            extra_bytes: memory_extra_bytes,
            oom_kills_on_host: counter(Path::new(VMSTAT)),
            entries: Vec::new(),
            journal: place.journal.clone(),
        };
        let memory_bytes = limits.memory_bytes.saturating_add(memory_extra_bytes);
        match pen.note(&found, name).and_then(|()| pen.build(limits, memory_bytes)) {
            Ok(()) => Ok(Some(pen)),
            Err(Refusal::NotAllowed) => pen.remove().map(|()| None),
            Err(Refusal::Failed(failure)) => {
                pen.remove()?;
                Err(failure.while_doing(&format!("cannot make the cgroup {}", pen.path)))
            }
        }
    }

    /// An engine makes children in hierarchies that we do not use, and leaves the directories above them behind: they
    /// are noted too. The freezer comes last, so that it is undone first and thaws what the others then kill.
    fn note(&mut self, found: &Hierarchies, name: &str) -> Result<(), Refusal> {
        let mut folders: Vec<PathBuf> = match &self.kind {
            Kind::V1 { .. } => found.mounts().map(|mount| mount.join(name)).collect(),
            Kind::V2 { folder, .. } => vec![folder.clone()],
        };
        if let Kind::V1 { freezer, .. } = &self.kind {
            folders.sort_by_key(|folder| folder == freezer);
        }
        for path in folders {
            self.entries.push(self.journal.note(Resource::Cgroup { path })?);
        }
        Ok(())
    }

    fn build(&self, limits: &Limits, memory_bytes: u64) -> Result<(), Refusal> {
        if let Kind::V2 { folder, cpuset, .. } = &self.kind {
            std::fs::create_dir(folder).map_err(|error| refusal(folder, &error))?;
            put(folder, "cgroup.subtree_control", if *cpuset { "+cpuset +memory" } else { "+memory" })?;
        }
        for folder in self.folders() {
            std::fs::create_dir(folder).map_err(|error| refusal(folder, &error))?;
        }
        match &self.kind {
            Kind::V1 { cpuset, memory, .. } => {
                let mems = cpuset.parent().map(|root| root.join("cpuset.mems")).unwrap_or_default();
                let mems = std::fs::read_to_string(&mems).map_err(|error| refusal(&mems, &error))?;
                put(cpuset, "cpuset.mems", mems.trim())?;
                put(cpuset, "cpuset.cpus", &limits.cpu_list())?;
                put(memory, "memory.limit_in_bytes", &memory_bytes.to_string())?;
                put_if_there(memory, "memory.memsw.limit_in_bytes", &memory_bytes.to_string())
            }
            Kind::V2 { folder, cpuset, .. } => {
                if *cpuset {
                    put(folder, "cpuset.cpus", &limits.cpu_list())?;
                }
                put(folder, "memory.max", &memory_bytes.to_string())?;
                put_if_there(folder, "memory.swap.max", "0")
            }
        }
    }

    /// The directories that a process of the pen is in.
    fn folders(&self) -> Vec<&Path> {
        match &self.kind {
            Kind::V1 { cpuset, memory, cpuacct, freezer } => {
                [Some(cpuset), Some(memory), cpuacct.as_ref(), Some(freezer)]
                    .into_iter()
                    .flatten()
                    .map(PathBuf::as_path)
                    .collect()
            }
            Kind::V2 { own, .. } => vec![own],
        }
    }

    /// Whether it confines processes to its CPUs; else the caller pins them by affinity.
    #[must_use]
    pub fn confines_cpus(&self) -> bool {
        !matches!(self.kind, Kind::V2 { cpuset: false, .. })
    }

    /// The memory limit that the kernel really holds, read back, without what the engine itself may use on top; bytes.
    #[must_use]
    pub fn memory_limit_bytes(&self) -> Option<u64> {
        let file = match &self.kind {
            Kind::V1 { memory, .. } => memory.join("memory.limit_in_bytes"),
            Kind::V2 { folder, .. } => folder.join("memory.max"),
        };
        let held: u64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
        held.checked_sub(self.extra_bytes)
    }

    /// Opened `cgroup.procs` files: whoever writes "0" to all of them is in.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub fn entrances(&self) -> Result<Vec<File>, Failure> {
        let open = |folder: &Path| {
            let path = folder.join("cgroup.procs");
            let opened = OpenOptions::new().write(true).open(&path);
            opened.map_err(|error| Failure::from(error).while_doing(&path.display().to_string()))
        };
        self.folders().into_iter().map(open).collect()
    }

    /// The path below each controller's root, such as `/plimsoll-1a2b3c4d-17`, for engines that make children of it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Freezes every process in it and below; returns when all are frozen.
    ///
    /// # Errors
    /// When that takes longer than a bound.
    pub fn freeze(&self) -> Result<(), Failure> {
        self.set_frozen(true)
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// When that takes longer than a bound.
    pub fn thaw(&self) -> Result<(), Failure> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), Failure> {
        let (file, words, state, sign) = match (&self.kind, frozen) {
            (Kind::V1 { freezer, .. }, true) => {
                (freezer.join("freezer.state"), ["FROZEN", "THAWED"], "freezer.state", "FROZEN")
            }
            (Kind::V1 { freezer, .. }, false) => {
                (freezer.join("freezer.state"), ["THAWED"; 2], "freezer.state", "THAWED")
            }
            (Kind::V2 { folder, .. }, true) => (folder.join("cgroup.freeze"), ["1", "0"], "cgroup.events", "frozen 1"),
            (Kind::V2 { folder, .. }, false) => (folder.join("cgroup.freeze"), ["0"; 2], "cgroup.events", "frozen 0"),
        };
        let state = file.with_file_name(state);
        let reached = urge(&file, words, &state, sign);
        match reached.map_err(|error| Failure::from(error).while_doing(&file.display().to_string()))? {
            true => Ok(()),
            false => {
                let bound = FREEZE_TRY * FREEZE_TRIES;
                let message = format!("{} does not become `{sign}` within {bound:?}", state.display());
                Err(Failure::new(Cause::Timeout, message))
            }
        }
    }

    /// How many processes the kernel killed in it and below for want of memory.
    ///
    /// v1 counts where the killed process was, not above, and a runtime may have removed that cgroup already. Then it is
    /// inferred: memory reached the limit, and the host's own count rose since the pen was made.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        match &self.kind {
            Kind::V1 { memory, .. } => {
                let count = |folder: &PathBuf| counter(&folder.join("memory.oom_control"));
                let counted = tree::folders_below(memory).iter().map(count).sum();
                let peak = std::fs::read_to_string(memory.join("memory.max_usage_in_bytes")).unwrap_or_default();
                let full = peak.trim().parse().is_ok_and(|peak: u64| peak >= self.limit_bytes);
                let rise = counter(Path::new(VMSTAT)).saturating_sub(self.oom_kills_on_host);
                if counted == 0 && full { rise } else { counted }
            }
            Kind::V2 { folder, .. } => counter(&folder.join("memory.events")),
        }
    }

    /// CPU time that everything in it and below has used so far; `None` where the kernel does not say.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        match &self.kind {
            Kind::V1 { cpuacct, .. } => cpu::time(cpuacct.as_ref()?),
            Kind::V2 { folder, .. } => cpu::time(folder),
        }
    }

    /// Kills everything in it and removes it. Safe to call twice.
    ///
    /// # Errors
    /// When it is not empty after a bounded wait.
    pub fn remove(&mut self) -> Result<(), Failure> {
        let mut failures = Vec::new();
        for entry in self.entries.iter().rev() {
            failures.extend(self.journal.undo(*entry).err().map(|failure| failure.message));
        }
        if failures.is_empty() {
            self.entries.clear();
            return Ok(());
        }
        Err(Failure::new(Cause::TearDown, failures.join("; ")))
    }
}

impl Drop for Pen {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// The v2 hierarchy that is mounted beside v1 controllers (a hybrid layout), if that is so here.
///
/// # Errors
/// When /proc cannot be read.
pub(super) fn v2_beside_v1() -> Result<Option<PathBuf>, Failure> {
    Ok(Hierarchies::of_this_process()?.v2_beside_v1())
}

/// Where the pen goes; `None` where this host has no cgroups that could serve.
fn layout(found: &Hierarchies, name: &str) -> Option<(String, Kind)> {
    if let Some(parent) = found.parent_on_v2() {
        let path = format!("{}/{name}", parent.path.trim_end_matches('/'));
        let folder = parent.folder.join(name);
        return Some((path, Kind::V2 { own: folder.join("own"), folder, cpuset: parent.cpuset }));
    }
    let at = |controller| found.v1(controller).map(|mount| mount.join(name));
    let [cpuset, memory, cpuacct, freezer] = CONTROLLERS_V1.map(at);
    Some((format!("/{name}"), Kind::V1 { cpuset: cpuset?, memory: memory?, cpuacct, freezer: freezer? }))
}

/// Why a pen was not made.
enum Refusal {
    /// Cgroups are not ours to write here.
    NotAllowed,
    Failed(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn refusal(path: &Path, error: &std::io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Refusal::NotAllowed,
        _ => Refusal::Failed(Failure::launch(format!("{}: {error}", path.display()))),
    }
}

fn put(folder: &Path, file: &str, value: &str) -> Result<(), Refusal> {
    let path = folder.join(file);
    match std::fs::write(&path, value) {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => {
            Err(Refusal::Failed(Failure::launch(format!("cannot write `{value}` to {}: {error}", path.display()))))
        }
        result => result.map_err(|error| refusal(&path, &error)),
    }
}

fn put_if_there(folder: &Path, file: &str, value: &str) -> Result<(), Refusal> {
    if folder.join(file).exists() { put(folder, file, value) } else { Ok(()) }
}

fn counter(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Writes the first word until the state shows the sign. In between it takes the word back with the second: a process that
/// cannot freeze because another one has frozen before it, as with a tracer, gets on then.
fn urge(file: &Path, [word, back]: [&str; 2], state: &Path, sign: &str) -> std::io::Result<bool> {
    let reached = || std::fs::read_to_string(state).is_ok_and(|text| text.lines().any(|line| line == sign));
    for _ in 0..FREEZE_TRIES {
        std::fs::write(file, word)?;
        if patience::until(FREEZE_TRY, reached) {
            return Ok(true);
        }
        std::fs::write(file, back)?;
        patience::until(LET_GO, || false);
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
