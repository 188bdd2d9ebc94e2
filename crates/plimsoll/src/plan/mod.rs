//! What to run: wishes as written, checked into a [`Plan`], settled on this host's numbers.
//!
//! ```text
//! flags, file, preset -> Wishes -> Plan::check (names, numbers; every error at once)
//!                                   -> Plan::settle (sizes, groups; given the host's numbers) -> Settled
//! ```
//! This module never looks at the host: what it must know of it is handed in.

pub mod estimate;
pub mod file;
mod groups;
mod points;
pub mod preset;
pub mod quantity;
mod settle;
mod sweep;
mod wishes;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use plimsoll_agent::workload::{WORKLOADS, Workload, check_parameters};
use plimsoll_protocol::Parameters;

use crate::environment::{EngineAbout, Environment, suggest};

use points::Points;
pub use settle::{HostNumbers, Settled};
use sweep::Written;
pub use wishes::{Said, Wishes};

/// What is wrong with a plan, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct PlanError {
    /// Where it was said.
    pub at: String,
    /// What is wrong.
    pub message: String,
}

const BLOCKS_MAX: u64 = 1000;
const SLICES_MAX: u64 = 50;
const SLICE_MIN: Duration = Duration::from_millis(10);
const SLICE_MAX: Duration = Duration::from_secs(10);
const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// Most blocks that a run takes to become precise, unless --blocks says otherwise.
const PRECISION_BLOCKS_MAX: u64 = 200;

/// A checked plan: every name exists, every number is in range.
pub struct Plan {
    environments: Vec<Planned>,
    workloads: Vec<&'static dyn Workload>,
    parameters: BTreeMap<String, Written>,
    preset: Option<String>,
    blocks: u32,
    slices: u32,
    points: Points,
    slice_min: Duration,
    precision: Option<f64>,
    time: Option<Duration>,
    margin: f64,
    seed: Option<u64>,
    cpus: Option<Vec<u32>>,
    memory_bytes: Option<u64>,
    data: Option<DataWish>,
}

/// The disk under test, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataWish {
    /// A directory on it.
    Folder(PathBuf),
    /// A block device.
    Device(PathBuf),
}

/// An environment of a plan.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The environment.
    pub environment: Environment,
    /// Whether the user named it, rather than a preset.
    pub by_name: bool,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.environments.iter().map(|planned| planned.environment.name()).collect();
        write!(formatter, "plan of {} blocks over {names:?}", self.blocks)
    }
}

impl Plan {
    /// Checks wishes against the engines and workloads that exist. Without a preset and without environments or
    /// workloads of its own, a plan takes them from the preset `quick`.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn check(wishes: Wishes, engines: &[&'static EngineAbout]) -> Result<Self, Vec<PlanError>> {
        let mut errors = Vec::new();
        let plan = Checker { engines, errors: &mut errors }.plan(wishes);
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    /// The environments, `native` first.
    #[must_use]
    pub fn environments(&self) -> &[Planned] {
        &self.environments
    }

    /// CPUs for the environments, if the user named them.
    #[must_use]
    pub fn cpus(&self) -> Option<&[u32]> {
        self.cpus.as_deref()
    }

    /// The disk under test, if the user named one.
    #[must_use]
    pub fn data(&self) -> Option<&DataWish> {
        self.data.as_ref()
    }

    /// The seed, if the user named it.
    #[must_use]
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }
}

struct Checker<'a> {
    engines: &'a [&'static EngineAbout],
    errors: &'a mut Vec<PlanError>,
}

impl Checker<'_> {
    fn plan(&mut self, wishes: Wishes) -> Plan {
        let (wishes, preset) = self.with_preset(wishes);
        let precision = self.text(wishes.precision.as_ref(), quantity::percent);
        let precision = self.within(wishes.precision.as_ref(), precision, &(0.0001..=0.5), "between 0.01% and 50%");
        let margin = self.text(wishes.margin.as_ref(), quantity::percent);
        let margin = self.within(wishes.margin.as_ref(), margin, &(0.0001..=0.5), "between 0.01% and 50%");
        Plan {
            environments: self.environments(&wishes.environments),
            workloads: self.workloads(&wishes.workloads),
            parameters: self.parameters(&wishes),
            preset,
            blocks: self.blocks(&wishes, precision.is_some()),
            slices: self.number(wishes.slices.as_ref(), 1, SLICES_MAX).unwrap_or(3) as u32,
            points: self.text(wishes.points.as_ref(), Points::read).unwrap_or(Points::All),
            slice_min: self.slice_min(&wishes),
            precision,
            time: self.text(wishes.time.as_ref(), quantity::duration),
            margin: margin.unwrap_or(0.01),
            seed: wishes.seed.as_ref().map(|said| said.value),
            cpus: self.text(wishes.cpus.as_ref(), quantity::cpus),
            memory_bytes: self.memory(&wishes),
            data: self.data(&wishes),
        }
    }

    /// Fills what the wishes leave open from their preset. Blocks and slices of a preset that nobody named do not apply
    /// to environments that somebody did.
    fn with_preset(&mut self, wishes: Wishes) -> (Wishes, Option<String>) {
        let named = wishes.preset.clone().unwrap_or_else(|| Said::new("quick".to_owned(), "preset"));
        let Some(preset) = preset::find(&named.value) else {
            self.wrong(&named.at, preset::missing(&named.value));
            return (wishes, None);
        };
        let whole = wishes.preset.is_some() || (wishes.environments.is_empty() && wishes.workloads.is_empty());
        let mut offered = preset.wishes();
        if !whole {
            (offered.blocks, offered.slices, offered.points) = (None, None, None);
        }
        (wishes.or(offered), whole.then(|| preset.name.to_owned()))
    }

    fn environments(&mut self, said: &[Said<String>]) -> Vec<Planned> {
        let mut planned = vec![Planned { environment: Environment::native(), by_name: false }];
        for said in said.iter().filter(|said| said.value != "native") {
            match Environment::parse(&said.value, self.engines) {
                Ok(environment) if planned.iter().any(|other| other.environment.name() == environment.name()) => {
                    self.wrong(&said.at, format!("environment `{}` is named twice", said.value));
                }
                Ok(environment) => planned.push(Planned { environment, by_name: !said.at.starts_with("preset ") }),
                Err(errors) => errors.iter().for_each(|error| self.wrong(&said.at, error.to_string())),
            }
        }
        planned
    }

    fn workloads(&mut self, said: &[Said<String>]) -> Vec<&'static dyn Workload> {
        let mut chosen: Vec<&'static dyn Workload> = Vec::new();
        for said in said {
            for word in said.value.split(',').map(str::trim) {
                let found: Vec<_> = WORKLOADS.iter().copied().filter(|workload| is_called(*workload, word)).collect();
                if found.is_empty() {
                    self.unknown_workload(&said.at, word);
                }
                chosen.extend(found);
            }
        }
        WORKLOADS
            .iter()
            .copied()
            .filter(|workload| chosen.iter().any(|other| other.about().name == workload.about().name))
            .collect()
    }

    fn unknown_workload(&mut self, at: &str, word: &str) {
        let mut known: Vec<&str> = WORKLOADS.iter().map(|workload| workload.about().name).collect();
        known.extend(WORKLOADS.iter().map(|workload| family(workload.about().name)));
        known.dedup();
        self.wrong(at, format!("unknown workload `{word}`{}", suggest(word, &known)));
    }

    fn parameters(&mut self, wishes: &Wishes) -> BTreeMap<String, Written> {
        let mut all = BTreeMap::new();
        for (name, values) in &wishes.parameters {
            let at = values.values().next().map_or_else(|| format!("parameters of {name}"), |said| said.at.clone());
            let Some(workload) = WORKLOADS.iter().find(|workload| workload.about().name == *name) else {
                self.unknown_workload(&at, name);
                continue;
            };
            for (key, said) in values {
                for value in &said.value {
                    let one = Parameters([(key.clone(), value.clone())].into());
                    let wrong = check_parameters(workload.about(), &one);
                    wrong.into_iter().for_each(|message| self.wrong(&said.at, message));
                }
            }
            all.insert(name.clone(), values.iter().map(|(key, said)| (key.clone(), said.value.clone())).collect());
        }
        all
    }

    fn blocks(&mut self, wishes: &Wishes, precise: bool) -> u32 {
        let asked = wishes.blocks.as_ref().filter(|said| !precise || !said.at.starts_with("preset "));
        let default = if precise { PRECISION_BLOCKS_MAX } else { 5 };
        self.number(asked, 1, BLOCKS_MAX).unwrap_or(default) as u32
    }

    fn slice_min(&mut self, wishes: &Wishes) -> Duration {
        let time = self.text(wishes.slice.as_ref(), quantity::duration);
        self.within(wishes.slice.as_ref(), time, &(SLICE_MIN..=SLICE_MAX), "between 10ms and 10s")
            .unwrap_or(Duration::from_millis(200))
    }

    fn data(&mut self, wishes: &Wishes) -> Option<DataWish> {
        let path = |said: &Said<String>| PathBuf::from(&said.value);
        match (&wishes.data, &wishes.data_device) {
            (Some(_), Some(device)) => {
                self.wrong(&device.at, "`data` names the disk under test too: leave one of them away".to_owned());
                None
            }
            (Some(folder), None) => Some(DataWish::Folder(path(folder))),
            (None, device) => device.as_ref().map(|device| DataWish::Device(path(device))),
        }
    }

    fn memory(&mut self, wishes: &Wishes) -> Option<u64> {
        let bytes = self.text(wishes.memory.as_ref(), quantity::bytes);
        self.within(wishes.memory.as_ref(), bytes, &(MEMORY_BYTES_MIN..=u64::MAX), "at least 64MiB")
    }

    fn number(&mut self, said: Option<&Said<u64>>, low: u64, high: u64) -> Option<u64> {
        let value = said.map(|said| said.value);
        self.within(said, value, &(low..=high), &format!("between {low} and {high}"))
    }

    fn text<T>(&mut self, said: Option<&Said<String>>, read: fn(&str) -> Result<T, String>) -> Option<T> {
        let said = said?;
        read(&said.value).map_err(|message| self.wrong(&said.at, message)).ok()
    }

    fn within<S, T: PartialOrd>(
        &mut self,
        said: Option<&Said<S>>,
        value: Option<T>,
        range: &RangeInclusive<T>,
        words: &str,
    ) -> Option<T> {
        let (said, value) = (said?, value?);
        if range.contains(&value) {
            return Some(value);
        }
        self.wrong(&said.at, format!("must be {words}"));
        None
    }

    fn wrong(&mut self, at: &str, message: String) {
        self.errors.push(PlanError { at: at.to_owned(), message });
    }
}

/// The family of a workload: what stands before the dot.
#[must_use]
pub fn family(workload: &str) -> &str {
    workload.split_once('.').map_or(workload, |(family, _)| family)
}

fn is_called(workload: &dyn Workload, word: &str) -> bool {
    let name = workload.about().name;
    name == word || family(name) == word
}

#[cfg(test)]
mod tests;
