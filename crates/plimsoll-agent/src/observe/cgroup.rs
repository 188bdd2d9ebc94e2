//! Limits of the agent's control groups, as far as they can be seen from inside: v1, v2 and both at once.
//!
//! A limit anywhere above counts, so each folder from the agent's group up to the mount is read and the tightest wins.

use std::path::{Path, PathBuf};

use super::Files;
use super::mounts::Mount;

/// v1 says "no limit" with a number near 2^63.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// The tightest memory limit, bytes.
pub(super) fn memory_limit_bytes(files: &Files, mounts: &[Mount]) -> Option<u64> {
    let limit = |folder: &PathBuf| {
        let text = ["memory.max", "memory.limit_in_bytes"].iter().find_map(|name| files.text(folder.join(name)));
        text?.parse::<u64>().ok().filter(|bytes| *bytes < NO_LIMIT_BYTES)
    };
    folders(files, mounts, "memory").iter().filter_map(limit).min()
}

/// The tightest CPU quota, in CPUs.
pub(super) fn cpu_quota(files: &Files, mounts: &[Mount]) -> Option<f64> {
    let quota = |folder: &PathBuf| {
        let v1 = || {
            let [quota, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"].map(|name| files.text(folder.join(name)));
            Some(format!("{} {}", quota?, period?))
        };
        quota_cpus(&files.text(folder.join("cpu.max")).or_else(v1)?)
    };
    folders(files, mounts, "cpu").iter().filter_map(quota).min_by(f64::total_cmp)
}

/// `50000 100000` is half a CPU; `max 100000` and `-1 100000` are no limit.
fn quota_cpus(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// Folders that may limit the agent through this controller, in both hierarchies.
fn folders(files: &Files, mounts: &[Mount], controller: &str) -> Vec<PathBuf> {
    let groups = files.text("/proc/self/cgroup").unwrap_or_default();
    let mut folders = Vec::new();
    for mount in mounts {
        let group = match mount.filesystem.as_str() {
            "cgroup2" => group_of(&groups, ""),
            "cgroup" if mount.options.split(',').any(|option| option == controller) => group_of(&groups, controller),
            _ => None,
        };
        if let Some(group) = group {
            folders.extend(upwards(mount, group));
        }
    }
    folders
}

/// The agent's group from lines such as `4:memory:/a/b` and, for v2, `0::/a/b`.
fn group_of<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let found = fields.next()?.split(',').any(|name| name == controller);
        fields.next().filter(|_| found)
    })
}

/// Folders from the group's own up to the mount point. A container may see the group under another name than the
/// mount shows it: then only the mount point is sure.
fn upwards(mount: &Mount, group: &str) -> Vec<PathBuf> {
    let inside = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let named = inside.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let inside = if named { inside } else { Path::new("") };
    inside.ancestors().map(|folder| mount.point.join(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::mounts;
    use super::*;

    /// A tree of files, and the mounts that its mountinfo names.
    fn tree(entries: &[(&str, &str)]) -> (tempfile::TempDir, Files, Vec<Mount>) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::under(folder.path());
        for (path, text) in entries {
            let path = files.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mounts = mounts::parse(&files.text("/proc/self/mountinfo").unwrap_or_default());
        (folder, files, mounts)
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts_in_v2() {
        let (_kept, files, mounts) = tree(&[
            ("/proc/self/cgroup", "0::/a/b\n"),
            ("/proc/self/mountinfo", "1 1 0:1 / /cg rw - cgroup2 cgroup2 rw\n"),
            ("/cg/a/b/memory.max", "max\n"),
            ("/cg/a/memory.max", "1073741824\n"),
            ("/cg/memory.max", "4294967296\n"),
            ("/cg/a/b/cpu.max", "150000 100000\n"),
            ("/cg/a/cpu.max", "max 100000\n"),
        ]);
        assert_eq!(memory_limit_bytes(&files, &mounts), Some(1 << 30));
        assert_eq!(cpu_quota(&files, &mounts), Some(1.5));
    }

    #[test]
    fn each_controller_has_its_own_group_in_v1() {
        let (_kept, files, mounts) = tree(&[
            ("/proc/self/cgroup", "4:memory:/m\n2:cpu,cpuacct:/c\n0::/\n"),
            (
                "/proc/self/mountinfo",
                "1 1 0:1 / /cg/memory rw - cgroup cgroup rw,memory\n\
                 2 1 0:2 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                 3 1 0:3 / /cg/unified rw - cgroup2 cgroup2 rw\n",
            ),
            ("/cg/memory/m/memory.limit_in_bytes", "536870912\n"),
            ("/cg/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/cg/cpu/c/cpu.cfs_quota_us", "-1\n"),
            ("/cg/cpu/c/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(memory_limit_bytes(&files, &mounts), Some(512 << 20));
        assert_eq!(cpu_quota(&files, &mounts), None);
    }

    #[test]
    fn a_group_mounted_as_the_root_of_a_container_is_found_at_its_mount_point() {
        for (root, group) in [("/docker/x", "/docker/x"), ("/", "/../outside"), ("/docker/x", "/")] {
            let mountinfo = format!("1 1 0:1 {root} /cg rw - cgroup cgroup rw,memory\n");
            let (_kept, files, mounts) = tree(&[
                ("/proc/self/cgroup", &format!("4:memory:{group}\n")),
                ("/proc/self/mountinfo", &mountinfo),
                ("/cg/memory.limit_in_bytes", "1000\n"),
            ]);
            assert_eq!(memory_limit_bytes(&files, &mounts), Some(1000), "{root} {group}");
        }
    }

    #[test]
    fn no_cgroup_is_no_limit() {
        let (_kept, files, mounts) = tree(&[]);
        assert_eq!((memory_limit_bytes(&files, &mounts), cpu_quota(&files, &mounts)), (None, None));
    }
}
