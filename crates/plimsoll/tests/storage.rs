//! Disks that refuse, fill up or are not what they seem, as a user meets them. Real engines, small plans.

#![allow(clippy::unwrap_used, reason = "a test that unwraps has failed")]
#![allow(clippy::disallowed_methods, reason = "the program under test is a process")]

#[path = "support/desk.rs"]
mod desk;
mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use desk::{Desk, PLIMSOLL, mishaps_of, text};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;
use plimsoll::sample::{Cause, Phase, StopReason};

/// Whether the kernel lets this process have a ring at all.
fn host_permits_io_uring() -> bool {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").map_or(true, |text| text.trim() == "0")
}

#[test]
fn an_io_engine_that_a_filter_refuses_is_missing_there_and_measured_without_the_filter() {
    if !support::require("sandbox") {
        return;
    }
    let desk = Desk::new();
    let plan = "[parameters.\"disk.randread\"]\nengine = [\"aio\", \"io_uring\"]\ndepth = 1\njobs = 1\n";
    fs::write(desk.folder.path().join("run.toml"), plan).unwrap();
    let output =
        desk.run(&["run.toml", "-e", "sandbox", "-e", "sandbox:seccomp=off", "-w", "disk.randread", "--blocks", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record = desk.record();
    let refused = mishaps_of(&record, "sandbox");
    assert!(!refused.is_empty() && refused.iter().all(|mishap| mishap.cause == Cause::Missing), "{refused:?}");
    assert!(refused[0].message.contains("`io_uring` is not permitted here"), "{}", refused[0].message);
    assert!(refused[0].point.as_ref().unwrap().contains("io_uring"), "{:?}", refused[0].point);
    if host_permits_io_uring() {
        assert_eq!(record.mishaps.len(), refused.len(), "{:?}", record.mishaps);
        let launch = record.launches.iter().find(|launch| launch.arm.environment == 2).unwrap();
        let by_ring = |bundle: &&plimsoll::sample::SliceBundle| {
            bundle.slice.launch == launch.id && bundle.slice.point.as_ref().is_some_and(|it| it.contains("io_uring"))
        };
        assert!(record.slices.iter().find(by_ring).is_some(), "nothing was measured without the filter");
    }
}

/// What a launch's slices of a workload say under this name, each value once.
fn said(record: &plimsoll::sample::RunRecord, environment: &str, name: &str) -> Vec<f64> {
    let position = record.plan.environments.iter().position(|it| it == environment).unwrap();
    let launch = record.launches.iter().find(|launch| launch.arm.environment as usize == position).unwrap();
    let rows = record.slices.iter().filter(|bundle| bundle.slice.launch == launch.id);
    let mut values: Vec<f64> =
        rows.flat_map(|it| &it.evidence_inside).filter(|row| row.name == name).map(|row| row.value).collect();
    values.dedup();
    values
}

#[test]
fn files_come_with_a_root_of_layers_and_are_written_everywhere_else() {
    if !support::require("root") {
        return;
    }
    let desk = Desk::new();
    let plan = "slices = 1\n[parameters.\"disk.layers\"]\nrounds = 2\noperation = [\"open\", \"write\", \"missing\"]\n\
                depth = [1, 3]\nfile_bytes = 4096\nfiles = 8\n";
    fs::write(desk.folder.path().join("run.toml"), plan).unwrap();
    let layered =
        ["sandbox", "sandbox:layers=3", "docker:layers=3", "gvisor:layers=3", "crun:layers=2", "qemu/sandbox:layers=2"];
    let layered: Vec<&str> = layered
        .into_iter()
        .filter(|name| support::require(name.split(':').next().unwrap()))
        .chain(["sandbox:union=fuse-overlayfs,layers=3"].into_iter().filter(|_| support::require("fuse-overlayfs")))
        .collect();
    let plain = ["sandbox:disk=volume", "sandbox:layers=3,disk=tmpfs"];
    let environments = layered.iter().chain(&plain).flat_map(|name| ["-e", *name]);
    let arguments: Vec<&str> =
        ["run.toml", "-w", "disk.layers", "--blocks", "1"].into_iter().chain(environments).collect();
    let output = desk.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record = desk.record();
    let found = |name: &str| said(&record, name, "files came with the root");
    for name in &layered {
        assert_eq!(found(name), [1.0], "{name}");
    }
    for name in plain.iter().chain(&["native"]) {
        assert_eq!(found(name), [0.0], "{name}");
    }
    assert_eq!(desk.traces(), [""; 0]);
}

/// A small disk that is removed with it. A tmpfs serves: it can be full as any other.
struct SmallDisk {
    on: PathBuf,
}

impl SmallDisk {
    fn at(on: &Path) -> Self {
        fs::create_dir(on).unwrap();
        mount(Some("plimsoll-test"), on, Some("tmpfs"), MsFlags::empty(), Some("size=1g")).unwrap();
        Self { on: on.to_owned() }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount(&self.on);
    }
}

/// Takes whatever room there is or becomes free, until it is told to stop; then gives it back.
fn fill(disk: &Path, stop: &AtomicBool) {
    let path = disk.join("filler");
    let mut filler = File::create(&path).unwrap();
    let piece = vec![1; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        let _ = filler.write(&piece);
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn a_disk_that_fills_up_costs_what_needs_it_and_nothing_else() {
    if !support::require("root") {
        return;
    }
    let desk = Desk::new();
    let disk = SmallDisk::at(&desk.folder.path().join("disk"));
    let data = disk.on.display().to_string();
    let workloads = "null,disk.randread,disk.fsync";
    let mut live =
        desk.start(&["--data", &data, "-e", "sandbox", "-w", workloads, "--blocks", "3", "--preset", "quick"]);
    live.look_until("the second block", || {
        let record = plimsoll::store::load(&desk.run_file()).ok()?;
        record.launches.iter().any(|launch| launch.block == 2).then_some(())
    });
    let stop = Arc::new(AtomicBool::new(false));
    let filler = std::thread::spawn({
        let (disk, stop) = (disk.on.clone(), Arc::clone(&stop));
        move || fill(&disk, &stop)
    });
    let (code, said) = live.end();
    stop.store(true, Ordering::Relaxed);
    filler.join().unwrap();
    assert_eq!(code, Some(4), "{said}");
    let record = desk.record();
    assert_eq!(record.run.stopped_because, Some(StopReason::Blocks), "{:?}", record.mishaps);
    let full: Vec<_> = record.mishaps.iter().filter(|mishap| mishap.cause == Cause::DiskFull).collect();
    assert!(full.iter().any(|mishap| mishap.workload.as_deref() == Some("disk.randread")), "{:?}", record.mishaps);
    assert!(full.iter().all(|mishap| mishap.message.contains("os error 28")), "{full:?}");
    assert!(record.mishaps.iter().all(|mishap| mishap.block > 1), "{:?}", record.mishaps);
    let native = record.launches.iter().find(|launch| launch.block == 3 && launch.arm.environment == 0).unwrap();
    let goes_on = record.slices.iter().any(|bundle| {
        (bundle.slice.launch, bundle.slice.phase) == (native.id, Phase::Measured) && bundle.slice.workload == "null"
    });
    assert!(goes_on, "what needs no disk was not measured in the last block");
    let left: Vec<PathBuf> = fs::read_dir(&disk.on).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "files stay on the disk: {left:?}");
}

/// An empty disk of 1 GiB that is removed with it: a loop device past the host's cache.
struct EmptyDisk {
    device: String,
    _folder: tempfile::TempDir,
}

impl EmptyDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = folder.path().join("disk");
        File::create(&path).unwrap().set_len(1 << 30).unwrap();
        let made = Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(&path).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        Self { device: text(&made.stdout).trim().to_owned(), _folder: folder }
    }

    /// What a run that would take it says, which starts nothing.
    fn offered(&self) -> Output {
        Desk::new().run(&["--data-device", &self.device, "-e", "sandbox", "-w", "null", "--dry-run"])
    }

    fn assert_is_taken(&self) {
        let said = self.offered();
        assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    }
}

impl Drop for EmptyDisk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

#[test]
fn a_device_is_measured_and_is_empty_again_afterwards() {
    if !(support::require("sandbox") && support::require("loop")) {
        return;
    }
    let (desk, disk) = (Desk::new(), EmptyDisk::new());
    let output = desk.run(&["--data-device", &disk.device, "-e", "sandbox", "-w", "disk.fsync", "--blocks", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record = desk.record();
    assert_eq!(record.mishaps, []);
    for environment in [0, 1] {
        let is_its = |launch: u64| {
            record.launches.iter().any(|known| known.id == launch && known.arm.environment == environment)
        };
        let measured = record.slices.iter().any(|it| it.slice.phase == Phase::Measured && is_its(it.slice.launch));
        assert!(measured, "environment {environment} was not measured");
    }
    assert_eq!(desk.traces(), [""; 0]);
    disk.assert_is_taken();
}

#[test]
fn after_kill_9_clean_leaves_a_device_unmounted_and_empty() {
    if !(support::require("sandbox") && support::require("loop")) {
        return;
    }
    let (desk, disk) = (Desk::new(), EmptyDisk::new());
    let arguments = ["--data-device", &disk.device, "-e", "sandbox", "-w", "disk.fsync", "--blocks", "50"];
    let live = desk.run_until(&arguments, "block 1/50: measuring");
    live.signal(Signal::SIGKILL);
    assert_eq!(live.end().0, None);
    assert!(desk.traces().iter().any(|trace| trace.contains(&disk.device)), "it was not mounted: {:?}", desk.traces());
    let refused = text(&disk.offered().stderr);
    assert!(refused.contains("in use"), "{refused}");
    let clean = Command::new(PLIMSOLL).arg("clean").output().unwrap();
    assert!(clean.status.success(), "{}", text(&clean.stdout));
    assert_eq!(desk.traces(), [""; 0]);
    disk.assert_is_taken();
}

#[test]
fn a_device_with_bytes_that_nothing_recognises_is_refused_and_left_alone() {
    if !support::require("loop") {
        return;
    }
    let disk = EmptyDisk::new();
    disk.assert_is_taken();
    let file = File::options().read(true).write(true).open(&disk.device).unwrap();
    let theirs = [0xa5; 4096];
    file.write_all_at(&theirs, (1 << 30) - 4096).unwrap();
    let desk = Desk::new();
    let output = desk.run(&["--data-device", &disk.device, "-e", "sandbox", "-w", "null", "--blocks", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("`blkdiscard -f -z {}` fills the device with zeros", disk.device)), "{said}");
    let mut found = [0; 4096];
    file.read_exact_at(&mut found, (1 << 30) - 4096).unwrap();
    assert_eq!(found, theirs);
    assert!(!desk.run_file().exists(), "something was started");
}
