//! The guest's data disk: ext4 made once per run as a template, and copied for every launch. Only what the template
//! holds is copied, so a launch costs a few milliseconds whatever the disk's size.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};

use super::arguments::DiskFormat;
use crate::launch::process::run_tool_for_its_output;
use crate::sample::Failure;

/// Size of a guest's data disk, bytes. The file is sparse: what is not written takes no room.
pub const DATA_DISK_BYTES: u64 = 1 << 30;
/// How long making a filesystem or converting it may take.
const TOOL_TIME_MAX: Duration = Duration::from_secs(60);

/// Makes the template of a run in `folder` and returns its path.
///
/// # Errors
/// When `mkfs.ext4` or `qemu-img` fails, or the disk under the folder is full.
pub(super) fn make_template(folder: &Path, format: DiskFormat, interrupted: fn() -> bool) -> Result<PathBuf, Failure> {
    let raw = folder.join("template.raw");
    let named = |error: io::Error| Failure::from(error).while_doing(&raw.display().to_string());
    File::create(&raw).and_then(|file| file.set_len(DATA_DISK_BYTES)).map_err(named)?;
    // Nothing is left for the guest's kernel to initialise in the background while something is measured.
    let complete = "lazy_itable_init=0,lazy_journal_init=0";
    let raw_text = raw.display().to_string();
    run_tool_for_its_output(&["mkfs.ext4", "-q", "-F", "-E", complete, &raw_text], TOOL_TIME_MAX, interrupted)?;
    if format == DiskFormat::Raw {
        return Ok(raw);
    }
    let converted = folder.join("template.qcow2");
    let to = converted.display().to_string();
    let argv = ["qemu-img", "convert", "-f", "raw", "-O", format.name(), &raw_text, &to];
    run_tool_for_its_output(&argv, TOOL_TIME_MAX, interrupted)?;
    fs::remove_file(&raw).map_err(named)?;
    Ok(converted)
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

    #[test]
    fn a_template_is_a_small_file_of_the_asked_format() {
        if testing::qemu().is_none() {
            return;
        }
        for (format, magic, at) in [(DiskFormat::Raw, &[0x53, 0xef][..], 1024 + 56), (DiskFormat::Qcow2, b"QFI\xfb", 0)]
        {
            let folder = tempfile::tempdir().unwrap();
            let template = make_template(folder.path(), format, || false).unwrap();
            let mut found = vec![0; magic.len()];
            File::open(&template).unwrap().read_exact_at(&mut found, at).unwrap();
            assert_eq!(found, magic);
            let copied = folder.path().join("copy");
            copy(&template, &copied).unwrap();
            assert!(fs::metadata(&copied).unwrap().blocks() * 512 < 40 << 20);
        }
    }
}
