//! From raw records to comparisons and verdicts. No I/O and no clock: the same run file gives the same bytes.
//!
//! The files stand in the order in which data flows through them:
//!
//! ```text
//! record -> cells (what belongs together) -> finished (which blocks count) -> blocks (one log value per launch)
//!        -> effects (one log ratio per block) -> estimate (mean, intervals, p) -> family (Holm) -> verdict
//!        -> comparison, control -> Findings          precision and progress look in while the run goes on
//! ```
//!
//! Whatever a record holds (a killed run's half block, a number that is none), the answer is a `Findings`; what cannot
//! be computed is absent.

mod blocks;
mod cells;
mod comparison;
mod control;
mod disk;
mod effects;
mod environments;
mod estimate;
mod evidence;
mod family;
pub mod findings;
mod finished;
mod histogram;
mod percentile;
pub mod precision;
pub mod progress;
mod run;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_slices;
mod verdict;
mod warmth;

pub use findings::Findings;
pub use precision::{HalfWidth, Precision, half_widths};
pub use progress::{Standing, standings};

use crate::sample::RunRecord;

/// Version of the shapes in [`findings`].
const SCHEMA: u32 = 1;

/// Everything that a run says. Pure: the same record gives the same findings, to the byte, whatever the order of its
/// rows; no record makes it panic.
#[must_use]
pub fn analyse(record: &RunRecord) -> Findings {
    let arranged = cells::arrange(record);
    let tables = blocks::tables(&arranged, |_, _| true);
    let environments = environments::environments(record);
    Findings {
        schema: SCHEMA,
        run: run::run(record),
        comparisons: comparison::comparisons(&arranged, &tables, &environments),
        control: control::control(&arranged, &tables, &environments),
        mishaps: run::mishaps(record),
        unusable: record.plan.unusable.clone(),
        design: run::design(&arranged),
        environments,
    }
}
