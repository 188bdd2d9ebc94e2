//! One reply for every request, until the stream ends, the host says goodbye, or an agent further in takes over.
//!
//! ```text
//! asking --Prepare--> ready --(Settle, Slice)*--> ready --CleanUp--> asking
//!   |  \--ShutDown or end of stream--> ended
//!   `--Nest--> relaying --either side closes--> torn down, ended
//! ```
//!
//! A request that cannot be done, and a workload that panics, is a `Failed` reply and not the end. Bytes that are no
//! frame are the end, after a last reply: nobody knows where the next frame would begin.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::syncfs;
use plimsoll_protocol::{Cause, FrameError, Hello, NestOrder, Reply, Request, WorkloadOrder, read_frame, write_frame};

use crate::observe::observe;
use crate::relay::relay;
use crate::slice::run_slice;
use crate::wire::Wire;
use crate::workload::{Prepared, Recorder, Scene, WORKLOADS, Workload, WorkloadError};

/// How long the host may take to accept one reply.
const REPLY_TIME_MAX: Duration = Duration::from_secs(60);
/// A message is for a person.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Starts the rest of a stack inside the place of this agent.
pub trait Nest {
    /// Starts what is ordered and returns the agent further in.
    ///
    /// # Errors
    /// What happened, for a person; nothing is left behind.
    fn nest(&mut self, order: &NestOrder) -> Result<Box<dyn Inner>, String>;
}

/// A running agent further in.
pub trait Inner {
    /// Labels and facts that this launch adds.
    fn facts(&self) -> BTreeMap<String, String>;

    /// Where the inner environment keeps its data, as its agent sees it.
    fn data_dir(&self) -> String;

    /// The stream to its agent.
    fn wire(&mut self) -> &mut Wire;

    /// Removes everything that was started.
    ///
    /// # Errors
    /// What stays behind, for a person.
    fn tear_down(&mut self) -> Result<(), String>;
}

/// For places in which nothing can be started.
#[derive(Debug, Clone, Copy)]
pub struct NoNest;

impl Nest for NoNest {
    fn nest(&mut self, order: &NestOrder) -> Result<Box<dyn Inner>, String> {
        Err(format!("this agent cannot start `{}`: it starts nothing", order.stack))
    }
}

/// Why serving ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The host closed the stream.
    Closed,
    /// The host said goodbye.
    ShutDown,
    /// An agent further in had taken over, and one of the two sides closed.
    Relayed {
        /// What stayed behind inside, if anything.
        tear_down: Result<(), String>,
    },
}

/// Answers requests until there are no more. Whatever workload is ready then is cleaned up.
///
/// # Errors
/// [`FrameError`] when the stream breaks or carries something that is no frame.
pub fn serve(wire: &mut Wire, nest: &mut dyn Nest) -> Result<Ended, FrameError> {
    serve_workloads(wire, nest, WORKLOADS)
}

/// As [`serve`], with another table of workloads.
///
/// # Errors
/// As [`serve`].
pub fn serve_workloads(
    wire: &mut Wire,
    nest: &mut dyn Nest,
    workloads: &'static [&'static dyn Workload],
) -> Result<Ended, FrameError> {
    let mut server = Server { nest, workloads, ready: None };
    let ended = server.run(wire);
    // On the way out after a broken stream nobody is left who could be told.
    let _ = server.clean_up();
    ended
}

struct Server<'a> {
    nest: &'a mut dyn Nest,
    workloads: &'static [&'static dyn Workload],
    ready: Option<Ready>,
}

/// A workload that is ready, and room for what it records.
struct Ready {
    prepared: Box<dyn Prepared>,
    recorder: Recorder,
    /// Where it keeps files, if it does.
    data_dir: Option<PathBuf>,
}

/// What becomes a `Failed` reply.
#[derive(Debug)]
struct Failure {
    cause: Cause,
    message: String,
}

impl From<WorkloadError> for Failure {
    fn from(error: WorkloadError) -> Self {
        Self { cause: error.cause(), message: error.to_string() }
    }
}

impl Server<'_> {
    fn run(&mut self, wire: &mut Wire) -> Result<Ended, FrameError> {
        loop {
            wire.allow(None);
            match read_frame::<Request>(wire) {
                Ok(Request::ShutDown) => {
                    send(wire, &self.clean_up().map_or_else(failed, |()| Reply::Bye))?;
                    return Ok(Ended::ShutDown);
                }
                Ok(Request::Nest(order)) => match self.start_inside(&order) {
                    Ok(inner) => return take_over(wire, inner),
                    Err(failure) => send(wire, &failed(failure))?,
                },
                Ok(request) => send(wire, &self.answer(&request).unwrap_or_else(failed))?,
                Err(FrameError::Closed) => return Ok(Ended::Closed),
                Err(error) => not_a_request(wire, error)?,
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Result<Reply, Failure> {
        match request {
            Request::Hello => {
                Ok(Reply::Hello(Hello { program: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() }))
            }
            Request::Observe { data_dir } => {
                caught("observing", || Ok(Reply::Observation(Box::new(observe(Path::new(data_dir))))))
            }
            Request::Prepare(order) => self.prepare(order).map(|()| Reply::Prepared),
            Request::Settle => self.measure("settling", settle).map(|()| Reply::Settled),
            Request::Slice(order) => {
                let slice = |ready: &mut Ready| run_slice(ready.prepared.as_mut(), &mut ready.recorder, order);
                self.measure("measuring", slice).map(Reply::Slice)
            }
            Request::CleanUp => self.clean_up().map(|()| Reply::CleanedUp),
            Request::Nest(_) | Request::ShutDown => unreachable!("`run` keeps these to itself"),
        }
    }

    fn prepare(&mut self, order: &WorkloadOrder) -> Result<(), Failure> {
        self.clean_up()?;
        let mut names = self.workloads.iter().filter(|workload| workload.about().name == order.name);
        let workload = names.next().ok_or_else(|| {
            let message = format!("this agent has no workload `{}`", order.name);
            Failure { cause: Cause::Workload, message }
        })?;
        let scene = Scene { data_dir: Path::new(&order.data_dir), seed: order.seed };
        let prepared = caught("preparing", || Ok(workload.prepare(&order.parameters, &scene)?))?;
        let about = workload.about();
        let data_dir = about.uses_disk.then(|| scene.data_dir.to_owned());
        self.ready = Some(Ready { prepared, recorder: Recorder::new(about), data_dir });
        Ok(())
    }

    /// Does something with the workload that is ready.
    fn measure<T>(
        &mut self,
        doing: &str,
        act: impl FnOnce(&mut Ready) -> Result<T, WorkloadError>,
    ) -> Result<T, Failure> {
        let Some(ready) = &mut self.ready else {
            let message = "a slice was asked for and no workload is prepared".to_owned();
            return Err(Failure { cause: Cause::Workload, message });
        };
        let acted = caught(doing, || Ok(act(ready)?));
        if acted.is_err() {
            // Its state means nothing any more; the failure is the news, whatever cleaning up says.
            let _ = self.clean_up();
        }
        acted
    }

    fn clean_up(&mut self) -> Result<(), Failure> {
        let Some(mut ready) = self.ready.take() else { return Ok(()) };
        caught("cleaning up", || Ok(ready.prepared.clean_up()?))
            .map_err(|failure| Failure { cause: Cause::TearDown, ..failure })
    }

    fn start_inside(&mut self, order: &NestOrder) -> Result<Box<dyn Inner>, Failure> {
        self.clean_up()?;
        caught("nesting", || self.nest.nest(order).map_err(|message| Failure { cause: Cause::Launch, message }))
    }
}

/// Writes back what others, or the workload itself, left in memory: the slice would have to share the disk with it.
fn settle(ready: &mut Ready) -> Result<(), WorkloadError> {
    let Some(data_dir) = &ready.data_dir else { return Ok(()) };
    let settled = File::open(data_dir).and_then(|folder| syncfs(folder).map_err(io::Error::from));
    settled.map_err(|source| WorkloadError::System {
        what: format!("writing back the filesystem of {}", data_dir.display()),
        source,
    })
}

/// From here on this agent only relays; afterwards it removes what it had started.
fn take_over(wire: &mut Wire, mut inner: Box<dyn Inner>) -> Result<Ended, FrameError> {
    let relayed = relayed(wire, inner.as_mut());
    let tear_down =
        caught("tearing down", || inner.tear_down().map_err(|message| Failure { cause: Cause::TearDown, message }));
    relayed?;
    Ok(Ended::Relayed { tear_down: tear_down.map_err(|failure| failure.message) })
}

fn relayed(wire: &mut Wire, inner: &mut dyn Inner) -> Result<(), FrameError> {
    send(wire, &Reply::Nested { facts: inner.facts(), data_dir: inner.data_dir() })?;
    relay(wire, inner.wire()).map_err(|errno| FrameError::Stream(errno.into()))
}

/// Life goes on where the frame's end is known.
fn not_a_request(wire: &mut Wire, error: FrameError) -> Result<(), FrameError> {
    if matches!(error, FrameError::Stream(_)) {
        return Err(error);
    }
    send(wire, &failed(Failure { cause: Cause::Protocol, message: error.to_string() }))?;
    if matches!(error, FrameError::Payload(_)) { Ok(()) } else { Err(error) }
}

/// Runs `work`; a panic in it becomes a failure with the panic's message.
fn caught<T>(doing: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = format!("{doing} panicked, which is a bug: {}", panic_text(panic.as_ref()));
        Err(Failure { cause: Cause::Workload, message })
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it gave no message")
}

fn failed(failure: Failure) -> Reply {
    let mut message = failure.message;
    if let Some((end, _)) = message.char_indices().find(|(index, _)| *index >= MESSAGE_BYTES_MAX) {
        message.truncate(end);
    }
    Reply::Failed { cause: failure.cause, message }
}

fn send(wire: &mut Wire, reply: &Reply) -> Result<(), FrameError> {
    wire.allow(Some(REPLY_TIME_MAX));
    match write_frame(wire, reply) {
        Err(error @ FrameError::TooLong(_)) => {
            let message = format!("the reply cannot be sent: {error}");
            write_frame(wire, &failed(Failure { cause: Cause::Protocol, message }))
        }
        sent => sent,
    }
}

#[cfg(test)]
mod tests;
