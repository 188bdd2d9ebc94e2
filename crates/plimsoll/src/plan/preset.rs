//! Ready-made wishes, by name.

use super::wishes::{Said, Wishes};
use crate::environment::suggest;

/// A preset, as data.
#[derive(Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// One line for `list presets`.
    pub summary: &'static str,
    /// Its environments.
    pub environments: &'static [&'static str],
    /// Its workloads or families.
    pub workloads: &'static [&'static str],
    /// Its blocks.
    pub blocks: u64,
    /// Measured slices per launch and workload.
    pub slices: u64,
    /// Whether each workload is measured at its tested point only.
    pub tested_only: bool,
}

/// Every preset; a new one is one entry here.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "quick",
        summary: "a first answer in two or three minutes: one workload per family",
        environments: &["native", "sandbox", "docker", "gvisor", "qemu", "qemu/sandbox"],
        workloads: &["cpu.lzma", "mem.triad", "kernel.syscall", "disk.randread", "start.ready"],
        blocks: 5,
        slices: 1,
        tested_only: true,
    },
    Preset {
        name: "standard",
        summary: "every engine, the workloads that differ most, ten blocks: narrower intervals in less than an hour",
        environments: &["native", "sandbox", "docker", "runc", "crun", "gvisor", "qemu", "qemu/sandbox"],
        workloads: &[
            "cpu",
            "mem.triad",
            "mem.random",
            "mem.latency",
            "kernel.syscall",
            "kernel.switch",
            "kernel.fault",
            "kernel.fork",
            "disk",
            "start",
        ],
        blocks: 10,
        slices: 3,
        tested_only: true,
    },
];

/// Presets that later versions are to have.
const LATER: [&str; 5] = ["storage", "network", "apps", "vm", "paper"];

/// Why there is no preset of this name.
pub(super) fn missing(name: &str) -> String {
    let known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    if LATER.contains(&name) {
        return format!("preset `{name}` is not in this version; there is {}", known.join(", "));
    }
    format!("unknown preset `{name}`{}", suggest(name, &known))
}

/// The preset of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

impl Preset {
    /// The preset as wishes.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        let at = format!("preset {}", self.name);
        let said = |words: &[&str]| words.iter().map(|word| Said::new((*word).to_owned(), at.clone())).collect();
        Wishes {
            environments: said(self.environments),
            workloads: said(self.workloads),
            blocks: Some(Said::new(self.blocks, at.clone())),
            slices: Some(Said::new(self.slices, at.clone())),
            points: self.tested_only.then(|| Said::new("tested".to_owned(), at.clone())),
            ..Wishes::default()
        }
    }
}
