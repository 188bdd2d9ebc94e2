//! How each headline comparison stands while the run goes on: for a live display and for the stop rule.
//!
//! Only headline metrics and only what is cheap. No verdict: looking at verdicts on the way invites stopping on them.

use serde_json::Value;

use super::blocks::tables;
use super::cells::{Arranged, arrange};
use super::comparison::{Values, costs};
use super::effects::{Side, against_native};
use super::environments::{EMULATED, environments, qualities};
use super::estimate::Estimate;
use super::findings::EnvironmentFindings;
use crate::sample::RunRecord;

/// How many finished blocks back a value is recent.
const RECENT_BLOCKS: usize = 3;

/// How one headline comparison stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// `family.name`.
    pub workload: String,
    /// The headline metric.
    pub metric: String,
    /// Point of a sweep.
    pub point: Option<Value>,
    /// The environment.
    pub environment: String,
    /// Blocks in which both sides finished, at least 1.
    pub blocks: u32,
    /// value / baseline_value so far.
    pub ratio: f64,
    /// Relative rise of the time per unit of work so far.
    pub cost: f64,
    /// Its 95 % interval; `None` under 2 blocks.
    pub cost_ci95: Option<[f64; 2]>,
    /// Half-width of the 95 % interval of the log ratio; `None` under 2 blocks.
    pub log_half_width: Option<f64>,
    /// Whether one of the last 3 finished blocks is among them.
    pub recent: bool,
    /// Whether the environment is emulated.
    pub emulated: bool,
    /// Whether it, or native, was not what was asked for.
    pub spoiled: bool,
}

/// Every headline comparison that has a block, in the order of the findings.
#[must_use]
pub fn standings(record: &RunRecord) -> Vec<Standing> {
    let arranged = arrange(record);
    let environments = environments(record);
    let tables = tables(&arranged, |cell, metric| metric.headline && cell.is_tested());
    let mut standings = Vec::new();
    for table in &tables {
        for metric in 0..table.metrics.len() {
            let side = Side { table, metric };
            let positions = (0..).zip(&environments).skip(1).map(|(position, _)| position);
            standings.extend(positions.filter_map(|position| standing(&arranged, side, &environments, position)));
        }
    }
    standings
}

/// Whether the environment can still be compared: a gap of [`RECENT_BLOCKS`] blocks is no mischance any more.
fn is_recent(arranged: &Arranged<'_>, side: Side<'_>, position: u32) -> bool {
    let last = arranged.blocks.iter().rev().take(RECENT_BLOCKS).copied().collect();
    !against_native(side, &last, position).pairs.is_empty()
}

fn standing(
    arranged: &Arranged<'_>,
    side: Side<'_>,
    environments: &[EnvironmentFindings],
    position: u32,
) -> Option<Standing> {
    let effect = against_native(side, &arranged.blocks, position);
    let estimate = Estimate::of(&effect.differences())?;
    let metric = side.table.metrics[side.metric];
    let values = Values::of(&effect.pairs, metric)?;
    let qualities = qualities(environments, position);
    Some(Standing {
        workload: side.table.cell.workload.name.clone(),
        metric: metric.name.clone(),
        point: side.table.cell.point_value(),
        environment: environments.get(position as usize)?.name.clone(),
        blocks: estimate.blocks as u32,
        ratio: values.ratio,
        cost: values.cost,
        cost_ci95: estimate.ci95.and_then(|interval| costs(interval.low, interval.high)),
        log_half_width: estimate.ci95.map(|interval| interval.half_width()),
        recent: is_recent(arranged, side, position),
        emulated: qualities.labels.iter().any(|label| label == EMULATED),
        spoiled: qualities.spoiled,
    })
}
