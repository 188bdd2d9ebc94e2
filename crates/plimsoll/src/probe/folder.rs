//! A folder for data, tried with a file that has no name, so that nothing is left of it whenever we are killed.

use std::fs::{File, OpenOptions, remove_file};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

/// How a trial file is called where every file needs a name for a moment; a fresh UUID follows.
const TRIAL: &str = ".plimsoll-trial-";
const FRESH_UUID: &str = "/proc/sys/kernel/random/uuid";

/// Whether files in this folder can be opened for direct I/O.
///
/// # Errors
/// When no file can be made there at all.
pub fn takes_direct_io(folder: &Path) -> io::Result<bool> {
    let file = nameless(folder)?;
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    match OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(again) {
        Ok(_) => Ok(true),
        Err(error) if is(&error, Errno::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Made without a name where the filesystem can do that.
fn nameless(folder: &Path) -> io::Result<File> {
    match OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(folder) {
        Err(error) if is(&error, Errno::EOPNOTSUPP) => named_and_removed(folder),
        made => made,
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(errno)
}

/// Loses its name at once; a trial that was killed in between has left an empty file, which goes first. Another run may
/// take ours for such a file, which does no harm.
fn named_and_removed(folder: &Path) -> io::Result<File> {
    for entry in folder.read_dir()?.flatten() {
        let is_trial = entry.file_name().to_string_lossy().starts_with(TRIAL);
        if is_trial && entry.metadata().is_ok_and(|found| found.is_file() && found.len() == 0) {
            remove(&entry.path())?;
        }
    }
    let uuid = std::fs::read_to_string(FRESH_UUID)?;
    let path = folder.join(format!("{TRIAL}{}", uuid.trim()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    remove(&path)?;
    Ok(file)
}

fn remove(path: &Path) -> io::Result<()> {
    match remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
        assert!(takes_direct_io(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn a_filesystem_that_knows_no_nameless_files_is_tried_with_one_that_is_removed() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let names = ["stale", "full"].map(|name| folder.path().join(format!("{TRIAL}{name}")));
        std::fs::write(&names[0], "").unwrap();
        std::fs::write(&names[1], "somebody else's").unwrap();
        let file = named_and_removed(folder.path()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        let left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [names[1].clone()], "only a stale trial goes");
    }
}
