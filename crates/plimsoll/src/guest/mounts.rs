//! What a guest mounts, and how it leaves the initramfs.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{chdir, chroot};

use super::manifest::DataDisk;
use super::wait::until;
use crate::launch::bundle::DATA_PATH;
use crate::sample::Failure;

/// Mounts of the kernel's own filesystems: they move along when the root is switched.
const KERNEL_FILESYSTEMS: &[(&str, &str)] = &[("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")];
/// Where the new root is prepared.
const NEW_ROOT: &str = "/new-root";
/// How long the data disk may take to appear; virtio-blk's is there at once, a SCSI bus is searched for a moment.
const DISK_TIME_MAX: Duration = Duration::from_secs(10);
/// Controllers that a pen needs.
const CONTROLLERS: &[&str] = &["cpuset", "memory"];
/// Where cgroups are mounted, as everywhere.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts proc, sys and devtmpfs.
pub(super) fn mount_kernel_filesystems() -> Result<(), Failure> {
    KERNEL_FILESYSTEMS.iter().try_for_each(|(kind, at)| mount_new(kind, kind, at, MsFlags::empty(), ""))
}

/// Moves to a tmpfs with the same files and forgets the initramfs, whose memory is freed file by file.
pub(super) fn switch_root() -> Result<(), Failure> {
    mount_new("tmpfs", "tmpfs", NEW_ROOT, MsFlags::empty(), "mode=755")?;
    let kept: Vec<&str> = KERNEL_FILESYSTEMS.iter().map(|(_, at)| *at).chain([NEW_ROOT]).collect();
    move_files(Path::new("/"), Path::new(NEW_ROOT), &kept)?;
    for (_, at) in KERNEL_FILESYSTEMS {
        let target = format!("{NEW_ROOT}{at}");
        fs::create_dir_all(&target).map_err(|error| named(error, &target))?;
        step(mount(Some(*at), target.as_str(), None::<&str>, MsFlags::MS_MOVE, None::<&str>), at)?;
    }
    step(chdir(NEW_ROOT), NEW_ROOT)?;
    step(mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>), "moving the root")?;
    step(chroot("."), "chroot")?;
    step(chdir("/"), "/")
}

/// Moves everything below `from` except what is `kept`; directories stay as empty shells.
fn move_files(from: &Path, to: &Path, kept: &[&str]) -> Result<(), Failure> {
    let shown = |error: std::io::Error| named(error, &from.display().to_string());
    for entry in fs::read_dir(from).map_err(shown)? {
        let path = entry.map_err(shown)?.path();
        if kept.iter().any(|kept| Path::new(kept) == path) {
            continue;
        }
        let target = to.join(path.file_name().unwrap_or_default());
        move_one(&path, &target, kept).map_err(|failure| failure.while_doing(&path.display().to_string()))?;
    }
    Ok(())
}

fn move_one(path: &Path, target: &Path, kept: &[&str]) -> Result<(), Failure> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        fs::create_dir(target)?;
        fs::set_permissions(target, metadata.permissions())?;
        return move_files(path, target, kept);
    }
    if kind.is_symlink() {
        symlink(fs::read_link(path)?, target)?;
    } else if kind.is_char_device() {
        let mode = Mode::from_bits_truncate(metadata.permissions().mode());
        mknod(target, SFlag::S_IFCHR, mode, metadata.rdev()).map_err(std::io::Error::from)?;
    } else {
        fs::copy(path, target)?;
    }
    Ok(fs::remove_file(path)?)
}

/// Mounts what programs expect: terminals, shared memory and temporary folders.
pub(super) fn mount_conveniences() -> Result<(), Failure> {
    let careful = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_new("devpts", "devpts", "/dev/pts", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "mode=620,ptmxmode=666")?;
    mount_new("tmpfs", "tmpfs", "/dev/shm", careful, "mode=1777")?;
    mount_new("tmpfs", "tmpfs", "/tmp", careful, "mode=1777")?;
    mount_new("tmpfs", "tmpfs", "/run", careful, "mode=755")
}

/// Mounts cgroup v2; where it lacks a controller that a pen needs, v1 hierarchies beside it.
pub(super) fn mount_cgroups() -> Result<(), Failure> {
    mount_new("cgroup2", "cgroup2", CGROUPS, MsFlags::empty(), "")?;
    let file = format!("{CGROUPS}/cgroup.controllers");
    let available = fs::read_to_string(&file).map_err(|error| named(error, &file))?;
    if CONTROLLERS.iter().all(|wanted| available.split_whitespace().any(|found| found == *wanted)) {
        return Ok(());
    }
    step(nix::mount::umount(CGROUPS), CGROUPS)?;
    mount_new("tmpfs", "tmpfs", CGROUPS, MsFlags::empty(), "mode=755")?;
    for controller in CONTROLLERS.iter().chain(&["freezer"]) {
        mount_new("cgroup", "cgroup", &format!("{CGROUPS}/{controller}"), MsFlags::empty(), controller)?;
    }
    Ok(())
}

/// Mounts the data disk, which its driver may look for after its module is loaded; without one makes a folder on the
/// root, in memory.
pub(super) fn provide_data(disk: Option<&DataDisk>) -> Result<(), Failure> {
    let Some(DataDisk { device, filesystem }) = disk else {
        return fs::create_dir_all(DATA_PATH).map_err(|error| named(error, DATA_PATH));
    };
    let is_there = || fs::metadata(device).is_ok_and(|metadata| metadata.file_type().is_block_device());
    if until(DISK_TIME_MAX, || is_there().then_some(())).is_none() {
        let seconds = DISK_TIME_MAX.as_secs();
        return Err(Failure::launch(format!(
            "data disk {device} is missing: the kernel found no such device within {seconds} s"
        )));
    }
    mount_new(filesystem, device, DATA_PATH, MsFlags::empty(), "")
}

fn mount_new(kind: &str, source: &str, at: &str, flags: MsFlags, options: &str) -> Result<(), Failure> {
    fs::create_dir_all(at).map_err(|error| named(error, at))?;
    step(mount(Some(source), at, Some(kind), flags, Some(options)), &format!("mounting {kind} at {at}"))
}

fn step(result: Result<(), Errno>, what: &str) -> Result<(), Failure> {
    result.map_err(|error| named(error.into(), what))
}

fn named(error: std::io::Error, what: &str) -> Failure {
    Failure::from(error).while_doing(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_files_leave_nothing_behind_but_empty_folders_and_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir_all(from.join("kept")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/b/file"), "text").unwrap();
        fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(from.join("kept/file"), "stays").unwrap();
        symlink("b/file", from.join("a/link")).unwrap();
        move_files(&from, &to, &[from.join("kept").to_str().unwrap()]).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/link")).unwrap(), "text");
        assert_eq!(fs::metadata(to.join("a/b/file")).unwrap().permissions().mode() & 0o777, 0o750);
        assert!(!from.join("a/b/file").exists() && !from.join("a/link").is_symlink());
        assert!(from.join("kept/file").exists() && !to.join("kept").exists());
    }
}
