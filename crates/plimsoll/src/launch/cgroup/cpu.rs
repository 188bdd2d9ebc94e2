//! The CPU time of a cgroup, ours or an engine's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::hierarchies::Hierarchies;

/// What everything in a cgroup's directory and below has used so far; `None` where the kernel does not say.
pub(in crate::launch) fn time(folder: &Path) -> Option<Duration> {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    if let Some(text) = read("cpuacct.usage") {
        return text.trim().parse().ok().map(Duration::from_nanos);
    }
    let text = read("cpu.stat")?;
    text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok().map(Duration::from_micros)
}

/// The directory that counts the CPU time of a process and of those in its cgroup.
pub(in crate::launch) fn folder_of_process(pid: i32) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let found = Hierarchies::of_this_process().ok()?;
    found.folder(&text, "cpuacct")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_from_either_version() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(time(folder.path()), None);
        std::fs::write(folder.path().join("cpu.stat"), "usage_usec 1500\nuser_usec 1000\n").unwrap();
        assert_eq!(time(folder.path()), Some(Duration::from_micros(1500)));
        std::fs::write(folder.path().join("cpuacct.usage"), "2500\n").unwrap();
        assert_eq!(time(folder.path()), Some(Duration::from_nanos(2500)));
    }
}
