//! Real engines, launched with the real agent.

#![allow(clippy::disallowed_methods, reason = "tests look at the host by other means than the program")]
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plimsoll::clock;
use plimsoll::environment::Environment;
use plimsoll::launch::engines::{self, native};
use plimsoll::launch::journal::Journal;
use plimsoll::launch::place::Folders;
use plimsoll::launch::{LaunchOrder, Launchpad, Layer, Limits, Place, Vessel};
use plimsoll::rounds::Launcher;
use plimsoll::sample::{Arm, Failure};
use plimsoll_protocol::{Observation, Parameters, Reply, Request, WorkloadOrder, read_frame, write_frame};

const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
const ANSWER_BOUND: Duration = Duration::from_secs(60);
static STAGES: AtomicU32 = AtomicU32::new(0);

/// A place of its own for one test.
struct Stage {
    place: Arc<Place>,
    folder: Option<tempfile::TempDir>,
    run: String,
    launches: u32,
}

impl Stage {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stage = Self::open_in(folder.path());
        Self { folder: Some(folder), ..stage }
    }

    fn open_in(folder: &Path) -> Self {
        Self::with_data_in(folder, folder)
    }

    fn with_data_in(folder: &Path, data: &Path) -> Self {
        let run = format!("plimsoll-t{}-{}x", std::process::id(), STAGES.fetch_add(1, Ordering::Relaxed));
        let folders = Folders { journals: folder.join("journals"), scratch_in: folder.into(), data_in: data.into() };
        let executable = Path::new(env!("CARGO_BIN_EXE_plimsoll"));
        let place = Arc::new(Place::open(&run, &folders, executable, || false).unwrap());
        Self { place, folder: None, run, launches: 0 }
    }

    fn layer(&self, name: &str) -> Box<dyn Layer> {
        let environment = Environment::parse(name, &engines::abouts()).unwrap();
        match environment.stack().first() {
            None => native::open(&self.place).unwrap(),
            Some(choice) => engines::find(choice.engine.name).unwrap().open(&self.place, choice).unwrap(),
        }
    }

    fn launch(&mut self, layer: &mut dyn Layer) -> Result<Box<dyn Vessel>, Failure> {
        self.launches += 1;
        let limits = Limits { cpus: vec![1], memory_bytes: MEMORY_BYTES };
        let limits = if cpus_online() > 1 { limits } else { Limits { cpus: vec![0], ..limits } };
        layer.launch(&LaunchOrder { name: format!("{}-{}", self.run, self.launches), limits, holds_layers: false })
    }
}

/// Everything of a run that is still on the host.
fn traces(run: &str) -> Vec<String> {
    let mut traces = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    traces.extend(mounts.lines().filter(|line| line.contains(run)).map(str::to_owned));
    for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let inside = std::fs::read_dir(controller.path()).into_iter().flatten().flatten();
        traces.extend(inside.map(|entry| entry.path().display().to_string()).filter(|path| path.contains(run)));
    }
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let program = std::fs::read_link(process.path().join("exe")).unwrap_or_default();
        let words = format!("{} {}", program.display(), String::from_utf8_lossy(&arguments));
        if words.contains(run) {
            traces.push(words);
        }
    }
    traces
}

fn cpus_online() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

fn ask(vessel: &mut dyn Vessel, request: &Request) -> Reply {
    let wire = vessel.wire();
    wire.allow(Some(ANSWER_BOUND));
    write_frame(wire, request).unwrap();
    match read_frame(wire) {
        Ok(reply) => reply,
        Err(error) => panic!("no answer to {request:?}: {error}; {:?}", vessel.diagnose()),
    }
}

fn observe(vessel: &mut dyn Vessel) -> Observation {
    let data_dir = vessel.data_dir();
    match ask(vessel, &Request::Observe { data_dir }) {
        Reply::Observation(observation) => *observation,
        reply => panic!("{reply:?}"),
    }
}

fn demanded(what: &str) -> bool {
    std::env::var("PLIMSOLL_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == what))
}

/// Why a test of this environment cannot run here; a demanded one never skips.
fn skipped(name: &str) -> bool {
    let engine = name.split(':').next().unwrap();
    let program = match engine {
        "gvisor" => "runsc",
        other => other,
    };
    let here = matches!(engine, "native" | "sandbox") || plimsoll::launch::process::find_program(program).is_some();
    let root = nix::unistd::geteuid().is_root() || matches!(engine, "native" | "sandbox");
    if here && root {
        return false;
    }
    assert!(!demanded(engine), "{engine} is demanded and cannot be tested here");
    println!("skipped: {name} needs {}", if here { "root" } else { program });
    true
}

/// Launches it, looks at it from inside and outside, parks it, tears it down, and finds nothing left.
fn lives_and_leaves_nothing(name: &str) {
    if skipped(name) {
        return;
    }
    let mut stage = Stage::open();
    let mut layer = stage.layer(name);
    let started = clock::now();
    let mut vessel = stage.launch(&mut *layer).unwrap();
    let Reply::Hello(hello) = ask(&mut *vessel, &Request::Hello) else { panic!("no hello") };
    println!("{name}: ready in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    assert_ne!(hello.pid, 1, "the agent is PID 1 nowhere");
    let got = observe(&mut *vessel);
    println!("{name}: labels {:?}, facts {:?}", vessel.labels(), vessel.facts());
    let seen = |key: &str| match key {
        "kernel" => got.kernel_release.clone(),
        "root_filesystem" => got.root_filesystem.clone(),
        "data_filesystem" => got.data_filesystem.clone(),
        "root_layers" => got.root_layers.unwrap().to_string(),
        "clock_source" => got.clock_source.clone(),
        other => panic!("nobody sees {other}"),
    };
    for (key, asked) in vessel.asked() {
        assert_eq!(seen(&key), asked, "{key}");
    }
    if nix::unistd::geteuid().is_root() {
        assert_eq!(got.cpus_allowed, 1);
        let sees_limits = !name.starts_with("gvisor");
        assert_eq!(got.memory_limit_bytes, sees_limits.then_some(MEMORY_BYTES));
    }
    vessel.park().unwrap();
    let deaf = vessel.wire();
    deaf.allow(Some(Duration::from_millis(100)));
    write_frame(deaf, &Request::Hello).unwrap();
    assert!(read_frame::<Reply>(deaf).is_err(), "it answered while it was parked");
    vessel.resume().unwrap();
    let wire = vessel.wire();
    wire.allow(Some(ANSWER_BOUND));
    assert!(matches!(read_frame::<Reply>(wire).unwrap(), Reply::Hello(_)), "it did not go on");
    let started = clock::now();
    vessel.tear_down().unwrap();
    println!("{name}: torn down in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    vessel.tear_down().unwrap();
    layer.close().unwrap();
    assert_eq!(traces(&stage.run), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(&stage.place.data).unwrap().count(), 0, "the data folder is empty");
    // The place's own two folders.
    assert_eq!(stage.place.journal.left().len(), 2);
    stage.place.close().unwrap();
    let folder = stage.folder.as_ref().unwrap().path();
    let left: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [folder.join("journals")]);
    assert_eq!(std::fs::read_dir(folder.join("journals")).unwrap().count(), 0, "the journal is gone");
}

#[test]
fn native_lives_and_leaves_nothing() {
    lives_and_leaves_nothing("native");
}

#[test]
fn a_sandbox_lives_and_leaves_nothing() {
    lives_and_leaves_nothing("sandbox");
}

#[test]
fn a_sandbox_with_other_options_lives_and_leaves_nothing() {
    for name in ["sandbox:net=host,disk=volume", "sandbox:disk=tmpfs,seccomp=off"] {
        lives_and_leaves_nothing(name);
    }
}

#[test]
fn data_in_memory_is_a_label_natively_too() {
    let (folder, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let stage = Stage::with_data_in(folder.path(), memory.path());
    let names = ["native", "sandbox:disk=volume", "sandbox"];
    let environments = names.map(|name| Environment::parse(name, &engines::abouts()).unwrap());
    let limits = Limits { cpus: vec![0], memory_bytes: MEMORY_BYTES };
    let mut launchpad = Launchpad::open(Arc::clone(&stage.place), &environments, limits, 1.0).unwrap();
    for (environment, name) in (0..).zip(names) {
        let mut launched = launchpad.launch(&Arm { environment, replica: 1 }, u64::from(environment)).unwrap();
        let labels = &launched.profile.labels;
        assert!(labels.contains(&"memory".to_owned()), "{name}: {labels:?}");
        launched.session.shut_down().unwrap();
    }
    launchpad.close().unwrap();
    stage.place.close().unwrap();
}

#[test]
fn runc_lives_and_leaves_nothing() {
    for name in ["runc", "runc:net=host,disk=volume"] {
        lives_and_leaves_nothing(name);
    }
}

#[test]
fn crun_lives_and_leaves_nothing() {
    for name in ["crun", "crun:net=host,disk=tmpfs"] {
        lives_and_leaves_nothing(name);
    }
}

#[test]
fn gvisor_lives_and_leaves_nothing() {
    for name in ["gvisor", "gvisor:net=host,disk=volume"] {
        lives_and_leaves_nothing(name);
    }
}

#[test]
fn a_root_has_the_layers_and_the_union_that_were_asked_for() {
    let fuse_is_here = plimsoll::launch::process::find_program("fuse-overlayfs").is_some();
    assert!(fuse_is_here || !demanded("fuse-overlayfs"), "fuse-overlayfs is demanded and not installed");
    // The test for every environment compares what was asked for with what the agent sees.
    for name in ["sandbox:layers=120", "runc:layers=3,disk=volume", "crun:layers=2", "gvisor:layers=8"] {
        lives_and_leaves_nothing(name);
    }
    for name in ["sandbox:union=fuse-overlayfs,layers=3", "runc:union=fuse-overlayfs", "crun:union=fuse-overlayfs"] {
        if fuse_is_here {
            lives_and_leaves_nothing(name);
        } else {
            println!("skipped: {name} needs fuse-overlayfs");
        }
    }
}

#[test]
fn a_union_that_this_kernel_lacks_is_refused_before_anything_starts() {
    if std::fs::read_to_string("/proc/filesystems").unwrap().contains("aufs") {
        println!("skipped: this kernel has aufs");
        return;
    }
    let arguments = ["run", "--dry-run", "-e", "sandbox:union=aufs", "-w", "null"];
    let output = Command::new(env!("CARGO_BIN_EXE_plimsoll")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("sandbox:union=aufs: cannot mount aufs"), "{said}");
    assert!(said.contains("leave `union=` away for the kernel's overlay"), "{said}");
}

#[test]
fn every_runtime_makes_the_same_container() {
    for options in ["", ":net=host,seccomp=off"] {
        let mut seen = Vec::new();
        for engine in ["sandbox", "runc", "crun"] {
            let name = format!("{engine}{options}");
            if skipped(&name) {
                continue;
            }
            let mut stage = Stage::open();
            let mut layer = stage.layer(&name);
            let mut vessel = stage.launch(&mut *layer).unwrap();
            ask(&mut *vessel, &Request::Hello);
            let got = observe(&mut *vessel);
            let filtered = if options.is_empty() { 2 } else { 0 };
            assert_eq!(got.seccomp_mode, filtered, "{name}");
            assert_eq!(got.interfaces == ["lo"], options.is_empty(), "{name}: {:?}", got.interfaces);
            seen.push((name, (got.capabilities_effective, got.uid, got.root_filesystem, got.executable_sha256)));
            vessel.tear_down().unwrap();
            stage.place.close().unwrap();
        }
        let same = seen.windows(2).all(|pair| pair[0].1 == pair[1].1);
        assert!(same, "{seen:?}");
    }
}

/// Names the folder in which a test of this file plays a part for another one in a process of its own.
const PART: &str = "PLIMSOLL_TEST_PART";

/// This test again, in another process.
fn again(test: &str, part: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(PART, part);
    command
}

#[test]
fn without_root_native_and_sandbox_live_in_user_namespaces() {
    if !nix::unistd::geteuid().is_root() || std::env::var_os(PART).is_some() {
        lives_and_leaves_nothing("native");
        for name in ["sandbox", "sandbox:net=host,disk=volume", "sandbox:disk=tmpfs"] {
            lives_and_leaves_nothing(name);
        }
        return;
    }
    let mut nobody = again("without_root_native_and_sandbox_live_in_user_namespaces", Path::new("/"));
    let output = nobody.uid(65534).gid(65534).env("TMPDIR", "/tmp").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("sandbox: ready"), "{said}");
}

#[test]
fn what_a_killed_run_left_is_undone_and_bystanders_live() {
    const RUN_READY: &str = "the run is ready";
    if let Some(folder) = std::env::var_os(PART) {
        let mut stage = Stage::open_in(Path::new(&folder));
        let names = ["native", "sandbox", "sandbox", "runc", "crun", "gvisor"];
        let mut alive = Vec::new();
        for (at, name) in names.into_iter().filter(|name| !skipped(name)).enumerate() {
            let mut layer = stage.layer(name);
            let mut vessel = stage.launch(&mut *layer).unwrap();
            ask(&mut *vessel, &Request::Hello);
            if at != 1 {
                vessel.park().unwrap();
            }
            alive.push((layer, vessel));
        }
        println!("{RUN_READY} {}", stage.run);
        std::io::stdin().read_to_string(&mut String::new()).unwrap();
        panic!("nobody killed this run; {} environments lived", alive.len());
    }
    let folder = tempfile::tempdir().unwrap();
    let mut bystander = Stage::open();
    let mut layer = bystander.layer("native");
    let mut neighbour = bystander.launch(&mut *layer).unwrap();
    let mut owner = again("what_a_killed_run_left_is_undone_and_bystanders_live", folder.path());
    let mut owner = owner.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.ok()?.split_once(RUN_READY).map(|(_, run)| run.trim().to_owned()));
    let run = line.unwrap();
    let journals = folder.path().join("journals");
    assert!(Journal::abandoned(&journals).unwrap().is_empty(), "its owner lives");
    owner.kill().unwrap();
    owner.wait().unwrap();
    let abandoned = Journal::abandoned(&journals).unwrap();
    assert_eq!(abandoned.iter().map(|journal| journal.run()).collect::<Vec<_>>(), [&run]);
    println!("left behind: {:#?}", abandoned[0].resources());
    assert!(!abandoned[0].resources().is_empty(), "a killed run leaves something behind");
    abandoned[0].undo_all().unwrap();
    assert_eq!(traces(&run), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the folder of journals");
    assert!(matches!(ask(&mut *neighbour, &Request::Hello), Reply::Hello(_)), "a bystander was hit");
    neighbour.tear_down().unwrap();
    bystander.place.close().unwrap();
}

#[test]
fn an_agent_over_its_memory_limit_is_diagnosed() {
    for name in ["native", "sandbox", "runc", "crun"] {
        if skipped(name) || !nix::unistd::geteuid().is_root() {
            continue;
        }
        let mut stage = Stage::open();
        let mut layer = stage.layer(name);
        let mut vessel = stage.launch(&mut *layer).unwrap();
        ask(&mut *vessel, &Request::Hello);
        assert!(!vessel.diagnose().out_of_memory);
        let parameters = Parameters::default().with("array_bytes", MEMORY_BYTES).with("threads", 1);
        let data_dir = vessel.data_dir();
        let order = WorkloadOrder { name: "mem.triad".to_owned(), parameters, data_dir, seed: 1 };
        let wire = vessel.wire();
        wire.allow(Some(ANSWER_BOUND));
        write_frame(wire, &Request::Prepare(order)).unwrap();
        let reply = read_frame::<Reply>(wire);
        let diagnosis = vessel.diagnose();
        println!("{name}: {reply:?} {diagnosis:?}");
        assert!(diagnosis.out_of_memory, "{name}: {reply:?} {diagnosis:?}");
        vessel.tear_down().unwrap();
        stage.place.close().unwrap();
    }
}

/// CPU time that a pen at the root of a hierarchy has used, as the kernel writes it.
fn cpu_time(pen: &str) -> Option<String> {
    let v2 = || {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{pen}/cpu.stat")).ok()?;
        text.lines().next().map(str::to_owned)
    };
    std::fs::read_to_string(format!("/sys/fs/cgroup/cpuacct/{pen}/cpuacct.usage")).ok().or_else(v2)
}

#[test]
fn a_parked_environment_uses_no_cpu_time() {
    for name in ["native", "sandbox", "runc", "crun", "gvisor"].into_iter().filter(|name| !skipped(name)) {
        let mut stage = Stage::open();
        let mut layer = stage.layer(name);
        let mut vessel = stage.launch(&mut *layer).unwrap();
        ask(&mut *vessel, &Request::Hello);
        vessel.park().unwrap();
        let Some(before) = cpu_time(&format!("{}-1", stage.run)) else {
            assert!(!demanded("root"), "no cgroup to look at");
            println!("skipped: {name}: no cgroup of its own to look at");
            continue;
        };
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(cpu_time(&format!("{}-1", stage.run)), Some(before), "{name}");
        vessel.tear_down().unwrap();
        stage.place.close().unwrap();
    }
}
