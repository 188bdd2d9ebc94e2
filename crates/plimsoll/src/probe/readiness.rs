//! What about this host spoils measuring, why, and what the user can do about it.
//!
//! Looking is one function, judging another, so that the judgement is tested against hosts that we do not have. Nothing
//! is changed here: a remedy is a command for the user.

use std::path::Path;
use std::time::Duration;

use super::files::{HostFiles, chosen, kib_value};
use super::{cpus, host};
use crate::evidence::StealMeter;
use crate::launch::{CachedLoop, Ground};

/// How long stolen time is watched.
const STEAL_WATCH: Duration = Duration::from_millis(200);
/// Stolen share of the CPUs above which it is an obstacle.
const STEAL_SHARE_MAX: f64 = 0.02;
/// Percentage of the last ten seconds in which a task waited for a CPU, above which others are busy here.
const PRESSURE_PERCENT_MAX: f64 = 5.0;
/// Load per CPU above which others are busy here, where the kernel has no pressure file.
const LOAD_PER_CPU_MAX: f64 = 0.25;
/// Less available memory than this is too little for a few environments at once, bytes.
const MEMORY_BYTES_MIN: u64 = 2 << 30;
/// Less free disk than this is too little for environments' data, bytes.
const DISK_BYTES_MIN: u64 = 4 << 30;

/// How much an obstacle matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing when figures are read; interleaving takes care of most of it.
    Note,
    /// Widens intervals or bends some figures.
    Disturbs,
    /// Figures of this run should not be trusted, or a run cannot finish.
    Spoils,
}

impl Severity {
    /// The name that is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Disturbs => "disturbs",
            Self::Spoils => "spoils",
        }
    }
}

/// One thing about the host that stands in the way of a good measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// A command or a sentence that helps; `None` if nothing does.
    pub remedy: Option<String>,
    /// How much it matters.
    pub severity: Severity,
}

/// What was seen of the host. `None`: this host does not show it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostState {
    /// Frequency governor of CPU 0.
    pub governor: Option<String>,
    /// Whether the CPU may exceed its nominal frequency.
    pub turbo: Option<bool>,
    /// Policy of transparent huge pages.
    pub thp: Option<String>,
    /// CPUs of each NUMA node that has any, as lists such as `0-15`.
    pub numa_node_cpus: Vec<String>,
    /// Whether two hardware threads share a core.
    pub smt_active: Option<bool>,
    /// Share of the CPUs' time that a hypervisor gave to others, 0 to 1.
    pub stolen_share: Option<f64>,
    /// Percentage of the last ten seconds in which some task waited for a CPU.
    pub cpu_pressure_percent: Option<f64>,
    /// Mean number of runnable tasks over the last minute.
    pub load: Option<f64>,
    /// CPUs that are online.
    pub cpus: usize,
    /// Swap in use, bytes.
    pub swap_used_bytes: Option<u64>,
    /// Memory that can be used without swapping, bytes.
    pub memory_available_bytes: Option<u64>,
    /// Free bytes where environments' data goes.
    pub disk_free_bytes: Option<u64>,
    /// Whether that place is memory, not a disk.
    pub data_is_memory: Option<bool>,
    /// The loop device without direct I/O on which it lies, if it does.
    pub data_on_cached_loop: Option<CachedLoop>,
    /// Whether a hypervisor is under this host.
    pub virtualised: bool,
    /// Whether we are root.
    pub root: bool,
}

/// Looks at this host (for about 0.2 s, most of it watching for stolen time) and says what stands in the way.
/// `data` is the directory where environments' data would go.
#[must_use]
pub fn readiness(data: &Path) -> Vec<Obstacle> {
    judge(&observe(data))
}

/// Looks at this host.
#[must_use]
pub fn observe(data: &Path) -> HostState {
    let files = HostFiles::here();
    let load_files = LoadSeen::read(&files);
    let ground = Ground::under(data);
    HostState {
        governor: host::governor(&files),
        turbo: host::turbo(&files),
        thp: files.text("/sys/kernel/mm/transparent_hugepage/enabled").as_deref().and_then(chosen).map(str::to_owned),
        numa_node_cpus: numa_node_cpus(&files),
        smt_active: files.number("/sys/devices/system/cpu/smt/active").map(|active| active != 0),
        stolen_share: watch_steal(),
        cpu_pressure_percent: load_files.pressure,
        load: load_files.load,
        cpus: cpus::cpus_online().len(),
        swap_used_bytes: load_files.swap_used_bytes,
        memory_available_bytes: host::memory_available_bytes(),
        disk_free_bytes: host::disk_free_bytes(data).ok(),
        data_is_memory: ground.is_memory(),
        data_on_cached_loop: ground.cached_loop,
        virtualised: host::virtualised(&files),
        root: nix::unistd::Uid::effective().is_root(),
    }
}

fn numa_node_cpus(files: &HostFiles) -> Vec<String> {
    host::numa_nodes(files).into_iter().map(|(_, cpus)| cpus).filter(|cpus| !cpus.is_empty()).collect()
}

struct LoadSeen {
    pressure: Option<f64>,
    load: Option<f64>,
    swap_used_bytes: Option<u64>,
}

impl LoadSeen {
    fn read(files: &HostFiles) -> Self {
        let memory = files.text("/proc/meminfo").unwrap_or_default();
        let (total, free) = (kib_value(&memory, "SwapTotal"), kib_value(&memory, "SwapFree"));
        Self {
            pressure: files.text("/proc/pressure/cpu").as_deref().and_then(some_avg10),
            load: files.text("/proc/loadavg").and_then(|text| text.split_whitespace().next()?.parse().ok()),
            swap_used_bytes: total.zip(free).map(|(total, free)| total.saturating_sub(free)),
        }
    }
}

/// `avg10` of the line `some` of a pressure file, percent.
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

fn watch_steal() -> Option<f64> {
    let mut meter = StealMeter::open(&cpus::cpus_online()).ok()?;
    meter.start();
    std::thread::sleep(STEAL_WATCH);
    meter.end().map(|reading| reading.stolen_share)
}

/// What of a host's state stands in the way, worst first.
#[must_use]
pub fn judge(state: &HostState) -> Vec<Obstacle> {
    let rules = [
        root,
        memory,
        disk,
        data_in_memory,
        data_on_cached_loop,
        steal,
        other_load,
        swap,
        governor,
        turbo,
        smt,
        numa,
        huge_pages,
        virtualised,
    ];
    let mut obstacles: Vec<Obstacle> = rules.iter().filter_map(|rule| rule(state)).collect();
    obstacles.sort_by_key(|obstacle| std::cmp::Reverse(obstacle.severity));
    obstacles
}

fn obstacle(severity: Severity, what: impl Into<String>, why: &'static str, remedy: Option<&str>) -> Option<Obstacle> {
    Some(Obstacle { what: what.into(), why, remedy: remedy.map(str::to_owned), severity })
}

fn root(state: &HostState) -> Option<Obstacle> {
    let why = "without root there are no cgroups, links or bridges of ours: native is held by affinity alone, and \
               engines that need root are left out";
    if state.root { None } else { obstacle(Severity::Disturbs, "not root", why, Some("run it again with sudo")) }
}

fn memory(state: &HostState) -> Option<Obstacle> {
    let bytes = state.memory_available_bytes.filter(|bytes| *bytes < MEMORY_BYTES_MIN)?;
    let why = "environments that are alive together would push each other into reclaim";
    obstacle(
        Severity::Spoils,
        format!("{} of memory available", mebibytes(bytes)),
        why,
        Some("close other programs, or lower --memory"),
    )
}

fn disk(state: &HostState) -> Option<Obstacle> {
    let bytes = state.disk_free_bytes.filter(|bytes| *bytes < DISK_BYTES_MIN)?;
    let what = format!("{} of disk free for environments' data", mebibytes(bytes));
    obstacle(Severity::Spoils, what, "a full disk fails slices", Some("choose another directory with --data"))
}

fn data_in_memory(state: &HostState) -> Option<Obstacle> {
    let why =
        "disk workloads would measure memory; it even accepts direct I/O, and every such figure is labelled `memory`";
    let remedy = Some("choose a directory on a disk with --data");
    if state.data_is_memory? {
        obstacle(Severity::Disturbs, "the data directory is on tmpfs", why, remedy)
    } else {
        None
    }
}

fn data_on_cached_loop(state: &HostState) -> Option<Obstacle> {
    let CachedLoop { device, file } = state.data_on_cached_loop.as_ref()?;
    let what = format!("the data directory is on {device} (over {file}), a loop device without direct I/O");
    let why = "what goes past every cache in an environment is still served from the host's; every such figure is \
               labelled `host cache`";
    obstacle(Severity::Disturbs, what, why, Some(&format!("sudo losetup --direct-io=on {device}")))
}

fn steal(state: &HostState) -> Option<Obstacle> {
    let share = state.stolen_share.filter(|share| *share > STEAL_SHARE_MAX)?;
    let what = format!("{:.0} % of CPU time is stolen by the hypervisor under this host", share * 100.0);
    let why = "slices in which CPU time is stolen are set aside; a host that is always robbed yields few";
    obstacle(Severity::Spoils, what, why, Some("measure on a machine, or an instance type, with CPUs of its own"))
}

fn other_load(state: &HostState) -> Option<Obstacle> {
    let what = match (state.cpu_pressure_percent, state.load) {
        (Some(percent), _) if percent > PRESSURE_PERCENT_MAX => {
            format!("in {percent:.0} % of the last 10 s a task waited for a CPU")
        }
        (None, Some(load)) if load > LOAD_PER_CPU_MAX * state.cpus as f64 => {
            format!("load of {load:.2} on {} CPUs", state.cpus)
        }
        _ => return None,
    };
    let why = "other programs take CPU, caches and memory bandwidth from some slices and not from others";
    obstacle(Severity::Disturbs, what, why, Some("stop other programs while it runs"))
}

fn swap(state: &HostState) -> Option<Obstacle> {
    let bytes = state.swap_used_bytes.filter(|bytes| *bytes > 0)?;
    let why = "pages that come back from swap show up as slow slices";
    obstacle(Severity::Disturbs, format!("{} of swap in use", mebibytes(bytes)), why, Some("swapoff -a && swapon -a"))
}

fn governor(state: &HostState) -> Option<Obstacle> {
    let governor = state.governor.as_deref().filter(|governor| *governor != "performance")?;
    let remedy = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
    let why = "the clock follows the load of the moment, so a slice runs as fast as what ran before it allowed";
    obstacle(Severity::Disturbs, format!("CPU governor `{governor}`"), why, Some(remedy))
}

fn turbo(state: &HostState) -> Option<Obstacle> {
    let remedy = "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo   # or: echo 0 | sudo tee \
                  /sys/devices/system/cpu/cpufreq/boost";
    let why = "the clock above nominal depends on heat and on what other cores do";
    if state.turbo? { obstacle(Severity::Note, "turbo is on", why, Some(remedy)) } else { None }
}

fn smt(state: &HostState) -> Option<Obstacle> {
    let why = "two hardware threads share one core; environments get whole cores, so this matters where a workload has \
               fewer threads than CPUs";
    let remedy = "echo off | sudo tee /sys/devices/system/cpu/smt/control";
    if state.smt_active? { obstacle(Severity::Note, "SMT is on", why, Some(remedy)) } else { None }
}

fn numa(state: &HostState) -> Option<Obstacle> {
    let [first, _, ..] = state.numa_node_cpus.as_slice() else { return None };
    let what = format!("{} NUMA nodes, with CPUs {}", state.numa_node_cpus.len(), state.numa_node_cpus.join(" and "));
    let why = "threads on one node pay for memory of another, and environments need not place them alike";
    let remedy = format!("measure one node too: --cpus {first}, without the CPUs that the harness needs");
    obstacle(Severity::Note, what, why, Some(&remedy))
}

fn huge_pages(state: &HostState) -> Option<Obstacle> {
    let policy = state.thp.as_deref().filter(|policy| *policy != "madvise")?;
    let why = "a guest's memory and a process's memory can then have pages of different sizes; it is a policy worth \
               naming beside memory figures, not a fault";
    obstacle(Severity::Note, format!("transparent huge pages: {policy}"), why, None)
}

fn virtualised(state: &HostState) -> Option<Obstacle> {
    let why = "native is itself a guest here: its figures hold for such hosts, and virtual machines inside are nested or \
               emulated";
    if state.virtualised { obstacle(Severity::Note, "this host is a virtual machine", why, None) } else { None }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with nothing to complain about.
    fn good() -> HostState {
        HostState {
            governor: Some("performance".to_owned()),
            turbo: Some(false),
            thp: Some("madvise".to_owned()),
            numa_node_cpus: vec!["0-3".to_owned()],
            smt_active: Some(false),
            stolen_share: Some(0.0),
            cpu_pressure_percent: Some(0.5),
            load: Some(0.1),
            cpus: 4,
            swap_used_bytes: Some(0),
            memory_available_bytes: Some(16 << 30),
            disk_free_bytes: Some(100 << 30),
            data_is_memory: Some(false),
            data_on_cached_loop: None,
            virtualised: false,
            root: true,
        }
    }

    fn check(change: impl FnOnce(&mut HostState), expected: &[&str]) {
        let mut state = good();
        change(&mut state);
        let what: Vec<String> = judge(&state).into_iter().map(|obstacle| obstacle.what).collect();
        assert_eq!(what, expected);
    }

    #[test]
    fn a_good_host_has_no_obstacles() {
        check(|_| (), &[]);
    }

    #[test]
    fn a_host_that_shows_nothing_is_not_accused() {
        check(|state| *state = HostState { root: true, ..HostState::default() }, &[]);
    }

    #[test]
    fn each_obstacle_is_seen() {
        check(|state| state.governor = Some("powersave".to_owned()), &["CPU governor `powersave`"]);
        check(|state| state.turbo = Some(true), &["turbo is on"]);
        check(|state| state.thp = Some("always".to_owned()), &["transparent huge pages: always"]);
        check(|state| state.smt_active = Some(true), &["SMT is on"]);
        let nodes = ["0-7", "8-15"].map(str::to_owned);
        check(|state| state.numa_node_cpus = nodes.to_vec(), &["2 NUMA nodes, with CPUs 0-7 and 8-15"]);
        let stolen = "12 % of CPU time is stolen by the hypervisor under this host";
        check(|state| state.stolen_share = Some(0.12), &[stolen]);
        check(|state| state.cpu_pressure_percent = Some(31.4), &["in 31 % of the last 10 s a task waited for a CPU"]);
        check(|state| state.swap_used_bytes = Some(3 << 20), &["3 MiB of swap in use"]);
        check(|state| state.memory_available_bytes = Some(1 << 30), &["1024 MiB of memory available"]);
        check(|state| state.disk_free_bytes = Some(1 << 20), &["1 MiB of disk free for environments' data"]);
        check(|state| state.data_is_memory = Some(true), &["the data directory is on tmpfs"]);
        let cached = CachedLoop { device: "/dev/loop3".to_owned(), file: "/images/disk".to_owned() };
        let on_loop = "the data directory is on /dev/loop3 (over /images/disk), a loop device without direct I/O";
        check(|state| state.data_on_cached_loop = Some(cached), &[on_loop]);
        check(|state| state.virtualised = true, &["this host is a virtual machine"]);
        check(|state| state.root = false, &["not root"]);
    }

    #[test]
    fn the_load_counts_only_where_there_is_no_pressure_file() {
        check(|state| state.load = Some(3.0), &[]);
        check(|state| (state.load, state.cpu_pressure_percent) = (Some(3.0), None), &["load of 3.00 on 4 CPUs"]);
    }

    #[test]
    fn the_worst_comes_first() {
        let spoil = |state: &mut HostState| {
            (state.turbo, state.root, state.stolen_share) = (Some(true), false, Some(0.5));
        };
        let stolen = "50 % of CPU time is stolen by the hypervisor under this host";
        check(spoil, &[stolen, "not root", "turbo is on"]);
    }

    #[test]
    fn pressure_is_read_from_the_line_some() {
        let text = "some avg10=1.45 avg60=1.92 avg300=1.19 total=44\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0";
        assert_eq!(some_avg10(text), Some(1.45));
        assert_eq!(some_avg10("full avg10=9.00"), None);
    }

    #[test]
    fn this_host_is_observed() {
        let folder = tempfile::tempdir().unwrap();
        let state = observe(folder.path());
        assert!(state.cpus > 0 && state.disk_free_bytes.is_some() && state.data_is_memory.is_some());
    }
}
