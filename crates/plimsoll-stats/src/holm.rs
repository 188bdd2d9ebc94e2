//! Many comparisons, one error rate: Holm's step-down adjustment.
//!
//! S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
//! It assumes nothing about how the comparisons depend on each other, which matters here: all environments of a
//! metric share their baseline.

/// The adjusted p values, in the order of the input and of the same length; each in [its own p, 1].
///
/// Rejecting where the adjusted p is at most a keeps the probability of even one false rejection at a or less. What
/// is no p value (NaN, or outside 0..=1) counts as 1: it can never be rejected, yet stays a member of the family.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let p_values: Vec<f64> = p_values.iter().map(|p| as_p_value(*p)).collect();
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest_so_far = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let still_in_family = (p_values.len() - rank) as f64;
        largest_so_far = largest_so_far.max(p_values[index] * still_in_family).min(1.0);
        adjusted[index] = largest_so_far;
    }
    adjusted
}

fn as_p_value(p: f64) -> f64 {
    if (0.0..=1.0).contains(&p) { p } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_example_comes_out() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (got, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((got - expected).abs() < 1e-15, "{adjusted:?}");
        }
    }

    #[test]
    fn a_family_of_one_is_left_alone_and_of_none_is_empty() {
        assert_eq!(holm(&[0.2]), [0.2]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_comparison_without_a_p_value_is_never_rejected_but_counts() {
        assert_eq!(holm(&[f64::NAN, 0.01]), [1.0, 0.02]);
        assert_eq!(holm(&[-0.5, 0.01, f64::INFINITY]), [1.0, 0.03, 1.0]);
    }
}
