//! Emptying and removing a cgroup directory with everything below it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;

use super::super::patience;
use crate::sample::{Cause, Failure};

/// How long killed processes may take to leave their cgroup.
const EMPTY_BOUND: Duration = Duration::from_secs(5);
/// A container has a handful of cgroups; a tree beyond this is not looked at further.
const FOLDERS_MAX: usize = 4096;

/// The directory and all below it, children first.
pub(super) fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut at = 0;
    while at < found.len() && found.len() < FOLDERS_MAX {
        let entries = std::fs::read_dir(&found[at]).into_iter().flatten().flatten();
        let folders: Vec<PathBuf> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        found.extend(folders);
        at += 1;
    }
    found.reverse();
    found
}

/// Kills every process in it and below, thaws them so that they can die, and removes the directories, children first.
/// What is not there is removed already.
pub(crate) fn remove_tree(folder: &Path) -> Result<(), Failure> {
    if !folder.exists() {
        return Ok(());
    }
    let kind = statfs(folder).map_err(std::io::Error::from)?.filesystem_type();
    if kind != CGROUP_SUPER_MAGIC && kind != CGROUP2_SUPER_MAGIC {
        return Err(Failure::launch("it lies on no cgroup filesystem"));
    }
    if patience::until(EMPTY_BOUND, || removed(folder)) {
        return Ok(());
    }
    let left: Vec<i32> = folders_below(folder).iter().flat_map(|folder| processes(folder)).collect();
    Err(Failure::new(Cause::TearDown, format!("processes {left:?} do not end after SIGKILL")))
}

/// Kills what is frozen in it and below, and lets it run to its death: a frozen process does not take SIGKILL.
pub(crate) fn kill_frozen(folder: &Path) {
    let says = |file: &str, word: &str| {
        std::fs::read_to_string(folder.join(file)).is_ok_and(|text| text.trim().starts_with(word))
    };
    if says("freezer.state", "FR") || says("cgroup.freeze", "1") {
        kill_all(folder, &folders_below(folder));
    }
}

/// One attempt; whoever forked meanwhile is met by the next.
fn removed(folder: &Path) -> bool {
    let folders = folders_below(folder);
    kill_all(folder, &folders);
    for folder in &folders {
        let _ = std::fs::remove_dir(folder);
    }
    !folder.exists()
}

fn kill_all(folder: &Path, folders: &[PathBuf]) {
    let pids: Vec<i32> = folders.iter().flat_map(|folder| processes(folder)).collect();
    if !pids.is_empty() {
        let killed_at_once = std::fs::write(folder.join("cgroup.kill"), "1").is_ok();
        for pid in pids.into_iter().filter(|_| !killed_at_once) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    for folder in folders.iter().rev() {
        thaw(folder);
    }
}

fn thaw(folder: &Path) {
    for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let path = folder.join(file);
        if path.exists() {
            let _ = std::fs::write(path, word);
        }
    }
}

/// A process of another pid namespace reads as 0 and is left alone.
fn processes(folder: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect()
}
