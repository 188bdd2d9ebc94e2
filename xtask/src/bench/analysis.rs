//! How long a report takes: `bench analysis RUN.sqlite [OTHER-PLIMSOLL]`.
//!
//! The whole program is timed, from reading the run file to the last byte of JSON, since that is what a user waits for.
//! With another build of `plimsoll`, both are compared in turns.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Pair, Way, measure, median, print, program_way};
use crate::tools;

const ROUNDS: usize = 15;

/// The bench.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    let file = arguments.first().context("name a run file: bench analysis RUN.sqlite [OTHER-PLIMSOLL]")?;
    let file = std::path::absolute(file).context("the run file's path cannot be read")?;
    tools::run(tools::cargo(&["build", "--release", "--package", "plimsoll"]))?;
    let plimsoll = tools::built("release")?.join("plimsoll");
    let mut ours = report(&plimsoll, &file)?;
    match arguments.get(1) {
        Some(other) => {
            let name = format!("report / {other}");
            let theirs = report(&std::path::absolute(other)?, &file)?;
            print(&measure(&mut [Pair { name, ours, theirs }], ROUNDS)?);
        }
        None => {
            let seconds = (0..ROUNDS).map(|_| ours()).collect::<Result<Vec<f64>>>()?;
            println!("report: {:.6} s (median of {ROUNDS})", median(&seconds));
        }
    }
    Ok(())
}

fn report<'a>(plimsoll: &Path, file: &Path) -> Result<Way<'a>> {
    let file = file.to_str().context("the run file's path is not UTF-8")?;
    Ok(program_way(plimsoll, &["report", file, "--format", "json"]))
}
