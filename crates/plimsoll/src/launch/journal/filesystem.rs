//! Undoing a filesystem that a run made on a block device. It is known by its UUID alone: nothing is written to a device
//! on which blkid does not find this very one.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use nix::errno::Errno;

use super::undo::Undone;
use crate::launch::device::content::Content;
use crate::launch::device::{is_in_use, open_alone, zeros};
use crate::sample::Failure;

/// Where udev names filesystems by their UUID: after a restart a device may have another name.
const BY_UUID: &str = "/dev/disk/by-uuid";
/// A device that does not give its first bytes is not looked at further.
const HEAD_BYTES: usize = 512;

/// What was found under a device's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The filesystem.
    It,
    /// A device with something else, or nothing.
    Other,
    /// No device.
    Nothing,
}

/// Empties the device that holds it, as far as an empty device is looked at, under the name that it had or that it has now.
/// A device that is not there any more must not keep a journal open for ever: it is said, and that is all.
pub(super) fn remove(device: &Path, uuid: &str) -> Result<Undone, Failure> {
    remove_from([device, &Path::new(BY_UUID).join(uuid)], uuid)
}

/// Under the first of these names that leads to it: the one that it had, and the one that it has now.
fn remove_from(names: [&Path; 2], uuid: &str) -> Result<Undone, Failure> {
    let mut is_there = false;
    for path in names {
        let named = |failure: Failure| failure.while_doing(&path.display().to_string());
        match look(path, uuid).map_err(named)? {
            Found::It => return empty(path, uuid).map(|()| Undone::Wholly).map_err(named),
            Found::Other => is_there = true,
            Found::Nothing => {}
        }
    }
    if is_there {
        return Ok(Undone::Wholly);
    }
    Ok(Undone::OutOfReach(format!(
        "filesystem {uuid} stays on a device that is not here any more ({}) and is forgotten; `blkdiscard -f -z` on the \
         device removes it with all that it holds",
        names[0].display()
    )))
}

fn look(path: &Path, uuid: &str) -> Result<Found, Failure> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
        Ok(found) if !found.file_type().is_block_device() => return Ok(Found::Nothing),
        Ok(_) => {}
    }
    let opened = File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0)).map(|bytes| (file, bytes)));
    match opened {
        // A loop device keeps its name without a file.
        Ok((_, 0)) => return Ok(Found::Nothing),
        Ok((file, _)) => file.read_exact_at(&mut [0; HEAD_BYTES], 0)?,
        Err(error) if is_without_device(&error) => return Ok(Found::Nothing),
        Err(error) => return Err(error.into()),
    }
    match Content::of(path, || false)? {
        Content::Something { uuid: Some(found), .. } if found == uuid => Ok(Found::It),
        _ => Ok(Found::Other),
    }
}

fn is_without_device(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENXIO | Errno::ENODEV | Errno::ENOMEDIUM))
}

/// Held alone while it is looked at again and written to: nobody can put something else there meanwhile.
fn empty(path: &Path, uuid: &str) -> Result<(), Failure> {
    let (file, bytes) = open_alone(path).map_err(|error| match is_in_use(&error) {
        true => Failure::launch("it is still in use; unmount it"),
        false => error.into(),
    })?;
    if look(path, uuid)? != Found::It {
        return Err(Failure::launch("it has just been changed by somebody else"));
    }
    Ok(zeros::fill(&file, bytes)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::super::{Journal, Resource};
    use super::*;
    use crate::launch::device::examine;
    use crate::launch::device::testing::{Loop, SMALL_BYTES};

    const RUN: &str = "plimsoll-test-filesystem";
    const UUID: &str = "6f1a2c5e-0d3b-4a7e-9b61-2f4d8c7e5a90";
    const ANOTHER: &str = "0b0e8a52-4d7c-4f0c-8a43-5ef1c6b0d7e3";

    /// A journal of a run that has made [`UUID`] there.
    fn with_journal(device: &Path, test: impl FnOnce(&Journal)) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::start(folder.path(), RUN).unwrap();
        journal.note(Resource::Filesystem { device: device.to_owned(), uuid: UUID.to_owned() }).unwrap();
        test(&journal);
    }

    /// The same, on a device with a filesystem of this UUID.
    fn with_filesystem(uuid: &str, test: impl FnOnce(&Loop, &Journal)) {
        let Some(device) = Loop::make(SMALL_BYTES) else { return };
        device.run(&["mkfs.ext4", "-q", "-F", "-U", uuid]);
        with_journal(&device.device, |journal| test(&device, journal));
    }

    fn head(device: &Loop) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        File::open(&device.device).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn a_filesystem_of_ours_is_removed_so_that_the_device_is_taken_again() {
        with_filesystem(UUID, |device, journal| {
            journal.undo_all().unwrap();
            examine(&device.device, || false).unwrap();
        });
    }

    #[test]
    fn a_filesystem_with_another_uuid_is_never_touched() {
        with_filesystem(ANOTHER, |device, journal| {
            let before = head(device);
            journal.undo_all().unwrap();
            assert!(head(device) == before, "somebody else's filesystem was written to");
        });
    }

    #[test]
    fn where_blkid_cannot_tell_nothing_is_written_and_the_entry_stays() {
        with_filesystem(UUID, |device, journal| {
            let file = File::options().write(true).open(&device.device).unwrap();
            file.write_all_at(b"-rom1fs-", 0).unwrap();
            let before = head(device);
            assert!(journal.undo_all().unwrap_err().message.contains("blkid cannot tell"));
            assert_eq!(journal.left().len(), 1);
            assert!(head(device) == before, "what is not known was written to");
            file.write_all_at(&[0; 8], 0).unwrap();
            journal.undo_all().unwrap();
        });
    }

    #[test]
    fn a_device_that_somebody_uses_is_not_emptied_and_the_entry_stays() {
        with_filesystem(UUID, |device, journal| {
            let before = head(device);
            let alone = File::options().read(true).custom_flags(nix::libc::O_EXCL).open(&device.device).unwrap();
            assert!(journal.undo_all().unwrap_err().message.contains("still in use"));
            assert_eq!(journal.left().len(), 1);
            assert!(head(device) == before);
            drop(alone);
        });
    }

    #[test]
    fn a_device_that_has_another_name_now_is_found_by_the_uuid() {
        with_filesystem(UUID, |device, _| {
            let Some(another) = Loop::make(SMALL_BYTES) else { return };
            let folder = tempfile::tempdir().unwrap();
            let link = folder.path().join(UUID);
            std::os::unix::fs::symlink(&device.device, &link).unwrap();
            for had in [another.device.as_path(), Path::new("/dev/plimsoll-test-gone")] {
                device.run(&["mkfs.ext4", "-q", "-F", "-U", UUID]);
                assert_eq!(remove_from([had, &link], UUID).unwrap(), Undone::Wholly);
                examine(&device.device, || false).unwrap();
            }
        });
    }

    fn assert_is_said_once_and_forgotten(journal: &Journal) {
        let said = journal.undo_all().unwrap_err().message;
        assert!(said.contains(&format!("filesystem {UUID} stays on a device")), "{said}");
        assert_eq!(journal.left(), []);
        journal.undo_all().unwrap();
    }

    #[test]
    fn a_device_that_is_gone_is_said_once_and_forgotten() {
        with_journal(Path::new("/dev/plimsoll-test-gone"), assert_is_said_once_and_forgotten);
        with_journal(Path::new("/dev/null"), assert_is_said_once_and_forgotten);
    }

    #[test]
    fn a_device_without_a_disk_behind_it_is_gone() {
        let Some(device) = Loop::make(0) else { return };
        with_journal(&device.device, assert_is_said_once_and_forgotten);
    }
}
