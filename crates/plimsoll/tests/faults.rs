//! What goes wrong in a run, done to the real program: its engines are killed, it is interrupted and killed itself, its
//! guests do not boot, its memory runs out. Every time the cause must be said and the host must be clean.
//!
//! An arm that answers something else than it should, or clocks that disagree, cannot be had from outside without a hook
//! in the program: those are tested beside the code.

#![allow(clippy::unwrap_used, reason = "a test that unwraps has failed")]
#![allow(clippy::disallowed_methods, reason = "the program under test is a process")]

#[path = "support/desk.rs"]
mod desk;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use desk::{Desk, Live, PLIMSOLL, cgroups_named, mishaps_of, processes_with, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plimsoll::launch::engines::qemu::kernel::Kernel;
use plimsoll::sample::{Cause, Phase, RunRecord, StopReason};
use serde_json::Value;

/// CPU time that only a slice takes, in clock ticks (10 ms): whoever has used so much more than before is in one.
const IN_A_SLICE_TICKS: u64 = 8;
/// What stands on the command line of a private dockerd alone, and already on that of the shell which becomes it.
const DOCKERD_MARK: &str = "--exec-root=";
/// The guest's own words before it dies.
const LAST_WORDS: &str = "no system here";

/// Emulated guests beside each other would only slow each other down.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether everything that a test needs is here; the reason is printed if not.
fn have(needs: &[&str]) -> bool {
    static FETCHED: OnceLock<()> = OnceLock::new();
    FETCHED.get_or_init(|| {
        // Where fetching a guest's kernel fails, the reason is what the engine says it lacks.
        let _ = plimsoll::setup::kernel::fetched_kernel(|| false);
    });
    needs.iter().all(|need| support::require(need))
}

/// Processes of a run whose command line contains a word.
fn processes_of(run: &str, word: &str) -> Vec<i32> {
    processes_with(run).into_iter().filter(|(_, line)| line.contains(word)).map(|(pid, _)| pid).collect()
}

/// Processes in cgroups of this name and below them.
fn processes_in(cgroups: &str) -> BTreeSet<i32> {
    let mut folders: Vec<PathBuf> =
        cgroups_named(Path::new("/sys/fs/cgroup"), cgroups, 4).into_iter().map(PathBuf::from).collect();
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(listed.lines().filter_map(|pid| pid.parse::<i32>().ok()));
        let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.extend(below.filter(|path| path.is_dir()));
    }
    found
}

/// CPU time of a process, clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Waits until these processes, parked so far, are in the middle of a slice.
fn until_in_a_slice(live: &mut Live, processes: impl Fn() -> Vec<i32>) {
    let used = || processes().into_iter().map(ticks).sum::<u64>();
    let before = used();
    live.look_until("a slice", || (used() >= before + IN_A_SLICE_TICKS).then_some(()));
}

fn the_only(pids: &[i32]) -> Pid {
    assert_eq!(pids.len(), 1, "{pids:?}");
    Pid::from_raw(pids[0])
}

fn links() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Directories that every engine needs in /run, marked as made by us and held by nobody.
fn forgotten_stand_ins() -> Vec<&'static str> {
    let is_forgotten = |folder: &&str| {
        let marked = Path::new(folder).join(".made-by-plimsoll").exists();
        marked && Command::new("flock").args(["-n", "-x", folder, "true"]).status().unwrap().success()
    };
    ["/run/docker", "/run/containerd"].into_iter().filter(is_forgotten).collect()
}

fn assert_goes_on_to_the_last_block(record: &RunRecord, others: &[&str]) {
    assert_eq!(record.run.stopped_because, Some(StopReason::Blocks));
    for block in 1..=record.plan.blocks {
        for other in others {
            let has_measured = record.launches.iter().any(|launch| {
                launch.block == block && record.arm_name(&launch.arm) == *other && measured_in(record, launch.id) > 0
            });
            assert!(has_measured, "{other} in block {block}: {:?}", record.mishaps);
        }
    }
}

fn measured_in(record: &RunRecord, launch: u64) -> usize {
    let slices = record.slices.iter().map(|bundle| &bundle.slice);
    slices.filter(|slice| slice.launch == launch && slice.phase == Phase::Measured).count()
}

fn assert_clean(desk: &Desk) {
    assert_eq!(desk.traces(), [""; 0]);
    assert_eq!(forgotten_stand_ins(), [""; 0]);
}

#[test]
fn a_qemu_that_is_killed_in_mid_slice_costs_its_block_alone() {
    let _alone = alone();
    if !have(&["root", "qemu", "sandbox"]) {
        return;
    }
    let desk = Desk::new();
    fs::write(desk.folder.path().join("run.toml"), "slice = \"1s\"\nslices = 1\n").unwrap();
    let arguments = ["run.toml", "-e", "sandbox", "-e", "qemu", "-w", "null", "--blocks", "2"];
    let mut live = desk.run_until(&arguments, "block 1/2: measuring");
    let run = desk.run_name().unwrap();
    let qemu = the_only(&processes_of(&run, "qemu-system"));
    until_in_a_slice(&mut live, || vec![qemu.as_raw()]);
    kill(qemu, Signal::SIGKILL).unwrap();
    let (code, rest) = live.end();
    assert_eq!(code, Some(4), "{rest}");
    let record = desk.record();
    let [mishap] = mishaps_of(&record, "qemu")[..] else { panic!("{:?}", record.mishaps) };
    assert_eq!((mishap.block, mishap.cause, mishap.workload.as_deref()), (1, Cause::Died, Some("null")));
    assert!(mishap.message.contains("QEMU ended (signal 9"), "{}", mishap.message);
    assert_eq!(record.mishaps.len(), 1, "{:?}", record.mishaps);
    assert_goes_on_to_the_last_block(&record, &["native#1", "native#2", "sandbox"]);
    assert!(record.launches.iter().any(|launch| launch.block == 2 && record.arm_name(&launch.arm) == "qemu"));
    assert_clean(&desk);
}

#[test]
fn a_private_docker_engine_that_is_killed_in_mid_slice_is_said_and_leaves_nothing() {
    let _alone = alone();
    if !have(&["private-docker"]) {
        return;
    }
    let links_before = links();
    let desk = Desk::new();
    fs::write(desk.folder.path().join("run.toml"), "slice = \"1s\"\nslices = 1\n").unwrap();
    let arguments = ["run.toml", "-e", "docker", "-w", "null", "--blocks", "2"];
    let mut live = desk.run_until(&arguments, "block 1/2: measuring");
    let run = desk.run_name().unwrap();
    let container = format!("{run}-docker");
    until_in_a_slice(&mut live, || processes_in(&container).into_iter().collect());
    kill(the_only(&processes_of(&run, DOCKERD_MARK)), Signal::SIGKILL).unwrap();
    let (code, rest) = live.end();
    assert_eq!(code, Some(4), "{rest}");
    let record = desk.record();
    let mishaps = mishaps_of(&record, "docker");
    assert!(mishaps.iter().any(|mishap| mishap.block == 1 && mishap.cause == Cause::Died), "{mishaps:?}");
    assert!(mishaps.iter().any(|mishap| mishap.block == 2 && mishap.cause == Cause::Launch), "{mishaps:?}");
    for block in [1, 2] {
        let said = mishaps.iter().any(|mishap| {
            mishap.block == block && mishap.message.contains("the private Docker engine has ended: signal 9")
        });
        assert!(said, "block {block}: {mishaps:?}");
    }
    assert_goes_on_to_the_last_block(&record, &["native#1", "native#2"]);
    assert_clean(&desk);
    assert_eq!(links(), links_before);
}

fn assert_interrupted(desk: &Desk, live: Live) -> RunRecord {
    live.signal(Signal::SIGINT);
    let (code, rest) = live.end();
    assert_eq!(code, Some(130), "{rest}");
    let record = desk.record();
    assert_eq!(record.run.stopped_because, Some(StopReason::Interrupted));
    assert_eq!(record.mishaps, [], "what the user stopped is no mishap");
    let report = Command::new(PLIMSOLL).arg("report").arg(desk.run_file()).output().unwrap();
    assert!(report.status.success(), "{}", text(&report.stderr));
    assert_clean(desk);
    record
}

#[test]
fn ctrl_c_while_a_guest_boots_ends_the_run() {
    let _alone = alone();
    if !have(&["qemu"]) {
        return;
    }
    let desk = Desk::new();
    let mut live = desk.run_until(&["-e", "qemu", "-w", "null", "--blocks", "5"], "launching qemu");
    let run = desk.run_name().unwrap();
    // The guest's processor runs: it has done more than open its devices.
    let used = || processes_of(&run, "qemu-system").into_iter().map(ticks).sum::<u64>();
    live.look_until("the guest boots", || (used() >= IN_A_SLICE_TICKS).then_some(()));
    let record = assert_interrupted(&desk, live);
    assert!(!record.launches.iter().any(|launch| record.arm_name(&launch.arm) == "qemu"), "it had booted");
}

#[test]
fn ctrl_c_while_a_private_docker_engine_starts_ends_the_run() {
    let _alone = alone();
    if !have(&["private-docker"]) {
        return;
    }
    let links_before = links();
    let desk = Desk::new();
    let mut live = desk.start(&["-e", "docker", "-w", "null", "--blocks", "5"]);
    live.look_until("dockerd starts", || {
        let run = desk.run_name()?;
        processes_of(&run, DOCKERD_MARK).pop()
    });
    let record = assert_interrupted(&desk, live);
    assert_eq!(record.launches, [], "the engine had started");
    assert_eq!(links(), links_before);
}

#[test]
fn ctrl_c_in_mid_slice_ends_the_guest_too() {
    let _alone = alone();
    if !have(&["qemu"]) {
        return;
    }
    let desk = Desk::new();
    fs::write(desk.folder.path().join("run.toml"), "slice = \"1s\"\n").unwrap();
    let arguments = ["run.toml", "-e", "qemu", "-w", "null", "--blocks", "5"];
    let mut live = desk.run_until(&arguments, "block 1/5: measuring");
    let run = desk.run_name().unwrap();
    until_in_a_slice(&mut live, || processes_of(&run, "qemu-system"));
    let record = assert_interrupted(&desk, live);
    assert!(record.launches.iter().any(|launch| record.arm_name(&launch.arm) == "qemu"));
}

/// What belongs to somebody else and looks much like ours.
struct Bystander {
    processes: Vec<Child>,
    cgroup: PathBuf,
}

impl Bystander {
    fn new(desk: &Desk) -> Self {
        let name = format!("plimsoll-bystander-{}", std::process::id());
        let folder = desk.folder.path().join("run.bystander");
        fs::create_dir(&folder).unwrap();
        let start = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).current_dir(&folder).stdin(Stdio::null()).spawn().unwrap()
        };
        let processes = vec![
            start("qemu-system-x86_64", &["-name", &name, "-nodefaults", "-display", "none", "-S"]),
            start("sleep", &["100000"]),
        ];
        let freezer = Path::new("/sys/fs/cgroup/freezer");
        let cgroup = if freezer.is_dir() { freezer } else { Path::new("/sys/fs/cgroup") }.join(&name);
        fs::create_dir(&cgroup).unwrap();
        fs::write(cgroup.join("cgroup.procs"), processes[1].id().to_string()).unwrap();
        Self { processes, cgroup }
    }

    fn assert_untouched(&mut self) {
        for process in &mut self.processes {
            assert_eq!(process.try_wait().unwrap(), None, "a process of somebody else was ended");
        }
        let inside = fs::read_to_string(self.cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(inside.trim(), self.processes[1].id().to_string());
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill().and_then(|()| process.wait());
        }
        let _ = fs::remove_dir(&self.cgroup);
    }
}

#[test]
fn after_kill_9_with_a_guest_and_containers_alive_clean_removes_ours_alone() {
    let _alone = alone();
    if !have(&["root", "qemu", "docker"]) {
        return;
    }
    let links_before = links();
    let desk = Desk::new();
    let mut bystander = Bystander::new(&desk);
    let live = desk.run_until(&["-e", "docker", "-e", "qemu", "-w", "null", "--blocks", "50"], "block 1/50: measuring");
    live.signal(Signal::SIGKILL);
    assert_eq!(live.end().0, None);
    assert!(!desk.traces().is_empty(), "a killed run leaves things behind, else this test shows nothing");
    let clean = Command::new(PLIMSOLL).arg("clean").output().unwrap();
    assert!(clean.status.success(), "{}", text(&clean.stdout));
    bystander.assert_untouched();
    assert_clean(&desk);
    assert_eq!(links(), links_before);
    assert_eq!(desk.record().run.stopped_because, None);
}

/// A boot sector's worth of kernel: prints on the serial port, then makes its processor give up.
fn kernel_that_dies() -> Vec<u8> {
    /// Where the header's first jump leads, and where the words stand; relative to the header at 0x200.
    const CODE: usize = 0x80;
    const WORDS: usize = 0xc0;
    #[rustfmt::skip]
    let code = [
        0xba, 0xf8, 0x03,                   // mov dx, 0x3f8
        0xbe, WORDS as u8, 0x00,            // mov si, WORDS
        0x2e, 0xac,                         // next: cs lodsb
        0x84, 0xc0, 0x74, 0x03,             // test al, al; jz over
        0xee, 0xeb, 0xf7,                   // out dx, al; jmp next
        0x2e, 0x0f, 0x01, 0x1e, 0xf0, 0x00, // over: lidt cs:[0xf0], which is all zero
        0xcc,                               // int3: nobody handles it, nor the fault, nor the fault's fault
    ];
    let mut bytes = vec![0; 1 << 20];
    bytes[0x1f1] = 1;
    bytes[0x200..0x206].copy_from_slice(&[0xeb, CODE as u8 - 2, b'H', b'd', b'r', b'S']);
    bytes[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    bytes[0x211] = 1;
    bytes[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    bytes[0x200 + CODE..][..code.len()].copy_from_slice(&code);
    bytes[0x200 + WORDS..][..LAST_WORDS.len()].copy_from_slice(LAST_WORDS.as_bytes());
    bytes
}

#[test]
fn a_guest_that_never_boots_is_a_mishap_with_the_words_of_its_console() {
    let _alone = alone();
    if !have(&["qemu", "sandbox"]) {
        return;
    }
    let desk = Desk::new();
    let kernel = desk.folder.path().join("run.vmlinuz");
    fs::write(&kernel, kernel_that_dies()).unwrap();
    let guest = format!("qemu:kernel=\"{}\"", kernel.display());
    let output = desk.run(&["-e", &guest, "-e", "sandbox", "-w", "null", "--blocks", "2"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let record = desk.record();
    let mishaps = mishaps_of(&record, &guest);
    assert_eq!(mishaps.iter().map(|mishap| mishap.block).collect::<Vec<_>>(), [1, 2], "{mishaps:?}");
    for mishap in mishaps {
        assert_eq!(mishap.cause, Cause::Died, "{mishap:?}");
        assert!(mishap.message.contains(LAST_WORDS), "{mishap:?}");
    }
    assert_goes_on_to_the_last_block(&record, &["native#1", "native#2", "sandbox"]);
    assert_clean(&desk);
}

#[test]
fn a_kernel_that_is_none_is_said_before_anything_starts_and_the_others_run() {
    let _alone = alone();
    if !have(&["qemu", "sandbox"]) {
        return;
    }
    let desk = Desk::new();
    let garbage = desk.folder.path().join("run.garbage");
    fs::write(&garbage, vec![0x5a; 1 << 16]).unwrap();
    let guest = format!("qemu:kernel=\"{}\"", garbage.display());
    let output = desk.run(&["-e", &guest, "-e", "sandbox", "-w", "null", "--blocks", "1"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let record = desk.record();
    assert_eq!(record.plan.environments, ["native", "sandbox"]);
    let [unusable] = &record.plan.unusable[..] else { panic!("{:?}", record.plan.unusable) };
    assert!(unusable.why.contains("run.garbage: not a Linux kernel image"), "{}", unusable.why);
    assert_goes_on_to_the_last_block(&record, &["native#1", "native#2", "sandbox"]);
    assert_clean(&desk);
}

#[test]
fn a_workload_that_needs_more_than_the_limit_is_out_of_memory_in_its_environment_alone() {
    let _alone = alone();
    if !have(&["root", "sandbox"]) {
        return;
    }
    let desk = Desk::new();
    // A tmpfs is memory: what native keeps on the disk, this environment keeps within its limit.
    let plan = "memory = \"96MiB\"\n[parameters.\"disk.randread\"]\nfile_bytes = 268435456\n";
    fs::write(desk.folder.path().join("run.toml"), plan).unwrap();
    let output = desk.run(&["run.toml", "-e", "sandbox:disk=tmpfs", "-w", "disk.randread", "--blocks", "2"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let record = desk.record();
    assert_eq!(record.run.stopped_because, Some(StopReason::Blocks));
    for block in [1, 2] {
        let mishaps =
            mishaps_of(&record, "sandbox:disk=tmpfs").into_iter().find(|mishap| mishap.block == block).unwrap();
        assert_eq!(
            (mishaps.cause, mishaps.workload.as_deref()),
            (Cause::OutOfMemory, Some("disk.randread")),
            "{mishaps:?}"
        );
        assert!(mishaps.message.contains("raise --memory"), "{}", mishaps.message);
    }
    assert_eq!(record.mishaps.len(), 2, "nothing else went wrong: {:?}", record.mishaps);
    assert_clean(&desk);
}

/// A kernel whose header names another release than the kernel in it does.
fn mislabelled(kernel: &Kernel, folder: &Path) -> PathBuf {
    let release = kernel.release.clone().unwrap();
    let other: String = release.chars().map(|letter| if letter.is_ascii_digit() { '7' } else { letter }).collect();
    let mut bytes = fs::read(&kernel.image).unwrap();
    let at = usize::from(u16::from_le_bytes([bytes[0x20e], bytes[0x20f]])) + 0x200;
    bytes[at..at + other.len()].copy_from_slice(other.as_bytes());
    let image = folder.join("vmlinuz");
    fs::create_dir(folder).unwrap();
    fs::write(&image, bytes).unwrap();
    std::os::unix::fs::symlink(kernel.modules.as_ref().unwrap(), folder.join("modules")).unwrap();
    image
}

/// Asked is not got: the guest runs another kernel than the file that it was started from says.
#[test]
fn an_environment_that_is_not_what_was_asked_for_is_spoiled_and_not_measured() {
    let _alone = alone();
    if !have(&["qemu", "sandbox"]) {
        return;
    }
    let desk = Desk::new();
    let kernel = plimsoll::setup::kernel::fetched_kernel(|| false).unwrap();
    let image = mislabelled(&kernel, &desk.folder.path().join("run.kernel"));
    let guest = format!("qemu:kernel=\"{}\"", image.display());
    let output = desk.run(&["-e", &guest, "-e", "sandbox", "-w", "null", "--blocks", "1"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let record = desk.record();
    let [mishap] = mishaps_of(&record, &guest)[..] else { panic!("{:?}", record.mishaps) };
    assert_eq!(mishap.cause, Cause::Mismatch, "{mishap:?}");
    let got = format!("got {}", kernel.release.unwrap());
    assert!(mishap.message.contains("kernel: asked for 7.7.7") && mishap.message.contains(&got), "{mishap:?}");
    let launch = record.launches.iter().find(|launch| record.arm_name(&launch.arm) == guest).unwrap();
    assert_eq!(measured_in(&record, launch.id), 0);
    assert!(text(&output.stdout).contains(&got), "the report says so: {}", text(&output.stdout));
    assert_goes_on_to_the_last_block(&record, &["native#1", "native#2", "sandbox"]);
    assert_clean(&desk);
}

/// The environments and workloads of a whole comparison.
const EVERY_ENVIRONMENT: [&str; 8] = ["native", "sandbox", "docker", "runc", "crun", "gvisor", "qemu", "qemu/sandbox"];
/// Every workload at the point that is tested, in slices that are as short as a test can be.
const EVERY_WORKLOAD: &str = r#"
workloads = ["cpu", "mem", "kernel", "disk", "start"]
points = "tested"
blocks = 1
slices = 2
slice = "50ms"
"#;

#[test]
fn every_environment_gives_a_value_of_every_workload_in_random_interleaved_order() {
    let _alone = alone();
    if !have(&EVERY_ENVIRONMENT[1..]) {
        return;
    }
    let links_before = links();
    let desk = Desk::new();
    let mut arguments: Vec<&str> = EVERY_ENVIRONMENT.iter().flat_map(|environment| ["-e", environment]).collect();
    fs::write(desk.folder.path().join("run.toml"), EVERY_WORKLOAD).unwrap();
    arguments.extend(["run.toml", "--format", "json"]);
    let output = desk.run(&arguments);
    let record = desk.record();
    assert_eq!(output.status.code(), Some(0), "{}{:#?}", text(&output.stderr), record.mishaps);
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut values = BTreeMap::new();
    for one in findings["comparisons"].as_array().unwrap() {
        let key = ["workload", "environment"].map(|key| one[key].as_str().unwrap().to_owned());
        let value = one["value"].as_f64().unwrap_or(f64::NAN);
        // Of several metrics of a workload, the least.
        values.entry(key).and_modify(|least: &mut f64| *least = least.min(value)).or_insert(value);
    }
    for workload in record.plan.workloads.iter().map(|workload| &workload.name) {
        for environment in &EVERY_ENVIRONMENT[1..] {
            let value = values.get(&[workload.clone(), (*environment).to_owned()]);
            let excused = [*environment, "native#1", "native#2"].iter().any(|arm| robbed(&record, arm, workload));
            assert!(excused || value.is_some_and(|value| *value > 0.0), "{workload} in {environment}: {value:?}");
        }
    }
    assert_interleaved(&record);
    assert_clean(&desk);
    assert_eq!(links(), links_before);
}

/// Whether the hypervisor under this host took CPU time in every slice of a workload in an arm: then there is no value.
fn robbed(record: &RunRecord, arm: &str, workload: &str) -> bool {
    let is_of_arm = |id: u64| record.launches.iter().any(|other| other.id == id && record.arm_name(&other.arm) == arm);
    let slices = record.slices.iter().map(|bundle| &bundle.slice);
    let mut measured = slices
        .filter(|one| one.phase == Phase::Measured && one.workload == workload && is_of_arm(one.launch))
        .peekable();
    measured.peek().is_some() && measured.all(|slice| slice.spoiled.is_some())
}

/// From the start times: one slice of each arm after the other, in an order that changes.
fn assert_interleaved(record: &RunRecord) {
    let arms_of: BTreeMap<u64, String> =
        record.launches.iter().map(|launch| (launch.id, record.arm_name(&launch.arm))).collect();
    for group in &record.plan.groups {
        let arms = group.len() + 1;
        let names: BTreeSet<&String> = group.iter().map(|at| &record.plan.environments[*at as usize]).collect();
        let is_of_group = |launch: u64| {
            record.launches.iter().any(|other| other.id == launch && record.plan.groups[other.group as usize] == *group)
        };
        let mut slices: Vec<_> = record.slices.iter().map(|bundle| &bundle.slice).collect();
        // What makes up for disturbed slices comes after the planned visits, and only for those who lack one.
        let is_planned = |visit: u32| visit < record.plan.slices;
        slices.retain(|slice| slice.phase == Phase::Measured && is_planned(slice.visit) && is_of_group(slice.launch));
        slices.sort_by(|one, other| one.started_at.total_cmp(&other.started_at));
        let mut orders = BTreeSet::new();
        for visit in slices.chunks(arms) {
            let order: Vec<&String> = visit.iter().map(|slice| &arms_of[&slice.launch]).collect();
            let distinct: BTreeSet<&&String> = order.iter().collect();
            assert_eq!(distinct.len(), arms, "each visit measures each arm of {names:?} once: {order:?}");
            assert_eq!(visit.iter().map(|slice| &slice.workload).collect::<BTreeSet<_>>().len(), 1, "{order:?}");
            orders.insert(order);
        }
        assert!(orders.len() > 1, "the order of {names:?} never changed: {orders:?}");
    }
}
