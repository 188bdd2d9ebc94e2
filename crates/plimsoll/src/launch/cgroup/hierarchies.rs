//! Which cgroup hierarchies are mounted where, and where in them we are.

use std::path::{Path, PathBuf};

use crate::sample::Failure;

/// Mounted hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// Controllers (or `name=...`) and mount point.
    v1: Vec<(Vec<String>, PathBuf)>,
    v2: Option<PathBuf>,
    /// Our own path in v2.
    own_v2: String,
}

/// A directory of v2 that can hold a pen with a memory limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parent {
    /// Path below the hierarchy's root.
    pub(super) path: String,
    pub(super) folder: PathBuf,
    /// Whether the pen can have a CPU set too; systemd does not delegate that to users by default.
    pub(super) cpuset: bool,
}

impl Hierarchies {
    pub(super) fn of_this_process() -> Result<Self, Failure> {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .map_err(|error| Failure::from(error).while_doing(&format!("cannot read {path}")))
        };
        Ok(Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup").unwrap_or_default()))
    }

    fn parse(mountinfo: &str, cgroup: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let mut filesystem = filesystem.split(' ');
            let Some(point) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
            match (filesystem.next(), filesystem.nth(1)) {
                (Some("cgroup2"), _) => found.v2 = Some(point),
                (Some("cgroup"), Some(options)) => {
                    found.v1.push((options.split(',').map(str::to_owned).collect(), point));
                }
                _ => {}
            }
        }
        found.own_v2 = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
        found
    }

    pub(super) fn v1(&self, controller: &str) -> Option<&Path> {
        let holds = |(controllers, _): &&(Vec<String>, PathBuf)| controllers.iter().any(|one| one == controller);
        self.v1.iter().find(holds).map(|(_, mount)| mount.as_path())
    }

    /// The directory of a process, whose /proc/PID/cgroup this is, that has a controller; on v2 there is one for all.
    pub(super) fn folder(&self, cgroup: &str, controller: &str) -> Option<PathBuf> {
        let own = |holds: &dyn Fn(&str) -> bool| {
            let mut lines = cgroup.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            lines.find(|(controllers, _)| holds(controllers)).map(|(_, path)| path.trim_start_matches('/').to_owned())
        };
        match self.v1(controller) {
            Some(mount) => Some(mount.join(own(&|all| all.split(',').any(|one| one == controller))?)),
            None => Some(self.v2.as_ref()?.join(own(&str::is_empty)?)),
        }
    }

    pub(super) fn v2_beside_v1(&self) -> Option<PathBuf> {
        self.v2.clone().filter(|_| !self.v1.is_empty())
    }

    pub(super) fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.v1.iter().map(|(_, mount)| mount).chain(&self.v2).map(PathBuf::as_path)
    }

    /// The nearest ancestor of our own cgroup that can hold a pen with a memory limit; `None` on v1 and hybrid layouts,
    /// where v2 has no controllers, and where nothing was delegated to us.
    pub(super) fn parent_on_v2(&self) -> Option<Parent> {
        let mount = self.v2.as_ref()?;
        let root = nix::unistd::geteuid().is_root();
        let ancestors: Vec<&Path> = Path::new(&self.own_v2).ancestors().collect();
        // Root has the whole tree: a pen at its root is out of the reach of limits that surround our own terminal.
        let candidates: Vec<&Path> = if root { ancestors.into_iter().rev().collect() } else { ancestors };
        candidates.into_iter().find_map(|path| {
            let folder = mount.join(path.strip_prefix("/").unwrap_or(path));
            let cpuset = hands_on(&folder)?;
            Some(Parent { path: path.display().to_string(), folder, cpuset })
        })
    }
}

/// Whether children of this directory can have a CPU set, if they can have a memory limit; enables the controllers if
/// need be.
fn hands_on(folder: &Path) -> Option<bool> {
    let control = folder.join("cgroup.subtree_control");
    let names = |file: &str, word: &str| {
        let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        text.split_ascii_whitespace().any(|one| one == word)
    };
    if ![folder, &folder.join("cgroup.procs"), &control].into_iter().all(may_write) {
        return None;
    }
    // Enabling is refused where the directory holds processes of its own; then the one above may do.
    let enabled = |controller: &str| {
        names("cgroup.controllers", controller)
            && (names("cgroup.subtree_control", controller)
                || std::fs::write(&control, format!("+{controller}")).is_ok())
    };
    enabled("memory").then(|| enabled("cpuset"))
}

/// By our effective ids.
fn may_write(path: &Path) -> bool {
    nix::unistd::eaccess(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_layout_is_read_with_its_joined_controllers() {
        let found = Hierarchies::parse(HYBRID, "4:memory:/a\n0::/b\n");
        assert_eq!(found.v1("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.v1("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(found.v1("freezer"), None);
        assert_eq!(found.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.own_v2, "/b");
        assert_eq!(found.mounts().count(), 4);
    }

    #[test]
    fn a_process_is_found_in_either_version() {
        let found = Hierarchies::parse(HYBRID, "");
        let cgroup = "7:cpu,cpuacct:/docker/abc\n4:memory:/docker/m\n0::/u\n";
        assert_eq!(found.folder(cgroup, "cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct/docker/abc".into()));
        assert_eq!(found.folder(cgroup, "freezer"), Some("/sys/fs/cgroup/unified/u".into()));
        assert_eq!(found.folder("4:memory:/docker/m\n", "cpuacct"), None);
    }

    #[test]
    fn a_host_without_cgroups_has_none() {
        let found = Hierarchies::parse("22 27 0:21 / /proc rw,relatime - proc proc rw\n", "");
        assert_eq!(found.mounts().count(), 0);
        assert_eq!(found.parent_on_v2(), None);
    }

    #[test]
    fn a_directory_hands_on_the_controllers_that_it_has() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["cgroup.procs", "cgroup.subtree_control"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let with = |controllers: &str| {
            std::fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
            hands_on(folder.path())
        };
        assert_eq!(with("cpuset pids"), None);
        assert_eq!(with("memory pids"), Some(false));
        assert_eq!(with("cpuset memory pids"), Some(true));
    }
}
