//! One number for many: mean, spread, median, geometric mean.

/// The arithmetic mean; `None` for an empty sample, one with a NaN or an infinity, or an overflow.
///
/// Summed as distances from the first value, so that a constant sample has exactly its own value as mean.
pub fn mean(sample: &[f64]) -> Option<f64> {
    let first = *sample.first()?;
    let sum: f64 = sample.iter().map(|x| x - first).sum();
    finite(first + sum / sample.len() as f64)
}

/// The sample standard deviation (divisor n - 1), in the sample's unit; `None` under two values, for NaN or
/// infinity, or on overflow. Exactly zero for a constant sample.
pub fn sample_sd(sample: &[f64]) -> Option<f64> {
    let mean = mean(sample)?;
    if sample.len() < 2 {
        return None;
    }
    let squares: f64 = sample.iter().map(|x| (x - mean).powi(2)).sum();
    finite((squares / (sample.len() - 1) as f64).sqrt())
}

/// The median (of an even number of values, the middle of the two middle ones); `None` for an empty sample or one
/// with a NaN or an infinity.
pub fn median(sample: &[f64]) -> Option<f64> {
    if !all_finite(sample) {
        return None;
    }
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

/// The geometric mean, for ratios; `None` for an empty sample or if any value is not a positive finite number.
pub fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    if !ratios.iter().all(|ratio| *ratio > 0.0) {
        return None;
    }
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    finite(mean(&logs)?.exp())
}

/// The median of values already in ascending order; `None` if there are none.
pub(crate) fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(sorted[sorted.len() / 2 - 1].midpoint(upper))
}

/// The number itself, if it is one: the last step of everything here that could have overflowed.
pub(crate) fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

/// Whether no value is a NaN or an infinity.
pub(crate) fn all_finite(sample: &[f64]) -> bool {
    sample.iter().all(|x| x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_sample_has_no_summary() {
        assert_eq!(mean(&[]), None);
        assert_eq!(median(&[]), None);
        assert_eq!(sample_sd(&[]), None);
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn one_value_has_a_mean_but_no_spread() {
        assert_eq!(mean(&[3.0]), Some(3.0));
        assert_eq!(sample_sd(&[3.0]), None);
    }

    #[test]
    fn the_spread_of_a_constant_is_exactly_zero() {
        assert_eq!(sample_sd(&[0.1; 7]), Some(0.0));
    }

    #[test]
    fn an_even_number_of_values_has_its_median_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[9.0, 1.0, 3.0]), Some(3.0));
    }

    #[test]
    fn twice_as_slow_and_twice_as_fast_cancel() {
        let balanced = geometric_mean(&[2.0, 0.5]).unwrap();
        assert!((balanced - 1.0).abs() < 1e-15);
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for sample in [[bad, 1.0], [1.0, bad]] {
                assert_eq!(mean(&sample), None);
                assert_eq!(median(&sample), None);
                assert_eq!(sample_sd(&sample), None);
                assert_eq!(geometric_mean(&sample), None);
            }
        }
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
    }

    #[test]
    fn a_sum_too_large_for_a_float_is_refused_and_does_not_panic() {
        assert_eq!(mean(&[f64::MAX, -f64::MAX, f64::MAX]), None);
        assert_eq!(sample_sd(&[f64::MAX, 0.0]), None);
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX));
    }
}
