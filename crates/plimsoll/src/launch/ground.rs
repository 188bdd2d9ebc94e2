//! What lies under a folder for data: a disk, memory, or a loop device that serves "direct" I/O from the host's cache.
//!
//! It looks through partitions and through devices that are stacked on others (LVM, encryption). A filesystem that hides
//! its devices (btrfs, ZFS) is not looked through.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::cage::filesystem_of;

/// Where the kernel lists block devices by number.
const DEVICES: &str = "/sys/dev/block";
/// Most devices on top of each other that are looked through.
const DEPTH_MAX: u32 = 8;

/// What lies under a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ground {
    /// Type of the filesystem; `None` where that cannot be told.
    pub filesystem: Option<String>,
    /// The loop device without direct I/O.
    pub cached_loop: Option<CachedLoop>,
}

/// A loop device whose I/O goes through the host's page cache, whatever its user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedLoop {
    /// Such as `/dev/loop0`.
    pub device: String,
    /// The file that it shows as a disk.
    pub file: String,
}

impl Ground {
    /// That of a folder.
    #[must_use]
    pub fn under(folder: &Path) -> Self {
        let device = device_under(folder, Path::new(DEVICES));
        Self {
            filesystem: filesystem_of(folder),
            cached_loop: device.and_then(|device| cached_loop(&device, DEPTH_MAX)),
        }
    }

    /// Whether it is memory.
    #[must_use]
    pub fn is_memory(&self) -> Option<bool> {
        self.filesystem.as_deref().map(is_memory)
    }

    /// Words that qualify every number of an environment whose data lie here.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        let memory = (self.is_memory() == Some(true)).then_some("memory");
        let cache = self.cached_loop.is_some().then_some("host cache");
        memory.into_iter().chain(cache).map(str::to_owned).collect()
    }
}

/// Whether filesystems of this type keep files in memory.
pub(super) fn is_memory(filesystem: &str) -> bool {
    matches!(filesystem, "tmpfs" | "ramfs")
}

/// The kernel's folder of the block device under a folder.
pub(super) fn device_under(folder: &Path, devices: &Path) -> Option<PathBuf> {
    let number = fs::metadata(folder).ok()?.dev();
    devices.join(format!("{}:{}", major(number), minor(number))).canonicalize().ok()
}

fn cached_loop(device: &Path, depth: u32) -> Option<CachedLoop> {
    let whole = if device.join("partition").exists() { device.parent()? } else { device };
    let text = |name: &str| fs::read_to_string(whole.join("loop").join(name)).ok().map(|text| text.trim().to_owned());
    if let (Some(file), Some("0")) = (text("backing_file"), text("dio").as_deref()) {
        let name = whole.file_name()?.to_string_lossy();
        return Some(CachedLoop { device: format!("/dev/{name}"), file });
    }
    let below = fs::read_dir(whole.join("slaves")).ok()?.flatten();
    below.filter(|_| depth > 0).find_map(|slave| cached_loop(&slave.path().canonicalize().ok()?, depth - 1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;
    use crate::launch::process::run_tool_for_its_output;
    use crate::launch::testing::skip;

    /// A tree of devices: `loop0` with a partition, `dm-0` on top of that, and `sda`.
    fn devices(dio: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for made in ["loop0/loop", "loop0/slaves", "loop0/loop0p1", "dm-0/slaves", "sda/slaves"] {
            fs::create_dir_all(path(made)).unwrap();
        }
        for (name, text) in [("dio", dio), ("backing_file", "/images/disk\n")] {
            fs::write(path("loop0/loop").join(name), text).unwrap();
        }
        fs::write(path("loop0/loop0p1/partition"), "1\n").unwrap();
        symlink(path("loop0/loop0p1"), path("dm-0/slaves/loop0p1")).unwrap();
        folder
    }

    #[test]
    fn a_loop_device_without_direct_io_is_found_under_whatever_lies_on_it() {
        let expected = CachedLoop { device: "/dev/loop0".to_owned(), file: "/images/disk".to_owned() };
        let (cached, direct) = (devices("0\n"), devices("1\n"));
        for name in ["loop0", "loop0/loop0p1", "dm-0"] {
            assert_eq!(cached_loop(&cached.path().join(name), DEPTH_MAX).as_ref(), Some(&expected), "{name}");
            assert_eq!(cached_loop(&direct.path().join(name), DEPTH_MAX), None, "{name}");
        }
        assert_eq!(cached_loop(&cached.path().join("sda"), DEPTH_MAX), None);
    }

    #[test]
    fn what_distorts_every_number_is_a_label() {
        let on = |filesystem: &str| Ground { filesystem: Some(filesystem.to_owned()), cached_loop: None };
        assert_eq!((on("tmpfs").labels(), on("ext4").labels()), (vec!["memory".to_owned()], Vec::new()));
        let cached = CachedLoop { device: String::new(), file: String::new() };
        assert_eq!(Ground { cached_loop: Some(cached), ..on("xfs") }.labels(), ["host cache"]);
        assert_eq!(Ground::default().is_memory(), None);
    }

    #[test]
    fn memory_is_known_by_its_filesystem() {
        assert_eq!(Ground::under(Path::new("/dev/shm")).labels(), ["memory"]);
    }

    /// Undone whatever the test finds.
    struct Loop {
        folder: tempfile::TempDir,
        device: String,
        mounted: bool,
    }

    impl Loop {
        fn run(argv: &[&str]) -> Result<String, crate::sample::Failure> {
            run_tool_for_its_output(argv, Duration::from_secs(20), || false)
        }

        /// `None` without root or loop devices.
        fn mounted() -> Option<Self> {
            let folder = tempfile::tempdir_in("/var/tmp").unwrap();
            let image = folder.path().join("image");
            fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
            Self::run(&["mkfs.ext4", "-q", "-F", image.to_str().unwrap()]).ok()?;
            let device = Self::run(&["losetup", "--find", "--show", image.to_str().unwrap()]).ok()?;
            let mut made = Self { folder, device: device.trim().to_owned(), mounted: false };
            fs::create_dir(made.point()).unwrap();
            made.mounted = Self::run(&["mount", &made.device, made.point().to_str().unwrap()]).is_ok();
            made.mounted.then_some(made)
        }

        fn point(&self) -> PathBuf {
            self.folder.path().join("mounted")
        }
    }

    impl Drop for Loop {
        fn drop(&mut self) {
            if self.mounted {
                let _ = Self::run(&["umount", self.point().to_str().unwrap()]);
            }
            let _ = Self::run(&["losetup", "--detach", &self.device]);
        }
    }

    #[test]
    fn a_real_loop_device_is_labelled_until_its_direct_io_is_on() {
        let Some(made) = nix::unistd::geteuid().is_root().then(Loop::mounted).flatten() else {
            return skip("root", "no loop device can be made and mounted here");
        };
        let ground = Ground::under(&made.point());
        assert_eq!(ground.labels(), ["host cache"]);
        assert_eq!(ground.cached_loop.unwrap().device, made.device);
        Loop::run(&["losetup", "--direct-io=on", &made.device]).unwrap();
        assert_eq!(Ground::under(&made.point()), Ground { filesystem: Some("ext4".to_owned()), cached_loop: None });
    }
}
