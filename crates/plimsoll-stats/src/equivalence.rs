//! Too small to matter: two one-sided tests, by the interval that is the same thing.
//!
//! D. J. Schuirmann, "A comparison of the two one-sided tests procedure ...", Journal of Pharmacokinetics and
//! Biopharmaceutics 15 (1987): both one-sided tests at 5 % reject exactly when the 90 % interval lies inside the
//! margins.

use crate::student::{Interval, t_interval};

/// The confidence of the interval that must lie inside the margins: each side is tested at 5 %.
pub const EQUIVALENCE_CONFIDENCE: f64 = 0.90;

/// Whether the mean log ratio is shown to lie within +-ln(1 + margin): at most 5 % of the runs whose truth lies at or
/// beyond a margin say so.
///
/// `log_ratios`: one per block, n >= 2. `margin`: a ratio over 0, 0.01 for 1 %. A constant sample has an interval of
/// width 0 and is judged by its value.
pub fn equivalent(log_ratios: &[f64], margin: f64) -> Option<bool> {
    within_margin(t_interval(log_ratios, EQUIVALENCE_CONFIDENCE)?, margin)
}

/// As [`equivalent`], from the interval of the mean log ratio at [`EQUIVALENCE_CONFIDENCE`]; `None` unless the margin
/// is a finite number over 0 and the interval is one of finite numbers.
pub fn within_margin(interval: Interval, margin: f64) -> Option<bool> {
    let ends_are_numbers = interval.low.is_finite() && interval.high.is_finite();
    if !ends_are_numbers || !margin.is_finite() || margin <= 0.0 {
        return None;
    }
    let limit = margin.ln_1p();
    Some(-limit < interval.low && interval.high < limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_the_same_ratio_in_both_directions() {
        let just_inside = 1.00999_f64.ln();
        let just_outside = 1.01001_f64.ln();
        for sign in [-1.0, 1.0] {
            assert_eq!(equivalent(&[sign * just_inside; 4], 0.01), Some(true));
            assert_eq!(equivalent(&[sign * just_outside; 4], 0.01), Some(false));
        }
    }

    #[test]
    fn a_wide_interval_around_zero_is_not_equivalence() {
        assert_eq!(equivalent(&[-0.05, 0.05, -0.04, 0.04], 0.01), Some(false));
    }

    #[test]
    fn a_margin_that_is_no_margin_is_refused() {
        for margin in [0.0, -0.01, f64::NAN, f64::INFINITY] {
            assert_eq!(equivalent(&[0.0; 4], margin), None);
        }
        assert_eq!(equivalent(&[0.0], 0.01), None);
    }
}
