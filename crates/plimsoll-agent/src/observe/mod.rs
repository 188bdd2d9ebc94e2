//! What is around the agent: facts read where they stand, so that the host can compare what it asked for with what is.
//!
//! Everything may be absent: a sandbox hides files, gVisor has few of them. What is absent is `None`, empty or zero and
//! never an error. Parsers are pure and take text; only `Files` opens anything.

mod cgroup;
mod cpu;
mod mounts;
mod status;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{Pid, SysconfVar, getuid, sysconf};
use plimsoll_protocol::Observation;
use sha2::{Digest, Sha256};

use mounts::Mount;
use status::Status;

/// No file that is read whole is longer than this.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// No fact is longer than this.
const FACT_BYTES_MAX: usize = 8 * 1024;

/// What an agent sees around itself, and under its data directory.
#[must_use]
pub fn observe(data_dir: &Path) -> Observation {
    let data_dir = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    let seen = Files::under("/").observe(&data_dir);
    Observation {
        pid: std::process::id(),
        executable_sha256: digest(Path::new("/proc/self/exe")).unwrap_or_default(),
        kernel_release: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
        cpus_allowed: cpus_allowed().unwrap_or(seen.cpus_allowed),
        uid: getuid().as_raw(),
        ..seen
    }
}

/// The files of /proc and /sys, or a copy of them in a test.
struct Files {
    root: PathBuf,
}

impl Files {
    fn under(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A file's text without surrounding blanks; what is no UTF-8 is replaced.
    fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.path(path)).ok()?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The names in a directory, sorted.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = self.path(path).read_dir().into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Everything that stands in a file.
    fn observe(&self, data_dir: &Path) -> Observation {
        let status = Status::parse(&self.text("/proc/self/status").unwrap_or_default());
        let mounts = mounts::parse(&self.text("/proc/self/mountinfo").unwrap_or_default());
        let data = mounts::covering(&mounts, data_dir).cloned().unwrap_or_default();
        let root = mounts::covering(&mounts, Path::new("/")).cloned().unwrap_or_default();
        Observation {
            cpus_allowed: status.cpus_allowed,
            cpus_online: self.cpus_online(),
            memory_total_bytes: memory_total_bytes(&self.text("/proc/meminfo").unwrap_or_default()),
            memory_limit_bytes: cgroup::memory_limit_bytes(self, &mounts),
            root_layers: root.lower_layers(),
            root_filesystem: root.filesystem,
            data_options: data.all_options(),
            data_filesystem: data.filesystem,
            data_mount: data.point.to_string_lossy().into_owned(),
            data_source: data.source,
            clock_source: self
                .text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .unwrap_or_default(),
            uid: status.uid,
            seccomp_mode: status.seccomp_mode,
            capabilities_effective: status.capabilities_effective,
            interfaces: self.interfaces(),
            facts: self.facts(&mounts),
            ..Observation::default()
        }
    }

    fn cpus_online(&self) -> u32 {
        let listed = self.text("/sys/devices/system/cpu/online").map(|list| cpu::list(&list).len());
        let counted = || cpu::processors(&self.text("/proc/cpuinfo").unwrap_or_default());
        let online = listed.filter(|count| *count > 0).unwrap_or_else(counted);
        u32::try_from(online).unwrap_or(u32::MAX)
    }

    fn interfaces(&self) -> Vec<String> {
        let names = self.names("/sys/class/net");
        // The kernel puts control files there, such as `bonding_masters`.
        let names: Vec<_> = names.into_iter().filter(|name| self.path("/sys/class/net").join(name).is_dir()).collect();
        if names.is_empty() { interfaces(&self.text("/proc/net/dev").unwrap_or_default()) } else { names }
    }

    fn facts(&self, mounts: &[Mount]) -> BTreeMap<String, String> {
        let mut facts = cpu::facts(self);
        let mut add = |name: String, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                facts.insert(name, value);
            }
        };
        for (name, file) in [("memory.thp", "enabled"), ("memory.thp_defrag", "defrag")] {
            let choices = self.text(format!("/sys/kernel/mm/transparent_hugepage/{file}"));
            add(name.to_owned(), choices.as_deref().and_then(chosen));
        }
        for name in self.names("/sys/devices/system/cpu/vulnerabilities") {
            let state = self.text(format!("/sys/devices/system/cpu/vulnerabilities/{name}"));
            add(format!("mitigation.{name}"), state);
        }
        let nodes = self.text("/sys/devices/system/node/online").map(|list| cpu::list(&list).len());
        add("memory.numa_nodes".to_owned(), nodes.map(|count| count.to_string()));
        add("cpu.quota".to_owned(), cgroup::cpu_quota(self, mounts).map(|cpus| format!("{cpus:.2}")));
        add("memory.page_bytes".to_owned(), page_bytes().map(|bytes| bytes.to_string()));
        for value in facts.values_mut().filter(|value| value.len() > FACT_BYTES_MAX) {
            *value = value.chars().take(FACT_BYTES_MAX / 4).collect();
        }
        facts
    }
}

/// SHA-256 of a file, in hexadecimal.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("{:x}", hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Fails on hosts with more CPUs than the mask that nix knows; /proc/self/status then tells.
fn cpus_allowed() -> Option<u32> {
    let set = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let count = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count();
    u32::try_from(count).ok()
}

fn page_bytes() -> Option<i64> {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten()
}

fn memory_total_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Names from /proc/net/dev, sorted as those of /sys are.
fn interfaces(dev: &str) -> Vec<String> {
    let mut names: Vec<_> =
        dev.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect();
    names.sort();
    names
}

/// The choice in brackets of `always [madvise] never`.
fn chosen(choices: &str) -> Option<String> {
    let (_, rest) = choices.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests;
