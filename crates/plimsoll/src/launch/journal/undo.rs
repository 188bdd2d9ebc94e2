//! How each kind of thing is undone. Each is idempotent and refuses what is not known as the run's: most things by its
//! name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::owner::start_ticks;
use super::{Resource, docker_api, filesystem};
use crate::launch::cgroup::{kill_frozen, remove_tree};
use crate::launch::patience;
use crate::launch::process::{run_tool, run_tool_for_its_output};
use crate::sample::{Cause, Failure};

/// How long a killed process may take to vanish.
const KILLED_BOUND: Duration = Duration::from_secs(5);
/// How long a runtime or a command may take to undo its part.
const TOOL_BOUND: Duration = Duration::from_secs(30);
/// Mounts stacked on one point; more are not ours.
const STACKED_MOUNTS_MAX: usize = 16;

/// How far something was undone, where nothing failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Undone {
    /// It is gone.
    Wholly,
    /// It is not on this host any more, so nothing is left to be tried: a sentence for a person.
    OutOfReach(String),
}

impl Resource {
    pub(super) fn undo(&self, run: &str) -> Result<Undone, Failure> {
        let failed =
            |failure: Failure| Failure::new(Cause::TearDown, format!("cannot undo {self}: {}", failure.message));
        let done = match self {
            Self::Process { pid, start_ticks } => end_process(*pid, *start_ticks),
            Self::Cgroup { path } => ours(path, run).and_then(|()| remove_tree(path)),
            Self::Mount { path } => ours(path, run).and_then(|()| unmount(path)),
            Self::Filesystem { device, uuid } => return filesystem::remove(device, uuid).map_err(failed),
            Self::Directory { path } => ours(path, run).and_then(|()| remove_directory(path)),
            Self::DockerContainer { socket, name } => named(name, run)
                .and_then(|()| docker_api::delete(socket, &format!("/containers/{name}?force=1&v=1"), run)),
            Self::DockerImage { socket, reference } => named(reference, run)
                .and_then(|()| docker_api::delete(socket, &format!("/images/{reference}?force=1"), run)),
            Self::OciContainer { runtime, root, id } => {
                named(id, run).and_then(|()| delete_container(runtime, root, id))
            }
            Self::Restore { argv, .. } => {
                let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
                run_tool_for_its_output(&argv, TOOL_BOUND, || false).map(|_| ())
            }
            Self::FileContent { path, before } => restore_file(path, before),
            Self::Link { name } => delete_link(name),
        };
        done.map(|()| Undone::Wholly).map_err(failed)
    }

    /// Kills what is frozen in a cgroup of ours.
    pub(super) fn unfreeze(&self, run: &str) {
        if let Self::Cgroup { path } = self
            && ours(path, run).is_ok()
        {
            kill_frozen(path);
        }
    }

    /// Whether a restart of the machine has not undone it.
    pub(super) fn survives_a_restart(&self) -> bool {
        matches!(
            self,
            Self::Filesystem { .. } | Self::Directory { .. } | Self::DockerContainer { .. } | Self::DockerImage { .. }
        )
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Process { pid, .. } => write!(formatter, "process {pid}"),
            Self::Cgroup { path } => write!(formatter, "cgroup {}", path.display()),
            Self::Mount { path } => write!(formatter, "mount {}", path.display()),
            Self::Filesystem { device, uuid } => write!(formatter, "filesystem {uuid} on {}", device.display()),
            Self::Directory { path } => write!(formatter, "directory {}", path.display()),
            Self::DockerContainer { name, .. } => write!(formatter, "Docker container {name}"),
            Self::DockerImage { reference, .. } => write!(formatter, "Docker image {reference}"),
            Self::OciContainer { runtime, id, .. } => write!(formatter, "{} container {id}", runtime.display()),
            Self::Restore { what, .. } => write!(formatter, "{what}"),
            Self::FileContent { path, .. } => write!(formatter, "content of {}", path.display()),
            Self::Link { name } => write!(formatter, "network link {name}"),
        }
    }
}

fn named(name: &str, run: &str) -> Result<(), Failure> {
    if name.contains(run) { Ok(()) } else { Err(Failure::launch(format!("it does not carry the name {run}"))) }
}

fn ours(path: &Path, run: &str) -> Result<(), Failure> {
    let strange = !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir);
    if strange {
        return Err(Failure::launch("its path is not absolute and plain"));
    }
    named(&path.to_string_lossy(), run)
}

fn end_process(pid: i32, ticks: u64) -> Result<(), Failure> {
    let gone = || start_ticks(pid) != Some(ticks);
    if pid <= 1 || gone() {
        return Ok(());
    }
    kill(Pid::from_raw(pid), Signal::SIGKILL)
        .map_err(|error| Failure::launch(format!("it cannot be killed: {error}")))?;
    if patience::until(KILLED_BOUND, gone) { Ok(()) } else { Err(Failure::launch("it does not end after SIGKILL")) }
}

fn unmount(path: &Path) -> Result<(), Failure> {
    for _ in 0..STACKED_MOUNTS_MAX {
        if !mount_points()?.iter().any(|point| point == path) {
            return Ok(());
        }
        umount2(path, MntFlags::MNT_DETACH).map_err(std::io::Error::from)?;
    }
    Err(Failure::launch("it is mounted again and again"))
}

/// Every mount point that this process sees.
fn mount_points() -> Result<Vec<PathBuf>, Failure> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point))).collect())
}

/// The kernel writes space, tab, newline and backslash of a path as three octal digits.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

fn remove_directory(path: &Path) -> Result<(), Failure> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(found) if !found.is_dir() => return Err(Failure::launch("it is no directory any more")),
        Ok(_) => {}
    }
    // Through a mount that was forgotten, removing would reach files that are not ours.
    if let Some(point) = mount_points()?.iter().find(|point| point.starts_with(path)) {
        return Err(Failure::launch(format!("{} is still mounted; unmount it", point.display())));
    }
    if std::fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    open_up(path);
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Without root, a directory without permission bits (an overlay's work directory) cannot even be listed by its owner.
fn open_up(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

fn delete_container(runtime: &Path, root: &Path, id: &str) -> Result<(), Failure> {
    if !root.join(id).exists() || !runtime.exists() {
        return Ok(());
    }
    let (runtime, root_text) = (runtime.to_string_lossy(), root.to_string_lossy());
    let argv = [&*runtime, "--root", &*root_text, "delete", "--force", id];
    let output = run_tool(&argv, TOOL_BOUND, || false)?;
    if output.code == Some(0) || !root.join(id).exists() {
        return Ok(());
    }
    Err(Failure::launch(output.stderr.trim().to_owned()))
}

fn restore_file(path: &Path, before: &str) -> Result<(), Failure> {
    if !path.starts_with("/proc/sys") && !path.starts_with("/sys") {
        return Err(Failure::launch("only settings of the kernel are restored"));
    }
    match std::fs::read_to_string(path) {
        // The link or device that it belonged to is gone.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(now) if now == before => Ok(()),
        _ => Ok(std::fs::write(path, before)?),
    }
}

fn delete_link(name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.contains('/') || name == "lo" {
        return Err(Failure::launch("that is no link of ours"));
    }
    let here = || Path::new("/sys/class/net").join(name).exists();
    if !here() {
        return Ok(());
    }
    let output = run_tool(&["ip", "link", "delete", "dev", name], TOOL_BOUND, || false)?;
    if output.code == Some(0) || !here() { Ok(()) } else { Err(Failure::launch(output.stderr.trim().to_owned())) }
}
