//! Where a run's data lie: a folder, or a block device that gets a filesystem for the run. Looked at before anything is
//! started.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plimsoll::launch::journal::Journal;
use plimsoll::launch::{Folders, Place, device};
use plimsoll::plan::{DataWish, Plan};
use plimsoll::sample::Failure;
use plimsoll::{interrupt, probe};

use super::super::exit::Refusal;

/// It lies on a disk where /tmp may not.
const DEFAULT_FOLDER: &str = "/var/tmp";

/// What was chosen, and is there.
pub(super) enum Home {
    Folder { path: PathBuf, takes_direct_io: bool },
    Device { device: PathBuf, bytes: u64 },
}

impl Home {
    /// As the user says it, else the default folder.
    ///
    /// # Errors
    /// When it is not there, or may not be used; says what helps.
    pub(super) fn of(plan: &Plan) -> Result<Self> {
        match plan.data() {
            Some(DataWish::Device(device)) => {
                let bytes = device::examine(device, interrupt::requested)
                    .map_err(|failure| Refusal::usage(format!("--data-device: {failure}")))?;
                Ok(Self::Device { device: device.clone(), bytes })
            }
            Some(DataWish::Folder(path)) => folder(path),
            None => folder(Path::new(DEFAULT_FOLDER)),
        }
    }

    /// Room for files, bytes.
    pub(super) fn free_bytes(&self) -> u64 {
        match self {
            Self::Folder { path, .. } => probe::disk_free_bytes(path).unwrap_or(0),
            Self::Device { bytes, .. } => *bytes,
        }
    }

    /// Whether files there can be opened for direct I/O.
    pub(super) fn takes_direct_io(&self) -> bool {
        match self {
            Self::Folder { takes_direct_io, .. } => *takes_direct_io,
            Self::Device { .. } => true,
        }
    }

    /// Everything of the run carries its name; the agent's executable lies beside the data, since /run may be `noexec`.
    ///
    /// # Errors
    /// When a folder cannot be made, or a device cannot be made one; nothing stays behind.
    pub(super) fn open_place(&self, id: &str) -> Result<Place, Failure> {
        let folder = match self {
            Self::Folder { path, .. } => path.clone(),
            Self::Device { .. } => PathBuf::from(DEFAULT_FOLDER),
        };
        let folders = Folders { journals: Journal::directory(), scratch_in: folder.clone(), data_in: folder };
        let executable = Path::new("/proc/self/exe");
        let place = Place::open(&format!("plimsoll-{id}"), &folders, executable, interrupt::requested)?;
        match self {
            Self::Folder { .. } => Ok(place),
            Self::Device { device, .. } => place.on_device(device),
        }
    }
}

fn folder(path: &Path) -> Result<Home> {
    let found = path.canonicalize().ok().filter(|path| path.is_dir());
    let path = found.ok_or_else(|| Refusal::usage(format!("--data: {} is no directory", path.display())))?;
    let takes_direct_io = probe::takes_direct_io(&path)
        .map_err(|error| Refusal::usage(format!("--data: no file can be made in {}: {error}", path.display())))?;
    Ok(Home::Folder { path, takes_direct_io })
}
