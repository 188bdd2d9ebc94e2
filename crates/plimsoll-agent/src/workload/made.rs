//! What a workload keeps in the data directory: it goes with the workload.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::WorkloadError;

/// A file, or a directory with all that is in it; removed when this goes.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    there: bool,
}

impl Made {
    /// What `make` makes at this path; where it fails, what it left there goes too.
    ///
    /// # Errors
    /// [`WorkloadError::System`] with the path and what the system said.
    pub(super) fn by(path: PathBuf, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<Self, WorkloadError> {
        let made = Self { path, there: true };
        let written = make(&made.path);
        written.map_err(|error| WorkloadError::system(format!("writing {}", made.path.display()), error))?;
        Ok(made)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it; a second time there is nothing to do.
    ///
    /// # Errors
    /// [`WorkloadError::System`] when it cannot be removed.
    pub(super) fn remove(&mut self) -> Result<(), WorkloadError> {
        if !std::mem::take(&mut self.there) {
            return Ok(());
        }
        let removed = fs::symlink_metadata(&self.path).and_then(|metadata| match metadata.is_dir() {
            true => fs::remove_dir_all(&self.path),
            false => fs::remove_file(&self.path),
        });
        removed.map_err(|error| WorkloadError::system(format!("removing {}", self.path.display()), error))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_directory_go_when_they_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let file = Made::by(folder.path().join("file"), |path| fs::write(path, "text")).unwrap();
        let tree = Made::by(folder.path().join("tree"), |path| fs::create_dir_all(path.join("a/b"))).unwrap();
        assert!(file.path().is_file() && tree.path().join("a/b").is_dir());
        drop((file, tree));
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn what_was_half_made_goes_too() {
        let folder = tempfile::tempdir().unwrap();
        let half = |path: &Path| fs::write(path, "half").and(Err(io::ErrorKind::StorageFull.into()));
        let error = Made::by(folder.path().join("file"), half).unwrap_err();
        assert!(error.to_string().contains("writing ") && error.to_string().contains("file"), "{error}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn what_somebody_else_removed_is_an_error_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut made = Made::by(folder.path().join("file"), |path| fs::write(path, "text")).unwrap();
        fs::remove_file(made.path()).unwrap();
        assert!(made.remove().is_err());
        assert!(made.remove().is_ok());
    }
}
