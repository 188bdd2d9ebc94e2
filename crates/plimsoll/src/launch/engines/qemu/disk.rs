//! The guest's data disk: ext4 made once per run as a template, and copied for every launch. Only what the template
//! holds is copied, so a launch costs a few milliseconds whatever the disk's size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::statfs;
use nix::unistd::{Whence, lseek64};

use super::drive::Drive;
use super::initramfs::DATA_FILESYSTEM;
use super::superblock::Superblock;
use crate::launch::Ground;
use crate::launch::ground::device_under;
use crate::launch::process::run_tool_for_its_output;
use crate::sample::Failure;

/// How long making a filesystem or converting it may take.
const TOOL_TIME_MAX: Duration = Duration::from_secs(60);
/// Largest block of a filesystem that a guest's kernel mounts: its page.
const BLOCK_BYTES_MAX: u64 = 4096;
/// Where the kernel lists block devices by number.
const DEVICES: &str = "/sys/dev/block";

/// What every launch copies.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) path: PathBuf,
    /// The filesystem on it.
    pub(super) filesystem: Superblock,
    /// Words that qualify every number of a guest with it.
    pub(super) labels: Vec<String>,
}

/// Makes the template of a run in `folder`: a disk of `bytes`, with a filesystem like the host's where that is ext4.
///
/// # Errors
/// When the disk under the folder is full or does not take the I/O that the drive is for, or `mkfs.ext4` or `qemu-img`
/// fails.
pub(super) fn make_template(
    folder: &Path,
    drive: &Drive,
    bytes: u64,
    interrupted: fn() -> bool,
) -> Result<Template, Failure> {
    let raw = folder.join("template.raw");
    let named = |error: io::Error| Failure::from(error).while_doing(&raw.display().to_string());
    File::create(&raw).and_then(|file| file.set_len(bytes)).map_err(named)?;
    if drive.cache().direct {
        check_direct(&raw, drive.cache().name)?;
    }
    let raw_text = raw.display().to_string();
    let argv = mkfs(&like(folder), &raw_text);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    run_tool_for_its_output(&argv, TOOL_TIME_MAX, interrupted)?;
    let filesystem = Superblock::read(&raw).map_err(named)?;
    let labels = if is_like_the_hosts(folder) { Vec::new() } else { vec![OTHER_FILESYSTEM.to_owned()] };
    if drive.format == "raw" {
        return Ok(Template { path: raw, filesystem, labels });
    }
    let path = folder.join(format!("template.{}", drive.format));
    let to = path.display().to_string();
    let argv = ["qemu-img", "convert", "-f", "raw", "-O", &drive.format, &raw_text, &to];
    run_tool_for_its_output(&argv, TOOL_TIME_MAX, interrupted)?;
    fs::remove_file(&raw).map_err(named)?;
    Ok(Template { path, filesystem, labels })
}

/// QEMU opens its file past the host's page cache, and ends at once where the filesystem has no such I/O.
fn check_direct(file: &Path, cache: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECT.bits()).open(file);
    opened.map(drop).map_err(|error| {
        Failure::from(error).while_doing(&format!(
            "the filesystem under {} takes no direct I/O, which `cache={cache}` needs; choose another folder with --data, \
             or `cache=writeback`",
            file.parent().unwrap_or(file).display()
        ))
    })
}

/// Features that a filesystem may be made without, and that cost what a workload would feel: where the host's has none, the
/// guest gets none.
const LEFT_OUT: [&str; 2] = ["has_journal", "metadata_csum"];
/// The label of a guest whose filesystem is of another kind than native's.
const OTHER_FILESYSTEM: &str = "other filesystem than native's";

/// What a filesystem is to share with the host's; `None`: mkfs's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Like {
    block_bytes: Option<u64>,
    inode_bytes: Option<u64>,
    /// Features that it has not.
    without: Vec<&'static str>,
}

/// That of the filesystem under a folder, where it is ext4: its blocks anybody may ask for, the rest only who may read its
/// device.
fn like(folder: &Path) -> Like {
    if !is_like_the_hosts(folder) {
        return Like::default();
    }
    let block_bytes = statfs(folder).ok().and_then(|status| u64::try_from(status.block_size()).ok());
    let superblock = device_file(folder).and_then(|device| Superblock::read(&device).ok());
    let lacks = |feature: &&str| {
        superblock.as_ref().is_some_and(|superblock| !superblock.features.iter().any(|other| other == feature))
    };
    Like {
        block_bytes: block_bytes.filter(|bytes| *bytes <= BLOCK_BYTES_MAX),
        inode_bytes: superblock.as_ref().map(|superblock| superblock.inode_bytes),
        without: LEFT_OUT.into_iter().filter(lacks).collect(),
    }
}

fn is_like_the_hosts(folder: &Path) -> bool {
    Ground::under(folder).filesystem.as_deref() == Some(DATA_FILESYSTEM)
}

fn device_file(folder: &Path) -> Option<PathBuf> {
    let device = device_under(folder, Path::new(DEVICES))?;
    let described = fs::read_to_string(device.join("uevent")).ok()?;
    Some(Path::new("/dev").join(described.lines().find_map(|line| line.strip_prefix("DEVNAME="))?))
}

fn mkfs(like: &Like, image: &str) -> Vec<String> {
    // Nothing is left for the guest's kernel to initialise in the background while something is measured.
    let mut argv =
        ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"].map(str::to_owned).to_vec();
    for (option, bytes) in [("-b", like.block_bytes), ("-I", like.inode_bytes)] {
        argv.extend(bytes.into_iter().flat_map(|bytes| [option.to_owned(), bytes.to_string()]));
    }
    for feature in &like.without {
        argv.extend(["-O".to_owned(), format!("^{feature}")]);
    }
    argv.push(image.to_owned());
    argv
}

/// Copies a template; holes stay holes.
///
/// # Errors
/// When it cannot be read, or the copy cannot be written.
pub(super) fn copy(template: &Path, to: &Path) -> Result<(), Failure> {
    copy_sparse(template, to).map_err(|error| Failure::from(error).while_doing(&format!("disk {}", to.display())))
}

fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let target = File::create_new(to)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut end = 0;
    while let Some(start) = seek(&source, end, Whence::SeekData)? {
        end = seek(&source, start, Whence::SeekHole)?.unwrap_or(length);
        source.seek(SeekFrom::Start(start))?;
        copy_range(&mut source, &target, start..end, &mut buffer)?;
    }
    Ok(())
}

/// Copies a range, of which whole buffers of zeros are left out.
fn copy_range(source: &mut File, target: &File, range: std::ops::Range<u64>, buffer: &mut [u8]) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let most = buffer.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        let count = source.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            target.write_all_at(&buffer[..count], at)?;
        }
        at += count as u64;
    }
    Ok(())
}

/// Where data or a hole begins at or after `from`; `None` where there is none.
fn seek(file: &File, from: u64, whence: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(from).map_err(io::Error::other)?;
    match lseek64(file.as_fd(), from, whence) {
        Ok(found) => Ok(Some(found.cast_unsigned())),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::testing;
    use super::*;
    use crate::environment::Environment;
    use crate::launch::engines::abouts;

    #[test]
    fn a_copy_is_the_same_and_its_holes_take_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        for (at, text) in [(0, "begin"), (20 << 20, "middle"), ((64 << 20) - 3, "end")] {
            file.write_all_at(text.as_bytes(), at).unwrap();
        }
        copy(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap(), "the copy differs");
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 4 << 20);
    }

    #[test]
    fn a_copy_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert!(copy(&from, &to).is_err());
        assert_eq!(fs::read(&to).unwrap(), b"old");
    }

    fn drive(name: &str) -> Drive {
        Drive::of(&Environment::parse(name, &abouts()).unwrap().stack()[0]).unwrap()
    }

    #[test]
    fn a_template_is_a_small_file_of_the_asked_format_whatever_its_size() {
        if testing::qemu().is_none() {
            return;
        }
        for (name, bytes, magic, at) in
            [("qemu:disk=raw", 16_u64 << 30, &[0x53, 0xef][..], 1024 + 56), ("qemu", 1 << 30, b"QFI\xfb", 0)]
        {
            let folder = tempfile::tempdir().unwrap();
            let template = make_template(folder.path(), &drive(name), bytes, || false).unwrap();
            let mut found = vec![0; magic.len()];
            File::open(&template.path).unwrap().read_exact_at(&mut found, at).unwrap();
            assert_eq!(found, magic);
            let copied = folder.path().join("copy");
            copy(&template.path, &copied).unwrap();
            assert!(fs::metadata(&copied).unwrap().blocks() * 512 < 40 << 20);
        }
    }

    #[test]
    fn a_template_has_the_sizes_of_the_filesystem_under_it() {
        if testing::qemu().is_none() {
            return;
        }
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let Like { block_bytes, inode_bytes, without } = like(folder.path());
        let made = make_template(folder.path(), &drive("qemu"), 256 << 20, || false).unwrap().filesystem;
        // A small filesystem would have small blocks of its own accord.
        assert_eq!(block_bytes.unwrap_or(made.block_bytes), made.block_bytes);
        assert_eq!(inode_bytes.unwrap_or(made.inode_bytes), made.inode_bytes);
        for feature in LEFT_OUT {
            assert_eq!(made.features.contains(&feature.to_owned()), !without.contains(&feature), "{feature}");
        }
    }

    #[test]
    fn mkfs_is_told_what_could_be_read_and_nothing_else() {
        let line = |like: Like| mkfs(&like, "image").join(" ");
        let lazy = "mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0";
        assert_eq!(line(Like::default()), format!("{lazy} image"));
        let all = Like { block_bytes: Some(2048), inode_bytes: Some(512), without: vec!["has_journal"] };
        assert_eq!(line(all), format!("{lazy} -b 2048 -I 512 -O ^has_journal image"));
    }

    #[test]
    fn a_filesystem_without_direct_io_is_refused_in_words() {
        // The kernel's own files are opened by nobody past a cache.
        let refused = check_direct(Path::new("/proc/version"), "none").unwrap_err().message;
        assert!(refused.contains("/proc takes no direct I/O, which `cache=none` needs"), "{refused}");
        assert!(refused.contains("--data"), "{refused}");
    }
}
