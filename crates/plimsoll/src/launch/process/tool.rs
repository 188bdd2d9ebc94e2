//! Short-lived calls of other people's programs: bounded in time and in what is kept of their output.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::super::sys::{BeforeExec, before_exec};
use crate::clock;
use crate::sample::{Cause, Failure};

/// What is kept of stdout and of stderr, each; the rest is read and dropped.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
const LOOK_MILLISECONDS: u8 = 50;

/// How a tool ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutput {
    /// Exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The first MiB of its stdout.
    pub stdout: String,
    /// The first MiB of its stderr.
    pub stderr: String,
}

/// Where a program lies: PATH, then the folders of system tools that a user's PATH may lack.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let executable =
        |file: &PathBuf| file.is_file() && nix::unistd::access(file.as_path(), nix::unistd::AccessFlags::X_OK).is_ok();
    folders.map(|folder| folder.join(name)).find(executable)
}

/// Runs a tool to its end, at most `time`; it dies with us and leaves nothing running in its process group.
///
/// # Errors
/// When it cannot be started, takes longer ([`Cause::Timeout`]) or the user interrupts. How it exits is for the caller.
pub fn run_tool(argv: &[&str], time: Duration, interrupted: fn() -> bool) -> Result<ToolOutput, Failure> {
    let Some((program, args)) = argv.split_first() else {
        return Err(Failure::launch("no program was named"));
    };
    let started = find_program(program).unwrap_or_else(|| PathBuf::from(program));
    let mut command = Command::new(started);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    before_exec(&mut command, BeforeExec { dies_with_parent: true, ..BeforeExec::default() });
    let mut child =
        command.spawn().map_err(|error| Failure::from(error).while_doing(&format!("cannot run {program}")))?;
    let said = listen(&mut child, clock::now() + time, interrupted);
    let group = Pid::from_raw(child.id().cast_signed());
    if said.is_err() {
        let _ = killpg(group, Signal::SIGKILL);
    }
    let status = child.wait().map_err(|error| Failure::from(error).while_doing(program))?;
    let (stdout, stderr) = said.map_err(|failure| failure.while_doing(program))?;
    Ok(ToolOutput { code: status.code(), stdout, stderr })
}

/// As [`run_tool`], where anything but exit status 0 is a failure that quotes stderr; returns stdout.
///
/// # Errors
/// As [`run_tool`], and when it exits with anything but 0.
pub fn run_tool_for_its_output(argv: &[&str], time: Duration, interrupted: fn() -> bool) -> Result<String, Failure> {
    let output = run_tool(argv, time, interrupted)?;
    if output.code == Some(0) {
        return Ok(output.stdout);
    }
    let how = output.code.map_or_else(|| "was killed".to_owned(), |code| format!("exited with {code}"));
    let said = if output.stderr.trim().is_empty() { output.stdout } else { output.stderr };
    Err(Failure::launch(format!("`{}` {how}: {}", argv.join(" "), said.trim())))
}

/// Reads both outputs until the tool has closed them and ended.
fn listen(child: &mut Child, deadline: Instant, interrupted: fn() -> bool) -> Result<(String, String), Failure> {
    let stdout = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let stderr = child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
    let mut pipes: Vec<(usize, File)> =
        [stdout, stderr].into_iter().enumerate().filter_map(|(at, pipe)| pipe.map(|pipe| (at, pipe))).collect();
    let mut kept = [Vec::new(), Vec::new()];
    while !pipes.is_empty() {
        if interrupted() {
            return Err(Failure::new(Cause::Interrupted, "interrupted"));
        }
        if clock::now() >= deadline {
            return Err(Failure::new(Cause::Timeout, "took too long and was killed"));
        }
        let files: Vec<&File> = pipes.iter().map(|(_, file)| file).collect();
        let ready = readable(&files, LOOK_MILLISECONDS)?;
        let mut ready = ready.into_iter();
        pipes.retain_mut(|(at, file)| !ready.next().unwrap_or(false) || !drained(file, &mut kept[*at]));
        // A background child of the tool may hold its outputs open for ever: its own end is enough.
        if !pipes.is_empty() && child.try_wait()?.is_some() {
            for (at, file) in &mut pipes {
                while readable(&[file], 0)? == [true] && !drained(file, &mut kept[*at]) {}
            }
            break;
        }
    }
    let [stdout, stderr] = kept.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    wait_until(child, deadline, interrupted)?;
    Ok((stdout, stderr))
}

fn wait_until(child: &mut Child, deadline: Instant, interrupted: fn() -> bool) -> Result<(), Failure> {
    let left = deadline.saturating_duration_since(clock::now());
    let mut stopped = false;
    let done = super::patience::until(left, || {
        stopped = interrupted();
        stopped || !matches!(child.try_wait(), Ok(None))
    });
    match (stopped, done) {
        (true, _) => Err(Failure::new(Cause::Interrupted, "interrupted")),
        (false, false) => Err(Failure::new(Cause::Timeout, "took too long and was killed")),
        (false, true) => Ok(()),
    }
}

/// Whether each is readable, or its other end gone, within so many milliseconds.
fn readable(files: &[&File], milliseconds: u8) -> Result<Vec<bool>, Failure> {
    let mut polled: Vec<PollFd<'_>> = files.iter().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN)).collect();
    match poll(&mut polled, milliseconds) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(std::io::Error::from(error).into()),
    }
    Ok(polled.iter().map(|one| one.any().unwrap_or(false)).collect())
}

/// Reads what is there; `true` at the end of the stream.
fn drained(file: &mut File, kept: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 * 1024];
    match file.read(&mut buffer) {
        Ok(0) => true,
        Ok(count) => {
            let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..count.min(room)]);
            false
        }
        Err(error) => error.kind() != std::io::ErrorKind::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(20);

    #[test]
    fn what_a_tool_says_and_how_it_exits_is_returned() {
        let output = run_tool(&["sh", "-c", "echo out; echo err >&2; exit 3"], TIME, || false).unwrap();
        assert_eq!(output, ToolOutput { code: Some(3), stdout: "out\n".into(), stderr: "err\n".into() });
    }

    #[test]
    fn a_failed_tool_is_quoted() {
        let failure = run_tool_for_its_output(&["sh", "-c", "echo broken >&2; exit 3"], TIME, || false).unwrap_err();
        assert_eq!(failure.message, "`sh -c echo broken >&2; exit 3` exited with 3: broken");
    }

    #[test]
    fn a_tool_that_hangs_is_killed_at_its_bound() {
        let failure = run_tool(&["sleep", "1000"], Duration::from_millis(50), || false).unwrap_err();
        assert_eq!(failure.cause, Cause::Timeout);
    }

    #[test]
    fn an_interruption_ends_a_tool() {
        let failure = run_tool(&["sleep", "1000"], TIME, || true).unwrap_err();
        assert_eq!(failure.cause, Cause::Interrupted);
    }

    #[test]
    fn output_beyond_the_bound_is_dropped() {
        let output = run_tool(&["head", "-c", "3000000", "/dev/zero"], TIME, || false).unwrap();
        assert_eq!(output.stdout.len(), OUTPUT_BYTES_MAX);
    }
}
