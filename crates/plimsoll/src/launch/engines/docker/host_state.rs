//! What a private Docker engine may change of the host, saved before and restored after.
//!
//! The engine is started with `--bridge=none` and every network feature off, so it makes no link, no rule and no chain
//! and leaves forwarding alone; and in a mount namespace of its own, so that none of its mounts reaches the host. What is
//! left: settings that other versions of the engine may still write, the folders of its containers' cgroups, and two
//! directories under /run that the engine and containerd insist on, whichever `--exec-root` they are given.
//!
//! Rules of the packet filter are not saved: nothing here changes them, and putting back a whole rule set would undo what
//! others did in the meantime.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::launch::cgroup::remove_tree;
use crate::launch::journal::{Entry, Journal, Resource};
use crate::sample::{Cause, Failure};

/// Settings that an engine writes when it forwards for its containers.
const SETTINGS: [&str; 5] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/conf/all/route_localnet",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/ipv6/conf/default/forwarding",
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
];

/// Hides the two directories under stand-ins ($1, $2) before the rest of the arguments is executed. Where one has to be
/// made, a mark says that it is ours; a shared lock, held by the engine and everything it starts, says that it is in use.
/// (Removing a directory takes the mounts on it away from every namespace.) Three attempts, since another run may be
/// removing it at the very moment.
pub(super) const STAND_IN: &str = r#"
stand_in() {
    for attempt in 1 2 3; do
        mkdir "$1" 2>/dev/null && : >"$1/.made-by-plimsoll"
        command eval "exec $3<\"$1\"" && flock -s "$3" && mount -n --bind "$2" "$1" && return
    done
    exit 1
}
stand_in /run/docker "$1" 8
stand_in /run/containerd "$2" 9
shift 2
exec "$@"
"#;

/// Removes those of the two directories that are marked as ours, unless one is in use or somebody else has put something
/// into it.
const REMOVE_STAND_INS: &str = r#"
for directory in /run/docker /run/containerd; do
    if [ -e "$directory/.made-by-plimsoll" ]; then
        flock -n -x "$directory" sh -c 'rm "$0/.made-by-plimsoll" && rmdir "$0"' "$directory"
    fi
done
true
"#;

/// The state of the host before a private engine was started, noted in the journal.
#[derive(Debug)]
pub(super) struct HostState {
    entries: Vec<Entry>,
    cgroups: Vec<PathBuf>,
    links: BTreeSet<String>,
}

impl HostState {
    /// Saves it. `containers` is the name of the folder under which the engine will put its containers' cgroups.
    ///
    /// # Errors
    /// When it cannot be read or noted.
    pub(super) fn save(journal: &Journal, containers: &str) -> Result<Self, Failure> {
        let cgroups: Vec<PathBuf> = cgroup_roots()?.into_iter().map(|root| root.join(containers)).collect();
        let mut entries = vec![journal.note(Resource::Restore {
            argv: ["sh", "-c", REMOVE_STAND_INS].map(str::to_owned).to_vec(),
            what: "/run/docker and /run/containerd, if they were made for a private Docker engine".to_owned(),
        })?];
        for (path, before) in SETTINGS.iter().filter_map(|path| Some((path, std::fs::read_to_string(path).ok()?))) {
            entries.push(journal.note(Resource::FileContent { path: PathBuf::from(path), before })?);
        }
        for path in &cgroups {
            entries.push(journal.note(Resource::Cgroup { path: path.clone() })?);
        }
        Ok(Self { entries, cgroups, links: links() })
    }

    /// Kills every process of every container of the engine, frozen ones too.
    ///
    /// # Errors
    /// When one does not end.
    pub(super) fn kill_containers(&self) -> Result<(), Failure> {
        self.cgroups.iter().rev().try_for_each(|path| remove_tree(path))
    }

    /// Restores it, and says what it cannot restore. Safe to call twice.
    ///
    /// # Errors
    /// Every failure, joined.
    pub(super) fn restore(&mut self, journal: &Journal) -> Result<(), Failure> {
        let mut wrong: Vec<String> = Vec::new();
        while let Some(entry) = self.entries.pop() {
            wrong.extend(journal.undo(entry).err().map(|failure| failure.message));
        }
        let docker0 = "docker0".to_owned();
        if links().contains(&docker0) && !self.links.contains(&docker0) {
            wrong.push("a link docker0 appeared; remove it with `ip link delete docker0`".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(Failure::new(Cause::TearDown, wrong.join("; "))) }
    }
}

fn links() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Where cgroup hierarchies are mounted: one per controller of v1, or v2, or both. The freezer of v1 comes last, so that
/// it is undone first: what it holds cannot die before it is thawed.
fn cgroup_roots() -> Result<Vec<PathBuf>, Failure> {
    Ok(roots_in(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

fn roots_in(mountinfo: &str) -> Vec<PathBuf> {
    let mounts = mountinfo.lines().filter_map(Mounted::read);
    let mut mounts: Vec<Mounted> = mounts.filter(|mounted| mounted.kind.starts_with("cgroup")).collect();
    mounts.sort_by_key(|mounted| mounted.freezer);
    mounts.into_iter().map(|mounted| mounted.point).collect()
}

/// The type of the filesystem that holds a path.
///
/// # Errors
/// When the mounts of this process cannot be read.
pub(super) fn filesystem_of(path: &Path) -> Result<Option<String>, Failure> {
    let path = path.canonicalize()?;
    Ok(type_in(&std::fs::read_to_string("/proc/self/mountinfo")?, &path))
}

/// The longest mount point above the path wins; of those mounted over each other, the last.
fn type_in(mountinfo: &str, path: &Path) -> Option<String> {
    let above = mountinfo.lines().filter_map(Mounted::read).filter(|mounted| path.starts_with(&mounted.point));
    above.max_by_key(|mounted| mounted.point.components().count()).map(|mounted| mounted.kind)
}

struct Mounted {
    point: PathBuf,
    kind: String,
    freezer: bool,
}

impl Mounted {
    /// One line of mountinfo: `... POINT OPTIONS [TAGS] - TYPE SOURCE SUPER_OPTIONS`.
    fn read(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        let mut after = after.split(' ');
        let kind = after.next()?.to_owned();
        let freezer = kind == "cgroup" && after.nth(1)?.split(',').any(|option| option == "freezer");
        Some(Self { point: PathBuf::from(point), kind, freezer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 0:5 / /sys/fs/cgroup rw - tmpfs tmpfs rw
7 2 0:3 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
3 2 0:6 / /sys/fs/cgroup/cpu rw shared:4 - cgroup cgroup rw,cpu
4 2 0:7 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
5 1 0:8 / /a\\040b rw - xfs /dev/vdb rw
6 1 0:9 / /a\\040b rw - btrfs /dev/vdc rw
";

    #[test]
    fn a_path_lies_on_the_nearest_and_topmost_mount() {
        assert_eq!(type_in(MOUNTS, Path::new("/a b/c")).as_deref(), Some("btrfs"));
        assert_eq!(type_in(MOUNTS, Path::new("/a")).as_deref(), Some("ext4"));
    }

    #[test]
    fn both_versions_of_cgroups_are_found_and_the_freezer_is_last() {
        let roots = ["cpu", "unified", "freezer"].map(|name| Path::new("/sys/fs/cgroup").join(name));
        assert_eq!(roots_in(MOUNTS), roots);
    }
}
