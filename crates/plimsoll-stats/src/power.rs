//! What a run could not have seen, and how many blocks it would take to see it.

use crate::student::{is_inner_probability, t_quantile, upper_tail};
use crate::summary::finite;
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// The probability with which an effect of the minimum detectable size is found.
pub const POWER: f64 = 0.8;

/// The confidence of the range that [`blocks_needed`] takes the true standard deviation from.
pub const SD_CONFIDENCE: f64 = 0.80;

/// The most blocks that [`blocks_needed`] will name. At this value it means "this many or more".
pub const BLOCKS_MAX: usize = 10_000;

/// The effect, in log units, that a run of n blocks finds with probability [`POWER`] at level alpha, two-sided:
/// `(t(1 - alpha/2, n - 1) + t(0.8, n - 1)) sd / sqrt(n)`.
///
/// `sd`: of the block values, >= 0; `n` >= 2; `alpha` in (0, 1) is the verdict's own level, after its share of the
/// family. An approximation to the noncentral t, on the safe side at small n.
pub fn minimum_detectable_effect(sd: f64, n: usize, alpha: f64) -> Option<f64> {
    if n < 2 || !is_sd(sd) || !is_inner_probability(alpha) {
        return None;
    }
    let df = (n - 1) as f64;
    // The lower quantile with its sign turned: 1 - alpha / 2 would lose the digits of a small alpha.
    let quantiles = -t_quantile(alpha / 2.0, df)? + t_quantile(POWER, df)?;
    finite(quantiles * sd / (n as f64).sqrt())
}

/// How many blocks a stated half-width will probably take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlocksNeeded {
    /// Enough if the true standard deviation is at the lower end of its range.
    pub low: usize,
    /// Enough if it is at the upper end; [`BLOCKS_MAX`] means "this many or more".
    pub high: usize,
}

/// The number of blocks at which the half-width of the t interval comes down to a target, as a range.
///
/// A range, because a few blocks hardly know their own spread: `sd` (>= 0, from `n_observed` >= 2 blocks) is replaced
/// by both ends of its [`SD_CONFIDENCE`] chi-square interval, and each end is solved with the degrees of freedom that
/// the run would then have. `target_half_width_log` > 0, in log units (ln(1.01) for 1 %); `confidence` in (0, 1).
/// Both ends lie in 2..=[`BLOCKS_MAX`]; any floor beyond 2 is the caller's policy.
pub fn blocks_needed(sd: f64, n_observed: usize, target_half_width_log: f64, confidence: f64) -> Option<BlocksNeeded> {
    let target = target_half_width_log;
    if n_observed < 2 || !is_sd(sd) || !is_inner_probability(confidence) {
        return None;
    }
    if !target.is_finite() || target <= 0.0 {
        return None;
    }
    let df = (n_observed.min(BLOCKS_MAX) - 1) as f64;
    let chi_square = ChiSquared::new(df).ok()?;
    let bound = |p: f64| sd * (df / chi_square.inverse_cdf(p)).sqrt();
    let outside = (1.0 - SD_CONFIDENCE) / 2.0;
    Some(BlocksNeeded {
        low: blocks_for(bound(1.0 - outside), target, confidence)?,
        high: blocks_for(bound(outside), target, confidence)?,
    })
}

/// The smallest number of blocks whose half-width is at most the target; the half-width falls with every block, so
/// the halves of 2..=[`BLOCKS_MAX`] can be searched.
///
/// `t sd / sqrt(n) <= target` is asked of the tail above `target sqrt(n) / sd`, which takes one evaluation where t would
/// have to be solved for.
fn blocks_for(sd: f64, target: f64, confidence: f64) -> Option<usize> {
    let tail = (1.0 - confidence) / 2.0;
    let (mut low, mut high) = (2, BLOCKS_MAX);
    while low < high {
        let middle = usize::midpoint(low, high);
        if upper_tail(target / sd * (middle as f64).sqrt(), (middle - 1) as f64)? <= tail {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}

fn is_sd(sd: f64) -> bool {
    sd.is_finite() && sd >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::student::t_interval_from;

    #[test]
    fn the_range_surrounds_the_answer_for_the_spread_as_observed() {
        let range = blocks_needed(0.03, 10, 0.01, 0.95).unwrap();
        let as_observed = blocks_for(0.03, 0.01, 0.95).unwrap();
        assert!(range.low < as_observed && as_observed < range.high, "{range:?}");
    }

    #[test]
    fn the_number_is_the_smallest_whose_interval_is_narrow_enough() {
        for step in 0..200 {
            let (sd, target) = (1e-3 * 1.05_f64.powi(step), 1.01_f64.ln());
            for confidence in [0.5, 0.9, 0.95, 0.999] {
                let half_width = |n| t_interval_from(0.0, sd, n, confidence).unwrap().half_width();
                let found = blocks_for(sd, target, confidence).unwrap();
                assert!(found == BLOCKS_MAX || half_width(found) <= target, "{sd} {confidence}: {found}");
                assert!(found == 2 || half_width(found - 1) > target, "{sd} {confidence}: {found}");
            }
        }
    }

    #[test]
    fn the_range_narrows_as_the_spread_becomes_known() {
        let early = blocks_needed(0.03, 4, 0.01, 0.95).unwrap();
        let late = blocks_needed(0.03, 40, 0.01, 0.95).unwrap();
        assert!(early.low <= late.low && late.high < early.high, "{early:?} {late:?}");
    }

    #[test]
    fn no_spread_needs_two_blocks_and_a_hopeless_target_stops_at_the_maximum() {
        assert_eq!(blocks_needed(0.0, 5, 0.01, 0.95), Some(BlocksNeeded { low: 2, high: 2 }));
        let hopeless = BlocksNeeded { low: BLOCKS_MAX, high: BLOCKS_MAX };
        assert_eq!(blocks_needed(1e300, 5, 1e-300, 0.95), Some(hopeless));
    }

    #[test]
    fn a_run_without_spread_detects_anything() {
        assert_eq!(minimum_detectable_effect(0.0, 5, 0.05), Some(0.0));
    }

    #[test]
    fn arguments_out_of_range_are_refused() {
        assert_eq!(minimum_detectable_effect(0.01, 1, 0.05), None);
        assert_eq!(minimum_detectable_effect(f64::NAN, 5, 0.05), None);
        assert_eq!(minimum_detectable_effect(0.01, 5, 0.0), None);
        assert_eq!(blocks_needed(0.01, 1, 0.01, 0.95), None);
        assert_eq!(blocks_needed(-0.01, 5, 0.01, 0.95), None);
        assert_eq!(blocks_needed(0.01, 5, 0.0, 0.95), None);
        assert_eq!(blocks_needed(0.01, 5, 0.01, 1.0), None);
    }
}
