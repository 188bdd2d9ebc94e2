//! What a run says: the shapes of `report --format json`, schema 1. Other people's scripts rely on these names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that a report says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Version of these shapes.
    pub schema: u32,
    /// The run.
    pub run: RunFindings,
    /// The environments, in the plan's order.
    pub environments: Vec<EnvironmentFindings>,
    /// Each environment against native, per workload and metric.
    pub comparisons: Vec<Comparison>,
    /// native#2 against native#1, per workload and metric.
    pub control: Vec<Comparison>,
    /// What failed.
    pub mishaps: Vec<MishapFindings>,
    /// Environments that were asked for and could not run here.
    pub unusable: Vec<crate::sample::UnusableRecord>,
    /// The design of the run in numbers, for the text around the tables.
    pub design: Design,
}

/// The run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFindings {
    /// Its id.
    pub id: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// Seed of the order.
    pub seed: u64,
    /// Preset, if one was used.
    pub preset: Option<String>,
    /// Version of the program that measured.
    pub plimsoll: String,
    /// The host, fact by fact.
    pub host: BTreeMap<String, String>,
    /// Why it ended; "killed" where the file does not say.
    pub stopped_because: String,
}

/// The design of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// Blocks finished.
    pub blocks: u32,
    /// Measured slices per launch and workload, as planned.
    pub slices: u32,
    /// Shortest slice, seconds.
    pub slice_seconds_min: f64,
    /// Margin of equivalence, relative.
    pub margin: f64,
    /// CPUs of the environments.
    pub cpus: Vec<u32>,
    /// Memory limit of an environment, bytes.
    pub memory_bytes: u64,
    /// Seconds from the first launch to the last slice.
    pub seconds: f64,
    /// Which adjustment for many comparisons ran: `holm`.
    pub adjustment: String,
    /// Measured slices spoiled, by environment (`native#1`, `native#2` for the two natives).
    pub spoiled: BTreeMap<String, u32>,
    /// Warm-ups whose last two slices differ by more than 10 %: "environment: workload (2 blocks)".
    pub not_steady: Vec<String>,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentFindings {
    /// Its name as written.
    pub name: String,
    /// Words that qualify its numbers.
    pub labels: Vec<String>,
    /// What the plan asked for.
    pub asked: BTreeMap<String, String>,
    /// What was seen.
    pub got: BTreeMap<String, String>,
    /// Sentences for what was asked and not got.
    pub mismatches: Vec<String>,
    /// Its rungs on the ladders of environments that differ in one number alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<Rung>,
}

/// The value of an option that is a number, beside which an environment may be like others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// The option, such as `layers`.
    pub option: String,
    /// Its value, written or by default.
    pub value: u64,
    /// The environment's name without the option.
    pub rest: String,
}

/// One environment against its baseline on one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// `family.name`.
    pub workload: String,
    /// The metric.
    pub metric: String,
    /// Whether it is the workload's headline.
    pub headline: bool,
    /// Base unit of the values.
    pub unit: String,
    /// `higher` or `lower`.
    pub better: String,
    /// Point of a sweep, or null.
    pub point: Option<serde_json::Value>,
    /// The environment.
    pub environment: String,
    /// What it is compared with.
    pub baseline: String,
    /// Blocks in which both sides finished.
    pub blocks: u32,
    /// Measured slices behind the environment's value.
    pub slices: u32,
    /// exp of the mean of the baseline's block values, in the unit.
    pub baseline_value: f64,
    /// The same of the environment.
    pub value: f64,
    /// value / baseline_value.
    pub ratio: f64,
    /// Relative rise of the time per unit of work.
    pub cost: f64,
    /// 95 % interval of the cost; null under 2 blocks.
    pub cost_ci95: Option<[f64; 2]>,
    /// 90 % interval of the cost; null under 2 blocks.
    pub cost_ci90: Option<[f64; 2]>,
    /// Margin of equivalence.
    pub margin: f64,
    /// Hodges-Lehmann estimate of the cost; null under 6 blocks.
    pub cost_typical: Option<f64>,
    /// Its exact signed-rank interval; null under 6 blocks.
    pub cost_typical_ci95: Option<[f64; 2]>,
    /// Smallest cost that this run would find four times in five, at the level of Holm's first step (5 % over the
    /// family's size; 5 % where the family is empty or has one member); null under 2 blocks.
    pub mde: Option<f64>,
    /// p adjusted over the family; null under 3 blocks, for exploratory metrics and for spoiled environments.
    pub p_adjusted: Option<f64>,
    /// Comparisons in the family, by the plan; 0 for an exploratory metric, which is in none; 1 for a control.
    pub family_size: u32,
    /// `cost`, `gain`, `equivalent`, `unresolved`; under 3 blocks `unresolved`.
    pub verdict: Verdict,
    /// Words that qualify the cell: the environment's labels, `spoiled: asked ≠ got`, `exploratory`, `heavy tail`,
    /// `autocorrelated`, and a sentence for each reason why blocks were left out.
    pub labels: Vec<String>,
    /// Evidence by name: mean per slice, host and inside.
    pub evidence: BTreeMap<String, f64>,
    /// Cost of each block (native's average as the baseline), in block order: what the interval is made of.
    pub block_costs: Vec<f64>,
    /// Blocks that would bring the 95 % half-width to 1 %, low and high; null where it cannot be said.
    pub blocks_for_one_percent: Option<[u32; 2]>,
}

/// What may be said of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It costs: the adjusted test rejects, and the cost is above 0.
    Cost,
    /// It gains: the adjusted test rejects, and the cost is below 0.
    Gain,
    /// It differs by less than the margin: the 90 % interval lies inside.
    Equivalent,
    /// The run cannot tell.
    Unresolved,
}

/// A mishap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MishapFindings {
    /// The environment (`native#1` for a native), or null for the run as a whole.
    pub environment: Option<String>,
    /// The workload, or null.
    pub workload: Option<String>,
    /// The point of its sweep, or null.
    pub point: Option<serde_json::Value>,
    /// Block, from 1.
    pub block: u32,
    /// Its kind.
    pub cause: String,
    /// What happened.
    pub message: String,
}
