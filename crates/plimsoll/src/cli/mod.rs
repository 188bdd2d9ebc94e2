//! The command line: one file per subcommand, flags, exit codes; the only stdout.

mod clean;
mod doctor;
mod exit;
mod hidden;
mod list;
mod report;
mod run;
mod setup;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Says what each layer of isolation costs: the same bytes natively, in containers, in virtual machines and in
/// containers inside them, side by side in one run.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare environments; alone it is `--preset quick`
    Run(Box<run::RunArguments>),
    /// Print what a run file says
    Report(report::ReportArguments),
    /// What there is to choose from
    List(list::ListArguments),
    /// What this host can run, why not, the remedy; and what about it spoils measuring
    Doctor(doctor::DoctorArguments),
    /// Install what engines need, with the system's package manager
    Setup(setup::SetupArguments),
    /// Remove whatever a killed run left behind
    Clean(clean::CleanArguments),
    #[command(flatten)]
    Hidden(hidden::HiddenCommand),
}

/// Text for people, JSON for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TextOrJson {
    Text,
    Json,
}

pub(crate) fn main() -> ExitCode {
    if let Some(code) = hidden::as_init_of_a_guest() {
        return ExitCode::from(code);
    }
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::List(arguments) => list::list(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Setup(arguments) => setup::setup(&arguments),
        Command::Clean(arguments) => clean::clean(&arguments),
        Command::Hidden(command) => hidden::run(command),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // Whoever reads our output has seen enough, as `head` does.
        Err(error) if exit::is_broken_pipe(&error) => ExitCode::from(exit::DONE),
        Err(error) => {
            eprintln!("plimsoll: {error:#}");
            ExitCode::from(exit::code_of(&error))
        }
    }
}
