//! The program as a user meets it: run, interrupt, kill, clean, report. Real engines, small plans.

#![allow(clippy::unwrap_used, reason = "a test that unwraps has failed")]
#![allow(clippy::disallowed_methods, reason = "the program under test is a process")]

#[path = "support/desk.rs"]
mod desk;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use desk::{Desk, PLIMSOLL, cgroups_named, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll::sample::{Cause, Phase, StopReason};
use serde_json::Value;

#[test]
fn a_run_measures_reports_and_leaves_nothing_behind() {
    if !support::require("sandbox") {
        return;
    }
    let desk = Desk::new();
    let output = desk.run(&[
        "-e",
        "sandbox",
        "-w",
        "null,cpu.lzma,kernel.syscall,disk.randread,start",
        "--blocks",
        "2",
        "--format",
        "json",
        "--seed",
        "7",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["schema"], 1);
    assert_eq!(findings["run"]["seed"], 7);
    assert_eq!(findings["run"]["stopped_because"], "blocks");
    let compared: BTreeSet<&str> =
        findings["comparisons"].as_array().unwrap().iter().map(|one| one["workload"].as_str().unwrap()).collect();
    assert_eq!(compared, ["cpu.lzma", "disk.randread", "kernel.syscall", "null", "start.ready"].into());
    for one in findings["comparisons"].as_array().unwrap() {
        assert!(one["value"].as_f64().unwrap() > 0.0, "{one}");
        assert_eq!(one["verdict"], "unresolved", "two blocks give no verdicts: {one}");
    }
    assert_eq!(desk.traces(), [""; 0]);
    let page = fs::read_to_string(desk.run_file().with_extension("html")).unwrap();
    assert!(page.contains("sandbox") && page.ends_with("</html>\n"));
}

#[test]
fn every_format_is_made_from_the_run_file_alone() {
    if !support::require("sandbox") {
        return;
    }
    let desk = Desk::new();
    assert_eq!(desk.run(&["-e", "sandbox", "-w", "null", "--blocks", "3", "--quiet"]).status.code(), Some(0));
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("mailed.sqlite");
    fs::copy(desk.run_file(), &copy).unwrap();
    for (format, sign) in [
        ("text", "control"),
        ("json", "\"schema\": 1"),
        ("markdown", "| "),
        ("csv", "run,"),
        ("html", "<!doctype html>"),
    ] {
        let report = || Command::new(PLIMSOLL).args(["report", "--format", format]).arg(&copy).output().unwrap();
        let (first, second) = (report(), report());
        assert!(first.status.success(), "{format}: {}", text(&first.stderr));
        assert!(text(&first.stdout).contains(sign), "{format}: {}", text(&first.stdout));
        assert_eq!(first.stdout, second.stdout, "{format}: the same file gives the same bytes");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_nothing_is_started() {
    let desk = Desk::new();
    fs::write(desk.folder.path().join("run.toml"), "block = 3\nprecision = \"x\"\n").unwrap();
    let output = desk.run(&["run.toml", "-e", "dcoker", "-w", "cpu.lzna", "--blocks", "0"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr).matches("run.toml line 1: unknown key `block`; did you mean `blocks`?").count(), 1);
    let output = desk.run(&["-e", "dcoker", "-w", "cpu.lzna", "--blocks", "0"]);
    let said = text(&output.stderr);
    for part in ["did you mean `docker`?", "did you mean `cpu.lzma`?", "--blocks: must be between 1 and 1000"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!desk.run_file().exists());
    assert_eq!(desk.run(&["--no-such-flag"]).status.code(), Some(2));
    let output = desk.run(&["--data", "/nonexistent", "-w", "null"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nonexistent is no directory"), "{}", text(&output.stderr));
}

#[test]
fn a_dry_run_shows_the_plan_and_starts_nothing() {
    let desk = Desk::new();
    let output = desk.run(&["--dry-run", "-w", "null"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("native"), "{}", text(&output.stderr));
    assert!(!desk.run_file().exists());
    assert_eq!(desk.leftovers(), [""; 0]);
}

#[test]
fn every_ready_made_plan_is_a_plan() {
    let desk = Desk::new();
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plans");
    let mut count = 0;
    for plan in fs::read_dir(plans).unwrap() {
        let path = plan.unwrap().path();
        let output = desk.run(&["--dry-run", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}: {}", path.display(), text(&output.stderr));
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn ctrl_c_keeps_every_finished_slice_and_leaves_a_clean_host() {
    if !support::require("sandbox") {
        return;
    }
    let desk = Desk::new();
    let live =
        desk.run_until(&["-e", "sandbox", "-w", "null,kernel.syscall", "--blocks", "50"], "block 2/50: measuring");
    live.signal(Signal::SIGINT);
    let (code, rest) = live.end();
    assert_eq!(code, Some(130), "{rest}");
    let record = desk.record();
    assert_eq!(record.run.stopped_because, Some(StopReason::Interrupted));
    assert!(record.slices.iter().any(|bundle| bundle.slice.phase == Phase::Measured));
    assert_eq!(record.mishaps, []);
    assert_eq!(desk.traces(), [""; 0]);
}

#[test]
fn after_kill_9_the_file_is_readable_and_clean_removes_the_rest() {
    if !(support::require("sandbox") && support::require("root")) {
        return;
    }
    let desk = Desk::new();
    let live = desk.run_until(&["-e", "sandbox", "-w", "null", "--blocks", "50"], "block 2/50: measuring");
    live.signal(Signal::SIGKILL);
    let (code, _) = live.end();
    assert_eq!(code, None);
    assert!(!desk.traces().is_empty(), "a killed run leaves things behind, else this test shows nothing");
    let run = format!("plimsoll-{}", desk.record().run.id);
    let dry = Command::new(PLIMSOLL).args(["clean", "--dry-run"]).output().unwrap();
    assert!(text(&dry.stdout).contains(&run), "{}", text(&dry.stdout));
    assert!(!desk.traces().is_empty(), "--dry-run removes nothing");
    let clean = Command::new(PLIMSOLL).arg("clean").output().unwrap();
    assert!(clean.status.success(), "{}", text(&clean.stdout));
    assert_eq!(desk.traces(), [""; 0]);
    let record = desk.record();
    assert_eq!(record.run.stopped_because, None);
    assert!(!record.slices.is_empty());
    let report = Command::new(PLIMSOLL).arg("report").arg(desk.run_file()).output().unwrap();
    assert!(report.status.success(), "{}", text(&report.stderr));
}

#[test]
fn an_agent_that_is_killed_in_mid_slice_is_a_mishap_and_the_run_goes_on() {
    if !(support::require("sandbox") && support::require("root")) {
        return;
    }
    let desk = Desk::new();
    let live = desk.run_until(&["-e", "sandbox", "-w", "null", "--blocks", "2"], "block 1/2: measuring");
    let run = format!("plimsoll-{}", desk.record().run.id);
    let mut victims = Vec::new();
    for path in cgroups_named(Path::new("/sys/fs/cgroup"), &run, 4) {
        let processes = fs::read_to_string(Path::new(&path).join("cgroup.procs")).unwrap_or_default();
        victims.extend(processes.lines().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    let agents = victims.into_iter().filter(|pid| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with("plimsoll\0agent"))
    });
    let agents: BTreeSet<i32> = agents.collect();
    assert!(!agents.is_empty(), "no agent in {run}");
    for agent in agents {
        // One that ended in the meantime is as dead as it should be.
        let _ = kill(Pid::from_raw(agent), Signal::SIGKILL);
    }
    let (code, rest) = live.end();
    assert_eq!(code, Some(4), "{rest}");
    let record = desk.record();
    assert!(
        record.mishaps.iter().any(|mishap| mishap.block == 1 && mishap.cause == Cause::Died),
        "{:?}",
        record.mishaps
    );
    assert!(record.mishaps.iter().all(|mishap| mishap.block == 1), "{:?}", record.mishaps);
    assert_eq!(record.run.stopped_because, Some(StopReason::Blocks));
    assert_eq!(desk.traces(), [""; 0]);
}

#[test]
fn a_disk_without_room_is_a_mishap_with_its_cause() {
    if !support::require("root") {
        return;
    }
    let desk = Desk::new();
    let small = desk.folder.path().join("run.disk");
    fs::create_dir(&small).unwrap();
    let bytes = fs::metadata(PLIMSOLL).unwrap().len() + (900 << 20);
    let options = format!("size={bytes}");
    nix::mount::mount(
        Some("plimsoll-test"),
        &small,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some(options.as_str()),
    )
    .unwrap();
    let data = small.to_str().unwrap();
    let live = desk
        .run_until(&["-w", "disk.randread", "-e", "native", "--blocks", "3", "--data", data], "block 1/3: launching");
    // Somebody else fills the disk while the run goes on.
    let filler = fs::File::create(small.join("filler")).unwrap();
    let room = nix::sys::statvfs::statvfs(&small).unwrap();
    let free = (room.blocks_available() * room.fragment_size()) as i64;
    nix::fcntl::fallocate(&filler, nix::fcntl::FallocateFlags::empty(), 0, free).unwrap();
    let (code, progress) = live.end();
    drop(filler);
    nix::mount::umount(&small).unwrap();
    assert_eq!(code, Some(4), "{progress}");
    let record = desk.record();
    assert_eq!(record.run.stopped_because, Some(StopReason::Blocks));
    assert!(record.mishaps.iter().any(|mishap| mishap.cause == Cause::DiskFull), "{:?}", record.mishaps);
    fs::remove_dir(&small).unwrap();
    assert_eq!(desk.traces(), [""; 0]);
}

#[test]
fn an_environment_that_was_named_and_cannot_run_is_said_and_the_others_run() {
    if !support::require("sandbox") {
        return;
    }
    let desk = Desk::new();
    let mut command = desk.command(&["-e", "sandbox", "-e", "docker", "-w", "null", "--blocks", "1"]);
    let output = command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let record = desk.record();
    assert_eq!(record.plan.environments, ["native", "sandbox"]);
    assert_eq!(record.plan.unusable[0].environment, "docker");
    assert!(text(&output.stdout).contains("/nonexistent/docker.sock"), "{}", text(&output.stdout));
}

#[test]
fn a_run_file_is_never_overwritten() {
    let desk = Desk::new();
    fs::write(desk.run_file(), "mine").unwrap();
    let output = desk.run(&["-e", "native", "-w", "null", "--blocks", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_to_string(desk.run_file()).unwrap(), "mine");
}

#[test]
fn without_root_native_is_compared_with_a_sandbox_in_user_namespaces() {
    if !(support::require("root") && support::require("userns")) {
        return;
    }
    let desk = Desk::new();
    nix::unistd::chown(desk.folder.path(), Some(65534.into()), Some(65534.into())).unwrap();
    let program = desk.folder.path().join("run.plimsoll");
    fs::copy(PLIMSOLL, &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["run", "-e", "sandbox", "-w", "null,start", "--blocks", "1", "-o", "run.sqlite", "--data", "."])
        .env_remove("XDG_RUNTIME_DIR")
        .current_dir(desk.folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record = desk.record();
    assert_eq!(record.plan.environments, ["native", "sandbox"]);
    assert!(record.launches.iter().all(|launch| launch.profile.mismatches.is_empty()), "{:?}", record.launches);
    assert_eq!(desk.leftovers(), [""; 0]);
}

/// The order of the real engines, from the start times in the run file.
#[test]
fn real_engines_are_visited_in_a_random_order_that_interleaves_them() {
    if !(support::require("sandbox") && support::require("runc")) {
        return;
    }
    let desk = Desk::new();
    let output = desk.run(&["-e", "sandbox", "-e", "runc", "-w", "null", "--blocks", "3", "--seed", "5"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record = desk.record();
    let launches: BTreeMap<u64, _> = record.launches.iter().map(|launch| (launch.id, launch)).collect();
    let mut measured: Vec<_> = record.slices.iter().filter(|bundle| bundle.slice.phase == Phase::Measured).collect();
    measured.sort_by(|one, other| one.slice.started_at.total_cmp(&other.slice.started_at));
    let mut orders = BTreeSet::new();
    for visit in measured.chunks(4) {
        let arms: Vec<_> = visit.iter().map(|bundle| launches[&bundle.slice.launch].arm.clone()).collect();
        assert_eq!(arms.iter().collect::<BTreeSet<_>>().len(), 4, "each visit measures each arm once: {arms:?}");
        orders.insert(arms);
    }
    assert!(orders.len() > 2, "the order never changed: {orders:?}");
}

#[test]
fn the_harness_adds_little_to_a_slice() {
    let desk = Desk::new();
    let output = desk.run(&["-e", "native", "-w", "null", "--blocks", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record = desk.record();
    let lead_in = record.plan.lead_in_ns as f64 / 1e9;
    let measured = record.slices.iter().map(|bundle| &bundle.slice).filter(|slice| slice.phase == Phase::Measured);
    let overheads =
        measured.map(|slice| (slice.seconds_outside - slice.seconds_inside - lead_in) / slice.seconds_inside);
    // Other work on the machine (these very tests) only ever adds: what the harness itself costs, it costs every time,
    // so the slice that was left alone shows it.
    let undisturbed = overheads.fold(f64::INFINITY, f64::min);
    assert!((0.0..0.01).contains(&undisturbed), "the harness spent {:.2} % of a slice", undisturbed * 100.0);
}

/// gVisor knows no `personality` that only asks. A sweep may lack it quietly; a plan that asks for it alone may not.
#[test]
fn what_an_environment_lacks_is_said_and_fails_a_run_that_asked_for_nothing_else() {
    if !support::require("gvisor") {
        return;
    }
    for (calls, code) in [(r#""personality""#, 4), (r#"["getppid", "personality"]"#, 0)] {
        let desk = Desk::new();
        let plan = format!("[parameters.\"kernel.syscall\"]\ncall = {calls}\n");
        fs::write(desk.folder.path().join("run.toml"), plan).unwrap();
        let output = desk.run(&["run.toml", "-e", "gvisor", "-w", "kernel.syscall", "--blocks", "2"]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}{}", text(&output.stderr));
        assert!(said.contains("Could not run here"), "{said}");
        assert!(said.contains("gvisor") && said.contains("personality"), "{said}");
        let record = desk.record();
        assert!(record.mishaps.iter().all(|mishap| mishap.cause == Cause::Missing), "{:?}", record.mishaps);
        assert!(record.mishaps.len() <= 2, "asked twice at most: {:?}", record.mishaps);
        assert_eq!(desk.traces(), [""; 0]);
    }
}
