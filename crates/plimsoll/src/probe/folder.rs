//! A folder for data, tried with a file that is gone at once.

use std::fs::{OpenOptions, remove_file};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

/// Whether files in this folder can be opened for direct I/O.
///
/// # Errors
/// When no file can be made there at all.
pub fn takes_direct_io(folder: &Path) -> io::Result<bool> {
    let path = folder.join(format!("plimsoll-trial-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
    remove_file(&path)?;
    match direct {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_leaves_nothing_and_a_folder_without_room_for_a_file_is_an_error() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        assert!(takes_direct_io(folder.path()).unwrap(), "a disk's filesystem takes it");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        assert!(takes_direct_io(Path::new("/proc")).is_err());
    }
}
