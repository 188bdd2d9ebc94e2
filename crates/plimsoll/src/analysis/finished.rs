//! Which blocks count: finished ones. All environments finish a block together, so half a block is no block.
//!
//! A record has no row that says "this block is finished"; it follows from what the block holds. Only the last block
//! can be unfinished, and only if the run did not end after a block (it was killed, interrupted, failed, or still
//! runs). That block counts if every arm of the plan has measured what it should, or has a mishap that says why not.

use std::collections::BTreeSet;

use super::cells::{Cell, Slot};
use crate::sample::{Arm, Cause, MishapRecord, RunRecord, StopReason};

/// The numbers of the blocks that count; block 0 is a pilot and never does.
pub(super) fn finished(record: &RunRecord, cells: &[Cell<'_>]) -> BTreeSet<u32> {
    let launched = record.launches.iter().map(|launch| launch.block);
    let failed = record.mishaps.iter().map(|mishap| mishap.block);
    let mut blocks: BTreeSet<u32> = launched.chain(failed).filter(|block| *block > 0).collect();
    let ended_after_a_block =
        matches!(record.run.stopped_because, Some(StopReason::Blocks | StopReason::Precision | StopReason::Time));
    if ended_after_a_block {
        return blocks;
    }
    if let Some(last) = blocks.pop_last()
        && is_whole(record, cells, last, blocks.last().copied())
    {
        blocks.insert(last);
    }
    blocks
}

fn is_whole(record: &RunRecord, cells: &[Cell<'_>], block: u32, before: Option<u32>) -> bool {
    let is_excused = |cell: &Cell<'_>, slot: &Slot| {
        let arm = Arm { environment: slot.environment, replica: slot.replica };
        let mut of_arm = record.mishaps.iter().filter(|mishap| mishap.arm.as_ref() == Some(&arm));
        // What an arm lacked in an earlier block it need not have been asked for again.
        of_arm.any(|mishap| mishap.block == block || is_lack_of(mishap, cell))
    };
    let slots = planned_slots(record, block);
    cells.iter().all(|cell| {
        let expected = slices_expected(record, cell, before);
        slots.iter().all(|slot| {
            let has_all = cell.launches.get(slot).is_some_and(|measured| measured.slices.len() >= expected);
            has_all || is_excused(cell, slot)
        })
    })
}

fn is_lack_of(mishap: &MishapRecord, cell: &Cell<'_>) -> bool {
    mishap.cause == Cause::Missing
        && mishap.workload.as_deref() == Some(cell.workload.name.as_str())
        && mishap.point.as_deref() == cell.point
}

/// As many as the fullest launch of the block before; in the first block, as many as were planned.
fn slices_expected(record: &RunRecord, cell: &Cell<'_>, before: Option<u32>) -> usize {
    if cell.is_measured_by_launch() {
        return 0;
    }
    let Some(before) = before else { return record.plan.slices as usize };
    let counts = cell.launches.iter().filter(|(slot, _)| slot.block == before).map(|(_, it)| it.slices.len());
    // A launch that the host disturbed has more than were planned.
    counts.max().unwrap_or(0).min(record.plan.slices as usize)
}

/// Every launch that the plan has in a block: each group's environments and its own two natives.
fn planned_slots(record: &RunRecord, block: u32) -> Vec<Slot> {
    let everything: Vec<u32> = (0..).zip(&record.plan.environments).map(|(position, _)| position).collect();
    let groups = if record.plan.groups.is_empty() { vec![everything] } else { record.plan.groups.clone() };
    let mut slots = Vec::new();
    for (group, members) in (0..).zip(groups) {
        let others = members.into_iter().filter(|environment| *environment != 0).map(|environment| (environment, 1));
        let arms = [(0, 1), (0, 2)].into_iter().chain(others);
        slots.extend(arms.map(|(environment, replica)| Slot { block, group, environment, replica }));
    }
    slots
}
