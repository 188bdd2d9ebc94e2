//! Carries the agent's bytes between a container's attached stream and a socket of ours.
//!
//! ```text
//! Wire <-> socketpair <-> pump (a thread of its own) <-> attach stream <-> stdin, stdout of the agent
//!                                                     -> log file       <- stderr
//! ```
//! The thread sleeps in the kernel while nobody speaks, so it costs a slice nothing. It ends when either end closes: a
//! stream that the engine breaks is an end of file on the wire.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures_util::future::{Either, select};
use futures_util::stream::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::client::{self, Client};
use crate::launch::patience;
use crate::sample::{Cause, Failure};

/// Attaching to a container that was just created.
const ATTACH_BOUND: Duration = Duration::from_secs(30);
/// How often an interruption is looked for.
const LISTEN_STEP: Duration = Duration::from_millis(100);
/// A pump whose both ends are closed has nothing left to do.
const END_BOUND: Duration = Duration::from_secs(2);
/// The most that an agent's stderr may put on the host's disk, bytes.
const LOG_BYTES_MAX: u64 = 1024 * 1024;

/// A running pump.
#[derive(Debug)]
pub(super) struct Pump {
    control: UnixStream,
    done: mpsc::Receiver<()>,
}

impl Pump {
    /// Attaches to a container that was created and not started yet, so that no byte of it is lost; returns the host's
    /// end of the stream.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(super) fn attach(client: &Client, container: &str, log: &Path) -> Result<(Self, UnixStream), Failure> {
        let doing = format!("attaching to the container {container}");
        let (host, ours) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let job = Job {
            docker: client::docker(client.socket(), &client.version()).map_err(|e| client::failure(&doing, &e))?,
            container: container.to_owned(),
            ours,
            log: File::create(log).map_err(|error| Failure::from(error).while_doing(&log.display().to_string()))?,
        };
        let (ready, attached) = mpsc::channel();
        let (ended, done) = mpsc::channel();
        std::thread::Builder::new().name("docker-pump".to_owned()).spawn(move || {
            job.run(&ready);
            let _ = ended.send(());
        })?;
        let mut answer = None;
        patience::until(ATTACH_BOUND, || {
            answer = attached.recv_timeout(LISTEN_STEP).ok();
            answer.is_some() || client.interrupted()
        });
        match answer {
            Some(result) => result.map_err(|failure| failure.while_doing(&doing))?,
            None if client.interrupted() => {
                return Err(Failure::new(Cause::Interrupted, format!("{doing}: interrupted")));
            }
            None => return Err(client::too_long(&doing, ATTACH_BOUND)),
        }
        Ok((Self { control: host.try_clone()?, done }, host))
    }

    /// Whether the stream has ended, waiting for that no longer than `bound`.
    pub(super) fn has_ended(&self, bound: Duration) -> bool {
        !matches!(self.done.recv_timeout(bound), Err(mpsc::RecvTimeoutError::Timeout))
    }

    /// Closes both ends; whoever holds the wire reads an end of file from then on. Safe to call twice.
    ///
    /// # Errors
    /// When the thread does not end.
    pub(super) fn end(&self) -> Result<(), Failure> {
        let _ = self.control.shutdown(Shutdown::Both);
        if self.has_ended(END_BOUND) {
            Ok(())
        } else {
            Err(Failure::new(Cause::TearDown, "the stream to the Docker engine does not close"))
        }
    }
}

struct Job {
    docker: Docker,
    container: String,
    ours: UnixStream,
    log: File,
}

impl Job {
    fn run(self, ready: &mpsc::Sender<Result<(), Failure>>) {
        match client::runtime() {
            Ok(runtime) => {
                runtime.block_on(self.pump(ready));
            }
            Err(error) => {
                let _ = ready.send(Err(error.into()));
            }
        }
    }

    async fn pump(self, ready: &mpsc::Sender<Result<(), Failure>>) {
        let options =
            AttachContainerOptionsBuilder::default().stream(true).stdin(true).stdout(true).stderr(true).build();
        let attached = self.docker.attach_container(&self.container, Some(options)).await;
        let attached = attached.map_err(|error| client::failure("the Docker engine", &error));
        match attached.and_then(|streams| Ok((streams, tokio::net::UnixStream::from_std(self.ours)?))) {
            Ok((streams, ours)) => {
                let _ = ready.send(Ok(()));
                carry(streams, ours, self.log).await;
            }
            Err(failure) => {
                let _ = ready.send(Err(failure));
            }
        }
    }
}

/// Ends when the host closes its end or when the container's stream ends; dropping the streams closes the other.
async fn carry(streams: AttachContainerResults, ours: tokio::net::UnixStream, mut log: File) {
    let AttachContainerResults { mut output, mut input } = streams;
    let (mut from_host, mut to_host) = ours.into_split();
    let inward = async {
        let copied = tokio::io::copy(&mut from_host, &mut input).await;
        let _ = input.shutdown().await;
        copied
    };
    let outward = async {
        let mut room = LOG_BYTES_MAX;
        while let Some(Ok(piece)) = output.next().await {
            match piece {
                LogOutput::StdErr { message } => room = append(&mut log, &message, room)?,
                LogOutput::StdOut { message } | LogOutput::Console { message } => to_host.write_all(&message).await?,
                LogOutput::StdIn { .. } => {}
            }
        }
        io::Result::Ok(())
    };
    // A container that takes no more input may still have something to say; a host that hung up wants to hear nothing.
    if let Either::Left((Err(_), outward)) = select(pin!(inward), pin!(outward)).await {
        let _ = outward.await;
    }
}

fn append(log: &mut File, message: &[u8], room: u64) -> io::Result<u64> {
    let length = message.len().min(usize::try_from(room).unwrap_or(usize::MAX));
    log.write_all(&message[..length])?;
    Ok(room - length as u64)
}
