//! Benches: how fast we are beside what we replace. One file each, one line in the table.
//!
//! A bench measures ours and theirs in turns, the first of each pair alternating, and prints medians and the median of
//! the pairs' ratios. Nothing here asserts a time.

mod analysis;
mod launch;
mod reference;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::tools;

type Bench = fn(&[String]) -> Result<()>;

const BENCHES: &[(&str, Bench)] =
    &[("launch", launch::run), ("analysis", analysis::run), ("reference", reference::run)];

/// The task: `bench NAME [ARG]...`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let names: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
    let Some((name, rest)) = arguments.split_first() else { bail!("name one of: {}", names.join(", ")) };
    match BENCHES.iter().find(|(known, _)| known == name) {
        Some((_, bench)) => bench(rest),
        None => bail!("there is no bench `{name}`; there is {}", names.join(", ")),
    }
}

/// One way to do a thing: does it once and says how many seconds it took.
pub(crate) type Way<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// A way of ours beside another's.
pub(crate) struct Pair<'a> {
    /// What is compared, such as `sandbox / runc run`.
    pub(crate) name: String,
    /// Ours.
    pub(crate) ours: Way<'a>,
    /// The other's.
    pub(crate) theirs: Way<'a>,
}

/// What a pair came to, seconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    name: String,
    ours: f64,
    theirs: f64,
    ratio: f64,
}

/// Measures all pairs in turns.
pub(crate) fn measure(pairs: &mut [Pair<'_>], rounds: usize) -> Result<Vec<Row>> {
    let mut seen: Vec<Vec<(f64, f64)>> = vec![Vec::with_capacity(rounds); pairs.len()];
    for round in 0..rounds {
        for (pair, seen) in pairs.iter_mut().zip(&mut seen) {
            seen.push(in_turn(round, &mut pair.ours, &mut pair.theirs)?);
        }
    }
    Ok(pairs.iter().zip(&seen).map(|(pair, seen)| row(&pair.name, seen)).collect())
}

/// Ours and theirs, once each; every other round theirs goes first.
pub(crate) fn in_turn<T>(
    round: usize,
    ours: impl FnOnce() -> Result<T>,
    theirs: impl FnOnce() -> Result<T>,
) -> Result<(T, T)> {
    if round.is_multiple_of(2) {
        let ours = ours()?;
        Ok((ours, theirs()?))
    } else {
        let theirs = theirs()?;
        Ok((ours()?, theirs))
    }
}

fn row(name: &str, seen: &[(f64, f64)]) -> Row {
    let of = |pick: fn(&(f64, f64)) -> f64| median(&seen.iter().map(pick).collect::<Vec<f64>>());
    Row { name: name.to_owned(), ours: of(|s| s.0), theirs: of(|s| s.1), ratio: of(|s| s.0 / s.1) }
}

/// Prints a table.
pub(crate) fn print(rows: &[Row]) {
    println!("{:32} {:>12} {:>12} {:>8}", "", "ours, s", "theirs, s", "ratio");
    for row in rows {
        println!("{:32} {:>12.6} {:>12.6} {:>8.3}", row.name, row.ours, row.theirs, row.ratio);
    }
}

/// The median; NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// A way that is a program: from start to end, its output thrown away.
pub(crate) fn program_way<'a>(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Way<'a> {
    let program = program.as_ref().to_owned();
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Box::new(move || {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let command = tools::program(&program, &words);
        let started = Instant::now();
        tools::output_of(command)?;
        Ok(started.elapsed().as_secs_f64())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn who_goes_first_alternates() {
        let order = RefCell::new(Vec::new());
        let way = |name: &'static str, seconds: f64| -> Way<'_> {
            let order = &order;
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(seconds)
            })
        };
        let mut pairs = [Pair { name: "a".to_owned(), ours: way("ours", 1.0), theirs: way("theirs", 2.0) }];
        let rows = measure(&mut pairs, 3).expect("neither way fails");
        assert_eq!(*order.borrow(), ["ours", "theirs", "theirs", "ours", "ours", "theirs"]);
        assert_eq!(rows, [Row { name: "a".to_owned(), ours: 1.0, theirs: 2.0, ratio: 0.5 }]);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < 1e-12);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn an_unknown_bench_is_refused_with_those_that_exist() {
        let error = run(&["lunch".to_owned()]).expect_err("there is no such bench").to_string();
        assert_eq!(error, "there is no bench `lunch`; there is launch, analysis, reference");
    }
}
