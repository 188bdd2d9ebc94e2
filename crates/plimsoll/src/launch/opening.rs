//! Opening the host as a place for one run, and closing it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::bundle::{AGENT_PATH, Bundle};
use super::journal::{Journal, Resource};
use super::place::Place;
use crate::sample::Failure;

impl Place {
    /// Opens the host: starts the journal, makes the run's directories, and copies our own executable once, so that a
    /// rebuild in mid-run changes nothing. `data` is a directory on the disk under test.
    ///
    /// # Errors
    /// When a directory cannot be made or our executable cannot be copied; what was made is undone.
    pub fn open(run: &str, data: &Path, interrupted: fn() -> bool) -> Result<Self, Failure> {
        let directory = Journal::directory();
        let journal = Journal::start(&directory, run)?;
        let opened = folders(&journal, &directory.join(run), &data.join(run));
        let opened = opened.and_then(|(scratch, data)| Ok((bundle(&data)?, scratch, data)));
        match opened {
            Ok((bundle, scratch, data)) => Ok(Self {
                run: run.to_owned(),
                scratch,
                data,
                journal,
                bundle,
                root: nix::unistd::geteuid().is_root(),
                interrupted,
            }),
            Err(failure) => {
                let _ = journal.undo_all();
                Err(failure)
            }
        }
    }

    /// SHA-256 of the executable that goes into every environment, in hexadecimal.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn executable_sha256(&self) -> Result<String, Failure> {
        let path = self.bundle.source_of(AGENT_PATH);
        let path = path.ok_or_else(|| Failure::launch("the agent's bundle holds no executable"))?;
        let mut digest = Sha256::new();
        std::io::copy(&mut fs::File::open(path)?, &mut digest)?;
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn folders(journal: &Journal, scratch: &Path, data: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    for path in [scratch, data] {
        journal.note(Resource::Directory { path: path.to_owned() })?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(|error| Failure::from(error).while_doing(&format!("cannot make {}", path.display())))?;
    }
    Ok((scratch.to_owned(), data.canonicalize()?))
}

fn bundle(data: &Path) -> Result<Bundle, Failure> {
    let copy = data.join("plimsoll");
    let copied = fs::copy("/proc/self/exe", &copy).and_then(|_| fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)));
    copied.map_err(|error| Failure::from(error).while_doing("cannot copy our own executable"))?;
    Bundle::of_agent(&copy)
}
