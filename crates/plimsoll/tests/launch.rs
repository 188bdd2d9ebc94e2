//! Real engines, launched with the real agent.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use plimsoll::environment::Environment;
use plimsoll::launch::engines::{self, native};
use plimsoll::launch::journal::Journal;
use plimsoll::launch::place::Folders;
use plimsoll::launch::{LaunchOrder, Layer, Limits, Place, Vessel};
use plimsoll::sample::Failure;
use plimsoll_protocol::{Observation, Reply, Request, WorkloadOrder, read_frame, write_frame};

const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
const ANSWER_BOUND: Duration = Duration::from_secs(60);
static STAGES: AtomicU32 = AtomicU32::new(0);

/// A place of its own for one test.
struct Stage {
    place: Arc<Place>,
    folder: tempfile::TempDir,
    run: String,
    launches: u32,
}

impl Stage {
    fn open() -> Self {
        let run = format!("plimsoll-t{}-{}", std::process::id(), STAGES.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        let folders = Folders { journals: inside("journals"), scratch_in: folder.path().into(), data_in: folder.path().into() };
        let executable = Path::new(env!("CARGO_BIN_EXE_plimsoll"));
        let place = Arc::new(Place::open(&run, &folders, executable, || false).unwrap());
        Self { place, folder, run, launches: 0 }
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

    /// Everything of the run that is still on the host.
    fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        traces.extend(mounts.lines().filter(|line| line.contains(&self.run)).map(str::to_owned));
        for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let inside = std::fs::read_dir(controller.path()).into_iter().flatten().flatten();
            traces.extend(inside.map(|entry| entry.path().display().to_string()).filter(|path| path.contains(&self.run)));
        }
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            if arguments.contains(&self.run) {
                traces.push(arguments);
            }
        }
        traces
    }
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
    let started = Instant::now();
    let mut vessel = stage.launch(&mut *layer).unwrap();
    let Reply::Hello(hello) = ask(&mut *vessel, &Request::Hello) else { panic!("no hello") };
    println!("{name}: ready in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    assert_ne!(hello.pid, 1, "the agent is PID 1 nowhere");
    let got = observe(&mut *vessel);
    println!("{name}: asked {:?} labels {:?} facts {:?}\n got {got:?}", vessel.asked(), vessel.labels(), vessel.facts());
    let seen = |key: &str| match key {
        "kernel" => got.kernel_release.clone(),
        "root_filesystem" => got.root_filesystem.clone(),
        "data_filesystem" => got.data_filesystem.clone(),
        "clock_source" => got.clock_source.clone(),
        other => panic!("nobody sees {other}"),
    };
    for (key, asked) in vessel.asked() {
        assert_eq!(seen(&key), asked, "{key}");
    }
    if nix::unistd::geteuid().is_root() {
        assert_eq!(got.cpus_allowed, 1);
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
    let started = Instant::now();
    vessel.tear_down().unwrap();
    println!("{name}: torn down in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    vessel.tear_down().unwrap();
    layer.close().unwrap();
    assert_eq!(stage.traces(), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(&stage.place.data).unwrap().count(), 0, "the data folder is empty");
    // The place's own two folders.
    assert_eq!(stage.place.journal.left().len(), 2);
    stage.place.close().unwrap();
    let left: Vec<PathBuf> = std::fs::read_dir(stage.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [stage.folder.path().join("journals")]);
    assert!(Journal::abandoned(&stage.folder.path().join("journals")).unwrap().is_empty());
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

#[allow(unused)]
fn order(name: &str) -> WorkloadOrder {
    WorkloadOrder { name: name.to_owned(), parameters: Default::default(), data_dir: String::new(), seed: 1 }
}
