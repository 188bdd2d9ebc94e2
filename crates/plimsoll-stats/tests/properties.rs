//! What holds for any numbers, not only for those of a table.

#![allow(clippy::unwrap_used)]

use plimsoll_stats::{
    HodgesLehmann, Interval, blocks_needed, equivalent, geometric_mean, hodges_lehmann, holm, inflation, lag1, mean,
    median, minimum_detectable_effect, sample_sd, t_interval, t_quantile, t_test_p, t_test_p_from, variance_split,
    westfall_young,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn sample() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-10.0..10.0_f64, 2..40)
}

fn anything() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop::num::f64::ANY, 0..30)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

fn same(a: Interval, b: Interval) -> bool {
    close(a.low, b.low) && close(a.high, b.high)
}

fn times(interval: Interval, factor: f64) -> Interval {
    let (one, other) = (interval.low * factor, interval.high * factor);
    Interval { low: one.min(other), high: one.max(other) }
}

fn scaled(sample: &[f64], factor: f64) -> Vec<f64> {
    sample.iter().map(|x| x * factor).collect()
}

/// The same cases every time: a test that fails once a month is not read any more.
fn seeded() -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(seeded())]

    #[test]
    fn holm_keeps_the_order_of_the_p_values(p in prop::collection::vec(0.0..=1.0_f64, 1..60)) {
        let adjusted = holm(&p);
        for i in 0..p.len() {
            prop_assert!(p[i] <= adjusted[i] && adjusted[i] <= 1.0);
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || adjusted[i] <= adjusted[j]);
            }
        }
    }

    #[test]
    fn the_smallest_p_pays_for_the_whole_family(p in prop::collection::vec(0.0..=1.0_f64, 1..60)) {
        let smallest = |p: &[f64]| p.iter().copied().fold(1.0, f64::min);
        prop_assert_eq!(smallest(&holm(&p)), (smallest(&p) * p.len() as f64).min(1.0));
    }

    #[test]
    fn an_interval_contains_its_estimate(sample in sample(), confidence in 0.01..0.999_f64) {
        prop_assert!(t_interval(&sample, confidence).unwrap().contains(mean(&sample).unwrap()));
        if let Some(robust) = hodges_lehmann(&sample, confidence) {
            prop_assert!(robust.interval.contains(robust.estimate));
            prop_assert!(robust.confidence >= confidence);
        }
    }

    #[test]
    fn more_confidence_never_means_a_narrower_interval(sample in sample(), confidence in 0.5..0.9_f64) {
        let narrow = t_interval(&sample, confidence).unwrap();
        let wide = t_interval(&sample, confidence + 0.09).unwrap();
        prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
    }

    #[test]
    fn another_unit_changes_the_interval_by_the_unit_and_the_p_not_at_all(
        sample in sample(), factor in 0.01..100.0_f64
    ) {
        let other = scaled(&sample, factor);
        let expected = times(t_interval(&sample, 0.95).unwrap(), factor);
        prop_assert!(same(t_interval(&other, 0.95).unwrap(), expected));
        prop_assert!(close(t_test_p(&sample).unwrap(), t_test_p(&other).unwrap()));
        if let Some(HodgesLehmann { estimate, interval, .. }) = hodges_lehmann(&sample, 0.95) {
            let robust = hodges_lehmann(&other, 0.95).unwrap();
            prop_assert!(close(robust.estimate, estimate * factor));
            prop_assert!(same(robust.interval, times(interval, factor)));
        }
    }

    #[test]
    fn swapping_the_sides_mirrors_the_answer(sample in sample()) {
        let mirrored = scaled(&sample, -1.0);
        let expected = times(t_interval(&sample, 0.95).unwrap(), -1.0);
        prop_assert!(same(t_interval(&mirrored, 0.95).unwrap(), expected));
        prop_assert!(close(t_test_p(&sample).unwrap(), t_test_p(&mirrored).unwrap()));
        prop_assert_eq!(equivalent(&sample, 0.5), equivalent(&mirrored, 0.5));
    }

    #[test]
    fn the_test_rejects_exactly_when_the_interval_leaves_out_zero(sample in sample(), alpha in 0.001..0.5_f64) {
        let rejects = t_test_p(&sample).unwrap() < alpha;
        let interval = t_interval(&sample, 1.0 - alpha).unwrap();
        let nearest = interval.low.abs().min(interval.high.abs());
        prop_assert!(rejects != interval.contains(0.0) || nearest < 1e-9);
    }

    #[test]
    fn the_quantile_undoes_the_test(t in 0.01..5.0_f64, n in 2..200_usize) {
        let p = t_test_p_from(t, (n as f64).sqrt(), n).unwrap();
        prop_assert!((t_quantile(1.0 - p / 2.0, (n - 1) as f64).unwrap() / t - 1.0).abs() < 1e-8);
    }

    #[test]
    fn westfall_young_lies_between_one_test_alone_and_one(
        blocks in prop::collection::vec(prop::collection::vec(-1.0..1.0_f64, 3), 12..14)
    ) {
        let adjusted = westfall_young(&blocks, 0).unwrap();
        for (k, p) in adjusted.iter().enumerate() {
            let alone: Vec<Vec<f64>> = blocks.iter().map(|block| vec![block[k]]).collect();
            prop_assert!(westfall_young(&alone, 0).unwrap()[0] <= *p && *p <= 1.0);
        }
    }

    #[test]
    fn nothing_panics_and_nothing_but_numbers_comes_out(
        sample in anything(), p in prop::num::f64::ANY, q in prop::num::f64::ANY, n in any::<usize>()
    ) {
        let numbers = [
            mean(&sample), sample_sd(&sample), median(&sample), geometric_mean(&sample),
            t_test_p(&sample), lag1(&sample), inflation(&sample),
            t_quantile(p, q), t_test_p_from(p, q, n),
            minimum_detectable_effect(p, n, q),
            t_interval(&sample, p).map(|interval| interval.low + interval.high / 2.0),
            hodges_lehmann(&sample, q).map(|robust| robust.estimate),
            variance_split(&[sample.clone(), sample.clone()]).map(|split| split.launch),
        ];
        for (index, number) in numbers.iter().enumerate() {
            prop_assert!(number.is_none_or(|number| !number.is_nan()), "{index}");
        }
        prop_assert_eq!(holm(&sample).len(), sample.len());
        let _ = (equivalent(&sample, p), blocks_needed(p, n, q, 0.95));
    }
}
