//! A block device as the disk under test: it gets a filesystem for the run and loses it again.
//!
//! Only one that holds nothing: whatever is in use, has partitions or holds anything that blkid recognises is refused.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};

use super::journal::{Journal, Resource};
use super::process::{find_program, run_tool, run_tool_for_its_output};
use crate::sample::Failure;

/// The filesystem that it gets: that of guests' disks.
const FILESYSTEM: &str = "ext4";
/// How long a look at it, or making its filesystem, may take; a large disk takes most.
const LOOK_BOUND: Duration = Duration::from_secs(10);
const FORMAT_BOUND: Duration = Duration::from_secs(120);
/// Mode of the directory that it is mounted on; others may pass to what is opened to them.
const MODE: u32 = 0o711;
/// Share of a device that its filesystem leaves for files, for estimates before it is made.
const FOR_FILES: f64 = 0.9;
/// Gives another UUID at each reading.
const FRESH_UUID: &str = "/proc/sys/kernel/random/uuid";
/// Removes the filesystem if it is still the one that we made: device and UUID follow.
const REMOVE: &str = "test \"$(blkid -p -s UUID -o value \"$1\")\" != \"$2\" || wipefs -q -a \"$1\"";

/// Whether a device may be taken: bytes that its filesystem will have for files.
///
/// # Errors
/// Why not, with what helps. Nothing is written.
pub fn examine(device: &Path, interrupted: fn() -> bool) -> Result<u64, Failure> {
    let refused = |why: String| Failure::launch(format!("{}: {why}", device.display()));
    let metadata = std::fs::metadata(device).map_err(|error| refused(error.to_string()))?;
    if !metadata.file_type().is_block_device() {
        return Err(refused("it is no block device; for a folder there is --data".to_owned()));
    }
    if let Some(tool) = ["blkid", "wipefs", "mkfs.ext4"].into_iter().find(|tool| find_program(tool).is_none()) {
        return Err(refused(format!("{tool} is not installed, and without it a device cannot be used")));
    }
    // Exclusive: the kernel refuses a device that is mounted, swapped to, or part of another one.
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL).open(device);
    let mut opened = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBUSY) => refused("it is in use: mounted, swapped to, or part of another device".to_owned()),
        _ => refused(error.to_string()),
    })?;
    let bytes = std::io::Seek::seek(&mut opened, std::io::SeekFrom::End(0))?;
    drop(opened);
    let path = device.display().to_string();
    let found = run_tool(&["blkid", "-p", "-o", "export", &path], LOOK_BOUND, interrupted)?;
    match found.code {
        // Nothing was recognised.
        Some(2) => Ok((bytes as f64 * FOR_FILES) as u64),
        Some(0 | 8) => Err(refused(format!(
            "it holds {}; only an empty device is taken (`wipefs -a {path}` empties it, and loses what it holds)",
            contents(&found.stdout)
        ))),
        _ => Err(refused(format!("blkid cannot read it: {}", found.stderr.trim()))),
    }
}

/// What blkid recognised, in words.
fn contents(export: &str) -> String {
    let value = |key: &str| export.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    match (value("TYPE"), value("PTTYPE")) {
        (Some(kind), _) => format!("a filesystem or volume of type {kind}"),
        (None, Some(kind)) => format!("a partition table of type {kind}"),
        (None, None) => "something that blkid recognises".to_owned(),
    }
}

/// Makes a filesystem on a device that [`examine`] lets pass, and mounts it on a new directory; both are journalled.
///
/// # Errors
/// When the device may not be taken any more, or something fails; the journal knows what was done.
pub(super) fn prepare(journal: &Journal, device: &Path, on: &Path, interrupted: fn() -> bool) -> Result<(), Failure> {
    examine(device, interrupted)?;
    let path = device.display().to_string();
    let uuid = std::fs::read_to_string(FRESH_UUID)?;
    let uuid = uuid.trim();
    let what = format!("filesystem on {path}");
    let argv = ["sh", "-c", REMOVE, "sh", &path, uuid].map(str::to_owned).to_vec();
    journal.note(Resource::Restore { argv, what })?;
    // Nothing is left for the kernel to initialise in the background while something is measured.
    let complete = "lazy_itable_init=0,lazy_journal_init=0";
    let argv = ["mkfs.ext4", "-q", "-F", "-U", uuid, "-E", complete, &path];
    run_tool_for_its_output(&argv, FORMAT_BOUND, interrupted)?;
    journal.make_directory(on, MODE)?;
    journal.note(Resource::Mount { path: on.to_owned() })?;
    let nothing: Option<&str> = None;
    mount(Some(device), on, Some(FILESYSTEM), MsFlags::empty(), nothing)
        .map_err(|error| Failure::from(std::io::Error::from(error)).while_doing(&format!("mounting {path}")))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::testing;
    use super::*;

    /// Of no filesystem here.
    const UUID: &str = "6f1a2c5e-0d3b-4a7e-9b61-2f4d8c7e5a90";

    /// A loop device that goes with it.
    struct Loop {
        device: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Loop {
        /// `None`, with a word why, where loop devices cannot be made.
        fn make() -> Option<Self> {
            if !nix::unistd::geteuid().is_root() {
                testing::skip("root", "a loop device needs root");
                return None;
            }
            let folder = tempfile::tempdir_in("/var/tmp").unwrap();
            let file = folder.path().join("disk");
            std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
            let argv = ["losetup", "--find", "--show", "--direct-io=on", &file.display().to_string()];
            let made = run_tool_for_its_output(&argv, LOOK_BOUND, || false);
            let device = made.map_err(|failure| testing::skip("loop", &failure.message)).ok()?;
            Some(Self { device: PathBuf::from(device.trim()), _folder: folder })
        }

        fn run(&self, argv: &[&str]) {
            let path = self.device.display().to_string();
            let argv: Vec<&str> = argv.iter().copied().chain([path.as_str()]).collect();
            run_tool_for_its_output(&argv, FORMAT_BOUND, || false).unwrap();
        }

        fn refusal(&self) -> String {
            examine(&self.device, || false).unwrap_err().message
        }
    }

    impl Drop for Loop {
        fn drop(&mut self) {
            let _ = run_tool(&["losetup", "-d", &self.device.display().to_string()], LOOK_BOUND, || false);
        }
    }

    #[test]
    fn what_is_no_block_device_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        assert!(examine(folder.path(), || false).unwrap_err().message.contains("for a folder there is --data"));
        assert!(examine(Path::new("/dev/null"), || false).is_err());
    }

    #[test]
    fn a_device_that_holds_anything_is_refused() {
        let Some(device) = Loop::make() else { return };
        assert!(examine(&device.device, || false).is_ok());
        device.run(&["mkfs.ext4", "-q", "-F"]);
        assert!(device.refusal().contains("it holds a filesystem or volume of type ext4"), "{}", device.refusal());
        device.run(&["wipefs", "-q", "-a"]);
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
        let Some(device) = Loop::make() else { return };
        let folder = tempfile::tempdir().unwrap();
        let run = "plimsoll-test-device";
        let journal = Journal::start(folder.path(), run).unwrap();
        let on = folder.path().join(format!("{run}-device"));
        prepare(&journal, &device.device, &on, || false).unwrap();
        std::fs::write(on.join("file"), "text").unwrap();
        assert!(device.refusal().contains("in use"), "{}", device.refusal());
        journal.undo_all().unwrap();
        assert!(!on.exists());
        assert!(examine(&device.device, || false).is_ok(), "it is empty again");
    }

    #[test]
    fn a_filesystem_that_is_not_the_runs_is_never_removed() {
        let Some(device) = Loop::make() else { return };
        device.run(&["mkfs.ext4", "-q", "-F"]);
        let path = device.device.display().to_string();
        run_tool_for_its_output(&["sh", "-c", REMOVE, "sh", &path, UUID], LOOK_BOUND, || false).unwrap();
        assert!(device.refusal().contains("ext4"), "{}", device.refusal());
    }
}
