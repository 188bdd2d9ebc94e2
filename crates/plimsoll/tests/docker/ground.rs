//! What every test here stands on: a place of its own, and questions to the host that do not go through Plimsoll.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use plimsoll::environment::Environment;
use plimsoll::launch::bundle::Bundle;
use plimsoll::launch::engines::docker::Docker;
use plimsoll::launch::journal::Journal;
use plimsoll::launch::{Engine, LaunchOrder, Layer, Limits, Place, Usability, Vessel};
use plimsoll_agent::wire::Wire;
use plimsoll_protocol::{Hello, Observation, Reply, Request, read_frame, write_frame};

pub(crate) const PLIMSOLL: &str = env!("CARGO_BIN_EXE_plimsoll");
/// A loaded machine may take long; nothing here measures time.
const REPLY_BOUND: Duration = Duration::from_secs(60);

/// Whoever compares the host before and after is alone with it.
static HOST: RwLock<()> = RwLock::new(());

/// A place for one test.
pub(crate) struct Ground {
    pub(crate) place: Arc<Place>,
    pub(crate) folder: tempfile::TempDir,
    _host: Host,
}

/// How a test uses the host.
#[allow(dead_code)]
enum Host {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Ground {
    /// `None`, with a printed reason, where no Docker engine can be used.
    pub(crate) fn for_test(test: &str) -> Option<Self> {
        Self::with(test, Host::Shared(HOST.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The same, while no other test of this file runs.
    pub(crate) fn alone(test: &str) -> Option<Self> {
        Self::with(test, Host::Alone(HOST.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn with(test: &str, host: Host) -> Option<Self> {
        let usability = Docker.probe(&environment("docker").stack()[0]);
        if let Usability::Unusable { why, remedy } = usability {
            let demanded = std::env::var("PLIMSOLL_REQUIRE").unwrap_or_default();
            assert!(!demanded.split(',').any(|word| word == "docker"), "docker is demanded: {why}; {remedy:?}");
            eprintln!("skipped: {why}");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("plimsoll-t-").tempdir_in("/tmp").unwrap();
        let run = format!("plimsoll-{test}-{}", std::process::id());
        let scratch = folder.path().join(&run);
        std::fs::create_dir(&scratch).unwrap();
        let place = Place {
            run: run.clone(),
            data: scratch.clone(),
            scratch,
            journal: Journal::start(folder.path(), &run).unwrap(),
            bundle: Bundle::of_agent(Path::new(PLIMSOLL)).unwrap(),
            tree: None,
            root: nix::unistd::geteuid().is_root(),
            data_disk_bytes: 0,
            interrupted: || false,
        };
        Some(Self { place: Arc::new(place), folder, _host: host })
    }

    pub(crate) fn open(&self, name: &str) -> Box<dyn Layer> {
        Docker.open(&self.place, &environment(name).stack()[0]).unwrap()
    }

    pub(crate) fn order(&self, number: u32, memory_mib: u64) -> LaunchOrder {
        LaunchOrder {
            name: format!("{}-{number}", self.place.run),
            limits: Limits { cpus: vec![last_cpu()], memory_bytes: memory_mib << 20 },
            holds_layers: false,
        }
    }

    /// Where a private engine of this place keeps its state.
    pub(crate) fn daemon_folder(&self) -> PathBuf {
        self.place.scratch.join("dockerd")
    }

    /// Where the engine listens that this place uses.
    pub(crate) fn socket(&self) -> PathBuf {
        let private = self.daemon_folder().join("docker.sock");
        if private.exists() {
            return private;
        }
        let named = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        PathBuf::from(named.strip_prefix("unix://").unwrap())
    }

    /// The private engine's process.
    pub(crate) fn daemon_pid(&self) -> i32 {
        std::fs::read_to_string(self.daemon_folder().join("pid")).unwrap().trim().parse().unwrap()
    }

    /// Nothing that carries the run's name is left on the host.
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.place.journal.left(), []);
        assert_nothing_left_of(&self.place.run);
    }
}

pub(crate) fn assert_nothing_left_of(run: &str) {
    let cgroups: Vec<String> = cgroups().into_iter().filter(|path| path.contains(run)).collect();
    assert!(cgroups.is_empty(), "cgroups are left: {cgroups:?}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(run)).collect();
    assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
    let processes = processes_named(run);
    assert!(processes.is_empty(), "processes are left: {processes:?}");
}

pub(crate) fn environment(name: &str) -> Environment {
    Environment::parse(name, &[Docker.about()]).unwrap()
}

pub(crate) fn last_cpu() -> u32 {
    std::thread::available_parallelism().unwrap().get() as u32 - 1
}

/// Directories of cgroups, two levels deep.
pub(crate) fn cgroups() -> Vec<String> {
    let mut found = Vec::new();
    for root in folders(Path::new("/sys/fs/cgroup")) {
        for folder in folders(&root) {
            found.extend(folders(&folder).iter().map(|path| path.display().to_string()));
            found.push(folder.display().to_string());
        }
        found.push(root.display().to_string());
    }
    found.sort();
    found
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Processes whose command line holds these words, except this one.
pub(crate) fn processes_named(words: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    let lines = others.filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(format!("{pid} {}", String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    lines.filter(|line| line.contains(words)).collect()
}

/// The host's ids of a container's processes.
pub(crate) fn pids_of_container(ground: &Ground, name: &str) -> Vec<i32> {
    let inspected = ask_engine(&ground.socket(), &format!("/containers/{name}/json"));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    let id = inspected["Id"].as_str().unwrap();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let cgroups = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    pids.filter(|pid| cgroups(*pid).contains(id)).collect()
}

/// One request and its reply.
pub(crate) fn ask(wire: &mut Wire, request: &Request) -> Reply {
    wire.allow(Some(REPLY_BOUND));
    write_frame(wire, request).unwrap();
    let reply = read_frame::<Reply>(wire).unwrap();
    reply.check().unwrap();
    reply
}

pub(crate) fn hello(vessel: &mut dyn Vessel) -> Hello {
    match ask(vessel.wire(), &Request::Hello) {
        Reply::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn observe(vessel: &mut dyn Vessel) -> Observation {
    let data_dir = vessel.data_dir();
    match ask(vessel.wire(), &Request::Observe { data_dir }) {
        Reply::Observation(observation) => *observation,
        other => panic!("{other:?}"),
    }
}

/// GET, without any client library.
pub(crate) fn ask_engine(socket: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "GET {target} HTTP/1.0\r\nHost: docker\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
