//! The engine behind the containers: a private one, somebody else's, a dead one, none.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll::launch::journal::Journal;
use plimsoll::sample::Cause;
use plimsoll_protocol::{FrameError, Reply, Request, read_frame, write_frame};

use crate::ground::{Ground, PLIMSOLL, ask_engine, assert_nothing_left_of, cgroups, hello};

fn has_private_engine(ground: &Ground) -> bool {
    let private = ground.daemon_folder().exists();
    if !private {
        eprintln!("skipped: the host's own engine runs, so there is no private one");
    }
    private
}

/// Tests of the private engine run without `DOCKER_HOST`, in a process of their own where it is set. Whether that was
/// done.
fn done_without_docker_host(test: &str) -> bool {
    if std::env::var_os("DOCKER_HOST").is_none() {
        return false;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let status = command.args(["--exact", test, "--nocapture"]).env_remove("DOCKER_HOST").status().unwrap();
    assert!(status.success(), "{test} failed without DOCKER_HOST");
    true
}

#[test]
fn a_private_engine_that_is_killed_ends_the_stream_and_leaves_nothing() {
    if done_without_docker_host("engines::a_private_engine_that_is_killed_ends_the_stream_and_leaves_nothing") {
        return;
    }
    let Some(ground) = Ground::for_test("killed") else { return };
    let mut layer = ground.open("docker:disk=volume");
    let mut vessel = layer.launch(&ground.order(1, 128)).unwrap();
    if has_private_engine(&ground) {
        hello(&mut *vessel);
        kill(Pid::from_raw(ground.daemon_pid()), Signal::SIGKILL).unwrap();
        vessel.wire().allow(Some(std::time::Duration::from_secs(60)));
        let end = read_frame::<Reply>(vessel.wire()).unwrap_err();
        assert!(matches!(end, FrameError::Closed), "{end}");
        let diagnosis = vessel.diagnose();
        assert!(diagnosis.words.contains("the private Docker engine has ended: signal 9"), "{diagnosis:?}");
        for failure in [vessel.park().unwrap_err(), vessel.resume().unwrap_err()] {
            assert_eq!(failure.cause, Cause::Died, "{failure}");
            assert!(failure.message.contains("has ended: signal 9"), "{failure}");
        }
        let failure = layer.launch(&ground.order(2, 128)).err().unwrap();
        assert!(failure.message.contains("has ended: signal 9"), "{failure}");
    }
    vessel.tear_down().unwrap();
    drop(vessel);
    layer.close().unwrap();
    ground.assert_nothing_left();
}

/// Set for the process that is to be killed: the folder for its journal.
const DOOMED: &str = "PLIMSOLL_TEST_DOOMED";

/// Not a test of its own: what the process that is killed below does.
#[test]
fn doomed() {
    if std::env::var_os(DOOMED).is_none() {
        return;
    }
    let ground = Ground::for_test("doomed").unwrap();
    let mut layer = ground.open("docker:disk=volume");
    let mut vessel = layer.launch(&ground.order(1, 128)).unwrap();
    hello(&mut *vessel);
    vessel.park().unwrap();
    let folder = ground.folder.path().display().to_string();
    println!("{}", serde_json::json!([ground.place.run, folder, ground.daemon_folder().join("pid")]));
    std::io::stdout().flush().unwrap();
    write_frame(vessel.wire(), &Request::Hello).unwrap();
    let _ = read_frame::<Reply>(vessel.wire());
}

fn after_a_killed_run(engine_too: bool) {
    let Some(_ground) = Ground::for_test("survivor") else { return };
    let mut doomed = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engines::doomed", "--nocapture"])
        .env(DOOMED, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(doomed.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find_map(|line| line.find("[\"").map(|at| line[at..].to_owned())).unwrap();
    let [run, folder, pid_file]: [String; 3] = serde_json::from_str(&line).unwrap();
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    let daemon = std::fs::read_to_string(pid_file).ok().and_then(|pid| pid.trim().parse().ok());
    if let Some(pid) = daemon.filter(|_| engine_too) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    let journals = Journal::abandoned(Path::new(&folder)).unwrap();
    assert_eq!(journals.len(), 1);
    journals[0].undo_all().unwrap();
    assert_nothing_left_of(&run);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_killed_run_is_cleaned_up_while_its_engine_lives() {
    if done_without_docker_host("engines::a_killed_run_is_cleaned_up_while_its_engine_lives") {
        return;
    }
    after_a_killed_run(false);
}

#[test]
fn a_killed_run_is_cleaned_up_when_its_engine_is_dead_as_well() {
    if done_without_docker_host("engines::a_killed_run_is_cleaned_up_when_its_engine_is_dead_as_well") {
        return;
    }
    after_a_killed_run(true);
}

/// Everything that Docker is known to change, and more, as lines.
fn host() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for tool in ["iptables-save", "ip6tables-save", "nft list ruleset", "ip -o link", "ip -o address", "ip route"] {
        let mut words = tool.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        // Comments hold the time, and an address its remaining lifetime.
        let rules = text.lines().filter(|line| !line.starts_with('#') && !line.contains("valid_lft"));
        lines.extend(rules.map(|line| format!("{tool}: {line}")));
    }
    for setting in ["net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"] {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(setting)).unwrap_or_default();
        lines.insert(format!("{setting}: {}", value.trim()));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    lines.extend(mounts.lines().map(str::to_owned));
    lines.extend(cgroups());
    for folder in ["/run", "/run/docker", "/run/containerd", "/etc/docker", "/var/lib"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        lines.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    lines
}

/// What others on this machine made or removed meanwhile under a name of ours is not this run's doing.
fn changes(before: &BTreeSet<String>, after: &BTreeSet<String>, run: &str) -> Vec<String> {
    let others = |line: &&String| line.contains("plimsoll-") && !line.contains(run);
    before.symmetric_difference(after).filter(|line| !others(line)).cloned().collect()
}

#[test]
fn a_private_engine_leaves_the_host_as_it_was() {
    if done_without_docker_host("engines::a_private_engine_leaves_the_host_as_it_was") {
        return;
    }
    let Some(ground) = Ground::alone("restore") else { return };
    let before = host();
    let mut keeps_the_engine = ground.open("docker");
    let _ = has_private_engine(&ground);
    for (number, name) in (1..).zip(["docker", "docker:net=host", "docker:disk=volume"]) {
        let mut layer = ground.open(name);
        let mut vessel = layer.launch(&ground.order(number, 128)).unwrap();
        hello(&mut *vessel);
        vessel.tear_down().unwrap();
        drop(vessel);
        layer.close().unwrap();
    }
    keeps_the_engine.close().unwrap();
    ground.assert_nothing_left();
    assert_eq!(changes(&before, &host(), &ground.place.run), Vec::<String>::new());
}

/// Runs one test of this file with `DOCKER_HOST` set to an engine that outlives it.
fn beside_an_engine(test: &str) -> Option<bool> {
    let _ground = Ground::for_test("outer")?;
    let status = Command::new(PLIMSOLL)
        .args(["private-docker", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(BESIDE, "1")
        .status()
        .unwrap();
    Some(status.success())
}

const BESIDE: &str = "PLIMSOLL_TEST_BESIDE";

#[test]
fn an_engine_that_is_not_ours_is_left_as_it_was() {
    if std::env::var_os(BESIDE).is_none() {
        assert_ne!(beside_an_engine("engines::an_engine_that_is_not_ours_is_left_as_it_was"), Some(false));
        return;
    }
    let ground = Ground::for_test("beside").unwrap();
    let socket = &ground.socket();
    // Others may use the engine too.
    let ours = |target: &str| {
        let listed = serde_json::from_str::<Vec<serde_json::Value>>(&ask_engine(socket, target)).unwrap();
        listed.iter().filter(|one| one.to_string().contains(&ground.place.run)).count()
    };
    let counts = || ["/containers/json?all=1", "/images/json?all=1"].map(ours);
    let mut layer = ground.open("docker");
    assert!(!ground.daemon_folder().exists(), "a second engine was started beside a running one");
    let mut vessel = layer.launch(&ground.order(1, 128)).unwrap();
    hello(&mut *vessel);
    assert_eq!(counts(), [1, 1]);
    vessel.tear_down().unwrap();
    assert_eq!(counts(), [0, 1]);
    drop(vessel);
    layer.close().unwrap();
    assert_eq!(counts(), [0, 0]);
    ground.assert_nothing_left();
}

#[test]
fn a_docker_host_that_points_to_nothing_is_named() {
    let output = Command::new(PLIMSOLL)
        .args(["private-docker", "--", "true"])
        .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("no Docker engine answers at DOCKER_HOST=unix:///nonexistent/docker.sock"), "{said}");
}
