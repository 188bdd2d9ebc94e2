//! What was made on the host and is not undone yet: written before it is made, undone in reverse order.
//!
//! ```text
//! note(resource) -> make it -> ... -> undo it -> forget(entry)          kill -9 anywhere: `plimsoll clean` undoes the rest
//! ```
//! One file per run in [`Journal::directory`], one JSON line per entry. A journal whose owner is alive is left alone.
//! This module makes nothing but its own file.

mod abandoned;
mod docker_api;
mod filesystem;
mod owner;
mod undo;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use abandoned::AbandonedJournal;
pub use owner::start_ticks;

use crate::sample::{Cause, Failure};
use owner::Owner;
use undo::Undone;

/// Something made on the host. Undoing is safe to repeat and touches nothing that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Resource {
    /// A process, known by its start time as well, so that a reused number is not ours.
    Process {
        /// Process id.
        pid: i32,
        /// Field 22 of /proc/PID/stat.
        start_ticks: u64,
    },
    /// A cgroup directory (one controller of v1, or v2): its processes are killed, children removed first.
    Cgroup {
        /// Full path.
        path: PathBuf,
    },
    /// A mount point.
    Mount {
        /// Where.
        path: PathBuf,
    },
    /// A filesystem on a block device that was empty before.
    Filesystem {
        /// The device, absolute and without links; after a restart it may have another name.
        device: PathBuf,
        /// The filesystem's UUID, by which it is known.
        uuid: String,
    },
    /// A directory tree of ours; its name contains the run's name.
    Directory {
        /// Full path.
        path: PathBuf,
    },
    /// A container of a Docker engine.
    DockerContainer {
        /// Path of the engine's socket.
        socket: PathBuf,
        /// Its name.
        name: String,
    },
    /// An image of a Docker engine.
    DockerImage {
        /// Path of the engine's socket.
        socket: PathBuf,
        /// Its reference.
        reference: String,
    },
    /// A container of an OCI runtime.
    OciContainer {
        /// The runtime's program.
        runtime: PathBuf,
        /// Its `--root`.
        root: PathBuf,
        /// Container id.
        id: String,
    },
    /// A command that restores what was changed, as argv (for the private Docker engine's traces).
    Restore {
        /// Program and arguments.
        argv: Vec<String>,
        /// What it restores, for a person.
        what: String,
    },
    /// A file (sysctl) with its content before we changed it.
    FileContent {
        /// Full path.
        path: PathBuf,
        /// What it held.
        before: String,
    },
    /// A network link made by us or by an engine of ours.
    Link {
        /// Its name.
        name: String,
    },
}

/// Number of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry(pub u64);

/// The journal of a run. Clones are the same journal.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    run: String,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    next: u64,
    left: Vec<(Entry, Resource)>,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Owner { run: String, owner: Owner },
    Made { made: u64, resource: Resource },
    Undone { undone: u64 },
}

impl Journal {
    /// Where journals lie: `/run/plimsoll` for root, else `$XDG_RUNTIME_DIR/plimsoll`, else `/tmp/plimsoll-UID`.
    #[must_use]
    pub fn directory() -> PathBuf {
        let user = nix::unistd::geteuid();
        match std::env::var_os("XDG_RUNTIME_DIR") {
            _ if user.is_root() => PathBuf::from("/run/plimsoll"),
            Some(folder) if Path::new(&folder).is_absolute() => Path::new(&folder).join("plimsoll"),
            _ => PathBuf::from(format!("/tmp/plimsoll-{user}")),
        }
    }

    /// Starts the journal of a run.
    ///
    /// # Errors
    /// When the file cannot be made, or its directory belongs to somebody else.
    pub fn start(directory: &Path, run: &str) -> Result<Self, Failure> {
        if run.len() < RUN_NAME_BYTES_MIN || run.contains('/') {
            return Err(Failure::launch(format!("`{run}` cannot be the name of a run")));
        }
        let path = directory.join(format!("{run}.journal"));
        let named = |error| Failure::from(error).while_doing(&format!("cannot make the journal {}", path.display()));
        own_directory(directory).map_err(named)?;
        // Whoever looks for abandoned journals must never see one without its owner: it appears complete.
        let draft = directory.join(format!(".{run}.draft"));
        let _ = std::fs::remove_file(&draft);
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&draft).map_err(named)?;
        let owner = Line::Owner { run: run.to_owned(), owner: Owner::this_process().map_err(named)? };
        write_line(&mut file, &owner)?;
        std::fs::hard_link(&draft, &path).map_err(named)?;
        std::fs::remove_file(&draft).map_err(named)?;
        Ok(Self::over(run.to_owned(), path, file, 1, Vec::new()))
    }

    fn over(run: String, path: PathBuf, file: File, next: u64, left: Vec<(Entry, Resource)>) -> Self {
        Self { shared: Arc::new(Shared { run, path, state: Mutex::new(State { file, next, left }) }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is about to be made.
    ///
    /// # Errors
    /// When the note cannot be written: then it must not be made.
    pub fn note(&self, resource: Resource) -> Result<Entry, Failure> {
        let mut state = self.state();
        let entry = Entry(state.next);
        state.next += 1;
        let line = Line::Made { made: entry.0, resource: resource.clone() };
        write_line(&mut state.file, &line)?;
        state.left.push((entry, resource));
        Ok(entry)
    }

    /// Notes and makes a directory with this mode, for a path whose parent exists. One that is there already is somebody
    /// else's: it is forgotten again, so that undoing does not touch it.
    ///
    /// # Errors
    /// When it is there already or cannot be made.
    pub fn make_directory(&self, path: &Path, mode: u32) -> Result<Entry, Failure> {
        let entry = self.note(Resource::Directory { path: path.to_owned() })?;
        DirBuilder::new().mode(mode).create(path).map_err(|error| {
            self.forget(entry);
            Failure::from(error).while_doing(&format!("cannot make {}", path.display()))
        })?;
        Ok(entry)
    }

    /// Undoes one entry and forgets it. An entry that is not known any more is undone already.
    ///
    /// # Errors
    /// When it could not be undone; it stays noted. What cannot be reached any more is said too, but forgotten.
    pub fn undo(&self, entry: Entry) -> Result<(), Failure> {
        let found = self.state().left.iter().find(|(known, _)| *known == entry).map(|(_, resource)| resource.clone());
        let Some(resource) = found else { return Ok(()) };
        let undone = resource.undo(&self.shared.run)?;
        self.forget(entry);
        match undone {
            Undone::Wholly => Ok(()),
            Undone::OutOfReach(why) => Err(Failure::new(Cause::TearDown, why)),
        }
    }

    /// Forgets an entry that undid itself (a process that was reaped).
    pub fn forget(&self, entry: Entry) {
        let mut state = self.state();
        let before = state.left.len();
        state.left.retain(|(known, _)| *known != entry);
        if state.left.len() < before {
            // A line that cannot be written leaves a note too many, and undoing what is gone does nothing.
            let _ = write_line(&mut state.file, &Line::Undone { undone: entry.0 });
        }
    }

    /// What is noted and not undone, oldest first.
    #[must_use]
    pub fn left(&self) -> Vec<Resource> {
        self.state().left.iter().map(|(_, resource)| resource.clone()).collect()
    }

    /// Undoes everything that is left, newest first, and removes the journal if nothing stays noted.
    ///
    /// # Errors
    /// Every failure, joined.
    pub fn undo_all(&self) -> Result<(), Failure> {
        // A parked environment cannot be ended before it runs again.
        for resource in self.left() {
            resource.unfreeze(&self.shared.run);
        }
        let entries: Vec<Entry> = self.state().left.iter().map(|(entry, _)| *entry).rev().collect();
        let failures: Vec<String> =
            entries.into_iter().filter_map(|entry| self.undo(entry).err()).map(|failure| failure.message).collect();
        let removed = if self.left().is_empty() { self.remove_file() } else { Ok(()) };
        if failures.is_empty() { removed } else { Err(Failure::new(Cause::TearDown, failures.join("; "))) }
    }

    fn remove_file(&self) -> Result<(), Failure> {
        match std::fs::remove_file(&self.shared.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::from(error).while_doing(&format!("cannot remove {}", self.shared.path.display())))
            }
            _ => Ok(()),
        }
    }
}

/// A shorter name would be found in paths that are not ours.
const RUN_NAME_BYTES_MIN: usize = 8;

fn write_line(file: &mut File, line: &Line) -> Result<(), Failure> {
    let mut text = serde_json::to_string(line).map_err(|error| Failure::launch(format!("the journal: {error}")))?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(|error| Failure::from(error).while_doing("cannot write the journal"))
}

/// Makes the directory for us alone.
fn own_directory(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    is_ours_alone(directory)
}

/// Refuses a directory that somebody else made in our place under /tmp or may write to: what stands in a journal is
/// carried out with our rights.
fn is_ours_alone(directory: &Path) -> std::io::Result<()> {
    let found = std::fs::symlink_metadata(directory)?;
    let others_write = found.mode() & 0o022 != 0;
    if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() || others_write {
        return Err(std::io::Error::other("the directory is not ours alone; remove it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
