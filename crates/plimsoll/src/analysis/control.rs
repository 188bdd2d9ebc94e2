//! The control: the second native against the first, through the same pipeline as everything else.
//!
//! Both are the same thing, so what is found here is the pipeline's own error. Each metric is tested alone, at its own
//! 5 %: `p_adjusted` is the unadjusted p and the family has one member. Its variance is 2 s^2 where a comparison has
//! 1.5 s^2, so its intervals are some 15 % wider; it is no null distribution of the comparisons.

use super::blocks::Table;
use super::cells::Arranged;
use super::comparison::{Draft, Test, evidence_of};
use super::effects::{Side, native_against_itself};
use super::environments::qualities;
use super::estimate::Estimate;
use super::findings::{Comparison, EnvironmentFindings};
use crate::sample::Arm;

/// The control of every metric: workloads (and points), then metrics.
pub(super) fn control<'a>(
    arranged: &'a Arranged<'a>,
    tables: &'a [Table<'a>],
    environments: &[EnvironmentFindings],
) -> Vec<Comparison> {
    let sides = tables.iter().flat_map(|table| (0..table.metrics.len()).map(move |metric| Side { table, metric }));
    let name = |replica| arranged.record.arm_name(&Arm { environment: 0, replica });
    let drafts = sides.map(|side| {
        let effect = native_against_itself(side, &arranged.blocks);
        Draft {
            side,
            environment: name(2),
            baseline: name(1),
            qualities: qualities(environments, 0),
            estimate: Estimate::of(&effect.differences()),
            effect,
            evidence: evidence_of(side.table.cell, 0, 2),
        }
    });
    drafts
        .filter_map(|draft| {
            let test = Test { p_adjusted: draft.p(), family_size: 1 };
            draft.to_comparison(arranged, &test)
        })
        .collect()
}
