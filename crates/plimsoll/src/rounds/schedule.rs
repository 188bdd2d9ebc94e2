//! The order of everything in a run, as a pure function of the seed.
//!
//! Each order is drawn from its own number (seed, block, group, what for), so that an arm that fails, or a workload that
//! is left out, changes no other order: the schedule of a run can be printed before it starts and checked after it ended.

use crate::sample::Arm;

/// The order of a run: which arms stand together, how many workloads visit them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    seed: u64,
    groups: Vec<Vec<Arm>>,
    workloads: usize,
}

/// What an order is drawn for; part of the number it is drawn from.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Groups,
    Launches,
    Workloads,
    Visit { workload: usize, visit: u32 },
}

impl Schedule {
    /// The schedule of a run over these groups of arms and so many workloads.
    #[must_use]
    pub fn new(seed: u64, groups: Vec<Vec<Arm>>, workloads: usize) -> Self {
        Self { seed, groups, workloads }
    }

    /// Groups of a block, in the block's random order: position in the plan, and its arms in the plan's order.
    #[must_use]
    pub fn groups(&self, block: u32) -> Vec<(u32, &[Arm])> {
        let mut groups: Vec<(u32, &[Arm])> = (0..).zip(self.groups.iter().map(Vec::as_slice)).collect();
        self.shuffle(&mut groups, block, 0, Purpose::Groups);
        groups
    }

    /// Arms of a group in the order in which they are launched.
    #[must_use]
    pub fn launches(&self, block: u32, group: u32) -> Vec<Arm> {
        self.arms(block, group, Purpose::Launches)
    }

    /// Workloads (positions in the plan) in the order in which they visit the group.
    #[must_use]
    pub fn workloads(&self, block: u32, group: u32) -> Vec<usize> {
        let mut workloads: Vec<usize> = (0..self.workloads).collect();
        self.shuffle(&mut workloads, block, group, Purpose::Workloads);
        workloads
    }

    /// Arms of a group in the order of one visit of a workload: each once.
    #[must_use]
    pub fn visit(&self, block: u32, group: u32, workload: usize, visit: u32) -> Vec<Arm> {
        self.arms(block, group, Purpose::Visit { workload, visit })
    }

    fn arms(&self, block: u32, group: u32, purpose: Purpose) -> Vec<Arm> {
        let mut arms = self.groups.get(group as usize).cloned().unwrap_or_default();
        self.shuffle(&mut arms, block, group, purpose);
        arms
    }

    /// Fisher-Yates over the stream of this purpose.
    fn shuffle<T>(&self, items: &mut [T], block: u32, group: u32, purpose: Purpose) {
        let mut stream = Stream::new(self.seed, block, group, purpose);
        for last in (1..items.len()).rev() {
            items.swap(last, stream.below(last as u64 + 1) as usize);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, and the same on every machine and in every version.
struct Stream {
    state: u64,
}

impl Stream {
    fn new(seed: u64, block: u32, group: u32, purpose: Purpose) -> Self {
        let (kind, first, second) = match purpose {
            Purpose::Groups => (1, 0, 0),
            Purpose::Launches => (2, 0, 0),
            Purpose::Workloads => (3, 0, 0),
            Purpose::Visit { workload, visit } => (4, workload as u64, u64::from(visit)),
        };
        let mut stream = Self { state: seed };
        for part in [u64::from(block), u64::from(group), kind, first, second] {
            stream.state = stream.next() ^ part;
        }
        stream
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; the bias of the widening multiplication is under bound / 2^64.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn arms(count: u32) -> Vec<Arm> {
        (0..count).map(|environment| Arm { environment, replica: 1 }).collect()
    }

    #[test]
    fn a_visit_holds_every_arm_once() {
        let schedule = Schedule::new(7, vec![arms(6)], 3);
        for visit in 0..50 {
            let order: BTreeSet<Arm> = schedule.visit(1, 0, 2, visit).into_iter().collect();
            assert_eq!(order.len(), 6);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_order_and_another_seed_another() {
        let order =
            |seed| (0..20).map(|visit| Schedule::new(seed, vec![arms(6)], 3).visit(1, 0, 0, visit)).collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn blocks_groups_workloads_and_visits_draw_independently() {
        let schedule = Schedule::new(7, vec![arms(8), arms(8)], 3);
        let orders: BTreeSet<Vec<Arm>> = [
            schedule.visit(1, 0, 0, 0),
            schedule.visit(2, 0, 0, 0),
            schedule.visit(1, 1, 0, 0),
            schedule.visit(1, 0, 1, 0),
            schedule.visit(1, 0, 0, 1),
            schedule.launches(1, 0),
        ]
        .into();
        assert_eq!(orders.len(), 6);
    }

    /// Every arm stands in every position about equally often; 4.5 standard deviations of a binomial are allowed.
    #[test]
    fn no_position_is_favoured() {
        let (arms_count, blocks) = (5, 4000);
        let schedule = Schedule::new(11, vec![arms(arms_count)], 1);
        let mut counts: BTreeMap<(u32, usize), f64> = BTreeMap::new();
        for block in 0..blocks {
            for (position, arm) in schedule.launches(block, 0).into_iter().enumerate() {
                *counts.entry((arm.environment, position)).or_default() += 1.0;
            }
        }
        let share = 1.0 / f64::from(arms_count);
        let (mean, deviation) = (f64::from(blocks) * share, (f64::from(blocks) * share * (1.0 - share)).sqrt());
        assert_eq!(counts.len(), 25);
        for (cell, count) in counts {
            assert!((count - mean).abs() < 4.5 * deviation, "{cell:?}: {count} of {mean}");
        }
    }
}
