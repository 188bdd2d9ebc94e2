//! The typical cost beside the average one: Hodges-Lehmann with the interval of the signed-rank test.
//!
//! M. Hollander and D. A. Wolfe, "Nonparametric Statistical Methods", sections 3.2 and 3.3. One wild block moves the
//! mean and its t interval; it hardly moves the median of the Walsh averages. Where the two disagree, the tail is heavy.

use crate::student::{Interval, is_inner_probability};
use crate::summary::{all_finite, median_of_sorted};
use statrs::distribution::{ContinuousCDF, Normal};

/// Under this many values no signed-rank interval reaches 95 %.
pub const HL_SAMPLE_MIN: usize = 6;

/// Above this many values the Walsh averages (n (n + 1) / 2 of them) are refused.
pub const HL_SAMPLE_MAX: usize = 2_000;

/// Up to this many values the null distribution is exact; above it, normal with continuity correction.
pub const SIGNED_RANK_EXACT_MAX: usize = 100;

/// The estimate of the centre, its interval, and what that interval is really worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HodgesLehmann {
    /// The median of the Walsh averages, in the sample's unit.
    pub estimate: f64,
    /// The signed-rank interval, in the sample's unit.
    pub interval: Interval,
    /// The confidence achieved, at least the one asked for: ranks come in steps.
    pub confidence: f64,
}

/// The Hodges-Lehmann estimate of the centre with its signed-rank interval, at a nominal confidence in (0, 1).
///
/// `None` unless n lies in [`HL_SAMPLE_MIN`]..=[`HL_SAMPLE_MAX`], or if n is too small for the confidence asked for
/// (99 % needs 8 values). Assumes a symmetric distribution; ties only make the interval wider than it need be.
pub fn hodges_lehmann(sample: &[f64], confidence: f64) -> Option<HodgesLehmann> {
    let size_is_fit = (HL_SAMPLE_MIN..=HL_SAMPLE_MAX).contains(&sample.len());
    if !size_is_fit || !all_finite(sample) || !is_inner_probability(confidence) {
        return None;
    }
    let (cut, tail) = cut(sample.len(), (1.0 - confidence) / 2.0)?;
    let walsh = walsh_averages(sample);
    Some(HodgesLehmann {
        estimate: median_of_sorted(&walsh)?,
        interval: Interval { low: *walsh.get(cut)?, high: *walsh.get(walsh.len().checked_sub(1 + cut)?)? },
        confidence: 1.0 - 2.0 * tail,
    })
}

/// All (x_i + x_j) / 2 with i <= j, ascending.
fn walsh_averages(sample: &[f64]) -> Vec<f64> {
    let mut averages = Vec::with_capacity(sample.len() * (sample.len() + 1) / 2);
    for (i, x) in sample.iter().enumerate() {
        averages.extend(sample[i..].iter().map(|y| x.midpoint(*y)));
    }
    averages.sort_unstable_by(f64::total_cmp);
    averages
}

/// The largest rank sum w with P(W <= w) at most `tail`, and that probability. So many Walsh averages are left outside
/// at either end; `None` if even leaving out none is too much.
fn cut(n: usize, tail: f64) -> Option<(usize, f64)> {
    if n <= SIGNED_RANK_EXACT_MAX { exact_cut(n, tail) } else { normal_cut(n, tail) }
}

fn exact_cut(n: usize, tail: f64) -> Option<(usize, f64)> {
    let mut below = 0.0;
    let mut found = None;
    for (rank_sum, probability) in signed_rank_distribution(n).into_iter().enumerate() {
        below += probability;
        if below > tail {
            break;
        }
        found = Some((rank_sum, below));
    }
    found
}

/// P(W = w) for w in 0..=n(n+1)/2: each rank is in the sum or not, with equal chances.
fn signed_rank_distribution(n: usize) -> Vec<f64> {
    let mut distribution = vec![0.0; n * (n + 1) / 2 + 1];
    distribution[0] = 1.0;
    for rank in 1..=n {
        for sum in (0..distribution.len()).rev() {
            let with_rank = if sum >= rank { distribution[sum - rank] } else { 0.0 };
            distribution[sum] = (distribution[sum] + with_rank) / 2.0;
        }
    }
    distribution
}

fn normal_cut(n: usize, tail: f64) -> Option<(usize, f64)> {
    let normal = Normal::standard();
    let n = n as f64;
    let mean = n * (n + 1.0) / 4.0;
    let sd = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
    let rank_sum = (mean - 0.5 + sd * normal.inverse_cdf(tail)).floor();
    if rank_sum < 0.0 {
        return None;
    }
    Some((rank_sum as usize, normal.cdf((rank_sum + 0.5 - mean) / sd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_value_moves_the_mean_but_hardly_the_estimate() {
        let mut sample = vec![0.9, 0.95, 1.0, 1.0, 1.05, 1.1, 1.0, 0.97];
        let calm = hodges_lehmann(&sample, 0.95).unwrap();
        sample[7] = 1000.0;
        let wild = hodges_lehmann(&sample, 0.95).unwrap();
        assert!((wild.estimate - calm.estimate).abs() < 0.05, "{wild:?}");
    }

    #[test]
    fn six_values_are_enough_and_the_confidence_is_what_is_achieved() {
        let all = hodges_lehmann(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.95).unwrap();
        assert_eq!(all.confidence, 1.0 - 2.0 / 64.0);
        assert_eq!(all.interval, Interval { low: 1.0, high: 6.0 });
        assert_eq!(all.estimate, 3.5);
        assert_eq!(hodges_lehmann(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), None);
    }

    #[test]
    fn a_confidence_out_of_reach_is_refused() {
        let seven = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        assert_eq!(hodges_lehmann(&seven, 0.99), None);
        assert!(hodges_lehmann(&[&seven[..], &[8.0]].concat(), 0.99).is_some());
        assert_eq!(hodges_lehmann(&seven, 1.0), None);
    }

    #[test]
    fn the_confidence_achieved_is_never_under_the_nominal_one() {
        for n in (HL_SAMPLE_MIN..=130).chain([HL_SAMPLE_MAX]) {
            let sample: Vec<f64> = (0..n).map(|i| i as f64).collect();
            for confidence in [0.5, 0.8, 0.9, 0.95] {
                let got = hodges_lehmann(&sample, confidence).unwrap();
                assert!(got.confidence >= confidence, "{n} {confidence}: {got:?}");
            }
        }
    }

    #[test]
    fn where_the_normal_approximation_takes_over_it_agrees_with_the_exact_distribution() {
        for n in [SIGNED_RANK_EXACT_MAX + 1, 150, 200] {
            for tail in [0.05, 0.025, 0.005] {
                let (exact, _) = exact_cut(n, tail).unwrap();
                let (normal, _) = normal_cut(n, tail).unwrap();
                assert!(exact.abs_diff(normal) <= exact / 200, "{n} {tail}: {exact} {normal}");
            }
        }
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        assert_eq!(hodges_lehmann(&[1.0, 2.0, 3.0, 4.0, 5.0, f64::NAN], 0.95), None);
        assert_eq!(hodges_lehmann(&vec![0.0; HL_SAMPLE_MAX + 1], 0.95), None);
    }
}
