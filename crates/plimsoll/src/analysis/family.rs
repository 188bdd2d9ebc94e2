//! The family: every comparison of the run on its workload's headline metric, tested together by Holm's method.
//!
//! Its size is the plan's: an environment that gave nothing stays a member, so that nobody's failure makes the others'
//! tests easier. Holm assumes nothing about dependence and needs no complete matrix of blocks. The max-|t| over sign
//! flips (`plimsoll_stats::westfall_young`) would be a little sharper inside one metric; it is not used, because it
//! needs every environment in every block, ignores autocorrelation, and could not be fixed in advance for a run that
//! may stop before its twelfth block.

use plimsoll_stats::holm;

/// The chance of even one false `cost` or `gain` in the family; for the control, of one metric's.
pub(super) const ALPHA: f64 = 0.05;
/// The name of what is done here.
pub(super) const ADJUSTMENT: &str = "holm";

/// The adjusted p of each member; a member without p has none and still counts.
pub(super) fn adjusted(members: &[Option<f64>]) -> Vec<Option<f64>> {
    let p_values: Vec<f64> = members.iter().map(|p| p.unwrap_or(1.0)).collect();
    let adjusted = holm(&p_values);
    members.iter().zip(adjusted).map(|(p, adjusted)| p.map(|_| adjusted)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_without_p_still_counts() {
        assert_eq!(adjusted(&[Some(0.01), None, None]), [Some(0.03), None, None]);
        assert_eq!(adjusted(&[]), []);
    }
}
