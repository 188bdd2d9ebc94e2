//! When a workload is warm: a declared rule, decided from the time per unit of work of the warm-up slices so far.

use plimsoll_agent::workload::WarmUp;

/// What the rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warmth {
    /// Another warm-up slice.
    More,
    /// Steady: the last two slices agree.
    Steady,
    /// The bound is reached without steadiness; measuring starts all the same and the report says so.
    NotSteady,
}

/// Applies the rule to the times per unit of work of the warm-up slices, in order.
#[must_use]
pub fn warmth(rule: &WarmUp, times: &[f64]) -> Warmth {
    let count = times.len() as u64;
    if count < u64::from(rule.slices_min) {
        return Warmth::More;
    }
    let steady = match times {
        [.., before, last] => (last / before - 1.0).abs() <= rule.tolerance,
        _ => rule.slices_max <= 1,
    };
    match (steady, count >= u64::from(rule.slices_max)) {
        (true, _) => Warmth::Steady,
        (false, true) => Warmth::NotSteady,
        (false, false) => Warmth::More,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: WarmUp = WarmUp { slices_min: 2, slices_max: 4, tolerance: 0.05 };

    #[test]
    fn two_slices_that_agree_are_steady() {
        assert_eq!(warmth(&RULE, &[1.0]), Warmth::More);
        assert_eq!(warmth(&RULE, &[2.0, 1.0]), Warmth::More);
        assert_eq!(warmth(&RULE, &[2.0, 1.0, 1.04]), Warmth::Steady);
    }

    #[test]
    fn the_bound_ends_a_warm_up_that_never_settles() {
        assert_eq!(warmth(&RULE, &[4.0, 3.0, 2.0, 1.0]), Warmth::NotSteady);
    }

    #[test]
    fn a_rule_of_one_slice_is_satisfied_by_one() {
        let one = WarmUp { slices_min: 1, slices_max: 1, tolerance: 0.0 };
        assert_eq!(warmth(&one, &[]), Warmth::More);
        assert_eq!(warmth(&one, &[1.0]), Warmth::Steady);
    }

    #[test]
    fn a_rule_of_none_needs_none() {
        let none = WarmUp { slices_min: 0, slices_max: 0, tolerance: 0.0 };
        assert_eq!(warmth(&none, &[]), Warmth::Steady);
    }
}
