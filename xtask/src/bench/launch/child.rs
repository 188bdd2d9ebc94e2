//! Starts what we are compared with and takes its time: to an agent's first answer, or to its end. Bounded.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use plimsoll_protocol::{Reply, Request, read_frame, write_frame};

use crate::tools;

/// What a launch may take; an emulated machine on a busy host needs some of it.
const BOUND: Duration = Duration::from_secs(120);

/// From the start of the program to the first answer of the agent that it carries on its standard streams; the agent is
/// then told to shut down. Should it fail or not end in time, the words of `rescue` are run as well.
pub(super) fn seconds_to_hello(command: Command, rescue: &[&str]) -> Result<f64> {
    bounded(command, rescue, |agent, started| {
        let mut input = agent.stdin.take().context("no stream to write to")?;
        let mut output = agent.stdout.take().context("no stream to read from")?;
        let asked = write_frame(&mut input, &Request::Hello);
        let reply = asked.and_then(|()| read_frame::<Reply>(&mut output));
        let seconds = started.elapsed().as_secs_f64();
        match reply {
            Ok(Reply::Hello(_)) => {}
            Ok(other) => bail!("the agent answered {other:?}"),
            Err(error) => {
                drop(input);
                bail!("{error}: {}", last_words(agent));
            }
        }
        write_frame(&mut input, &Request::ShutDown)?;
        drop(input);
        std::io::copy(&mut output, &mut std::io::sink())?;
        agent.wait()?;
        Ok(seconds)
    })
}

/// From the start of the program to its end.
pub(super) fn seconds_to_end(command: Command) -> Result<f64> {
    bounded(command, &[], |program, started| {
        let status = program.wait()?;
        let seconds = started.elapsed().as_secs_f64();
        if !status.success() {
            bail!("it failed ({status}): {}", last_words(program));
        }
        Ok(seconds)
    })
}

/// Starts a program, has `talk` deal with it, and ends it when that takes too long or fails.
fn bounded(
    mut command: Command,
    rescue: &[&str],
    talk: impl FnOnce(&mut Child, Instant) -> Result<f64>,
) -> Result<f64> {
    let line = tools::words(&command);
    let rescue: Vec<String> = rescue.iter().map(|word| (*word).to_owned()).collect();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    let (ended, over) = channel::<()>();
    let (late_rescue, pid) = (rescue.clone(), child.id().to_string());
    std::thread::spawn(move || {
        if over.recv_timeout(BOUND) == Err(RecvTimeoutError::Timeout) {
            run(&late_rescue);
            run(&["kill".to_owned(), "-KILL".to_owned(), pid]);
        }
    });
    let done = talk(&mut child, started);
    if done.is_err() {
        run(&rescue);
        let _ = child.kill();
        let _ = child.wait();
    }
    drop(ended);
    done.with_context(|| format!("`{line}`"))
}

fn run(words: &[String]) {
    if let Some((program, arguments)) = words.split_first() {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        tools::succeeds(tools::program(program, &arguments));
    }
}

/// What a program that is ending says of it.
fn last_words(child: &mut Child) -> String {
    let mut words = String::new();
    if let Some(stream) = &mut child.stderr {
        let _ = stream.read_to_string(&mut words);
    }
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_no_agent_is_refused_with_its_words() {
        let program = tools::program("sh", &["-c", "head -c 10 >/dev/null; echo no such container >&2"]);
        let error = seconds_to_hello(program, &[]).expect_err("it is no agent");
        assert!(format!("{error:#}").contains("no such container"), "{error:#}");
    }

    #[test]
    fn a_program_that_fails_has_no_time() {
        assert!(seconds_to_end(tools::program("false", &[])).is_err());
        assert!(seconds_to_end(tools::program("true", &[])).is_ok_and(|seconds| seconds > 0.0));
    }
}
