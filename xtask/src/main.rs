//! The tasks of this repository, one file each: `cargo xtask lint|test|bench|dist`. CI runs the first two and no more.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to whoever started it")]

mod bench;
mod dist;
mod lint;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask TASK
  lint             formatting, clippy, licences (where cargo-deny is installed)
  test [ARG]...    installs what the tests need (as root), starts a private Docker engine, runs cargo test with ARGs
  bench NAME       compares us with what we replace: launch [ROUNDS], analysis [RUN.sqlite [OTHER-PLIMSOLL]],
                   reference cpu|mem|kernel [ROUNDS]
  dist             a static executable as an archive with its checksum, in dist/";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = arguments.split_first().map_or(("", &[][..]), |(task, rest)| (task.as_str(), rest));
    let done = match task {
        "lint" => lint::run(rest),
        "test" => test::run(rest),
        test::INSIDE => test::run_inside(rest),
        "bench" => bench::run(rest),
        "dist" => dist::run(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{task}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
