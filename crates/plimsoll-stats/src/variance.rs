//! Where the spread comes from, launches or slices, and how many slices a launch should therefore have.
//!
//! T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable time", ISMM 2013, for two levels. Their S^2 at the
//! level of launches still contains what is left of the slices after averaging; T^2 has it taken out.

use crate::summary::{all_finite, finite, mean};

/// The most slices that a launch is ever given.
pub const SLICES_MAX: usize = 50;

/// The variance that each level adds by itself, in squared units of the input (squared log units, usually).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VarianceSplit {
    /// T2^2, of launches. An unbiased estimate, so it may come out at or under zero where slices explain everything.
    pub launch: f64,
    /// T1^2, of slices within a launch; never negative.
    pub slice: f64,
}

/// The two variances from the slice values (log times) of several launches of one environment: `launches[l][s]`.
///
/// `T1^2` is the pooled variance within launches; `T2^2 = S2^2 - T1^2 mean(1 / r_l)` with `S2^2` the variance of the
/// launch means and `r_l` the slices of launch l, which with equal r is the paper's `S2^2 - S1^2 / r`. `None` under
/// two launches, if a launch has no slice, or if no launch has two.
pub fn variance_split(launches: &[Vec<f64>]) -> Option<VarianceSplit> {
    if launches.len() < 2 || !launches.iter().all(|slices| all_finite(slices)) {
        return None;
    }
    let means: Vec<f64> = launches.iter().map(|slices| mean(slices)).collect::<Option<_>>()?;
    let slices_total: usize = launches.iter().map(Vec::len).sum();
    let df_within = slices_total - launches.len();
    if df_within == 0 {
        return None;
    }
    let within: f64 = launches.iter().zip(&means).map(|(slices, m)| squares_around(slices, *m)).sum();
    let slice = within / df_within as f64;
    let between = squares_around(&means, mean(&means)?) / (means.len() - 1) as f64;
    let reciprocals: f64 = launches.iter().map(|slices| 1.0 / slices.len() as f64).sum();
    let launch = between - slice * reciprocals / launches.len() as f64;
    Some(VarianceSplit { launch: finite(launch)?, slice: finite(slice)? })
}

/// The number of slices per launch, in 1..=[`SLICES_MAX`], that buys the narrowest interval for the time spent:
/// `ceil(sqrt(cost_launch / cost_slice * T1^2 / T2^2))`; at the cap where launches add nothing (`T2^2 <= 0`).
///
/// The costs are in any one unit of time and over 0; `None` otherwise, or if a variance is no number or the slices'
/// is negative.
pub fn slices_per_launch(cost_launch: f64, cost_slice: f64, split: &VarianceSplit) -> Option<usize> {
    let is_cost = |cost: f64| cost.is_finite() && cost > 0.0;
    let is_split = all_finite(&[split.launch, split.slice]) && split.slice >= 0.0;
    if !is_cost(cost_launch) || !is_cost(cost_slice) || !is_split {
        return None;
    }
    if split.launch <= 0.0 {
        return Some(SLICES_MAX);
    }
    // Roots first: the quotients of extreme but finite numbers would overflow. A cast saturates.
    let best = (cost_launch.sqrt() / cost_slice.sqrt()) * (split.slice.sqrt() / split.launch.sqrt());
    Some((best.ceil() as usize).clamp(1, SLICES_MAX))
}

fn squares_around(values: &[f64], centre: f64) -> f64 {
    values.iter().map(|x| (x - centre).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slices_share_is_taken_out_of_the_launches_variance() {
        let split = variance_split(&[vec![1.0, 3.0], vec![5.0, 7.0]]).unwrap();
        // Means 2 and 6: S2^2 = 8. Within: 2. Corrected: 8 - 2/2.
        assert_eq!(split, VarianceSplit { launch: 7.0, slice: 2.0 });
    }

    #[test]
    fn launches_that_add_nothing_put_slices_at_the_cap() {
        let split = variance_split(&[vec![1.0, 3.0], vec![3.0, 1.0]]).unwrap();
        assert_eq!(split, VarianceSplit { launch: -1.0, slice: 2.0 });
        assert_eq!(slices_per_launch(5.0, 0.2, &split), Some(SLICES_MAX));
    }

    #[test]
    fn dear_launches_and_noisy_slices_ask_for_more_slices() {
        let even = VarianceSplit { launch: 1.0, slice: 1.0 };
        assert_eq!(slices_per_launch(1.0, 1.0, &even), Some(1));
        assert_eq!(slices_per_launch(9.0, 1.0, &even), Some(3));
        assert_eq!(slices_per_launch(9.1, 1.0, &even), Some(4));
        assert_eq!(slices_per_launch(9.0, 1.0, &VarianceSplit { launch: 1.0, slice: 4.0 }), Some(6));
        assert_eq!(slices_per_launch(1e308, 1e-308, &even), Some(SLICES_MAX));
    }

    #[test]
    fn slices_that_agree_perfectly_need_no_company() {
        let split = VarianceSplit { launch: 1.0, slice: 0.0 };
        assert_eq!(slices_per_launch(100.0, 1.0, &split), Some(1));
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        assert_eq!(variance_split(&[vec![1.0, 2.0]]), None);
        assert_eq!(variance_split(&[vec![1.0], vec![2.0]]), None);
        assert_eq!(variance_split(&[vec![1.0, 2.0], vec![]]), None);
        assert_eq!(variance_split(&[vec![1.0, 2.0], vec![f64::NAN, 1.0]]), None);
        let split = VarianceSplit { launch: 1.0, slice: 1.0 };
        assert_eq!(slices_per_launch(0.0, 1.0, &split), None);
        assert_eq!(slices_per_launch(1.0, f64::NAN, &split), None);
        assert_eq!(slices_per_launch(1.0, 1.0, &VarianceSplit { slice: f64::NAN, ..split }), None);
    }
}
