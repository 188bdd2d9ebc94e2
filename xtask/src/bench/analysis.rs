//! How long a report takes: `bench analysis [RUN.sqlite [OTHER-PLIMSOLL]]`.
//!
//! The whole program is timed, from reading the run file to the last byte of the report, since that is what a user waits
//! for. Without a file, one of a made-up run with [`SAMPLES`] slices is written first. With another build of `plimsoll`,
//! both are compared in turns.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Pair, Way, measure, median, print, program_way};
use crate::tools;

const ROUNDS: usize = 15;
const SAMPLES: &str = "100000";
const FORMATS: [&str; 3] = ["text", "json", "html"];

/// The bench.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    let (file, other) = match arguments {
        [] => (None, None),
        [file] => (Some(file), None),
        [file, other] => (Some(file), Some(other)),
        _ => bail!("takes a run file and another build of plimsoll"),
    };
    tools::run(tools::cargo(&["build", "--release", "--package", "plimsoll"]))?;
    let plimsoll = tools::built("release")?.join("plimsoll");
    let file = match file {
        Some(file) => std::path::absolute(file).context("the run file's path cannot be read")?,
        None => made_up(&plimsoll)?,
    };
    match other {
        Some(other) => compare(&plimsoll, Path::new(other), &file),
        None => alone(&plimsoll, &file),
    }
}

/// The run file of a run that never happened, made anew, since its tables are those of the build.
fn made_up(plimsoll: &Path) -> Result<PathBuf> {
    let file = tools::built("release")?.join("bench-analysis.sqlite");
    if file.exists() {
        std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    let mut command = tools::program(plimsoll, &["synthetic-run", "--samples", SAMPLES]);
    command.arg(&file);
    tools::run(command)?;
    Ok(file)
}

fn compare(plimsoll: &Path, other: &Path, file: &Path) -> Result<()> {
    let other = std::path::absolute(other).context("the other build's path cannot be read")?;
    let pair = |format: &&'static str| -> Result<Pair<'_>> {
        let name = format!("report --format {format}");
        Ok(Pair { name, ours: report(plimsoll, file, format)?, theirs: report(&other, file, format)? })
    };
    let mut pairs: Vec<Pair<'_>> = FORMATS.iter().map(pair).collect::<Result<_>>()?;
    print(&measure(&mut pairs, ROUNDS)?);
    Ok(())
}

fn alone(plimsoll: &Path, file: &Path) -> Result<()> {
    let mut ways: Vec<Way<'_>> = FORMATS.iter().map(|format| report(plimsoll, file, format)).collect::<Result<_>>()?;
    let mut seconds = vec![Vec::with_capacity(ROUNDS); FORMATS.len()];
    for _ in 0..ROUNDS {
        for (way, seconds) in ways.iter_mut().zip(&mut seconds) {
            seconds.push(way()?);
        }
    }
    println!("medians of {ROUNDS}; the aim for {SAMPLES} samples is less than a second");
    for (format, seconds) in FORMATS.iter().zip(&seconds) {
        println!("{:32} {:>12.6} s", format!("report --format {format}"), median(seconds));
    }
    Ok(())
}

fn report<'a>(plimsoll: &Path, file: &Path, format: &str) -> Result<Way<'a>> {
    let file = file.to_str().context("the run file's path is not UTF-8")?;
    Ok(program_way(plimsoll, &["report", file, "--format", format]))
}
