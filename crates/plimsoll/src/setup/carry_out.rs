//! Carries a plan out: one command after the other, each bounded, its output kept in a log for when it fails.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::packages::Manager;
use super::services::ServicesHeld;
use super::{SetupPlan, Step, has_program};
use crate::sample::Failure;
use crate::{clock, interrupt};

/// A package manager that takes longer is stopped. Slow networks are slow; a question that waits for an answer is worse.
const STEP_TIME_MAX: Duration = Duration::from_secs(20 * 60);
/// How long a package manager that was asked to end may take.
const END_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a running command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Bytes of a failed command's output that an error shows.
const TAIL_BYTES_MAX: u64 = 2048;

/// Why an installation did not happen or did not finish.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Only root may install.
    #[error("only root may install packages; run:\n{}", .commands.join("\n"))]
    NeedsRoot {
        /// The commands, with `sudo`.
        commands: Vec<String>,
    },
    /// A command failed; what it said last is the end of the message.
    #[error("`{command}` failed ({status}); its output is in {log}:\n{tail}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: String,
        /// The file with its whole output.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// A command succeeded and yet its program is not there.
    #[error("`{command}` succeeded, but `{program}` is still not found")]
    StillMissing {
        /// The command.
        command: String,
        /// The program that it should have brought.
        program: String,
    },
    /// The user stopped it.
    #[error("interrupted during `{command}`; `dpkg --configure -a` or its like may be needed")]
    Interrupted {
        /// The command.
        command: String,
    },
    /// No kernel for guests could be fetched.
    #[error(transparent)]
    Kernel(#[from] Failure),
    /// A file or process of ours could not be made.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Installs what the plan names and tells `out` about each step. An empty plan starts nothing.
///
/// # Errors
/// Without root, when a command fails or takes longer than its bound, and when the user interrupts. What was installed
/// before stays; a new plan starts where this one ended.
pub fn carry_out(plan: &SetupPlan, out: &mut dyn Write) -> Result<(), SetupError> {
    let say = |out: &mut dyn Write, line: &str| {
        writeln!(out, "{line}").map_err(|source| SetupError::Io { doing: "cannot say what is done".to_owned(), source })
    };
    for sentence in &plan.by_hand {
        say(out, sentence)?;
    }
    if plan.steps.is_empty() && !plan.fetch_kernel {
        return say(out, &plan.summary());
    }
    if !plan.steps.is_empty() {
        install_all(plan, &mut |line| say(out, line))?;
    }
    if plan.fetch_kernel {
        let kernel = super::kernel::fetched_kernel(interrupt::requested)?;
        say(out, &format!("guest kernel: {}", kernel.image.display()))?;
    }
    Ok(())
}

fn install_all(plan: &SetupPlan, say: Say<'_>) -> Result<(), SetupError> {
    if !plan.root {
        return Err(SetupError::NeedsRoot { commands: plan.commands() });
    }
    let _held = ServicesHeld::hold()
        .map_err(|source| SetupError::Io { doing: "cannot keep packages from starting daemons".to_owned(), source })?;
    let mut refreshed = false;
    for step in &plan.steps {
        if step.brings.as_deref().is_some_and(has_program) {
            continue;
        }
        say(&step.command())?;
        refreshed |= step.brings.is_none();
        install(step, &mut refreshed, say)?;
    }
    say("installed; no daemon was started")
}

type Say<'a> = &'a mut dyn FnMut(&str) -> Result<(), SetupError>;

/// Lists of packages grow stale: a failed installation refreshes apt's once per plan, and is then tried again.
pub(super) fn install(step: &Step, refreshed: &mut bool, say: Say<'_>) -> Result<(), SetupError> {
    let mut done = run(step);
    if matches!(done, Err(SetupError::Failed { .. })) && step.manager == Manager::Apt && !*refreshed {
        *refreshed = true;
        let refresh = Manager::Apt.refresh();
        say(&format!("{}   # the lists may be stale", refresh.command()))?;
        run(&refresh)?;
        say(&step.command())?;
        done = run(step);
    }
    done?;
    match &step.brings {
        Some(program) if !has_program(program) => {
            Err(SetupError::StillMissing { command: step.command(), program: program.clone() })
        }
        _ => Ok(()),
    }
}

/// Runs one command to its end; its output goes to a log that is removed if all went well.
fn run(step: &Step) -> Result<(), SetupError> {
    let log = std::env::temp_dir().join(format!("plimsoll-setup-{}.log", std::process::id()));
    let io = |doing: &str| {
        let doing = format!("{doing} `{}`", step.command());
        move |source| SetupError::Io { doing, source }
    };
    // `create_new`: nobody else's file, and no link that somebody put there, is written to.
    let _ = std::fs::remove_file(&log);
    let output = File::options().write(true).create_new(true).open(&log).map_err(io("cannot make a log for"))?;
    let errors = output.try_clone().map_err(io("cannot make a log for"))?;
    let mut child = Command::new(&step.argv[0])
        .args(&step.argv[1..])
        .envs(step.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(io("cannot start"))?;
    let ended = wait(&mut child).map_err(io("cannot wait for"))?;
    match ended {
        Ended::By(status) if status.success() => {
            let _ = std::fs::remove_file(&log);
            Ok(())
        }
        Ended::Interrupted => Err(SetupError::Interrupted { command: step.command() }),
        Ended::By(status) => Err(failed(step, status.to_string(), &log)),
        Ended::TooLate => Err(failed(step, format!("stopped after {} s", STEP_TIME_MAX.as_secs()), &log)),
    }
}

fn failed(step: &Step, status: String, log: &Path) -> SetupError {
    SetupError::Failed { command: step.command(), status, log: log.to_owned(), tail: tail(log).unwrap_or_default() }
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut last = Vec::new();
    file.read_to_end(&mut last)?;
    Ok(String::from_utf8_lossy(&last).trim().to_owned())
}

enum Ended {
    By(ExitStatus),
    Interrupted,
    TooLate,
}

fn wait(child: &mut Child) -> std::io::Result<Ended> {
    let deadline = clock::now() + STEP_TIME_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            // A Ctrl-C at the terminal reaches the command as well: then its failure is the user's wish.
            return Ok(if interrupt::requested() && !status.success() {
                Ended::Interrupted
            } else {
                Ended::By(status)
            });
        }
        let late = clock::now() > deadline;
        if late || interrupt::requested() {
            end(child)?;
            return Ok(if late { Ended::TooLate } else { Ended::Interrupted });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// SIGTERM, so that a package manager can finish its transaction, and SIGKILL when it does not end.
fn end(child: &mut Child) -> std::io::Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
    let deadline = clock::now() + END_TIME_MAX;
    while clock::now() < deadline {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    child.kill()?;
    child.wait().map(drop)
}
