//! What the user asked for, as written, each wish with the place where it stands. Nothing is checked here.

use std::collections::BTreeMap;

use plimsoll_protocol::Parameter;

/// A value and where it was said: `--blocks`, `plan.toml line 3`, `preset quick`.
#[derive(Debug, Clone, PartialEq)]
pub struct Said<T> {
    /// What was said.
    pub value: T,
    /// Where.
    pub at: String,
}

impl<T> Said<T> {
    /// A value said there.
    pub fn new(value: T, at: impl Into<String>) -> Self {
        Self { value, at: at.into() }
    }
}

/// Everything that can be wished of a run. Texts are as written; [`super::Plan::check`] reads them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
    /// Name of a preset.
    pub preset: Option<Said<String>>,
    /// Names of environments.
    pub environments: Vec<Said<String>>,
    /// Names of workloads or families; a text may hold several, separated by commas.
    pub workloads: Vec<Said<String>>,
    /// Blocks at most.
    pub blocks: Option<Said<u64>>,
    /// Measured slices per launch and workload.
    pub slices: Option<Said<u64>>,
    /// `all` points of every workload, those of the workloads named here, or only those that are `tested`.
    pub points: Option<Said<String>>,
    /// Shortest slice, such as `200ms`.
    pub slice: Option<Said<String>>,
    /// Half-width at which to stop, such as `1%`.
    pub precision: Option<Said<String>>,
    /// Time after which no new block starts, such as `10m`.
    pub time: Option<Said<String>>,
    /// Margin of equivalence, such as `1%`.
    pub margin: Option<Said<String>>,
    /// Seed of every order.
    pub seed: Option<Said<u64>>,
    /// CPUs of the environments, such as `1,3-5`.
    pub cpus: Option<Said<String>>,
    /// Memory limit of an environment, such as `1GiB`.
    pub memory: Option<Said<String>>,
    /// Directory on the disk under test.
    pub data: Option<Said<String>>,
    /// An empty block device to be the disk under test.
    pub data_device: Option<Said<String>>,
    /// Parameters by workload; several values make a sweep.
    pub parameters: BTreeMap<String, BTreeMap<String, Said<Vec<Parameter>>>>,
}

impl Wishes {
    /// These wishes where they say something, else the others'. Lists are taken whole from one side.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let mut parameters = other.parameters;
        for (workload, values) in self.parameters {
            parameters.entry(workload).or_default().extend(values);
        }
        let names_a_device = self.data.is_none() && self.data_device.is_some();
        Self {
            preset: self.preset.or(other.preset),
            environments: if self.environments.is_empty() { other.environments } else { self.environments },
            workloads: if self.workloads.is_empty() { other.workloads } else { self.workloads },
            blocks: self.blocks.or(other.blocks),
            slices: self.slices.or(other.slices),
            points: self.points.or(other.points),
            slice: self.slice.or(other.slice),
            precision: self.precision.or(other.precision),
            time: self.time.or(other.time),
            margin: self.margin.or(other.margin),
            seed: self.seed.or(other.seed),
            cpus: self.cpus.or(other.cpus),
            memory: self.memory.or(other.memory),
            // Whoever names a place names it in whichever way.
            data_device: if self.data.is_some() { self.data_device } else { self.data_device.or(other.data_device) },
            data: if names_a_device { None } else { self.data.or(other.data) },
            parameters,
        }
    }
}
