//! The CPU as it is shown to the agent: model, flags, topology.

use std::collections::{BTreeMap, BTreeSet};

use super::Files;

/// Facts `cpu.*`; those that are not shown are absent.
pub(super) fn facts(files: &Files) -> BTreeMap<String, String> {
    let cpuinfo = files.text("/proc/cpuinfo").unwrap_or_default();
    let mut facts = BTreeMap::new();
    let mut add = |name: &str, value: String| facts.insert(name.to_owned(), value);
    if let Some(model) = field(&cpuinfo, "model name") {
        add("cpu.model", model.to_owned());
    }
    // Arm calls them features.
    if let Some(flags) = field(&cpuinfo, "flags").or_else(|| field(&cpuinfo, "Features")) {
        let hypervisor = flags.split_whitespace().any(|flag| flag == "hypervisor");
        add("cpu.hypervisor", if hypervisor { "yes" } else { "no" }.to_owned());
        add("cpu.flags", flags.to_owned());
    }
    let threads = from_sys(files).unwrap_or_else(|| from_cpuinfo(&cpuinfo));
    if !threads.is_empty() {
        let sockets: BTreeSet<_> = threads.iter().map(|(socket, _)| socket).collect();
        let cores: BTreeSet<_> = threads.iter().collect();
        add("cpu.sockets", sockets.len().to_string());
        add("cpu.cores", cores.len().to_string());
        add("cpu.threads", threads.len().to_string());
    }
    facts
}

/// Socket and core of every online CPU.
type Threads = Vec<(i64, i64)>;

fn from_sys(files: &Files) -> Option<Threads> {
    let online = list(&files.text("/sys/devices/system/cpu/online")?);
    let number = |cpu: u32, name: &str| {
        files.text(format!("/sys/devices/system/cpu/cpu{cpu}/topology/{name}"))?.parse::<i64>().ok()
    };
    let threads = online.into_iter().map(|cpu| Some((number(cpu, "physical_package_id")?, number(cpu, "core_id")?)));
    threads.collect()
}

/// Every block of /proc/cpuinfo; without ids each CPU is a core of its own.
fn from_cpuinfo(cpuinfo: &str) -> Threads {
    let number = |block: &str, name: &str| field(block, name)?.parse::<i64>().ok();
    let thread = |(index, block): (usize, &str)| {
        (number(block, "physical id").unwrap_or(0), number(block, "core id").unwrap_or(index as i64))
    };
    cpuinfo.split("\n\n").filter(|block| field(block, "processor").is_some()).enumerate().map(thread).collect()
}

/// The first value of `name : value`.
fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// How many CPUs /proc/cpuinfo shows.
pub(super) fn processors(cpuinfo: &str) -> usize {
    cpuinfo.lines().filter(|line| line.split_once(':').is_some_and(|(key, _)| key.trim() == "processor")).count()
}

/// CPUs of a list such as `0-3,8`; what is no number is left out, and no range is longer than the kernel allows.
pub(super) fn list(text: &str) -> Vec<u32> {
    const CPUS_MAX: u32 = 8192;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?.min(CPUS_MAX)))
    };
    text.split(',').filter_map(range).flat_map(|(first, last)| first..=last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_THREADS: &str = "\
processor\t: 0\nmodel name\t: Xeon\nphysical id\t: 0\ncore id\t\t: 5\nflags\t\t: fpu sse2 hypervisor\n\n\
processor\t: 1\nmodel name\t: Xeon\nphysical id\t: 0\ncore id\t\t: 5\nflags\t\t: fpu sse2 hypervisor\n\n";

    fn facts_of(cpuinfo: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        std::fs::write(folder.path().join("proc/cpuinfo"), cpuinfo).unwrap();
        let facts = facts(&Files::under(folder.path()));
        facts.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    #[test]
    fn siblings_share_a_core() {
        let expected = "cpu.cores=1\ncpu.flags=fpu sse2 hypervisor\ncpu.hypervisor=yes\ncpu.model=Xeon\n\
                        cpu.sockets=1\ncpu.threads=2\n";
        assert_eq!(facts_of(TWO_THREADS), expected);
    }

    #[test]
    fn cpus_without_ids_are_cores_and_unknown_facts_are_absent() {
        let arm = "processor\t: 0\nFeatures\t: fp asimd\n\nprocessor\t: 1\nFeatures\t: fp asimd\n";
        let expected = "cpu.cores=2\ncpu.flags=fp asimd\ncpu.hypervisor=no\ncpu.sockets=1\ncpu.threads=2\n";
        assert_eq!(facts_of(arm), expected);
        assert_eq!(facts_of(""), "");
    }

    #[test]
    fn lists_of_cpus_are_read_and_nonsense_left_out() {
        assert_eq!(list("0-2,5, 7"), [0, 1, 2, 5, 7]);
        assert_eq!(list("3"), [3]);
        assert_eq!(list("x,2-1,-"), []);
        assert!(list("0-4294967295").len() < 10_000);
    }

    #[test]
    fn processors_are_counted() {
        assert_eq!((processors(TWO_THREADS), processors("")), (2, 0));
    }
}
