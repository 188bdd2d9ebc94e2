//! Somewhere a file can be put and a process started: the host, or the inside of a guest.

use std::path::{Path, PathBuf};

use plimsoll_agent::workload::layer_tree::Tree;
use plimsoll_protocol::TreeOrder;
use sha2::{Digest, Sha256};

use super::bundle::{AGENT_PATH, Bundle};
use super::device;
use super::journal::Journal;
use crate::sample::Failure;

/// Smallest size of a guest's data disk, bytes. Its file is sparse: what is not written takes no room.
pub const DATA_DISK_BYTES_MIN: u64 = 1 << 30;
/// Others may pass through to what is opened to them, such as a container's root, and may not look around.
const FOLDER_MODE: u32 = 0o711;

/// A place, opened for one run.
#[derive(Debug)]
pub struct Place {
    /// Name of the run, such as `plimsoll-1a2b3c4d`: everything made carries it.
    pub run: String,
    /// Directory for sockets, logs and bundles; removed at the end.
    pub scratch: PathBuf,
    /// Directory on the disk under test, for environments' data and roots; removed at the end.
    pub data: PathBuf,
    /// What was made and is not undone yet.
    pub journal: Journal,
    /// The agent's executable with everything that it needs, copied once per run.
    pub bundle: Bundle,
    /// Files of a workload that lie in the layers of roots, if the run has such a workload.
    pub tree: Option<Tree>,
    /// Whether we are root (in a guest: always).
    pub root: bool,
    /// Size of every guest's data disk, bytes: a plan makes it larger for larger files.
    pub data_disk_bytes: u64,
    /// Asked by everything that waits.
    pub interrupted: fn() -> bool,
}

/// Where a place keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Directory of journals, see [`Journal::directory`].
    pub journals: PathBuf,
    /// A folder for the run's scratch is made in here; programs are started from it, so not one mounted `noexec`.
    pub scratch_in: PathBuf,
    /// A folder for the run's data is made in here: on the disk under test.
    pub data_in: PathBuf,
}

impl Place {
    /// Opens a place: starts the journal, makes the folders, copies the agent's executable (`/proc/self/exe` for our
    /// own, so that a rebuild in mid-run changes nothing).
    ///
    /// # Errors
    /// When a folder cannot be made or the executable cannot be read; what was made is undone.
    pub fn open(run: &str, folders: &Folders, executable: &Path, interrupted: fn() -> bool) -> Result<Self, Failure> {
        let mut place = Self {
            run: run.to_owned(),
            scratch: folders.scratch_in.join(format!("{run}-scratch")),
            data: folders.data_in.join(format!("{run}-data")),
            journal: Journal::start(&folders.journals, run)?,
            bundle: Bundle::default(),
            tree: None,
            root: nix::unistd::geteuid().is_root(),
            data_disk_bytes: DATA_DISK_BYTES_MIN,
            interrupted,
        };
        match place.fill(executable) {
            Ok(()) => Ok(place),
            Err(failure) => {
                place.close()?;
                Err(failure)
            }
        }
    }

    /// Has these files laid into the layers of roots.
    ///
    /// # Errors
    /// When they cannot be what is asked for.
    pub fn with_tree(self, order: Option<&TreeOrder>) -> Result<Self, Failure> {
        self.changed(|place| {
            place.tree = order
                .map(Tree::of)
                .transpose()
                .map_err(|error| Failure::launch(format!("files of a root: {error}")))?;
            Ok(())
        })
    }

    /// Has the data lie on this block device, which gets a filesystem until the place is closed.
    ///
    /// # Errors
    /// When it may not be used, or something fails; nothing stays behind.
    pub fn on_device(self, device: &Path) -> Result<Self, Failure> {
        self.changed(|place| {
            let on = place.scratch.with_file_name(format!("{}-device", place.run));
            device::prepare(&place.journal, device, &on, place.interrupted)?;
            place.data = on.join(format!("{}-data", place.run));
            place.journal.make_directory(&place.data, FOLDER_MODE).map(drop)
        })
    }

    /// Changed, or closed where that fails.
    fn changed(mut self, change: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<Self, Failure> {
        match change(&mut self) {
            Ok(()) => Ok(self),
            Err(failure) => {
                self.close()?;
                Err(failure)
            }
        }
    }

    fn fill(&mut self, executable: &Path) -> Result<(), Failure> {
        for folder in [&self.scratch, &self.data] {
            self.journal.make_directory(folder, FOLDER_MODE)?;
        }
        let copy = self.scratch.join("plimsoll");
        std::fs::copy(executable, &copy)
            .map_err(|error| Failure::from(error).while_doing(&format!("cannot copy {}", executable.display())))?;
        self.bundle = Bundle::of_agent(&copy)?;
        Ok(())
    }

    /// The run's copy of our executable.
    ///
    /// # Errors
    /// When the bundle holds none.
    pub fn executable(&self) -> Result<&Path, Failure> {
        self.bundle.source_of(AGENT_PATH).ok_or_else(|| Failure::launch(format!("the bundle has no {AGENT_PATH}")))
    }

    /// SHA-256 of that copy, in hexadecimal: the agent must report the same.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn executable_sha256(&self) -> Result<String, Failure> {
        let mut digest = Sha256::new();
        std::io::copy(&mut std::fs::File::open(self.executable()?)?, &mut digest)?;
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Undoes everything that is left, its folders too.
    ///
    /// # Errors
    /// When something stays behind; the journal still knows it.
    pub fn close(&self) -> Result<(), Failure> {
        self.journal.undo_all()
    }
}

/// What an environment may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// CPUs of this place that it may run on.
    pub cpus: Vec<u32>,
    /// Memory, bytes.
    pub memory_bytes: u64,
}

impl Limits {
    /// The CPUs as the kernel's lists are written: `1,3`.
    #[must_use]
    pub fn cpu_list(&self) -> String {
        let cpus: Vec<String> = self.cpus.iter().map(ToString::to_string).collect();
        cpus.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const RUN: &str = "plimsoll-test-place";

    fn open(folder: &Path) -> Result<Place, Failure> {
        let folders =
            Folders { journals: folder.join("journals"), scratch_in: folder.to_owned(), data_in: folder.to_owned() };
        Place::open(RUN, &folders, Path::new("/proc/self/exe"), || false)
    }

    #[test]
    fn a_folder_that_somebody_else_made_is_neither_used_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("{RUN}-data/file"));
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "somebody else's").unwrap();
        assert!(open(folder.path()).unwrap_err().message.contains(&format!("{RUN}-data")));
        assert!(file.exists());
        assert!(!folder.path().join(format!("{RUN}-scratch")).exists());
    }

    #[test]
    fn others_cannot_list_a_runs_folders() {
        let folder = tempfile::tempdir().unwrap();
        let place = open(folder.path()).unwrap();
        for made in [&place.scratch, &place.data] {
            assert_eq!(std::fs::metadata(made).unwrap().permissions().mode() & 0o066, 0, "{}", made.display());
        }
        place.close().unwrap();
    }
}
