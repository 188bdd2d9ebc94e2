//! The host, fact by fact, as it is stored in a run file.
//!
//! A run file is something that people mail, so neither the host's name nor its addresses, serial numbers or machine
//! ids are recorded, and of the kernel's command line only the words that change how fast things run. A fact that this
//! host does not show is absent, never guessed.

use std::collections::BTreeMap;
use std::path::Path;

use super::cpus;
use super::files::{HostFiles, chosen, colon_value, kib_value};

/// Words of the kernel's command line that are recorded: those that begin so.
const TUNING_WORDS: &[&str] = &[
    "mitigations",
    "nospectre",
    "spectre",
    "spec_",
    "nopti",
    "pti",
    "mds",
    "tsx",
    "l1tf",
    "mmio_stale_data",
    "retbleed",
    "nosmt",
    "isolcpus",
    "nohz",
    "rcu_",
    "irqaffinity",
    "idle",
    "intel_idle",
    "processor.",
    "intel_pstate",
    "amd_pstate",
    "cpufreq",
    "cpuidle",
    "transparent_hugepage",
    "hugepages",
    "hugepagesz",
    "default_hugepagesz",
    "numa",
    "clocksource",
    "tsc",
    "preempt",
    "psi",
    "cgroup",
    "systemd.unified_cgroup_hierarchy",
    "kvm",
    "iommu",
    "intel_iommu",
    "amd_iommu",
    "swiotlb",
    "audit",
    "selinux",
    "apparmor",
    "nmi_watchdog",
    "nowatchdog",
    "skew_tick",
    "threadirqs",
    "maxcpus",
    "nr_cpus",
    "mem=",
    "init_on_alloc",
    "init_on_free",
    "slub_debug",
    "page_poison",
    "zswap",
    "random.",
];

/// Everything that is worth knowing about this host, by dotted name.
#[must_use]
pub fn describe_host() -> BTreeMap<String, String> {
    describe(&HostFiles::here())
}

/// Bytes of the last-level cache that CPU 0 uses; `None` where the kernel does not show it.
#[must_use]
pub fn cache_bytes_last_level() -> Option<u64> {
    caches(&HostFiles::here())
        .into_iter()
        .filter(|cache| cache.kind != "Instruction")
        .max_by_key(|cache| cache.level)
        .map(|cache| cache.bytes)
}

/// MemAvailable, bytes: what can be used without swapping. A cgroup's limit on ourselves is not looked at.
#[must_use]
pub fn memory_available_bytes() -> Option<u64> {
    kib_value(&HostFiles::here().text("/proc/meminfo")?, "MemAvailable")
}

/// Bytes that an unprivileged user may still write to the file system of a path.
///
/// # Errors
/// When the path does not exist or its file system does not answer.
pub fn disk_free_bytes(path: &Path) -> std::io::Result<u64> {
    let status = nix::sys::statvfs::statvfs(path)?;
    Ok(status.blocks_available().saturating_mul(status.fragment_size()))
}

struct Facts(BTreeMap<String, String>);

impl Facts {
    fn put(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.to_string());
        }
    }
}

fn describe(files: &HostFiles) -> BTreeMap<String, String> {
    let mut facts = Facts(BTreeMap::new());
    cpu(files, &mut facts);
    kernel(files, &mut facts);
    mitigations(files, &mut facts);
    power(files, &mut facts);
    memory(files, &mut facts);
    system(files, &mut facts);
    facts.0
}

fn cpu(files: &HostFiles, facts: &mut Facts) {
    let info = files.text("/proc/cpuinfo").unwrap_or_default();
    facts.put("cpu.architecture", Some(std::env::consts::ARCH));
    facts.put("cpu.model", colon_value(&info, "model name").or_else(|| colon_value(&info, "Model")));
    facts.put("cpu.microcode", colon_value(&info, "microcode"));
    facts.put("cpu.flags", colon_value(&info, "flags").or_else(|| colon_value(&info, "Features")));
    let topology = cpus::cores_of(files);
    facts.put("cpu.threads", Some(topology.cores.iter().map(Vec::len).sum::<usize>()));
    facts.put("cpu.cores", Some(topology.cores.len()));
    facts.put("cpu.sockets", sockets(files, &topology));
    for cache in caches(files) {
        if let Some(name) = cache.name() {
            facts.put(&format!("cpu.{name}_bytes"), Some(cache.bytes));
        }
    }
    facts.put("cpu.smt", files.text("/sys/devices/system/cpu/smt/control"));
    facts.put("cpu.smt_active", files.text("/sys/devices/system/cpu/smt/active"));
}

fn sockets(files: &HostFiles, topology: &cpus::Topology) -> Option<usize> {
    let first_cpus = topology.cores.iter().filter_map(|core| core.first());
    let packages: std::collections::BTreeSet<String> = first_cpus
        .filter_map(|cpu| files.text(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id")))
        .collect();
    (!packages.is_empty()).then_some(packages.len())
}

struct Cache {
    level: u64,
    kind: String,
    bytes: u64,
}

impl Cache {
    fn name(&self) -> Option<String> {
        match (self.level, self.kind.as_str()) {
            (1, "Data") => Some("l1d".to_owned()),
            (1, "Instruction") => Some("l1i".to_owned()),
            (level, "Unified" | "Data") => Some(format!("l{level}")),
            _ => None,
        }
    }
}

fn caches(files: &HostFiles) -> Vec<Cache> {
    let folder = "/sys/devices/system/cpu/cpu0/cache";
    let indexes = files.names(folder).into_iter().filter(|name| name.starts_with("index"));
    indexes
        .filter_map(|index| {
            Some(Cache {
                level: files.number(&format!("{folder}/{index}/level"))?,
                kind: files.text(&format!("{folder}/{index}/type"))?,
                bytes: size_bytes(&files.text(&format!("{folder}/{index}/size"))?)?,
            })
        })
        .collect()
}

/// Bytes of a size as the kernel writes caches: `36608K`, `2M`.
fn size_bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if text.ends_with('K') => (digits, 1 << 10),
        Some(digits) if text.ends_with('M') => (digits, 1 << 20),
        Some(digits) => (digits, 1 << 30),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn kernel(files: &HostFiles, facts: &mut Facts) {
    facts.put("kernel.release", files.text("/proc/sys/kernel/osrelease"));
    facts.put("kernel.version", files.text("/proc/sys/kernel/version"));
    if let Some(line) = files.text("/proc/cmdline") {
        let (kept, left_out) = tuning_words(&line);
        facts.put("kernel.cmdline", Some(kept));
        facts.put("kernel.cmdline_words_left_out", Some(left_out));
    }
    facts.put("kernel.clock_source", files.text("/sys/devices/system/clocksource/clocksource0/current_clocksource"));
    facts.put("kernel.kvm_device", Some(yes_no(files.exists("/dev/kvm"))));
    facts.put("kernel.psi", Some(yes_no(files.exists("/proc/pressure/cpu"))));
    facts.put("kernel.entropy_available_bits", files.number("/proc/sys/kernel/random/entropy_avail"));
    facts.put("kernel.io_uring_disabled", files.text("/proc/sys/kernel/io_uring_disabled"));
    facts.put("kernel.numa_balancing", files.text("/proc/sys/kernel/numa_balancing"));
}

/// The words of a kernel's command line that tune it, and how many others there are. What follows `--` goes to init.
fn tuning_words(line: &str) -> (String, usize) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let end = words.iter().position(|word| *word == "--").unwrap_or(words.len());
    let kept: Vec<&str> = words[..end]
        .iter()
        .copied()
        .filter(|word| TUNING_WORDS.iter().any(|tuning| word.starts_with(tuning)))
        .collect();
    (kept.join(" "), words.len() - kept.len())
}

fn mitigations(files: &HostFiles, facts: &mut Facts) {
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    for name in files.names(folder) {
        facts.put(&format!("mitigation.{name}"), files.text(&format!("{folder}/{name}")));
    }
}

fn power(files: &HostFiles, facts: &mut Facts) {
    facts.put("power.governor", governor(files));
    facts.put("power.driver", files.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"));
    facts.put("power.frequency_max_khz", files.number("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"));
    facts.put("power.turbo", turbo(files).map(yes_no));
    facts.put("power.idle_driver", files.text("/sys/devices/system/cpu/cpuidle/current_driver"));
}

/// The governor of CPU 0.
pub(super) fn governor(files: &HostFiles) -> Option<String> {
    files.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
}

/// Whether the CPU may run above its nominal frequency: Intel's driver says `no_turbo`, others `boost`.
pub(super) fn turbo(files: &HostFiles) -> Option<bool> {
    let no_turbo = files.number("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|off| off == 0);
    no_turbo.or_else(|| files.number("/sys/devices/system/cpu/cpufreq/boost").map(|on| on != 0))
}

fn memory(files: &HostFiles, facts: &mut Facts) {
    let info = files.text("/proc/meminfo").unwrap_or_default();
    facts.put("memory.total_bytes", kib_value(&info, "MemTotal"));
    facts.put("memory.swap_total_bytes", kib_value(&info, "SwapTotal"));
    facts.put("memory.huge_page_bytes", kib_value(&info, "Hugepagesize"));
    facts.put("memory.huge_pages_total", colon_value(&info, "HugePages_Total"));
    facts.put("memory.swappiness", files.number("/proc/sys/vm/swappiness"));
    facts.put("memory.overcommit", files.number("/proc/sys/vm/overcommit_memory"));
    let thp = files.text("/sys/kernel/mm/transparent_hugepage/enabled");
    facts.put("memory.thp", thp.as_deref().and_then(chosen));
    let defrag = files.text("/sys/kernel/mm/transparent_hugepage/defrag");
    facts.put("memory.thp_defrag", defrag.as_deref().and_then(chosen));
    facts.put("memory.ksm", files.number("/sys/kernel/mm/ksm/run"));
    let nodes = numa_nodes(files);
    facts.put("memory.numa_nodes", (!nodes.is_empty()).then_some(nodes.len()));
    for (node, cpus) in nodes {
        facts.put(&format!("memory.numa_node{node}_cpus"), Some(cpus).filter(|cpus| !cpus.is_empty()));
    }
}

/// Each NUMA node with the list of its CPUs as the kernel writes it; empty for a node of memory alone.
pub(super) fn numa_nodes(files: &HostFiles) -> Vec<(u32, String)> {
    let folder = "/sys/devices/system/node";
    let online = files.text(&format!("{folder}/online")).unwrap_or_default();
    let cpus = |node| files.text(&format!("{folder}/node{node}/cpulist")).unwrap_or_default();
    cpus::cpu_list(&online).into_iter().map(|node| (node, cpus(node))).collect()
}

fn system(files: &HostFiles, facts: &mut Facts) {
    facts.put("cgroup.version", cgroup_version(&files.text("/proc/self/mountinfo").unwrap_or_default()));
    facts.put("host.virtualised", Some(yes_no(virtualised(files))));
    facts.put("host.product", product(files));
    facts.put("os", files.text("/etc/os-release").as_deref().and_then(pretty_name));
}

/// Whether a hypervisor is under us: its CPU flag, or the firmware's word.
pub(super) fn virtualised(files: &HostFiles) -> bool {
    let info = files.text("/proc/cpuinfo").unwrap_or_default();
    let flag =
        colon_value(&info, "flags").is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let names = ["QEMU", "KVM", "VirtualBox", "VMware", "Amazon EC2", "Google Compute", "Virtual Machine", "HVM domU"];
    flag || files.exists("/sys/hypervisor/type")
        || product(files).is_some_and(|product| names.iter().any(|name| product.contains(name)))
}

/// Maker and model as the firmware says them; no serial numbers.
fn product(files: &HostFiles) -> Option<String> {
    let words: Vec<String> = ["sys_vendor", "product_name"]
        .iter()
        .filter_map(|name| files.text(&format!("/sys/class/dmi/id/{name}")))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// `v1`, `hybrid` (v1 controllers beside a v2 tree) or `v2`, by what is mounted.
fn cgroup_version(mountinfo: &str) -> Option<&'static str> {
    let kinds: Vec<&str> =
        mountinfo.lines().filter_map(|line| line.split_once(" - ")?.1.split_whitespace().next()).collect();
    match (kinds.contains(&"cgroup"), kinds.contains(&"cgroup2")) {
        (true, true) => Some("hybrid"),
        (true, false) => Some("v1"),
        (false, true) => Some("v2"),
        (false, false) => None,
    }
}

fn pretty_name(os_release: &str) -> Option<&str> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"'))
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small host made of files, as name and content.
    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, HostFiles) {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let files = HostFiles::under(folder.path());
        (folder, files)
    }

    #[test]
    fn a_server_with_two_threads_per_core_is_described() {
        let cpu = "sys/devices/system/cpu";
        let (_folder, files) = host(&[
            ("proc/cpuinfo", "processor : 0\nmodel name : Some CPU @ 2.50GHz\nflags : fpu sse2 avx2\n"),
            ("proc/self/status", "Cpus_allowed_list:\t0-3\n"),
            (&format!("{cpu}/online"), "0-3\n"),
            (&format!("{cpu}/cpu0/topology/thread_siblings_list"), "0,2\n"),
            (&format!("{cpu}/cpu1/topology/thread_siblings_list"), "1,3\n"),
            (&format!("{cpu}/cpu0/topology/physical_package_id"), "0\n"),
            (&format!("{cpu}/cpu1/topology/physical_package_id"), "1\n"),
            (&format!("{cpu}/cpu0/cache/index0/level"), "1\n"),
            (&format!("{cpu}/cpu0/cache/index0/type"), "Data\n"),
            (&format!("{cpu}/cpu0/cache/index0/size"), "32K\n"),
            (&format!("{cpu}/cpu0/cache/index3/level"), "3\n"),
            (&format!("{cpu}/cpu0/cache/index3/type"), "Unified\n"),
            (&format!("{cpu}/cpu0/cache/index3/size"), "36608K\n"),
            (&format!("{cpu}/vulnerabilities/meltdown"), "Mitigation: PTI\n"),
            (&format!("{cpu}/intel_pstate/no_turbo"), "0\n"),
            ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Some Linux 12\"\n"),
            ("proc/meminfo", "MemTotal: 2048 kB\nHugePages_Total:       0\n"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
            ("sys/devices/system/node/online", "0-1\n"),
            ("sys/devices/system/node/node0/cpulist", "0,2\n"),
            ("sys/devices/system/node/node1/cpulist", "1,3\n"),
        ]);
        let facts = describe(&files);
        let expected = [
            ("cpu.model", "Some CPU @ 2.50GHz"),
            ("cpu.threads", "4"),
            ("cpu.cores", "2"),
            ("cpu.sockets", "2"),
            ("cpu.l1d_bytes", "32768"),
            ("cpu.l3_bytes", "37486592"),
            ("mitigation.meltdown", "Mitigation: PTI"),
            ("power.turbo", "yes"),
            ("os", "Some Linux 12"),
            ("memory.total_bytes", "2097152"),
            ("memory.thp", "always"),
            ("memory.numa_nodes", "2"),
            ("memory.numa_node0_cpus", "0,2"),
            ("memory.numa_node1_cpus", "1,3"),
            ("host.virtualised", "no"),
        ];
        for (name, value) in expected {
            assert_eq!(facts.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn a_host_that_shows_nothing_has_few_facts_and_no_invented_ones() {
        let (_folder, files) = host(&[]);
        let facts = describe(&files);
        for absent in ["cpu.model", "power.governor", "power.turbo", "memory.total_bytes", "cgroup.version", "os"] {
            assert!(!facts.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn only_tuning_words_of_the_kernels_command_line_are_recorded() {
        let line = "BOOT_IMAGE=/boot/vmlinuz root=UUID=1234 ip=10.0.0.1 mitigations=off isolcpus=1 quiet -- mem=secret";
        assert_eq!(tuning_words(line), ("mitigations=off isolcpus=1".to_owned(), 6));
    }

    #[test]
    fn neither_the_hosts_name_nor_an_id_is_recorded() {
        let facts = describe_host();
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert!(!facts.contains_key("hostname"));
        assert!(facts.iter().all(|(key, value)| key.starts_with("cpu.") || value != name.trim()), "{facts:?}");
    }

    #[test]
    fn the_mounted_trees_say_the_cgroup_version() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        let v2 = "31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(cgroup_version(v1), Some("v1"));
        assert_eq!(cgroup_version(v2), Some("v2"));
        assert_eq!(cgroup_version(&format!("{v1}\n{v2}")), Some("hybrid"));
        assert_eq!(cgroup_version(""), None);
    }

    #[test]
    fn a_hypervisor_shows_by_flag_or_by_firmware() {
        let (_a, by_flag) = host(&[("proc/cpuinfo", "flags : fpu hypervisor\n")]);
        let (_b, by_name) = host(&[("sys/class/dmi/id/product_name", "KVM Virtual Machine\n")]);
        let (_c, neither) = host(&[("proc/cpuinfo", "flags : fpu\n"), ("sys/class/dmi/id/sys_vendor", "Dell Inc.\n")]);
        assert_eq!((virtualised(&by_flag), virtualised(&by_name), virtualised(&neither)), (true, true, false));
    }

    #[test]
    fn cache_sizes_are_read_with_their_unit() {
        assert_eq!(size_bytes("36608K"), Some(37_486_592));
        assert_eq!(size_bytes("2M"), Some(2 << 20));
        assert_eq!(size_bytes("512"), Some(512));
        assert_eq!(size_bytes("?K"), None);
    }

    #[test]
    fn this_host_says_its_memory_and_disk() {
        assert!(memory_available_bytes().unwrap() > 0);
        assert!(disk_free_bytes(Path::new("/proc/self/root")).is_ok());
        assert!(disk_free_bytes(Path::new("/nonexistent")).is_err());
    }
}
