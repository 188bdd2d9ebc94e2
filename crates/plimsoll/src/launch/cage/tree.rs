//! Stopping and killing a process with all its descendants, where there is no cgroup to freeze or kill. Bounded: who
//! forks faster than we look is an error, and who was adopted by another parent is not found.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;

use super::super::patience;
use crate::sample::{Cause, Failure};

/// How long stopping may take.
const STOP_BOUND: Duration = Duration::from_secs(1);

/// Stops the process and its descendants, or lets them go on.
pub(super) fn set_stopped(root: i32, stopped: bool) -> Result<(), Failure> {
    let word = if stopped { Signal::SIGSTOP } else { Signal::SIGCONT };
    let reached = || {
        let family = family(root);
        let others: Vec<i32> =
            family.iter().filter(|(_, state)| is_stopped(**state) != stopped).map(|(pid, _)| *pid).collect();
        for pid in &others {
            let _ = signal(Pid::from_raw(*pid), word);
        }
        others.is_empty()
    };
    if patience::until(STOP_BOUND, reached) {
        return Ok(());
    }
    Err(Failure::new(
        Cause::Timeout,
        format!("process {root} and its children do not take {word} within {STOP_BOUND:?}"),
    ))
}

/// Kills the process and its descendants, stopped first so that none forks meanwhile.
pub(super) fn kill(root: i32) -> Result<(), Failure> {
    let stopped = set_stopped(root, true);
    for pid in family(root).into_keys() {
        let _ = signal(Pid::from_raw(pid), Signal::SIGKILL);
    }
    stopped
}

/// Stopped, or dead and past caring.
fn is_stopped(state: char) -> bool {
    matches!(state, 'T' | 't' | 'Z' | 'X')
}

/// The process and its descendants that are not dead, with their states; empty when it is gone.
fn family(root: i32) -> BTreeMap<i32, char> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next().and_then(|state| state.chars().next());
        if let (Some(state), Some(Ok(parent))) = (state, fields.next().map(str::parse::<i32>)) {
            all.insert(pid, (parent, state));
        }
    }
    let mut members = BTreeSet::from([root]);
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|(pid, (parent, _))| members.contains(parent) && !members.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if more.is_empty() {
            break;
        }
        members.extend(more);
    }
    all.into_iter()
        .filter(|(pid, (_, state))| members.contains(pid) && !matches!(state, 'Z' | 'X'))
        .map(|(pid, (_, state))| (pid, state))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn descendants_are_stopped_continued_and_killed_with_their_parent() {
        let script = "sleep 1000 & setsid sleep 1000 & echo started; wait";
        let mut parent = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let root = parent.id().cast_signed();
        BufReader::new(parent.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        set_stopped(root, true).unwrap();
        let members = family(root);
        assert_eq!(members.len(), 3, "{members:?}");
        assert!(members.values().all(|state| is_stopped(*state)), "{members:?}");
        set_stopped(root, false).unwrap();
        kill(root).unwrap();
        parent.wait().unwrap();
        let gone = || members.keys().all(|pid| crate::launch::journal::start_ticks(*pid).is_none());
        assert!(patience::until(Duration::from_secs(20), gone), "{:?}", family(root));
    }
}
