//! A blocking client of a Docker engine's API. bollard and tokio stay inside this file and the pump.
//!
//! Every call has a bound and asks whether the user wants to stop, except those that remove something: these have a
//! bound alone, since cleaning up is what stopping means.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters as query;
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;

use crate::sample::{Cause, Failure};

/// A call that only asks the engine something.
const ASK_BOUND: Duration = Duration::from_secs(10);
/// The simplest question.
const PING_BOUND: Duration = Duration::from_secs(5);
/// Creating or starting a container; storage drivers on slow disks take seconds.
const START_BOUND: Duration = Duration::from_secs(60);
/// Loading an image.
const LOAD_BOUND: Duration = Duration::from_secs(300);
/// Pausing or unpausing a container.
const PARK_BOUND: Duration = Duration::from_secs(10);
/// Killing and removing a container or an image.
const REMOVE_BOUND: Duration = Duration::from_secs(30);
/// How often an interruption is looked for.
const LISTEN_STEP: Duration = Duration::from_millis(100);
/// Size of the pieces in which the image is sent, bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// What is known of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EngineFacts {
    /// Its storage driver, such as `overlay2`.
    pub(super) storage_driver: String,
    /// Where it keeps images and containers.
    pub(super) root_directory: String,
    /// Facts for the record: versions, storage driver, runtime, cgroups.
    pub(super) rows: BTreeMap<String, String>,
}

/// What became of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ContainerState {
    pub(super) status: String,
    pub(super) running: bool,
    /// Of its first process, on the host.
    pub(super) pid: Option<i32>,
    pub(super) out_of_memory: bool,
    pub(super) exit_code: i64,
    pub(super) error: String,
}

/// A connection to an engine at a Unix socket; each call opens a stream of its own.
#[derive(Debug)]
pub(super) struct Client {
    docker: Docker,
    runtime: Runtime,
    socket: PathBuf,
    interrupted: fn() -> bool,
}

impl Client {
    /// Connects and agrees on a version of the API, within `bound`.
    ///
    /// # Errors
    /// When nothing answers there.
    pub(super) fn connect(socket: &Path, bound: Duration, interrupted: fn() -> bool) -> Result<Self, Failure> {
        let doing = format!("asking the Docker engine at {}", socket.display());
        let runtime = runtime().map_err(|error| Failure::from(error).while_doing(&doing))?;
        let docker = docker(socket, API_DEFAULT_VERSION).map_err(|error| failure(&doing, &error))?;
        let mut client = Self { docker, runtime, socket: socket.to_owned(), interrupted };
        client.docker = client.wait(&doing, bound, client.docker.clone().negotiate_version())?;
        Ok(client)
    }

    /// Where the engine listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether the user wants to stop.
    pub(super) fn interrupted(&self) -> bool {
        (self.interrupted)()
    }

    /// The version of the API that both speak.
    pub(super) fn version(&self) -> ClientVersion {
        self.docker.client_version()
    }

    /// Whether the engine answers at all.
    pub(super) fn answers(&self) -> bool {
        let answer = self.runtime.block_on(async { tokio::time::timeout(PING_BOUND, self.docker.ping()).await });
        matches!(answer, Ok(Ok(_)))
    }

    /// What the engine says of itself.
    pub(super) fn facts(&self) -> Result<EngineFacts, Failure> {
        let info = self.wait("asking the Docker engine what it is", ASK_BOUND, self.docker.info())?;
        let version = self.version();
        let storage_driver = info.driver.unwrap_or_default();
        let rows = [
            ("docker_version", info.server_version),
            ("docker_api_version", Some(format!("{}.{}", version.major_version, version.minor_version))),
            ("docker_storage_driver", Some(storage_driver.clone())),
            ("docker_runtime", info.default_runtime),
            ("docker_cgroup_driver", info.cgroup_driver.map(|driver| driver.to_string())),
            ("docker_cgroup_version", info.cgroup_version.map(|version| version.to_string())),
        ];
        let rows = rows.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Ok(EngineFacts { storage_driver, root_directory: info.docker_root_dir.unwrap_or_default(), rows })
    }

    /// Loads the image whose archive `write` writes; it is streamed, never held.
    pub(super) fn load(&self, write: &(dyn Fn(&mut dyn Write) -> Result<(), Failure> + Sync)) -> Result<(), Failure> {
        let doing = "loading the agent's image into the Docker engine";
        let (mut writer, reader) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        std::thread::scope(|scope| {
            let written = scope.spawn(move || write(&mut writer));
            let sent = self.wait(doing, LOAD_BOUND, self.send_image(reader));
            let written = written.join().unwrap_or_else(|_| Err(Failure::launch("the archive's writer panicked")));
            // A broken archive is the cause, and what the engine makes of it only the consequence; but an engine that
            // hangs up breaks the archive's stream.
            match (sent, written) {
                (Err(failure), _) | (Ok(()), Err(failure)) => Err(failure),
                (Ok(()), Ok(())) => Ok(()),
            }
        })
    }

    async fn send_image(&self, archive: UnixStream) -> Result<(), ApiError> {
        let archive = tokio::net::UnixStream::from_std(archive)?;
        let pieces = stream::unfold(Some(archive), |archive| async move {
            let mut archive = archive?;
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match archive.read_buf(&mut piece).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(piece.into()), Some(archive))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let options = query::ImportImageOptionsBuilder::default().quiet(true).build();
        let mut progress = pin!(self.docker.import_image(options, bollard::body_try_stream(pieces), None));
        while let Some(step) = progress.next().await {
            step?;
        }
        Ok(())
    }

    /// Makes a container; it does not run yet.
    pub(super) fn create(&self, name: &str, body: ContainerCreateBody) -> Result<(), Failure> {
        let options = query::CreateContainerOptionsBuilder::default().name(name).build();
        let doing = format!("creating the container {name}");
        self.wait(&doing, START_BOUND, self.docker.create_container(Some(options), body)).map(|_| ())
    }

    /// Starts it.
    pub(super) fn start(&self, name: &str) -> Result<(), Failure> {
        let doing = format!("starting the container {name}");
        self.wait(&doing, START_BOUND, self.docker.start_container(name, None))
    }

    /// Stops every process of it.
    pub(super) fn pause(&self, name: &str) -> Result<(), Failure> {
        self.wait(&format!("pausing the container {name}"), PARK_BOUND, self.docker.pause_container(name))
    }

    /// Lets them run again.
    pub(super) fn unpause(&self, name: &str) -> Result<(), Failure> {
        self.wait(&format!("unpausing the container {name}"), PARK_BOUND, self.docker.unpause_container(name))
    }

    /// What the engine says of a container.
    pub(super) fn state(&self, name: &str) -> Result<ContainerState, Failure> {
        let doing = format!("inspecting the container {name}");
        let state = self.wait(&doing, ASK_BOUND, self.docker.inspect_container(name, None))?.state.unwrap_or_default();
        Ok(ContainerState {
            status: state.status.map(|status| status.to_string()).unwrap_or_default(),
            running: state.running.unwrap_or(false),
            pid: state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0),
            out_of_memory: state.oom_killed.unwrap_or(false),
            exit_code: state.exit_code.unwrap_or(0),
            error: state.error.unwrap_or_default(),
        })
    }

    /// Returns when the container does not run, or after `bound`, whichever is first.
    pub(super) fn wait_stopped(&self, name: &str, bound: Duration) {
        let options = query::WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut stopped = pin!(self.docker.wait_container(name, Some(options)));
        let _ = self.wait("waiting for the container's end", bound, async { Ok(stopped.next().await) });
    }

    /// Kills and removes a container with its anonymous volumes; one that is not there is no error.
    pub(super) fn remove_container(&self, name: &str) -> Result<(), Failure> {
        let options = query::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let call = self.docker.remove_container(name, Some(options));
        self.remove(&format!("removing the container {name}"), call)
    }

    /// Removes an image; one that is not there is no error.
    pub(super) fn remove_image(&self, reference: &str) -> Result<(), Failure> {
        let options = query::RemoveImageOptionsBuilder::default().force(true).build();
        let call = async { self.docker.remove_image(reference, Some(options), None).await.map(|_| ()) };
        self.remove(&format!("removing the image {reference}"), call)
    }

    fn remove(&self, doing: &str, call: impl Future<Output = Result<(), ApiError>>) -> Result<(), Failure> {
        let result = self.runtime.block_on(async { tokio::time::timeout(REMOVE_BOUND, call).await });
        match result {
            Ok(Ok(()) | Err(ApiError::DockerResponseServerError { status_code: 404, .. })) => Ok(()),
            Ok(Err(error)) => Err(Failure { cause: Cause::TearDown, ..failure(doing, &error) }),
            Err(_) => Err(Failure { cause: Cause::TearDown, ..too_long(doing, REMOVE_BOUND) }),
        }
    }

    /// Runs one call to its end, its bound, or the user's wish to stop.
    fn wait<T>(
        &self,
        doing: &str,
        bound: Duration,
        call: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, Failure> {
        self.runtime.block_on(async {
            let mut call = pin!(tokio::time::timeout(bound, call));
            loop {
                match select(call.as_mut(), pin!(tokio::time::sleep(LISTEN_STEP))).await {
                    Either::Left((Ok(result), _)) => return result.map_err(|error| failure(doing, &error)),
                    Either::Left((Err(_), _)) => return Err(too_long(doing, bound)),
                    Either::Right(_) if self.interrupted() => {
                        return Err(Failure::new(Cause::Interrupted, format!("{doing}: interrupted")));
                    }
                    Either::Right(_) => {}
                }
            }
        })
    }
}

/// A runtime of one thread: the caller's.
pub(super) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// A client whose calls have no bound of their own: callers set them.
pub(super) fn docker(socket: &Path, version: &ClientVersion) -> Result<Docker, ApiError> {
    /// bollard's own limit, seconds; it also covers loading, so it is above every bound of ours.
    const SECONDS: u64 = 600;
    Docker::connect_with_unix(&socket.to_string_lossy(), SECONDS, version)
}

/// The engine's own words where it answered, else the whole chain of causes.
pub(super) fn failure(doing: &str, error: &ApiError) -> Failure {
    let mut words = match error {
        ApiError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        other => other.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words = format!("{words}: {cause_words}");
        }
        source = cause.source();
    }
    let cause = if words.contains("no space left on device") { Cause::DiskFull } else { Cause::Launch };
    Failure::new(cause, format!("{doing}: {words}"))
}

/// The engine did not answer.
pub(super) fn too_long(doing: &str, bound: Duration) -> Failure {
    Failure::new(Cause::Timeout, format!("{doing}: the Docker engine did not answer within {} s", bound.as_secs()))
}
