//! Subcommands that the program calls itself with. They are no part of the contract.

use anyhow::Result;
use clap::Subcommand;
use plimsoll::guest;
use plimsoll::launch::engines;
use plimsoll_agent::{init, serve, wire::Wire};

use super::exit;

#[derive(Debug, Subcommand)]
pub(super) enum HiddenCommand {
    /// Answer on stdin and stdout, below an init of our own
    #[command(hide = true)]
    Agent,
    /// Run a command with a private Docker engine, if none answers
    #[command(hide = true)]
    PrivateDocker {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// The guest's kernel starts us as process 1: there are no subcommands then, and nobody to read usage.
pub(super) fn as_init_of_a_guest() -> Option<u8> {
    None
}

pub(super) fn run(command: HiddenCommand) -> Result<u8> {
    match command {
        HiddenCommand::Agent => Ok(0),
        HiddenCommand::PrivateDocker { command } => Ok(0),
    }
}
