//! A cage: the vessel of every engine whose processes are processes of this host: native, our own container, and those
//! of OCI runtimes. It holds a started process, the pen around it, and what was made for it.
//!
//! ```text
//! running <-> parked        both -> torn down
//! ```

mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plimsoll_agent::wire::Wire;

use super::cgroup::Pen;
use super::journal::{Entry, Journal, Resource};
use super::place::Place;
use super::process::{Running, Spec};
use super::{Diagnosis, LaunchOrder, Vessel};
use crate::sample::{Cause, Failure};

/// How long an agent may take to end after its wire was closed, before it is killed.
const FAREWELL_BOUND: Duration = Duration::from_millis(300);
/// Label of an environment that has CPUs but no memory limit, since cgroups cannot be written.
pub(super) const AFFINITY_ONLY: &str = "affinity only";
/// Label of an environment with a memory limit whose CPUs are only an affinity, which it could change.
pub(super) const CPUS_BY_AFFINITY: &str = "cpus by affinity";

/// What to start, and what to say about it.
pub(super) struct Plan {
    /// Program and arguments; its pen, affinity and log are added.
    pub(super) program: PathBuf,
    pub(super) argv0: Option<String>,
    pub(super) args: Vec<String>,
    pub(super) data_dir: String,
    pub(super) asked: BTreeMap<String, String>,
    pub(super) facts: BTreeMap<String, String>,
    pub(super) labels: Vec<String>,
    /// A container that a runtime would leave behind if it were killed.
    pub(super) container: Option<Resource>,
}

/// Everything around a process before it is started: pen and folders. Dropping it undoes them.
pub(super) struct Shell {
    /// `None` without cgroups.
    pub(super) pen: Option<Pen>,
    cpus: Vec<u32>,
    name: String,
    folders: Vec<Entry>,
    journal: Journal,
}

impl Shell {
    /// Makes the pen.
    pub(super) fn make(place: &Place, order: &LaunchOrder, memory_extra_bytes: u64) -> Result<Self, Failure> {
        let pen = Pen::make(place, &order.name, &order.limits, memory_extra_bytes)?;
        let cpus = order.limits.cpus.clone();
        let journal = place.journal.clone();
        Ok(Self { pen, cpus, name: order.name.clone(), folders: Vec::new(), journal })
    }

    /// Makes a folder that is removed with the environment.
    pub(super) fn folder(&mut self, path: &Path) -> Result<(), Failure> {
        self.folders.push(self.journal.note(Resource::Directory { path: path.to_owned() })?);
        std::fs::create_dir(path).map_err(|error| Failure::from(error).while_doing(&path.display().to_string()))
    }

    /// Starts the process in it.
    pub(super) fn start(mut self, place: &Place, plan: Plan) -> Result<Cage, Failure> {
        let confined = self.pen.as_ref().is_some_and(Pen::confines_cpus);
        let spec = Spec {
            program: plan.program,
            argv0: plan.argv0,
            args: plan.args,
            env: vec![("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned())],
            cwd: Some(PathBuf::from("/")),
            affinity: (!confined).then(|| self.cpus.clone()),
            wired: true,
            log: place.scratch.join(format!("{}.log", self.name)),
            outlives_parent: false,
        };
        let container = plan.container.map(|container| self.journal.note(container)).transpose()?;
        let started = Running::start(place, &spec, self.pen.as_ref());
        let mut running = match (started, container) {
            (Err(failure), Some(container)) => {
                self.journal.undo(container)?;
                return Err(failure);
            }
            (started, _) => started?,
        };
        let wire = running.take_wire().ok_or_else(|| Failure::launch("the process has no wire"))?;
        let mut labels = plan.labels;
        match &self.pen {
            None => labels.push(AFFINITY_ONLY.to_owned()),
            Some(_) if !confined => labels.push(CPUS_BY_AFFINITY.to_owned()),
            Some(_) => {}
        }
        Ok(Cage {
            wire,
            running,
            pen: self.pen.take(),
            parked: false,
            data_dir: plan.data_dir,
            asked: plan.asked,
            facts: plan.facts,
            labels,
            container,
            folders: std::mem::take(&mut self.folders),
            journal: self.journal.clone(),
        })
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        for folder in self.folders.iter().rev() {
            let _ = self.journal.undo(*folder);
        }
    }
}

/// A running environment whose processes are processes of this host.
pub(super) struct Cage {
    wire: Wire,
    running: Running,
    pen: Option<Pen>,
    parked: bool,
    data_dir: String,
    asked: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
    labels: Vec<String>,
    container: Option<Entry>,
    folders: Vec<Entry>,
    journal: Journal,
}

impl Cage {
    /// Everything in the pen, or without one the process and its descendants.
    fn set_stopped(&mut self, stopped: bool) -> Result<(), Failure> {
        if let Some(words) = self.running.ended() {
            return Err(Failure::new(Cause::Died, format!("the environment has ended: {words}")));
        }
        match &self.pen {
            Some(pen) if stopped => pen.freeze()?,
            Some(pen) => pen.thaw()?,
            None => tree::set_stopped(self.running.pid(), stopped)?,
        }
        self.parked = stopped;
        Ok(())
    }
}

impl Vessel for Cage {
    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn data_dir(&self) -> String {
        self.data_dir.clone()
    }

    fn asked(&self) -> BTreeMap<String, String> {
        self.asked.clone()
    }

    fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = self.facts.clone();
        let limit = self.pen.as_ref().and_then(Pen::memory_limit_bytes);
        facts.extend(limit.map(|bytes| ("memory_limit_bytes".to_owned(), bytes.to_string())));
        facts
    }

    fn labels(&self) -> Vec<String> {
        self.labels.clone()
    }

    fn cpu_time(&self) -> Option<Duration> {
        self.pen.as_ref().and_then(Pen::cpu_time)
    }

    fn park(&mut self) -> Result<(), Failure> {
        self.set_stopped(true)
    }

    fn resume(&mut self) -> Result<(), Failure> {
        self.set_stopped(false)
    }

    fn diagnose(&mut self) -> Diagnosis {
        let out_of_memory = self.pen.as_ref().is_some_and(|pen| pen.oom_kills() > 0);
        let state = self.running.ended().unwrap_or_else(|| "still running".to_owned());
        let log = self.running.log_tail();
        let words = if log.is_empty() { state } else { format!("{state}; its log ends: {log}") };
        Diagnosis { out_of_memory, words }
    }

    fn tear_down(&mut self) -> Result<(), Failure> {
        // A wire whose other end is gone takes the place of ours, so that the agent hears ours close.
        if let Ok(deaf) = deaf_wire() {
            self.wire = deaf;
        }
        if !self.parked {
            self.running.wait(FAREWELL_BOUND);
        }
        let mut failures = Vec::new();
        let mut attempt = |done: Result<(), Failure>| failures.extend(done.err().map(|failure| failure.message));
        match &mut self.pen {
            Some(pen) => attempt(pen.remove()),
            None => attempt(tree::kill(self.running.pid())),
        }
        attempt(self.running.end(Duration::ZERO));
        for entry in self.container.iter().chain(self.folders.iter().rev()) {
            attempt(self.journal.undo(*entry));
        }
        if failures.is_empty() { Ok(()) } else { Err(Failure::new(Cause::TearDown, failures.join("; "))) }
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        let _ = self.tear_down();
    }
}

fn deaf_wire() -> std::io::Result<Wire> {
    let (reader, _) = std::io::pipe()?;
    let (_, writer) = std::io::pipe()?;
    Wire::new(reader.into(), writer.into(), || false)
}

/// What a layer that shares the host's kernel asks for: the same kernel and clock.
pub(super) fn asked_of_this_kernel() -> BTreeMap<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
    let facts = [
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("clock_source", read("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.ok()?))).collect()
}

/// Type of the filesystem that a path lies on, as in /proc/self/mountinfo.
pub(super) fn filesystem_of(path: &Path) -> Option<String> {
    let path = std::fs::canonicalize(path).ok()?;
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = text.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        Some((PathBuf::from(mount.split(' ').nth(4)?), filesystem.split(' ').next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    // Of mounts on one point the last one covers the others.
    above.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind.to_owned())
}
