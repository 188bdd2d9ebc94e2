//! A private Docker engine, for a host where `dockerd` is installed and none runs.
//!
//! ```text
//! save the host's state -> start dockerd -> its socket answers -> ... -> SIGTERM -> kill what is left -> restore
//! ```
//! It lives in the host's network namespace, because `net=host` must mean the host's; in a mount namespace of its own, so
//! that its mounts die with it; and in cgroups of ours, so that everything that it ever started can be found, even after
//! it was killed. It has its own data, state, configuration and socket, and touches no other engine.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::client::Client;
use super::find::{self, Found, Surroundings};
use super::host_state::{HostState, STAND_IN};
use crate::launch::bundle::Bundle;
use crate::launch::cgroup::Pen;
use crate::launch::journal::{Entry, Journal, Resource};
use crate::launch::patience;
use crate::launch::process::{Running, Spec, find_program};
use crate::launch::{Limits, Place};
use crate::sample::{Cause, Failure};

/// From the start of dockerd until its API answers; a loaded machine takes a few seconds.
const READY_BOUND: Duration = Duration::from_secs(60);
/// For the engine to stop its containers and itself; it kills containers after five seconds itself.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// The last thing that dockerd says of its own.
const SHUT_DOWN: &str = "Daemon shutdown complete";
/// The longest path of a Unix socket, bytes, without the closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// More than any machine has: the engine itself is not to be limited.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// Where a private engine keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folders {
    /// Sockets, state, configuration: a short path.
    state: PathBuf,
    /// Images and containers: on the disk under test.
    data: PathBuf,
}

impl Folders {
    fn of(place: &Place) -> Result<Self, Failure> {
        // What the journal removes must carry the run's name somewhere in its path.
        let named = place.scratch.to_string_lossy().contains(&place.run);
        let state = if named { "dockerd".to_owned() } else { format!("{}-dockerd-state", place.run) };
        let folders =
            Self { state: place.scratch.join(state), data: place.data.join(format!("{}-dockerd", place.run)) };
        let longest = folders.state.join("exec/containerd/containerd.sock.ttrpc");
        if longest.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(folders);
        }
        Err(Failure::launch(format!(
            "{} is too long for a socket's path ({SOCKET_PATH_BYTES_MAX} bytes); set TMPDIR to a shorter one",
            longest.display()
        )))
    }

    fn socket(&self) -> PathBuf {
        self.state.join("docker.sock")
    }

    /// Stand-ins for /run/docker and /run/containerd.
    fn stand_ins(&self) -> [PathBuf; 2] {
        [self.state.join("run-docker"), self.state.join("run-containerd")]
    }

    fn make(&self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt;
        for folder in [&self.state, &self.data].into_iter().chain(&self.stand_ins()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
        }
        let key = self.state.join("key.json");
        let configuration = serde_json::json!({ "deprecated-key-path": key });
        std::fs::write(self.state.join("daemon.json"), configuration.to_string())?;
        Ok(())
    }
}

/// How dockerd is started. A configuration file of its own keeps /etc/docker/daemon.json out (its `hosts` would clash
/// with `-H`) and its key out of /etc/docker.
fn dockerd(unshare: &Path, program: &Path, folders: &Folders, containers: &str) -> Spec {
    let path = |name: &str| folders.state.join(name).display().to_string();
    let [docker, containerd] = folders.stand_ins();
    let arguments = [
        "--mount".to_owned(),
        "--propagation=slave".to_owned(),
        "sh".to_owned(),
        "-c".to_owned(),
        STAND_IN.to_owned(),
        "sh".to_owned(),
        docker.display().to_string(),
        containerd.display().to_string(),
        program.display().to_string(),
        format!("--config-file={}", path("daemon.json")),
        format!("--data-root={}", folders.data.display()),
        format!("--exec-root={}", path("exec")),
        format!("--pidfile={}", path("pid")),
        format!("--host=unix://{}", folders.socket().display()),
        format!("--cgroup-parent=/{containers}"),
        "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
        "--shutdown-timeout=5".to_owned(),
        "--bridge=none".to_owned(),
        "--iptables=false".to_owned(),
        "--ip6tables=false".to_owned(),
        "--ip-forward=false".to_owned(),
        "--ip-masq=false".to_owned(),
        "--userland-proxy=false".to_owned(),
    ];
    Spec {
        program: unshare.to_owned(),
        argv0: None,
        args: arguments.to_vec(),
        env: vec![("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned())],
        cwd: Some(PathBuf::from("/")),
        affinity: None,
        wired: false,
        log: folders.state.join("log"),
        outlives_parent: true,
    }
}

/// A private engine that runs.
#[derive(Debug)]
pub(super) struct PrivateEngine {
    folders: Folders,
    journal: Journal,
    entries: Vec<Entry>,
    host_state: Option<HostState>,
    pen: Option<Pen>,
    process: Option<Running>,
}

impl PrivateEngine {
    /// Starts one and returns when it answers.
    ///
    /// # Errors
    /// When it cannot be started or does not answer in time; then nothing of it is left.
    pub(super) fn start(place: &Place, program: &Path) -> Result<Self, Failure> {
        let mut engine = Self {
            folders: Folders::of(place)?,
            journal: place.journal.clone(),
            entries: Vec::new(),
            host_state: None,
            pen: None,
            process: None,
        };
        engine.bring_up(place, program).map_err(|failure| {
            let tail = engine.process.as_ref().map(Running::log_tail).unwrap_or_default();
            let _ = engine.stop();
            let failure = failure.while_doing("starting a private Docker engine");
            if tail.is_empty() {
                failure
            } else {
                Failure { message: format!("{failure}; it said: {tail}"), ..failure }
            }
        })?;
        Ok(engine)
    }

    fn bring_up(&mut self, place: &Place, program: &Path) -> Result<(), Failure> {
        for path in [&self.folders.state, &self.folders.data] {
            self.entries.push(self.journal.note(Resource::Directory { path: path.clone() })?);
        }
        self.folders.make()?;
        let containers = format!("{}-docker", place.run);
        self.host_state = Some(HostState::save(&self.journal, &containers)?);
        let limits = Limits { cpus: own_cpus()?, memory_bytes: UNLIMITED_BYTES };
        self.pen = Pen::make(place, &format!("{}-dockerd", place.run), &limits, 0)?;
        let unshare = find_program("unshare")
            .ok_or_else(|| Failure::launch("the program `unshare` is missing; install the package util-linux"))?;
        let spec = dockerd(&unshare, program, &self.folders, &containers);
        self.process = Some(Running::start(place, &spec, self.pen.as_ref())?);
        self.wait_until_ready(place.interrupted)
    }

    /// dockerd makes its socket early and answers when it is ready, so that one question waits for the rest.
    fn wait_until_ready(&mut self, interrupted: fn() -> bool) -> Result<(), Failure> {
        let socket = self.folders.socket();
        let Some(process) = &mut self.process else { return Ok(()) };
        patience::until(READY_BOUND, || find::reach(&socket).is_ok() || process.ended().is_some() || interrupted());
        if interrupted() {
            return Err(Failure::new(Cause::Interrupted, "interrupted"));
        }
        match process.ended() {
            Some(words) => Err(Failure::launch(format!("dockerd ended at once: {words}"))),
            None => Client::connect(&socket, READY_BOUND, interrupted).map(|_| ()),
        }
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.folders.socket()
    }

    /// Its exit, if it ends within this time.
    pub(super) fn ended(&mut self, time: Duration) -> Option<String> {
        self.process.as_mut().and_then(|process| process.wait(time))
    }

    /// Kills every container without the engine's help: for when the engine is dead.
    ///
    /// # Errors
    /// When a process does not end.
    pub(super) fn kill_containers(&mut self) -> Result<(), Failure> {
        self.host_state.as_ref().map_or(Ok(()), HostState::kill_containers)
    }

    /// Ends it with everything that it started, removes its folders and restores the host. Safe to call twice.
    ///
    /// # Errors
    /// Every failure, joined; the journal still knows what stays behind.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        let mut wrong: Vec<Failure> = Vec::new();
        // Containers that nobody removed would each be given seconds to end by themselves.
        let _ = self.kill_containers();
        wrong.extend(self.process.as_mut().and_then(|process| end(process).err()));
        // Shims outlive a daemon that was killed.
        wrong.extend(self.pen.as_mut().and_then(|pen| pen.remove().err()));
        wrong.extend(self.host_state.as_mut().and_then(|state| state.restore(&self.journal).err()));
        while let Some(entry) = self.entries.pop() {
            wrong.extend(self.journal.undo(entry).err());
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let words: Vec<String> = wrong.into_iter().map(|failure| failure.message).collect();
        Err(Failure::new(Cause::TearDown, format!("stopping the private Docker engine: {}", words.join("; "))))
    }
}

/// SIGTERM, and SIGKILL once the engine says that it has shut down: dockerd 20.10 then lingers for a second, reconnecting
/// to the containerd that it has just ended.
fn end(process: &mut Running) -> Result<(), Failure> {
    if process.ended().is_none() {
        let _ = kill(Pid::from_raw(process.pid()), Signal::SIGTERM);
    }
    patience::until(STOP_GRACE, || process.ended().is_some() || process.log_tail().contains(SHUT_DOWN));
    process.end(Duration::ZERO)
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The CPUs that this process may use: the harness keeps to its own, and the engine's daemons belong to the harness.
fn own_cpus() -> Result<Vec<u32>, Failure> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(std::io::Error::from)?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).map(|cpu| cpu as u32).collect())
}

/// Runs something while a Docker engine answers at the socket that it is given: the one that is there, else a private one
/// that lives as long as `run` takes.
///
/// # Errors
/// When there is no engine and none can be started, or when stopping the private one left something behind.
pub fn with_private_engine(run: impl FnOnce(&Path) -> i32) -> Result<i32, Failure> {
    let program = match find::find(&Surroundings::of_this_process()) {
        Found::Listening(socket) => return Ok(run(&socket)),
        Found::Nothing { why, remedy } => return Err(Failure::launch(format!("{why}; {remedy}"))),
        Found::Startable(program) => program,
    };
    let place = temporary_place()?;
    let code = PrivateEngine::start(&place, &program).and_then(|mut engine| {
        let code = run(&engine.socket());
        engine.stop().map(|()| code)
    });
    code.and_then(|code| place.journal.undo_all().map(|()| code)).inspect_err(|_| {
        let _ = place.journal.undo_all();
    })
}

/// Eight hexadecimal digits that nobody can foresee: everybody may write to /tmp.
fn suffix() -> Result<String, Failure> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Failure::from(error).while_doing("/dev/urandom"))?;
    Ok(format!("{:08x}", u32::from_le_bytes(bytes)))
}

fn temporary_place() -> Result<Place, Failure> {
    let run = format!("plimsoll-docker-{}", suffix()?);
    let journal = Journal::start(&Journal::directory(), &run)?;
    let folder = std::env::temp_dir().join(&run);
    if let Err(failure) = journal.make_directory(&folder, 0o700) {
        journal.undo_all()?;
        return Err(failure);
    }
    Ok(Place {
        run,
        scratch: folder.clone(),
        data: folder,
        journal,
        bundle: Bundle::default(),
        tree: None,
        root: true,
        data_disk_bytes: 0,
        interrupted: crate::interrupt::requested,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_place_has_a_name_that_nobody_can_foresee() {
        use std::os::unix::fs::PermissionsExt;
        let places = [temporary_place(), temporary_place()];
        let [one, other] = places.map(Result::unwrap);
        assert_ne!(one.scratch, other.scratch);
        for place in [one, other] {
            let mode = std::fs::metadata(&place.scratch).unwrap().permissions().mode();
            place.journal.undo_all().unwrap();
            assert!(!place.scratch.exists());
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn a_private_engine_touches_no_network_and_reads_no_configuration_of_the_host() {
        let folders = Folders { state: PathBuf::from("/tmp/r/dockerd"), data: PathBuf::from("/data/r-dockerd") };
        let spec = dockerd(Path::new("/usr/bin/unshare"), Path::new("/usr/sbin/dockerd"), &folders, "r-docker");
        assert!(spec.outlives_parent && !spec.wired, "it stops its containers itself when it is told to");
        let arguments: Vec<&str> = spec.args.iter().map(String::as_str).filter(|word| *word != STAND_IN).collect();
        insta::assert_snapshot!(arguments.join("\n"), @r"
        --mount
        --propagation=slave
        sh
        -c
        sh
        /tmp/r/dockerd/run-docker
        /tmp/r/dockerd/run-containerd
        /usr/sbin/dockerd
        --config-file=/tmp/r/dockerd/daemon.json
        --data-root=/data/r-dockerd
        --exec-root=/tmp/r/dockerd/exec
        --pidfile=/tmp/r/dockerd/pid
        --host=unix:///tmp/r/dockerd/docker.sock
        --cgroup-parent=/r-docker
        --exec-opt=native.cgroupdriver=cgroupfs
        --shutdown-timeout=5
        --bridge=none
        --iptables=false
        --ip6tables=false
        --ip-forward=false
        --ip-masq=false
        --userland-proxy=false
        ");
    }
}
