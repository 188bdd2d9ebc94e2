//! Ready-made wishes, by name.

use std::collections::BTreeMap;

use plimsoll_protocol::Parameter;

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
    /// Memory limit of an environment, where the default is more than its workloads need: more environments then fit at once.
    pub memory: Option<&'static str>,
    /// Workloads that are measured at all their points; the others at the tested one, as far as no parameter says more.
    pub points: &'static [&'static str],
    /// Parameters with their values: workload, parameter, values.
    pub parameters: &'static [(&'static str, &'static str, &'static [u64])],
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
        memory: None,
        points: &[],
        parameters: &[],
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
        memory: None,
        points: &[],
        parameters: &[],
    },
    Preset {
        name: "storage",
        summary: "where files should lie: union filesystems by layers and depth, volumes, virtual disks, small and large I/O",
        environments: &[
            "native",
            "sandbox",
            "sandbox:disk=volume",
            "docker",
            "docker:disk=volume",
            "gvisor",
            "qemu",
            "qemu:tuned",
            "sandbox:layers=2",
            "sandbox:layers=8",
            "sandbox:layers=32",
            "sandbox:layers=100",
        ],
        workloads: &["disk"],
        blocks: 5,
        slices: 1,
        memory: Some("512MiB"),
        points: &["disk.layers", "disk.metadata"],
        parameters: &[
            ("disk.randread", "depth", &[1, 16]),
            ("disk.randwrite", "depth", &[1, 16]),
            // As many as one slice needs, and another one in its place.
            ("disk.layers", "rounds", &[2]),
        ],
    },
];

/// Presets that later versions are to have.
const LATER: [&str; 4] = ["network", "apps", "vm", "paper"];

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
    fn points_text(&self) -> String {
        if self.points.is_empty() { "tested".to_owned() } else { self.points.join(",") }
    }

    fn wished_parameters(&self, at: &str) -> BTreeMap<String, BTreeMap<String, Said<Vec<Parameter>>>> {
        let mut all: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        for (workload, parameter, values) in self.parameters {
            let values = values.iter().map(|value| Parameter::Integer(*value)).collect();
            let of_workload = all.entry((*workload).to_owned()).or_default();
            of_workload.insert((*parameter).to_owned(), Said::new(values, at));
        }
        all
    }

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
            points: Some(Said::new(self.points_text(), at.clone())),
            parameters: self.wished_parameters(&at),
            memory: self.memory.map(|memory| Said::new(memory.to_owned(), at.clone())),
            ..Wishes::default()
        }
    }
}
