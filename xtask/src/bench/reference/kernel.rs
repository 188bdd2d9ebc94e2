//! `kernel.syscall`, `kernel.switch` and `kernel.fork` beside `perf bench`, the last beside stress-ng where perf has no
//! such test.

use anyhow::{Context, Result};

use super::ours::{Cell, Plan, SLICE};
use super::theirs::{Program, first_line, lack};
use super::{Contest, Offer, Pair, Scene};
use crate::tools;

const MEMORY_BYTES: u64 = 1 << 30;
/// A few seconds of each natively.
const CALLS: &str = "20000000";
const ROUND_TRIPS: &str = "500000";
const PROCESSES: &str = "4000";
/// The same for stress-ng, which counts by time.
const EXEC_SECONDS: &str = "4";

/// All three.
pub(super) fn offers(scene: &Scene) -> Result<Vec<(String, Offer)>> {
    type Find = fn(&Scene) -> Result<Theirs, String>;
    let pairs: [(&'static str, Find); 3] =
        [("kernel.syscall", syscall), ("kernel.switch", switch), ("kernel.fork", fork)];
    Ok(pairs.into_iter().map(|(name, theirs)| (name.to_owned(), offer(scene, name, theirs(scene)))).collect())
}

/// A reference for one of our workloads.
struct Theirs {
    name: &'static str,
    program: Program,
    version: String,
    /// Seconds per operation, out of what it says.
    read: fn(&str) -> Result<f64>,
}

fn offer(scene: &Scene, name: &'static str, theirs: Result<Theirs, String>) -> Offer {
    if let Some(lack) = scene.lacks_workload(name) {
        return Err(lack);
    }
    let Theirs { name: their_name, program, version, read } = theirs?;
    let parameters = match name {
        "kernel.syscall" => vec![("call", "\"getppid\"".to_owned())],
        "kernel.switch" => vec![("cpus", "\"same\"".to_owned())],
        _ => Vec::new(),
    };
    let cpus = scene.one_cpu().to_vec();
    Ok(Contest {
        name: name.to_owned(),
        plan: Plan { cpus, memory_bytes: MEMORY_BYTES, slice: SLICE, workloads: vec![(name, parameters)] },
        program,
        pairs: vec![Pair { name: format!("{name} / {their_name}"), unit: "s", ours: Cell::headline(name, "time") }],
        read: Box::new(move |ran| Ok(vec![read(&ran.said)?])),
        notes: vec![version],
    })
}

/// One of perf's benchmarks, if it can be run: it is tried with a few operations first.
fn perf(scene: &Scene, name: &'static str, words: [&str; 2], count: &str) -> Result<Theirs, String> {
    let all = |count| ["perf", "bench", words[0], words[1], "--loop", count];
    if let Some(lack) = lack(&all("10"), "linux-perf") {
        return Err(lack);
    }
    let version = first_line(&["perf", "version"]).map_err(|error| format!("{error:#}"))?;
    let program = Program::new(scene.one_cpu(), &all(count));
    Ok(Theirs { name, program, version, read: perf_seconds })
}

fn syscall(scene: &Scene) -> Result<Theirs, String> {
    perf(scene, "perf bench syscall basic", ["syscall", "basic"], CALLS)
}

fn switch(scene: &Scene) -> Result<Theirs, String> {
    perf(scene, "perf bench sched pipe", ["sched", "pipe"], ROUND_TRIPS)
}

fn fork(scene: &Scene) -> Result<Theirs, String> {
    // An unknown benchmark is no failure to perf, so the list is asked. Not every version has this one.
    let listed = tools::program("perf", &["bench", "syscall"]).output();
    let listed = listed.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    if String::from_utf8_lossy(&listed).contains("execve:") {
        return perf(scene, "perf bench syscall execve", ["syscall", "execve"], PROCESSES);
    }
    if let Some(lack) = lack(&["stress-ng", "--version"], "stress-ng") {
        return Err(format!("this perf has no `bench syscall execve`, and {lack}"));
    }
    let version = first_line(&["stress-ng", "--version"]).map_err(|error| format!("{error:#}"))?;
    // As root it refuses.
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let one_by_one = ["--exec", "1", "--exec-max", "1", "--exec-fork-method", "fork", "--exec-method", "execve"];
    let bounds = ["--exec-no-pthread", "--temp-path", "/tmp", "--timeout", EXEC_SECONDS, "--metrics"];
    let nobody = if tools::is_root() { &nobody[..] } else { &[] };
    let words = [nobody, &["stress-ng"], &one_by_one, &bounds].concat();
    let program = Program::new(scene.one_cpu(), &words);
    Ok(Theirs { name: "stress-ng --exec (not alike)", program, version, read: stress_ng_seconds })
}

/// `0.180251 usecs/op`.
fn perf_seconds(said: &str) -> Result<f64> {
    let line = said.lines().find_map(|line| line.trim().strip_suffix(" usecs/op"));
    let number = line.context("perf printed no `usecs/op`")?.trim();
    Ok(number.parse::<f64>().with_context(|| format!("perf's time per operation is `{number}`"))? * 1e-6)
}

/// Real time over operations, from the line of `exec` in the metrics.
fn stress_ng_seconds(said: &str) -> Result<f64> {
    let mut lines = said.lines().filter_map(|line| line.split_once("] exec ").map(|(_, rest)| rest));
    let rest = lines.find(|rest| rest.trim_start().starts_with(|digit: char| digit.is_ascii_digit()));
    let mut numbers = rest.context("stress-ng printed no metrics of exec")?.split_whitespace().map(str::parse::<f64>);
    let mut number = || numbers.next().and_then(Result::ok).context("stress-ng's metrics are no numbers");
    let (operations, seconds) = (number()?, number()?);
    Ok(seconds / operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfs_time_per_operation_is_read() {
        // perf 6.1.
        let syscall = "# Running 'syscall/basic' benchmark:\n# Executed 10000000 getppid() calls\n     Total time: 1.802 \
                       [sec]\n\n       0.180251 usecs/op\n        5547810 ops/sec\n";
        let pipe = "# Running 'sched/pipe' benchmark:\n# Executed 20000 pipe operations between two processes\n\n     \
                    Total time: 0.095 [sec]\n\n       4.778750 usecs/op\n         209259 ops/sec\n";
        assert!((perf_seconds(syscall).expect("it is there") - 0.180_251e-6).abs() < 1e-15);
        assert!((perf_seconds(pipe).expect("it is there") - 4.778_75e-6).abs() < 1e-15);
        assert!(perf_seconds("# Running 'sched/pipe' benchmark:\n").is_err());
    }

    #[test]
    fn stress_ngs_time_per_operation_is_read() {
        // stress-ng 0.15.06.
        let said = "\
stress-ng: info:  [12662] setting to a 3 second run per stressor
stress-ng: info:  [12662] dispatching hogs: 1 exec
stress-ng: metrc: [12662] stressor       bogo ops real time  usr time  sys time   bogo ops/s     bogo ops/s CPU used per
stress-ng: metrc: [12662]                           (secs)    (secs)    (secs)   (real time) (usr+sys time) instance (%)
stress-ng: metrc: [12662] exec                307      3.00      1.07      0.80       102.29         164.28        62.26
stress-ng: info:  [12662] successful run completed in 3.00s
";
        assert!((stress_ng_seconds(said).expect("it is there") - 3.0 / 307.0).abs() < 1e-12);
        // What it says to root, with success.
        let refused = "stress-ng: info:  [8977] exec stressor must not run as root, skipping the stressor\n";
        assert!(stress_ng_seconds(refused).is_err());
    }
}
