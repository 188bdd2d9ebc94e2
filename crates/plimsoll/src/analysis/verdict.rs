//! The verdict: what may be said of a comparison. "Not significant" is never "no overhead".

use plimsoll_stats::within_margin;

use super::estimate::{Estimate, VERDICT_BLOCKS_MIN};
use super::family::ALPHA;
use super::findings::Verdict;

/// In this order: `equivalent` where the 90 % interval of the log ratio lies inside +-ln(1 + margin) (two one-sided
/// tests); `cost` or `gain` where the adjusted test rejects; else, and under 3 blocks always, `unresolved`.
pub(super) fn verdict(estimate: &Estimate, margin: f64, p_adjusted: Option<f64>) -> Verdict {
    if estimate.blocks < VERDICT_BLOCKS_MIN {
        return Verdict::Unresolved;
    }
    let is_equivalent = estimate.ci90.and_then(|interval| within_margin(interval, margin)) == Some(true);
    let is_rejected = p_adjusted.is_some_and(|p| p < ALPHA);
    match (is_equivalent, is_rejected) {
        (true, _) => Verdict::Equivalent,
        (false, true) if estimate.mean > 0.0 => Verdict::Cost,
        (false, true) if estimate.mean < 0.0 => Verdict::Gain,
        (false, _) => Verdict::Unresolved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(differences: &[f64], p_adjusted: Option<f64>, expected: Verdict) {
        assert_eq!(verdict(&Estimate::of(differences).unwrap(), 0.01, p_adjusted), expected, "{differences:?}");
    }

    #[test]
    fn a_small_difference_that_is_surely_there_is_equivalent_first() {
        check(&[0.003, 0.0031, 0.0029, 0.003], Some(1e-6), Verdict::Equivalent);
    }

    #[test]
    fn the_sign_tells_cost_from_gain_and_an_adjusted_p_at_the_level_decides_nothing() {
        check(&[0.2, 0.21, 0.19], Some(0.049), Verdict::Cost);
        check(&[-0.2, -0.21, -0.19], Some(0.049), Verdict::Gain);
        check(&[0.2, 0.21, 0.19], Some(0.05), Verdict::Unresolved);
        check(&[0.2, 0.21, 0.19], None, Verdict::Unresolved);
    }

    #[test]
    fn under_three_blocks_nothing_is_decided() {
        check(&[0.0, 0.0], Some(1e-9), Verdict::Unresolved);
        check(&[0.7], Some(1e-9), Verdict::Unresolved);
        check(&[0.0, 0.0, 0.0], None, Verdict::Equivalent);
    }
}
