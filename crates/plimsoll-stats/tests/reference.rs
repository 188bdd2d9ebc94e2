//! Every figure agrees with SciPy, statsmodels or the definition computed the long way: see `reference/make.py`.

#![allow(clippy::unwrap_used)]

use plimsoll_stats::{
    blocks_needed, equivalent, geometric_mean, hodges_lehmann, holm, lag1, mean, median, minimum_detectable_effect,
    sample_sd, t_interval, t_quantile, t_test_p, variance_split, westfall_young,
};

const VALUES: &str = include_str!("../reference/values.csv");

/// Relative, however small the number: a p of 1e-60 must have its digits right.
const TOLERANCE: f64 = 1e-9;

/// What differences of numbers near 1 lose in f64.
const ROUNDING: f64 = 1e-15;

/// Compares `ours` with each line of the table that bears the function's name.
fn check(function: &str, ours: impl Fn(&[f64]) -> Vec<f64>) {
    let mut lines = 0;
    for line in VALUES.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(',').collect();
        if fields[0] != function {
            continue;
        }
        let (inputs, expected) = (numbers(fields[1]), numbers(fields[2]));
        let got = ours(&inputs);
        assert_eq!(got.len(), expected.len(), "{line}");
        for (got, expected) in got.iter().zip(&expected) {
            let allowed = TOLERANCE * expected.abs() + ROUNDING.min(expected.abs());
            assert!((got - expected).abs() <= allowed, "{got}, not {expected}: {line}");
        }
        lines += 1;
    }
    assert!(lines > 0, "no reference value for {function}");
}

fn numbers(words: &str) -> Vec<f64> {
    words.split(' ').map(|word| word.parse().unwrap()).collect()
}

/// A matrix from its width, followed by its rows.
fn rows(inputs: &[f64]) -> Vec<Vec<f64>> {
    inputs[1..].chunks(inputs[0] as usize).map(<[f64]>::to_vec).collect()
}

#[test]
fn summaries_agree() {
    check("mean", |x| vec![mean(x).unwrap()]);
    check("sample_sd", |x| vec![sample_sd(x).unwrap()]);
    check("median", |x| vec![median(x).unwrap()]);
    check("geometric_mean", |x| vec![geometric_mean(x).unwrap()]);
}

#[test]
fn student_agrees() {
    check("t_quantile", |x| vec![t_quantile(x[0], x[1]).unwrap()]);
    check("t_test_p", |x| vec![t_test_p(x).unwrap()]);
    check("t_interval", |x| {
        let interval = t_interval(&x[1..], x[0]).unwrap();
        vec![interval.low, interval.high]
    });
}

#[test]
fn hodges_lehmann_agrees() {
    check("hodges_lehmann", |x| {
        let got = hodges_lehmann(&x[1..], x[0]).unwrap();
        vec![got.estimate, got.interval.low, got.interval.high, got.confidence]
    });
}

#[test]
fn holm_agrees() {
    check("holm", holm);
}

#[test]
fn equivalence_agrees_with_the_two_tests() {
    check("equivalent", |x| vec![f64::from(equivalent(&x[1..], x[0]).unwrap())]);
}

#[test]
fn power_agrees() {
    check("minimum_detectable_effect", |x| vec![minimum_detectable_effect(x[0], x[1] as usize, x[2]).unwrap()]);
    check("blocks_needed", |x| {
        let range = blocks_needed(x[0], x[1] as usize, x[2], x[3]).unwrap();
        vec![range.low as f64, range.high as f64]
    });
}

#[test]
fn autocorrelation_agrees() {
    check("lag1", |x| vec![lag1(x).unwrap()]);
}

#[test]
fn westfall_young_agrees_with_every_pattern_tried() {
    check("westfall_young", |x| westfall_young(&rows(x), 0).unwrap());
}

#[test]
fn the_variance_split_agrees_with_the_analysis_of_variance() {
    check("variance_split", |x| {
        let split = variance_split(&rows(x)).unwrap();
        vec![split.launch, split.slice]
    });
}
