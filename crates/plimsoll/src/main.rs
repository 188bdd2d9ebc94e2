//! Parses, calls, exits.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the command line is where the program speaks")]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
