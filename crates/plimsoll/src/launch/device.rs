//! A block device as the disk under test: it gets a filesystem for the run and loses it again.
//!
//! Only one that is empty: not in use, without anything that blkid recognises, and with zeros wherever it is looked at. What
//! blkid does not recognise may be somebody's data still: an encrypted volume without a header, or a database's partition.

pub(super) mod content;
#[cfg(test)]
pub(super) mod testing;
pub(super) mod zeros;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};

use self::content::Content;
use super::journal::{Journal, Resource};
use super::patience;
use super::process::{find_program, run_tool_for_its_output};
use crate::sample::{Cause, Failure};

/// The filesystem that it gets: that of guests' disks.
const FILESYSTEM: &str = "ext4";
/// What tells a person whose it is.
const LABEL: &str = "plimsoll";
/// Nothing is thrown away beyond the filesystem's own blocks, and nothing is left for the kernel to initialise in the
/// background while something is measured.
const EXTENDED_OPTIONS: &str = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
/// How long the kernel may take to let go of a device that nobody uses any more.
const RELEASE_BOUND: Duration = Duration::from_secs(3);
/// How long making it may take: all tables of inodes are written, more of them the larger the disk.
const FORMAT_BOUND: Duration = Duration::from_secs(600);
/// Programs that are needed, and what brings them.
const TOOLS: [(&str, &str); 2] = [("blkid", "util-linux"), ("mkfs.ext4", "e2fsprogs")];
/// Mode of the directory that it is mounted on; others may pass to what is opened to them.
const MODE: u32 = 0o711;
/// Share of a device that its filesystem leaves for files, for estimates before it is made.
const FOR_FILES: f64 = 0.9;
/// Gives another UUID at each reading.
const FRESH_UUID: &str = "/proc/sys/kernel/random/uuid";

/// Whether a device may be taken: bytes that its filesystem will have for files.
///
/// # Errors
/// Why not, with what helps. Nothing is written.
pub fn examine(device: &Path, interrupted: fn() -> bool) -> Result<u64, Failure> {
    let path = device.display().to_string();
    let named = |failure: Failure| failure.while_doing(&path);
    let bytes = usable(device).map_err(named)?;
    let holds = |what: &str| {
        Failure::launch(format!(
            "{path}: it holds {what}; only an empty device is taken. What a killed run left there `plimsoll clean` \
             removes; `blkdiscard -f -z {path}` fills the device with zeros, and loses whatever it holds"
        ))
    };
    if let Content::Something { words, .. } = Content::of(device, interrupted).map_err(named)? {
        return Err(holds(&words));
    }
    let other = File::open(device).and_then(|device| zeros::find_other(&device, bytes));
    match other.map_err(|error| named(error.into()))? {
        Some(at) => Err(holds(&format!("something at byte {at} that nothing here recognises"))),
        None => Ok((bytes as f64 * FOR_FILES) as u64),
    }
}

/// Size in bytes of a block device that nobody uses, where there is what makes a filesystem.
fn usable(device: &Path) -> Result<u64, Failure> {
    let refused = |why: &str| Err(Failure::launch(why));
    if !std::fs::metadata(device)?.file_type().is_block_device() {
        return refused("it is no block device; for a folder there is --data");
    }
    if let Some((tool, package)) = TOOLS.iter().find(|(tool, _)| find_program(tool).is_none()) {
        return refused(&format!("{tool} is needed to use a device, and is not here; install {package}"));
    }
    match open_alone(device) {
        Err(error) if is_in_use(&error) => refused("it is in use: mounted, swapped to, or part of another device"),
        Err(error) => Err(error.into()),
        Ok((_, 0)) => refused("it has no size: there is no disk behind it"),
        Ok((_, bytes)) => Ok(bytes),
    }
}

/// The device for us alone, and its size in bytes: the kernel refuses one that is mounted, swapped to, or part of another.
/// It may be about to let go of it: of a filesystem whose last mount was just undone, or of a descriptor that a process
/// between fork and exec has a copy of.
pub(super) fn open_alone(device: &Path) -> io::Result<(File, u64)> {
    let open = || {
        let mut opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(device)?;
        let bytes = opened.seek(SeekFrom::End(0))?;
        Ok((opened, bytes))
    };
    let mut opened = open();
    patience::until(RELEASE_BOUND, || {
        if opened.as_ref().is_err_and(is_in_use) {
            opened = open();
        }
        !opened.as_ref().is_err_and(is_in_use)
    });
    opened
}

/// Whether [`open_alone`] was refused for that.
pub(super) fn is_in_use(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(Errno::EBUSY)
}

/// Makes a filesystem on a device that [`examine`] lets pass, and mounts it on a new directory; both are journalled.
///
/// # Errors
/// When the device may not be taken any more, or something fails; the journal knows what was done.
pub(super) fn prepare(journal: &Journal, device: &Path, on: &Path, interrupted: fn() -> bool) -> Result<(), Failure> {
    examine(device, interrupted)?;
    // It may be undone from another folder, and when links lead elsewhere.
    let device = device.canonicalize()?;
    let path = device.display().to_string();
    let uuid = std::fs::read_to_string(FRESH_UUID)?.trim().to_owned();
    journal.note(Resource::Filesystem { device: device.clone(), uuid: uuid.clone() })?;
    let argv = ["mkfs.ext4", "-q", "-F", "-L", LABEL, "-U", &uuid, "-E", EXTENDED_OPTIONS, &path];
    run_tool_for_its_output(&argv, FORMAT_BOUND, interrupted).map_err(|failure| {
        let help = if failure.cause == Cause::Timeout { "; a partition of it would be ready sooner" } else { "" };
        failure.while_doing(&format!("{path} got no filesystem{help}"))
    })?;
    journal.make_directory(on, MODE)?;
    journal.note(Resource::Mount { path: on.to_owned() })?;
    let nothing: Option<&str> = None;
    mount(Some(&device), on, Some(FILESYSTEM), MsFlags::empty(), nothing)
        .map_err(|error| Failure::from(io::Error::from(error)).while_doing(&format!("mounting {path}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::testing::{Loop, SMALL_BYTES};
    use super::*;

    #[test]
    fn what_is_no_block_device_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        assert!(examine(folder.path(), || false).unwrap_err().message.contains("for a folder there is --data"));
        assert!(examine(Path::new("/dev/null"), || false).is_err());
    }

    #[test]
    fn a_device_that_holds_anything_is_refused() {
        let Some(device) = Loop::make(SMALL_BYTES) else { return };
        assert!(examine(&device.device, || false).is_ok());
        device.run(&["mkfs.ext4", "-q", "-F"]);
        assert!(device.refusal().contains("it holds a filesystem or volume of type ext4"), "{}", device.refusal());
        device.run(&["blkdiscard", "-f", "-z"]);
        let mut sector = [0; 512];
        // One entry: Linux, from sector 2048, 4096 sectors long; then the magic number of a DOS partition table.
        sector[450] = 0x83;
        sector[454..458].copy_from_slice(&2048_u32.to_le_bytes());
        sector[458..462].copy_from_slice(&4096_u32.to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(&device.device, sector).unwrap();
        assert!(device.refusal().contains("partition table of type dos"), "{}", device.refusal());
    }

    #[test]
    fn a_device_has_a_filesystem_for_the_run_and_none_afterwards() {
        let Some(device) = Loop::make(SMALL_BYTES) else { return };
        let folder = tempfile::tempdir().unwrap();
        let run = "plimsoll-test-device";
        let journal = Journal::start(folder.path(), run).unwrap();
        let on = folder.path().join(format!("{run}-device"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&device.device, &link).unwrap();
        prepare(&journal, &link, &on, || false).unwrap();
        let noted = journal.left();
        assert!(matches!(&noted[0], Resource::Filesystem { device: path, .. } if *path == device.device), "{noted:?}");
        std::fs::write(on.join("file"), vec![1; 32 << 20]).unwrap();
        assert!(device.refusal().contains("in use"), "{}", device.refusal());
        journal.undo_all().unwrap();
        assert!(!on.exists());
        examine(&device.device, || false).expect("it is empty again");
    }

    #[test]
    fn a_device_with_bytes_that_nothing_recognises_is_refused() {
        let Some(device) = Loop::make(SMALL_BYTES) else { return };
        let file = OpenOptions::new().write(true).open(&device.device).unwrap();
        file.write_all_at(b"a database", 200_000).unwrap();
        assert!(device.refusal().contains("something at byte 200000 that nothing here recognises"));
        assert!(device.refusal().contains("blkdiscard -f -z"));
        device.run(&["blkdiscard", "-f", "-z"]);
        assert!(examine(&device.device, || false).is_ok());
    }

    #[test]
    fn a_device_without_a_disk_behind_it_is_refused() {
        let Some(device) = Loop::make(0) else { return };
        assert!(device.refusal().contains("it has no size"), "{}", device.refusal());
    }
}
