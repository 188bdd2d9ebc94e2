//! Subcommands that the program calls itself with, or that this repository's tasks call. They are no part of the
//! contract.

mod synthetic;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Subcommand;
use plimsoll::launch::enclosure;
use plimsoll::launch::engines::docker;
use plimsoll::{guest, interrupt, launch};
use plimsoll_agent::{Wire, run_under_init, serve};

use super::exit;

/// The word behind which the guest's kernel hands us its remaining command line.
const GUEST_INIT: &str = "guest-init";

#[derive(Debug, Subcommand)]
pub(super) enum HiddenCommand {
    /// Answer on stdin and stdout, below an init of our own
    #[command(hide = true)]
    Agent,
    /// Become a container of our own; the order is on the command line
    #[command(hide = true)]
    SandboxChild {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        order: Vec<String>,
    },
    /// Run a command with a private Docker engine, if none answers
    #[command(hide = true)]
    PrivateDocker {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<OsString>,
    },
    /// Write the bundle of a default container, for any OCI runtime
    #[command(hide = true)]
    OciBundle {
        folder: PathBuf,
        #[arg(long)]
        cgroup: String,
        #[arg(long)]
        memory_bytes: u64,
    },
    /// Write the text that `cpu.lzma` compresses
    #[command(hide = true)]
    SyntheticText {
        file: PathBuf,
        #[arg(long)]
        bytes: usize,
        #[arg(long)]
        seed: u64,
    },
    /// Write the run file of a run that never happened
    #[command(hide = true)]
    SyntheticRun {
        file: PathBuf,
        #[arg(long)]
        samples: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// A guest's kernel starts us as process 1 and may add words of its own: no usage is checked then.
pub(super) fn as_init_of_a_guest() -> Option<u8> {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let (first, rest) = arguments.split_first()?;
    (first == GUEST_INIT).then(|| u8::try_from(guest::guest_init(rest)).unwrap_or(exit::BUG))
}

pub(super) fn run(command: HiddenCommand) -> Result<u8> {
    match command {
        HiddenCommand::Agent => Ok(byte(run_under_init(agent))),
        HiddenCommand::SandboxChild { order } => Ok(byte(enclosure::sandbox_child(&order))),
        HiddenCommand::PrivateDocker { command } => private_docker(&command),
        HiddenCommand::OciBundle { folder, cgroup, memory_bytes } => {
            launch::write_oci_bundle(&folder, Path::new("/proc/self/exe"), &cgroup, memory_bytes)?;
            Ok(exit::DONE)
        }
        HiddenCommand::SyntheticText { file, bytes, seed } => {
            let written = std::fs::write(&file, plimsoll_agent::workload::text(seed, bytes));
            written.with_context(|| format!("cannot write {}", file.display()))?;
            Ok(exit::DONE)
        }
        HiddenCommand::SyntheticRun { file, samples, seed } => {
            let written = synthetic::write(&file, samples, seed)?;
            println!("{written} samples");
            Ok(exit::DONE)
        }
    }
}

fn agent() -> i32 {
    let served = Wire::from_stdio(|| false).map(|mut wire| serve(&mut wire, &mut guest::nest::GuestNest));
    match served {
        Ok(Ok(_)) => i32::from(exit::DONE),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> i32 {
    eprintln!("plimsoll agent: {error}");
    i32::from(exit::BUG)
}

#[allow(clippy::disallowed_methods, reason = "runs the user's own command, with an engine beside it")]
fn private_docker(command: &[OsString]) -> Result<u8> {
    let Some((program, arguments)) = command.split_first() else { return Ok(exit::USAGE) };
    // Ctrl-C ends the command; the engine beside it is then stopped in order.
    interrupt::listen()?;
    let code = docker::with_private_engine(|socket| {
        let host = format!("unix://{}", socket.display());
        match Command::new(program).args(arguments).env("DOCKER_HOST", host).status() {
            Ok(status) => status.code().unwrap_or(i32::from(exit::INTERRUPTED)),
            Err(error) => failed(&error),
        }
    })?;
    Ok(byte(code))
}

fn byte(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(exit::BUG)
}
