//! Effects: one log ratio per block, an environment against the natives that were alive beside it.
//!
//! `d = y_environment - mean(y_native1, y_native2)`, all of the same block and the same group. If one native has no
//! value, the block is left out for that metric, and the cell says how often that happened.

use std::collections::BTreeSet;

use super::blocks::{Gap, Table};
use super::cells::Slot;

/// Position of `native` in the plan.
const NATIVE: u32 = 0;

/// What one block says: two log values of time per unit of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    /// The baseline's.
    pub(super) baseline: f64,
    /// The environment's.
    pub(super) value: f64,
    /// Measured slices behind the environment's (for what the host times: launches).
    pub(super) slices: u32,
}

/// What all blocks say, in their order, and which are silent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Effect {
    pub(super) pairs: Vec<Pair>,
    /// Blocks in which the environment has no value.
    pub(super) not_measured: u32,
    /// Blocks in which it has one and a native has none.
    pub(super) native_failed: u32,
    /// Blocks in which a side had too few samples for the percentile.
    pub(super) too_few_samples: u32,
}

impl Effect {
    /// The log ratios, in block order.
    pub(super) fn differences(&self) -> Vec<f64> {
        self.pairs.iter().map(|pair| pair.value - pair.baseline).collect()
    }

    /// A sentence for each reason why blocks were left out.
    pub(super) fn sentences(&self) -> Vec<String> {
        let blocks = self.pairs.len() + (self.not_measured + self.native_failed + self.too_few_samples) as usize;
        let reasons = [
            (self.not_measured, "gave no value"),
            (self.native_failed, "a native gave no value"),
            (self.too_few_samples, "too few samples for this percentile"),
        ];
        let counted = reasons.into_iter().filter(|(count, _)| *count > 0);
        counted.map(|(count, why)| format!("{count} of {blocks} blocks left out: {why}")).collect()
    }

    fn add(&mut self, value: Result<(f64, u32), Gap>, baseline: Result<f64, Gap>) {
        match (value, baseline) {
            (Ok((value, slices)), Ok(baseline)) => self.pairs.push(Pair { baseline, value, slices }),
            (Err(Gap::TooFewSamples), _) | (Ok(_), Err(Gap::TooFewSamples)) => self.too_few_samples += 1,
            (Err(Gap::NotMeasured), _) => self.not_measured += 1,
            (Ok(_), Err(Gap::NotMeasured)) => self.native_failed += 1,
        }
    }
}

/// One metric of a table.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) table: &'a Table<'a>,
    /// Position of the metric in the table.
    pub(super) metric: usize,
}

impl Side<'_> {
    fn value(&self, slot: Slot) -> Result<f64, Gap> {
        self.table
            .values
            .get(&slot)
            .and_then(|values| values.get(self.metric))
            .copied()
            .unwrap_or(Err(Gap::NotMeasured))
    }

    fn slices(&self, slot: Slot) -> u32 {
        if self.table.cell.is_measured_by_launch() {
            return 1;
        }
        self.table.cell.launches.get(&slot).map_or(0, |measured| measured.sound().count() as u32)
    }

    /// The slots of an arm in a block: one, or for a native one in each group.
    fn slots(&self, block: u32, environment: u32, replica: u32) -> impl Iterator<Item = Slot> {
        let first = Slot { block, group: 0, environment: 0, replica: 0 };
        let last = Slot { block, group: u32::MAX, environment: u32::MAX, replica: u32::MAX };
        let of_block = self.table.values.range(first..=last).map(|(slot, _)| *slot);
        of_block.filter(move |slot| slot.environment == environment && slot.replica == replica)
    }
}

/// An environment against both natives of its block and group.
pub(super) fn against_native(side: Side<'_>, blocks: &BTreeSet<u32>, environment: u32) -> Effect {
    let mut effect = Effect::default();
    for block in blocks {
        let Some(slot) = side.slots(*block, environment, 1).next() else {
            effect.not_measured += 1;
            continue;
        };
        let native = |replica| side.value(Slot { environment: NATIVE, replica, ..slot });
        let baseline = native(1).and_then(|first| Ok(f64::midpoint(first, native(2)?)));
        effect.add(side.value(slot).map(|value| (value, side.slices(slot))), baseline);
    }
    effect
}

/// The second native against the first. A block of several groups has several pairs; the block is the unit of
/// independence, so they are averaged.
pub(super) fn native_against_itself(side: Side<'_>, blocks: &BTreeSet<u32>) -> Effect {
    let mut effect = Effect::default();
    for block in blocks {
        let seconds: Vec<Slot> = side.slots(*block, NATIVE, 2).collect();
        let pairs: Vec<_> = seconds
            .into_iter()
            .map(|slot| (side.value(slot), side.value(Slot { replica: 1, ..slot }), side.slices(slot)))
            .collect();
        let whole: Vec<(f64, f64, u32)> = pairs
            .iter()
            .filter_map(|(second, first, slices)| Some(((*second).ok()?, (*first).ok()?, *slices)))
            .collect();
        if whole.is_empty() {
            let few = pairs.iter().any(|(second, first, _)| [second, first].contains(&&Err(Gap::TooFewSamples)));
            effect.add(Err(if few { Gap::TooFewSamples } else { Gap::NotMeasured }), Err(Gap::NotMeasured));
            continue;
        }
        let mean = |pick: fn(&(f64, f64, u32)) -> f64| whole.iter().map(pick).sum::<f64>() / whole.len() as f64;
        let slices = whole.iter().map(|(_, _, slices)| slices).sum();
        effect.add(Ok((mean(|pair| pair.0), slices)), Ok(mean(|pair| pair.1)));
    }
    effect
}
