//! Many comparisons of one metric, taking their dependence into account: step-down max-|t| over sign flips.
//!
//! P. H. Westfall and S. S. Young, "Resampling-Based Multiple Testing", 1993, algorithm 2.8 and section 4; the
//! step-down form as in Y. Ge, S. Dudoit and T. Speed, TEST 12 (2003), box 2. All comparisons of a block share their
//! native launches, so they move together; flipping the sign of whole block vectors keeps that, where Holm must assume
//! the worst. Under a true zero, symmetric around it, every pattern of signs was equally likely.

use crate::random::Random;

/// Under this many blocks there are too few patterns for a small p.
pub const SIGN_FLIP_BLOCKS_MIN: usize = 12;

/// Up to this many blocks every pattern is tried (2^(B-1), since a pattern and its mirror image give the same |t|);
/// above it, [`SIGN_FLIP_PATTERNS_DRAWN`] are drawn.
pub const SIGN_FLIP_EXACT_MAX: usize = 20;

/// The number of patterns drawn where there are too many to try: the error of a p near 0.05 is then about 0.001.
pub const SIGN_FLIP_PATTERNS_DRAWN: usize = 1 << 16;

/// The most comparisons that are tested together.
pub const SIGN_FLIP_COMPARISONS_MAX: usize = 100;

/// The most blocks that are taken.
pub const SIGN_FLIP_BLOCKS_MAX: usize = 2_000;

/// Two statistics this close are the same pattern of signs up to rounding; statistics lie in 0..=sqrt(B).
const SAME: f64 = 1e-9;

/// The adjusted p values, two-sided, one per comparison in the order of the columns.
///
/// `blocks[b][k]` is the log ratio of comparison k in block b, complete. The seed matters above
/// [`SIGN_FLIP_EXACT_MAX`] blocks only; there p = (1 + as extreme) / (1 + drawn) and never zero (B. Phipson and
/// G. Smyth, 2010). `None` under [`SIGN_FLIP_BLOCKS_MIN`] blocks or over [`SIGN_FLIP_BLOCKS_MAX`], for rows of unequal length, for no comparison or over
/// [`SIGN_FLIP_COMPARISONS_MAX`], and for a NaN or an infinity.
pub fn westfall_young(blocks: &[Vec<f64>], seed: u64) -> Option<Vec<f64>> {
    let comparisons = blocks.first()?.len();
    let widths_fit =
        (1..=SIGN_FLIP_COMPARISONS_MAX).contains(&comparisons) && blocks.iter().all(|block| block.len() == comparisons);
    let all_finite = blocks.iter().flatten().all(|d| d.is_finite());
    let count_fits = (SIGN_FLIP_BLOCKS_MIN..=SIGN_FLIP_BLOCKS_MAX).contains(&blocks.len());
    if !count_fits || !widths_fit || !all_finite {
        return None;
    }
    let blocks = scaled(blocks);
    let observed: Vec<f64> = sums(&blocks).iter().map(|sum| sum.abs()).collect();
    let mut tally = Tally::new(&observed);
    if blocks.len() <= SIGN_FLIP_EXACT_MAX {
        try_every_pattern(&blocks, &mut tally);
    } else {
        tally.count(&observed);
        try_sampled_patterns(&blocks, seed, &mut tally);
    }
    Some(tally.adjusted())
}

/// Each column divided by the root of its sum of squares. A flip does not change that sum, and with it fixed |t| rises
/// with the absolute value of the column's sum, so from here on the sum stands for t. A column of zeros stays.
fn scaled(blocks: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut scaled = blocks.to_vec();
    for k in 0..blocks[0].len() {
        // By the largest value first: the square of a large finite number overflows.
        let largest = blocks.iter().fold(0.0_f64, |largest, block| largest.max(block[k].abs()));
        let squares: f64 = blocks.iter().map(|block| (block[k] / largest).powi(2)).sum();
        for block in scaled.iter_mut().filter(|_| largest > 0.0) {
            block[k] = block[k] / largest / squares.sqrt();
        }
    }
    scaled
}

fn sums(blocks: &[Vec<f64>]) -> Vec<f64> {
    let mut sums = vec![0.0; blocks[0].len()];
    for block in blocks {
        add(&mut sums, block, 1.0);
    }
    sums
}

fn add(sums: &mut [f64], block: &[f64], factor: f64) {
    for (sum, d) in sums.iter_mut().zip(block) {
        *sum += factor * d;
    }
}

/// Visits all patterns with the last block's sign kept, each one flip away from the one before (Gray code).
fn try_every_pattern(blocks: &[Vec<f64>], tally: &mut Tally) {
    let mut signs = vec![1.0; blocks.len()];
    let mut sums = sums(blocks);
    tally.count(&sums);
    for step in 1_u32..1 << (blocks.len() - 1) {
        let flipped = step.trailing_zeros() as usize;
        signs[flipped] = -signs[flipped];
        add(&mut sums, &blocks[flipped], 2.0 * signs[flipped]);
        tally.count(&sums);
    }
}

fn try_sampled_patterns(blocks: &[Vec<f64>], seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let mut sums = vec![0.0; blocks[0].len()];
    for _ in 0..SIGN_FLIP_PATTERNS_DRAWN {
        sums.fill(0.0);
        for chunk in blocks.chunks(64) {
            let bits = random.next_u64();
            for (index, block) in chunk.iter().enumerate() {
                add(&mut sums, block, if bits >> index & 1 == 1 { 1.0 } else { -1.0 });
            }
        }
        tally.count(&sums);
    }
}

/// How often each comparison, and all those observed to be weaker, stayed under what was observed.
struct Tally {
    /// The comparisons, the weakest first, with what was observed of each.
    ascending: Vec<(usize, f64)>,
    /// Beside `ascending`: the patterns in which it or a weaker one came out as extreme.
    as_extreme: Vec<u32>,
    patterns: u32,
}

impl Tally {
    fn new(observed: &[f64]) -> Self {
        let mut ascending: Vec<(usize, f64)> = observed.iter().copied().enumerate().collect();
        ascending.sort_by(|a, b| a.1.total_cmp(&b.1));
        Self { as_extreme: vec![0; ascending.len()], ascending, patterns: 0 }
    }

    fn count(&mut self, sums: &[f64]) {
        let mut largest = 0.0_f64;
        for (count, (comparison, observed)) in self.as_extreme.iter_mut().zip(&self.ascending) {
            largest = largest.max(sums[*comparison].abs());
            *count += u32::from(largest >= observed - SAME);
        }
        self.patterns += 1;
    }

    /// From the strongest down, a p value is never under one before it.
    fn adjusted(&self) -> Vec<f64> {
        let mut adjusted = vec![1.0; self.ascending.len()];
        let mut largest_so_far = 0.0_f64;
        for (count, (comparison, _)) in self.as_extreme.iter().zip(&self.ascending).rev() {
            largest_so_far = largest_so_far.max(f64::from(*count) / f64::from(self.patterns));
            adjusted[*comparison] = largest_so_far;
        }
        adjusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of three comparisons: a clear cost, nothing, and exactly zero.
    fn blocks(count: usize) -> Vec<Vec<f64>> {
        let mut random = Random::new(7);
        (0..count).map(|_| vec![1.0 + 0.1 * random.normal(), random.normal(), 0.0]).collect()
    }

    #[test]
    fn the_clearest_cost_gets_the_smallest_p_that_the_patterns_allow() {
        let adjusted = westfall_young(&blocks(12), 0).unwrap();
        assert_eq!(adjusted[0], 1.0 / 2048.0);
        assert!(adjusted[1] > 0.1, "{adjusted:?}");
        assert_eq!(adjusted[2], 1.0);
    }

    #[test]
    fn the_seed_matters_only_where_patterns_are_drawn() {
        assert_eq!(westfall_young(&blocks(16), 1), westfall_young(&blocks(16), 2));
        let (one, other) = (westfall_young(&blocks(24), 1).unwrap(), westfall_young(&blocks(24), 2).unwrap());
        assert_eq!(westfall_young(&blocks(24), 1).unwrap(), one);
        assert_ne!(one, other);
        assert!((one[1] - other[1]).abs() < 0.02, "{one:?} {other:?}");
    }

    #[test]
    fn drawn_patterns_agree_with_all_patterns() {
        let blocks = scaled(&blocks(14));
        let observed: Vec<f64> = sums(&blocks).iter().map(|sum| sum.abs()).collect();
        let (mut all, mut drawn) = (Tally::new(&observed), Tally::new(&observed));
        try_every_pattern(&blocks, &mut all);
        try_sampled_patterns(&blocks, 3, &mut drawn);
        for (exact, sampled) in all.adjusted().iter().zip(drawn.adjusted()) {
            assert!((exact - sampled).abs() < 0.01, "{exact} {sampled}");
        }
    }

    #[test]
    fn copies_of_a_comparison_cost_nothing() {
        let single: Vec<Vec<f64>> = blocks(13).iter().map(|block| vec![block[1]]).collect();
        let copies: Vec<Vec<f64>> = single.iter().map(|block| vec![block[0], 2.0 * block[0], -block[0]]).collect();
        let alone = westfall_young(&single, 0).unwrap()[0];
        for p in westfall_young(&copies, 0).unwrap() {
            assert!((p - alone).abs() < 1e-12, "{p} {alone}");
        }
    }

    #[test]
    fn numbers_of_any_size_are_taken_without_overflow() {
        let huge: Vec<Vec<f64>> = (0..20).map(|b| vec![f64::MAX, if b % 2 == 0 { 5e-324 } else { -5e-324 }]).collect();
        let adjusted = westfall_young(&huge, 0).unwrap();
        // Two of the 2^19 patterns are as extreme: the one observed, and the one that lines up the other column.
        assert_eq!(adjusted[0], 2.0_f64.powi(-18));
        assert_eq!(adjusted[1], 1.0);
    }

    #[test]
    fn what_is_no_complete_matrix_is_refused() {
        assert_eq!(westfall_young(&blocks(11), 0), None);
        assert_eq!(westfall_young(&vec![vec![]; 12], 0), None);
        let mut ragged = blocks(12);
        ragged[5].pop();
        assert_eq!(westfall_young(&ragged, 0), None);
        let mut poisoned = blocks(12);
        poisoned[5][1] = f64::NAN;
        assert_eq!(westfall_young(&poisoned, 0), None);
    }
}
