//! Student's t: quantile, interval of a mean, test of a mean against zero.
//!
//! The sample is meant to be one log ratio per block. A figure then leaves the log world by `exp(x) - 1`, which is
//! the caller's step.

use crate::summary::{finite, mean, sample_sd};
use statrs::distribution::{Continuous, StudentsT};
use statrs::function::beta::checked_beta_reg;

/// A closed interval, in the unit of the sample it came from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end, never under `low`.
    pub high: f64,
}

impl Interval {
    /// Half the distance between the ends.
    pub fn half_width(&self) -> f64 {
        self.high / 2.0 - self.low / 2.0
    }

    /// Whether a value lies inside; the ends count.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// The two-sided interval of the mean at a confidence in (0, 1), in the sample's unit:
/// `mean +- t(1 - a/2, n - 1) sd / sqrt(n)`. `None` under two values. A constant sample gives an interval of width 0.
pub fn t_interval(sample: &[f64], confidence: f64) -> Option<Interval> {
    t_interval_from(mean(sample)?, sample_sd(sample)?, sample.len(), confidence)
}

/// As [`t_interval`], from a mean, a standard deviation (>= 0) and a number of values (>= 2): the way in for a
/// standard deviation that was inflated first.
pub fn t_interval_from(mean: f64, sd: f64, n: usize, confidence: f64) -> Option<Interval> {
    if n < 2 || sd.is_nan() || sd < 0.0 || !is_inner_probability(confidence) {
        return None;
    }
    let t = upper_quantile((1.0 - confidence) / 2.0, (n - 1) as f64)?;
    let half_width = t * sd / (n as f64).sqrt();
    Some(Interval { low: finite(mean - half_width)?, high: finite(mean + half_width)? })
}

/// The two-sided p of "the true mean is zero", n - 1 degrees of freedom; `None` under two values.
///
/// Never exactly zero: what would underflow is [`f64::MIN_POSITIVE`]. That is also the answer for a constant sample
/// other than zero, where t is infinite (a clock too coarse for the work, most likely, and then the test says
/// nothing); a constant zero gives 1.
pub fn t_test_p(sample: &[f64]) -> Option<f64> {
    t_test_p_from(mean(sample)?, sample_sd(sample)?, sample.len())
}

/// As [`t_test_p`], from a mean, a standard deviation (>= 0) and a number of values (>= 2).
pub fn t_test_p_from(mean: f64, sd: f64, n: usize) -> Option<f64> {
    if n < 2 || !mean.is_finite() || !sd.is_finite() || sd < 0.0 {
        return None;
    }
    if mean == 0.0 {
        return Some(1.0);
    }
    let t = mean.abs() / sd * (n as f64).sqrt();
    Some((2.0 * upper_tail(t, (n - 1) as f64)?).clamp(f64::MIN_POSITIVE, 1.0))
}

/// The most degrees of freedom taken: beyond, the incomplete beta function loses its digits.
pub const DF_MAX: f64 = 1e9;

/// The quantile of Student's t at probability p in (0, 1), with degrees of freedom in (0, [`DF_MAX`]], fractions
/// allowed. Nine digits up to 1e5 degrees of freedom, six up to the limit.
///
/// Solved on the tail probability, because the inverse in statrs is good to some 1e-7 only and fails for df = 1 far
/// out. In logarithms the tail is a concave falling curve, so Newton's steps cannot leave it.
pub fn t_quantile(p: f64, df: f64) -> Option<f64> {
    if !is_inner_probability(p) || !is_df(df) {
        return None;
    }
    if p == 0.5 {
        return Some(0.0);
    }
    if p < 0.5 {
        return Some(-upper_quantile(p, df)?);
    }
    upper_quantile(1.0 - p, df)
}

const NEWTON_STEPS_MAX: usize = 200;

/// The t > 0 above which lies the probability `tail`, which is under one half.
fn upper_quantile(tail: f64, df: f64) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, df).ok()?;
    let mut t = (-2.0 * (2.0 * tail).ln()).sqrt();
    for _ in 0..NEWTON_STEPS_MAX {
        let above = upper_tail(t, df)?;
        let slope = t * student.pdf(t) / above;
        let step = (above / tail).ln() / slope;
        t *= step.exp();
        if !t.is_normal() {
            return None;
        }
        if step.abs() < 1e-14 {
            break;
        }
    }
    Some(t)
}

/// P(T > t) for t >= 0; an infinite t is allowed and has nothing above it.
pub(crate) fn upper_tail(t: f64, df: f64) -> Option<f64> {
    if !is_df(df) {
        return None;
    }
    let x = 1.0 / (1.0 + t / df * t);
    finite(0.5 * checked_beta_reg(0.5 * df, 0.5, x).ok()?)
}

fn is_df(df: f64) -> bool {
    df > 0.0 && df <= DF_MAX
}

/// Whether a number lies strictly between 0 and 1.
pub(crate) fn is_inner_probability(p: f64) -> bool {
    p > 0.0 && p < 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_one_degree_of_freedom_the_quantile_is_the_tangent() {
        for p in [0.6_f64, 0.75, 0.975, 0.999_999] {
            let exact = (std::f64::consts::PI * (p - 0.5)).tan();
            let got = t_quantile(p, 1.0).unwrap();
            assert!((got / exact - 1.0).abs() < 1e-9, "{p}: {got} {exact}");
        }
    }

    #[test]
    fn the_quantile_is_odd_around_one_half() {
        assert_eq!(t_quantile(0.5, 7.0), Some(0.0));
        assert_eq!(t_quantile(0.25, 7.0), t_quantile(0.75, 7.0).map(|t| -t));
    }

    #[test]
    fn the_quantile_answers_or_refuses_over_the_whole_range() {
        for df in [1e-3, 0.5, 1.0, 3.0, 1e3, 1e6, DF_MAX, 1e300] {
            for p in [f64::MIN_POSITIVE, 1e-100, 1e-9, 0.1, 0.5 - 1e-15, 0.5 + 1e-15, 1.0 - 1e-16] {
                if let Some(t) = t_quantile(p, df) {
                    assert!(t.is_finite() && (t > 0.0) == (p > 0.5), "{p} {df} {t}");
                }
            }
        }
    }

    #[test]
    fn with_very_many_degrees_of_freedom_the_quantile_is_the_normal_one() {
        let t = t_quantile(0.975, DF_MAX).unwrap();
        assert!((t - 1.959_963_985).abs() < 1e-6, "{t}");
        assert_eq!(t_quantile(0.975, 2.0 * DF_MAX), None);
    }

    #[test]
    fn a_constant_that_is_not_zero_has_the_smallest_positive_p() {
        assert_eq!(t_test_p(&[0.1; 5]), Some(f64::MIN_POSITIVE));
        assert_eq!(t_test_p(&[0.0; 5]), Some(1.0));
        assert_eq!(t_interval(&[0.1; 5], 0.95), Some(Interval { low: 0.1, high: 0.1 }));
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for sample in [&[][..], &[1.0], &[1.0, f64::NAN], &[f64::INFINITY, 1.0]] {
            assert_eq!(t_interval(sample, 0.95), None);
            assert_eq!(t_test_p(sample), None);
        }
        for confidence in [0.0, 1.0, -0.5, f64::NAN] {
            assert_eq!(t_interval(&[1.0, 2.0], confidence), None);
        }
        assert_eq!(t_test_p_from(1.0, f64::NAN, 5), None);
        assert_eq!(t_interval_from(1.0, -1.0, 5, 0.95), None);
    }
}
