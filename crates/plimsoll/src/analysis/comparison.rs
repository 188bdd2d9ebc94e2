//! Comparisons: each environment against native on each metric, with what may be said of it.
//!
//! Order: the plan's workloads (and their points), then metrics, then the plan's environments. A comparison without any
//! finished block on both sides is absent.

use std::collections::BTreeMap;

use super::blocks::Table;
use super::cells::{Arranged, Cell};
use super::disk;
use super::effects::{Effect, Pair, Side, against_native};
use super::environments::{Qualities, qualities};
use super::estimate::Estimate;
use super::evidence::mean_per_slice;
use super::family::{ALPHA, adjusted};
use super::findings::{Comparison, EnvironmentFindings, Verdict};
use super::verdict::verdict;
use crate::sample::{MetricKindRecord, MetricRecord};

/// All comparisons with native.
pub(super) fn comparisons<'a>(
    arranged: &'a Arranged<'a>,
    tables: &'a [Table<'a>],
    environments: &[EnvironmentFindings],
) -> Vec<Comparison> {
    let drafts: Vec<Draft<'_>> = tables.iter().flat_map(|table| drafts(arranged, table, environments)).collect();
    let members: Vec<Option<f64>> = drafts.iter().filter(|draft| draft.is_headline()).map(Draft::p).collect();
    let family_size = members.len() as u32;
    let mut p_adjusted = adjusted(&members).into_iter();
    let mut test_of = |draft: &Draft<'_>| {
        let is_member = draft.is_headline();
        let p_adjusted = if is_member { p_adjusted.next().flatten() } else { None };
        Test { p_adjusted, family_size: if is_member { family_size } else { 0 } }
    };
    let finish = |draft: Draft<'_>| {
        let test = test_of(&draft);
        draft.to_comparison(arranged, &test)
    };
    drafts.into_iter().filter_map(finish).collect()
}

/// The drafts of a cell: metrics, then environments.
fn drafts<'a>(
    arranged: &'a Arranged<'a>,
    table: &'a Table<'a>,
    environments: &[EnvironmentFindings],
) -> Vec<Draft<'a>> {
    let compared: Vec<(u32, &EnvironmentFindings)> = (0..).zip(environments).skip(1).collect();
    let evidence: BTreeMap<u32, _> =
        compared.iter().map(|(position, _)| (*position, evidence_of(table.cell, *position, 1))).collect();
    let mut drafts = Vec::new();
    for metric in 0..table.metrics.len() {
        for (position, environment) in &compared {
            let side = Side { table, metric };
            let effect = against_native(side, &arranged.blocks, *position);
            drafts.push(Draft {
                side,
                environment: environment.name.clone(),
                baseline: environments[0].name.clone(),
                qualities: qualities(environments, *position).and_disk(disk::of(
                    table.cell,
                    *position,
                    &environment.labels,
                )),
                estimate: Estimate::of(&effect.differences()),
                effect,
                evidence: evidence.get(position).cloned().unwrap_or_default(),
            });
        }
    }
    drafts
}

/// Evidence of all launches of an arm that count.
pub(super) fn evidence_of(cell: &Cell<'_>, environment: u32, replica: u32) -> BTreeMap<String, f64> {
    let of_arm = cell.launches.iter().filter(|(slot, _)| slot.environment == environment && slot.replica == replica);
    mean_per_slice(of_arm.flat_map(|(_, measured)| measured.sound()))
}

/// A comparison before the family is known.
pub(super) struct Draft<'a> {
    pub(super) side: Side<'a>,
    pub(super) environment: String,
    pub(super) baseline: String,
    pub(super) qualities: Qualities,
    pub(super) effect: Effect,
    /// `None` without any block.
    pub(super) estimate: Option<Estimate>,
    pub(super) evidence: BTreeMap<String, f64>,
}

/// The test that a comparison takes part in.
pub(super) struct Test {
    /// Adjusted over the family.
    pub(super) p_adjusted: Option<f64>,
    /// 0: it is in none.
    pub(super) family_size: u32,
}

impl Test {
    /// The level that decides at Holm's first step, where the strongest comparison of the family stands: the later
    /// steps are easier, so no comparison can detect less than what follows from this one.
    fn alpha(&self) -> f64 {
        ALPHA / f64::from(self.family_size.max(1))
    }
}

impl Draft<'_> {
    fn metric(&self) -> &MetricRecord {
        self.side.table.metrics[self.side.metric]
    }

    fn is_headline(&self) -> bool {
        self.metric().headline && self.side.table.cell.is_tested()
    }

    /// The unadjusted p; a spoiled environment has none.
    pub(super) fn p(&self) -> Option<f64> {
        self.estimate.as_ref().filter(|_| !self.qualities.spoiled)?.p
    }

    /// `None` without any block.
    pub(super) fn to_comparison(&self, arranged: &Arranged<'_>, test: &Test) -> Option<Comparison> {
        let estimate = self.estimate.as_ref()?;
        let margin = arranged.record.plan.margin;
        let values = Values::of(&self.effect.pairs, self.metric())?;
        let decided = verdict(estimate, margin, test.p_adjusted);
        let cell = self.side.table.cell;
        let metric = self.metric();
        Some(Comparison {
            workload: cell.workload.name.clone(),
            metric: metric.name.clone(),
            headline: self.is_headline(),
            unit: metric.unit.clone(),
            better: if is_rate(metric) { "higher" } else { "lower" }.to_owned(),
            point: cell.point_value(),
            blocks: estimate.blocks as u32,
            slices: self.effect.pairs.iter().map(|pair| pair.slices).sum(),
            baseline_value: values.baseline,
            value: values.value,
            ratio: values.ratio,
            cost: values.cost,
            cost_ci95: estimate.ci95.and_then(|interval| costs(interval.low, interval.high)),
            cost_ci90: estimate.ci90.and_then(|interval| costs(interval.low, interval.high)),
            margin,
            cost_typical: estimate.typical.map(|typical| typical.estimate.exp_m1()),
            cost_typical_ci95: estimate.typical.and_then(|typical| costs(typical.interval.low, typical.interval.high)),
            mde: estimate.minimum_detectable(test.alpha()).map(f64::exp_m1).filter(|mde| mde.is_finite()),
            p_adjusted: test.p_adjusted,
            family_size: test.family_size,
            verdict: if self.qualities.spoiled { Verdict::Unresolved } else { decided },
            labels: self.labels(estimate, test),
            block_costs: self.effect.differences().into_iter().map(f64::exp_m1).collect(),
            blocks_for_one_percent: estimate.blocks_for_one_percent(),
            environment: self.environment.clone(),
            baseline: self.baseline.clone(),
            evidence: self.evidence.clone(),
        })
    }

    fn labels(&self, estimate: &Estimate, test: &Test) -> Vec<String> {
        let mut labels = self.qualities.labels.clone();
        let words = [
            (test.family_size == 0, "exploratory"),
            (estimate.has_heavy_tail(), "heavy tail"),
            (estimate.autocorrelated, "autocorrelated"),
        ];
        labels.extend(words.into_iter().filter(|(applies, _)| *applies).map(|(_, word)| word.to_owned()));
        labels.extend(self.effect.sentences());
        labels
    }
}

/// The four figures that follow from each other exactly.
pub(super) struct Values {
    pub(super) baseline: f64,
    pub(super) value: f64,
    pub(super) ratio: f64,
    pub(super) cost: f64,
}

impl Values {
    /// Both sides over the same blocks; `None` without any.
    pub(super) fn of(pairs: &[Pair], metric: &MetricRecord) -> Option<Self> {
        let mean_of = |pick: fn(&Pair) -> f64| plimsoll_stats::mean(&pairs.iter().map(pick).collect::<Vec<f64>>());
        let (baseline, value) = (mean_of(|pair| pair.baseline)?, mean_of(|pair| pair.value)?);
        // Block values are time per unit of work; a rate is its reciprocal.
        let sign = if is_rate(metric) { -1.0 } else { 1.0 };
        let (baseline, value) = ((sign * baseline).exp(), (sign * value).exp());
        let ratio = value / baseline;
        let cost = if is_rate(metric) { 1.0 / ratio - 1.0 } else { ratio - 1.0 };
        Some(Self { baseline, value, ratio, cost })
    }
}

fn is_rate(metric: &MetricRecord) -> bool {
    metric.kind == MetricKindRecord::Rate
}

/// An interval of costs from one of log ratios; `None` where an end is beyond what a number can say.
pub(super) fn costs(low: f64, high: f64) -> Option<[f64; 2]> {
    let costs = [low.exp_m1(), high.exp_m1()];
    costs.iter().all(|cost| cost.is_finite()).then_some(costs)
}
