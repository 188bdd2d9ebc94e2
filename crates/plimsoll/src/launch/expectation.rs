//! Asked = got: what the plan and the engine asked for against what the agent saw and the host knows.
//!
//! The 2014 study mislabelled a series because nothing checked this. A mismatch spoils the environment loudly; what
//! cannot be seen from either side is said in a label, never assumed.

use std::collections::BTreeMap;

use plimsoll_protocol::Observation;

use super::ground::is_memory;
use super::place::Limits;
use crate::sample::Profile;

/// Share of the asked memory that a guest may report less: its kernel keeps page tables, its own image and reserved
/// ranges out of `MemTotal`.
const GUEST_MEMORY_SHARE_MIN: f64 = 0.75;
/// What cgroups round a limit to.
const PAGE_BYTES: u64 = 4096;

/// What an environment was asked to be.
#[derive(Debug, Clone)]
pub(super) struct Asked<'a> {
    /// CPUs and memory.
    pub limits: &'a Limits,
    /// SHA-256 of the executable that was sent.
    pub executable_sha256: &'a str,
    /// What the layer asked its engine for; values separated by `|` where several are right.
    pub layer: BTreeMap<String, String>,
    /// Whether memory is the guest's own rather than a limit on the host's.
    pub virtual_machine: bool,
}

/// Compares, and gathers what was asked and got into a profile.
#[must_use]
pub(super) fn compare(
    asked: &Asked<'_>,
    seen: &Observation,
    facts: BTreeMap<String, String>,
    labels: Vec<String>,
) -> Profile {
    let mut comparison = Comparison { asked, seen, profile: Profile { labels, got: facts, ..Profile::default() } };
    comparison.everywhere();
    comparison.memory();
    comparison.layer();
    comparison.data_in_memory();
    comparison.keep_what_was_seen();
    let mut profile = comparison.profile;
    profile.labels.sort();
    profile.labels.dedup();
    profile
}

struct Comparison<'a> {
    asked: &'a Asked<'a>,
    seen: &'a Observation,
    profile: Profile,
}

impl Comparison<'_> {
    fn everywhere(&mut self) {
        let cpus = self.asked.limits.cpus.len().to_string();
        self.pair("cpus", &cpus, &self.seen.cpus_allowed.to_string());
        self.pair("executable_sha256", self.asked.executable_sha256, &self.seen.executable_sha256);
        self.profile.got.insert("agent_pid".to_owned(), self.seen.pid.to_string());
        if self.seen.pid == 1 {
            self.profile.mismatches.push("the agent is process 1; it should run below an init".to_owned());
        }
    }

    fn layer(&mut self) {
        for (name, asked) in self.asked.layer.clone() {
            let got = match name.as_str() {
                "kernel" => self.seen.kernel_release.clone(),
                "root_filesystem" => self.seen.root_filesystem.clone(),
                "data_filesystem" => self.seen.data_filesystem.clone(),
                "root_layers" => self.seen.root_layers.map(|layers| layers.to_string()).unwrap_or_default(),
                "clock_source" => self.seen.clock_source.clone(),
                // What only the host can see of it is among the facts.
                _ => match self.profile.got.get(&name) {
                    Some(got) => got.clone(),
                    None => {
                        self.profile.asked.insert(name, asked);
                        continue;
                    }
                },
            };
            self.pair(&name, &asked, &got);
        }
    }

    fn pair(&mut self, name: &str, asked: &str, got: &str) {
        self.profile.asked.insert(name.to_owned(), asked.to_owned());
        self.profile.got.insert(name.to_owned(), got.to_owned());
        if !asked.split('|').any(|asked| asked == got) {
            let asked = asked.replace('|', " or ");
            let got = if got.is_empty() { "nothing readable" } else { got };
            self.profile.mismatches.push(format!("{name}: asked for {asked}, got {got}"));
        }
    }

    /// A limit may be seen from inside (cgroup files, a guest's `MemTotal`) or read back by the host
    /// (`memory_limit_bytes` among its facts).
    fn memory(&mut self) {
        let asked = self.asked.limits.memory_bytes;
        self.profile.asked.insert("memory_bytes".to_owned(), asked.to_string());
        let outside = self.profile.got.get("memory_limit_bytes").and_then(|bytes| bytes.parse().ok());
        let got = if self.asked.virtual_machine {
            Some(self.seen.memory_total_bytes)
        } else {
            self.seen.memory_limit_bytes.or(outside)
        };
        let Some(got) = got else {
            self.profile.labels.push("memory limit not verified".to_owned());
            return;
        };
        self.profile.got.insert("memory_bytes".to_owned(), got.to_string());
        let low = if self.asked.virtual_machine {
            (asked as f64 * GUEST_MEMORY_SHARE_MIN) as u64
        } else {
            asked - PAGE_BYTES
        };
        if got < low || got > asked + PAGE_BYTES {
            self.profile.mismatches.push(format!("memory: asked for {asked} bytes, got {got}"));
        }
    }

    /// Memory accepts direct I/O and is no disk.
    fn data_in_memory(&mut self) {
        if is_memory(&self.seen.data_filesystem) {
            self.profile.labels.push("memory".to_owned());
        }
    }

    fn keep_what_was_seen(&mut self) {
        let seen = self.seen;
        let plain = [
            ("kernel", seen.kernel_release.clone()),
            ("root_filesystem", seen.root_filesystem.clone()),
            ("data_filesystem", seen.data_filesystem.clone()),
            ("data_mount", seen.data_mount.clone()),
            ("data_source", seen.data_source.clone()),
            ("data_options", seen.data_options.clone()),
            ("clock_source", seen.clock_source.clone()),
            ("uid", seen.uid.to_string()),
            ("seccomp_mode", seen.seccomp_mode.to_string()),
            ("capabilities_effective", format!("{:#x}", seen.capabilities_effective)),
            ("interfaces", seen.interfaces.join(" ")),
            ("cpus_online", seen.cpus_online.to_string()),
            ("memory_total_bytes", seen.memory_total_bytes.to_string()),
        ];
        for (name, value) in plain {
            self.profile.got.entry(name.to_owned()).or_insert(value);
        }
        for (name, value) in &seen.facts {
            self.profile.got.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { cpus: vec![1, 3], memory_bytes: 1 << 30 }
    }

    fn seen() -> Observation {
        Observation {
            pid: 2,
            executable_sha256: "abc".into(),
            kernel_release: "6.1.0".into(),
            cpus_allowed: 2,
            memory_total_bytes: 24 << 30,
            memory_limit_bytes: Some(1 << 30),
            clock_source: "tsc".into(),
            ..Observation::default()
        }
    }

    fn mismatches(seen: &Observation, layer: &[(&str, &str)], virtual_machine: bool) -> Vec<String> {
        let layer = layer.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let limits = limits();
        let asked = Asked { limits: &limits, executable_sha256: "abc", layer, virtual_machine };
        compare(&asked, seen, BTreeMap::new(), Vec::new()).mismatches
    }

    #[test]
    fn what_was_asked_and_got_is_no_mismatch() {
        assert_eq!(mismatches(&seen(), &[("kernel", "6.1.0"), ("clock_source", "tsc|kvm-clock|hpet")], false), [""; 0]);
    }

    #[test]
    fn every_difference_is_a_sentence() {
        let seen = Observation {
            cpus_allowed: 1,
            executable_sha256: "other".into(),
            pid: 1,
            memory_limit_bytes: Some(2 << 30),
            clock_source: "jiffies".into(),
            ..seen()
        };
        let found = mismatches(&seen, &[("clock_source", "tsc|hpet"), ("kernel", "5.0")], false);
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(found.contains(&"clock_source: asked for tsc or hpet, got jiffies".to_owned()));
        assert!(found.contains(&"cpus: asked for 2, got 1".to_owned()));
    }

    #[test]
    fn what_the_host_found_is_held_against_what_was_asked() {
        let compared = |got: &str| {
            let layer = BTreeMap::from([("disk_cache".to_owned(), "none".to_owned())]);
            let limits = limits();
            let asked = Asked { limits: &limits, executable_sha256: "abc", layer, virtual_machine: false };
            let facts = BTreeMap::from([("disk_cache".to_owned(), got.to_owned())]);
            compare(&asked, &seen(), facts, Vec::new()).mismatches
        };
        assert_eq!(compared("none"), [""; 0]);
        assert_eq!(compared("writeback"), ["disk_cache: asked for none, got writeback"]);
    }

    #[test]
    fn data_in_memory_are_a_label_wherever_they_are() {
        let limits = limits();
        let asked = Asked { limits: &limits, executable_sha256: "abc", layer: BTreeMap::new(), virtual_machine: false };
        let labels = |filesystem: &str| {
            let seen = Observation { data_filesystem: filesystem.into(), ..seen() };
            compare(&asked, &seen, BTreeMap::new(), Vec::new()).labels
        };
        assert_eq!((labels("tmpfs"), labels("ext4")), (vec!["memory".to_owned()], Vec::new()));
    }

    #[test]
    fn a_guest_may_report_a_little_less_memory_but_not_half() {
        let guest = |bytes| Observation { memory_total_bytes: bytes, memory_limit_bytes: None, ..seen() };
        assert_eq!(mismatches(&guest(960 << 20), &[], true), [""; 0]);
        assert_eq!(mismatches(&guest(512 << 20), &[], true).len(), 1);
        assert_eq!(mismatches(&guest(2 << 30), &[], true).len(), 1);
    }

    #[test]
    fn a_limit_that_nobody_can_see_is_a_label() {
        let limits = limits();
        let asked = Asked { limits: &limits, executable_sha256: "abc", layer: BTreeMap::new(), virtual_machine: false };
        let unseen = Observation { memory_limit_bytes: None, ..seen() };
        let profile = compare(&asked, &unseen, BTreeMap::new(), vec!["net=none".into()]);
        assert_eq!(profile.mismatches, [""; 0]);
        assert_eq!(profile.labels, ["memory limit not verified", "net=none"]);
        let read_back = [("memory_limit_bytes".to_owned(), (1u64 << 30).to_string())].into();
        assert_eq!(compare(&asked, &unseen, read_back, Vec::new()).labels, [""; 0]);
    }
}
