//! A host at one end of a socket pair, an agent in a thread at the other.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use plimsoll_protocol::{FRAME_BYTES_MAX, PROTOCOL_VERSION, Parameters, SliceOrder};

use super::*;
use crate::workload::{About, MeasuredBy, Metric, MetricKind, Room, WarmUp};

/// Behaves as its parameter `play` says.
struct Actor(&'static About);

/// The second keeps files.
const CAST: &[&dyn Workload] = &[&Actor(&about("actor", false)), &Actor(&about("scribe", true))];

const fn about(name: &'static str, uses_disk: bool) -> About {
    About {
        name,
        summary: "",
        work: "act",
        metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
        warm_up: WarmUp { slices_min: 1, slices_max: 1, tolerance: 0.1 },
        measured_by: MeasuredBy::Slices,
        parameters: &[],
        uses_disk,
    }
}

static CLEANED_UP: AtomicUsize = AtomicUsize::new(0);

struct Act(String);

impl Workload for Actor {
    fn about(&self) -> &'static About {
        self.0
    }

    fn size(&self, _room: &Room, _written: &Parameters) -> Result<Parameters, String> {
        Ok(Parameters::default())
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        match parameters.text("play")? {
            "panic in prepare" => panic!("no stage"),
            play => Ok(Box::new(Act(play.to_owned()))),
        }
    }
}

fn system(errno: Errno) -> WorkloadError {
    WorkloadError::System { what: "acting".into(), source: io::Error::from(errno) }
}

impl Prepared for Act {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        match self.0.as_str() {
            "panic in unit" => panic!("stage {} fell", "left"),
            "full" => Err(system(Errno::ENOSPC)),
            "quota" => Err(system(Errno::EDQUOT)),
            "memory" => Err(system(Errno::ENOMEM)),
            "broken" => Err(system(Errno::EIO)),
            "long story" => Err(WorkloadError::Wrong("ä".repeat(FRAME_BYTES_MAX as usize))),
            _ => Ok(1.0),
        }
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        if self.0 == "wrong" { Err(WorkloadError::Wrong("not what it should be".into())) } else { Ok(()) }
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        if self.0 == "counted" {
            CLEANED_UP.fetch_add(1, Ordering::SeqCst);
        }
        if self.0 == "dirty" { Err(system(Errno::EBUSY)) } else { Ok(()) }
    }
}

type Served = Result<Ended, FrameError>;

struct Host {
    wire: Wire,
    agent: JoinHandle<Served>,
}

impl Host {
    fn start(nest: impl Nest + Send + 'static) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let agent = thread::spawn(move || {
            let mut nest = nest;
            serve_workloads(&mut over(&theirs), &mut nest, CAST)
        });
        Self { wire: over(&ours), agent }
    }

    fn ask(&mut self, request: &Request) -> Reply {
        write_frame(&mut self.wire, request).unwrap();
        self.hear()
    }

    fn hear(&mut self) -> Reply {
        let reply: Reply = read_frame(&mut self.wire).unwrap();
        reply.check().unwrap();
        reply
    }

    fn play(&mut self, play: &str) -> Reply {
        self.prepare("actor", play, ".")
    }

    fn prepare(&mut self, name: &str, play: &str, data_dir: &str) -> Reply {
        let parameters = Parameters::default().with("play", play);
        let order = WorkloadOrder { name: name.into(), parameters, data_dir: data_dir.into(), seed: 1 };
        self.ask(&Request::Prepare(order))
    }

    fn slice(&mut self) -> Reply {
        self.ask(&Request::Slice(SliceOrder { lead_in_ns: 0, slice_ns_min: 1000 }))
    }

    fn hang_up(self) -> Served {
        drop(self.wire);
        self.agent.join().unwrap()
    }

    /// It still answers.
    fn lives(mut self) -> Self {
        assert!(matches!(self.ask(&Request::Hello), Reply::Hello(_)));
        self
    }
}

fn over(stream: &UnixStream) -> Wire {
    let copy = || stream.try_clone().unwrap().into();
    let mut wire = Wire::new(copy(), copy(), || false).unwrap();
    wire.allow(Some(Duration::from_secs(20)));
    wire
}

#[track_caller]
fn refusal(reply: Reply, cause: Cause) -> String {
    match reply {
        Reply::Failed { cause: got, message } if got == cause => message,
        other => panic!("expected {cause:?}, got {other:?}"),
    }
}

#[test]
fn every_request_has_its_reply() {
    let mut host = Host::start(NoNest);
    match host.ask(&Request::Hello) {
        Reply::Hello(hello) => {
            assert_eq!((hello.program.as_str(), hello.pid), (env!("CARGO_PKG_VERSION"), std::process::id()));
        }
        other => panic!("{other:?}"),
    }
    match host.ask(&Request::Observe { data_dir: ".".into() }) {
        Reply::Observation(seen) => assert_eq!(seen.pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    assert_eq!(host.play("well"), Reply::Prepared);
    for _ in 0..3 {
        assert_eq!(host.ask(&Request::Settle), Reply::Settled);
        assert!(matches!(host.slice(), Reply::Slice(report) if report.units >= 1));
    }
    assert_eq!(host.ask(&Request::CleanUp), Reply::CleanedUp);
    assert_eq!(host.ask(&Request::ShutDown), Reply::Bye);
    assert_eq!(host.agent.join().unwrap().unwrap(), Ended::ShutDown);
}

#[test]
fn the_end_of_the_stream_ends_it_and_cleans_up() {
    let mut host = Host::start(NoNest);
    host.play("counted");
    assert_eq!(host.hang_up().unwrap(), Ended::Closed);
    assert_eq!(CLEANED_UP.load(Ordering::SeqCst), 1);
}

#[test]
fn requests_that_cannot_be_done_are_refused_and_life_goes_on() {
    let mut host = Host::start(NoNest);
    let order =
        WorkloadOrder { name: "cpu.magic".into(), parameters: Parameters::default(), data_dir: ".".into(), seed: 1 };
    assert!(refusal(host.ask(&Request::Prepare(order)), Cause::Workload).contains("no workload `cpu.magic`"));
    assert!(refusal(host.slice(), Cause::Workload).contains("no workload is prepared"));
    assert!(refusal(host.ask(&Request::Settle), Cause::Workload).contains("no workload is prepared"));
    let order = NestOrder { stack: "sandbox".into(), launch: "x".into(), cpus: vec![0], memory_bytes: 1, tree: None };
    assert!(refusal(host.ask(&Request::Nest(order)), Cause::Launch).contains("cannot start `sandbox`"));
    assert_eq!(host.ask(&Request::CleanUp), Reply::CleanedUp, "nothing to clean up is clean");
    host.lives().hang_up().unwrap();
}

#[test]
fn what_keeps_files_settles_their_filesystem_and_what_cannot_be_written_back_is_told() {
    let mut host = Host::start(NoNest);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    assert_eq!(host.prepare("scribe", "well", &path), Reply::Prepared);
    assert_eq!(host.ask(&Request::Settle), Reply::Settled);
    drop(folder);
    let message = refusal(host.ask(&Request::Settle), Cause::Workload);
    assert!(message.starts_with(&format!("writing back the filesystem of {path}: No such file")), "{message}");
    assert!(refusal(host.slice(), Cause::Workload).contains("no workload is prepared"));
    assert_eq!(host.prepare("actor", "well", &path), Reply::Prepared);
    assert_eq!(host.ask(&Request::Settle), Reply::Settled, "an actor keeps no files");
    host.lives().hang_up().unwrap();
}

#[test]
fn failures_carry_their_cause() {
    for (play, cause) in [
        ("full", Cause::DiskFull),
        ("quota", Cause::DiskFull),
        ("memory", Cause::OutOfMemory),
        ("broken", Cause::Workload),
        ("wrong", Cause::Workload),
    ] {
        let mut host = Host::start(NoNest);
        assert_eq!(host.play(play), Reply::Prepared);
        refusal(host.slice(), cause);
        assert_eq!(host.ask(&Request::CleanUp), Reply::CleanedUp, "{play}: a failed slice can still be cleaned up");
        host.lives().hang_up().unwrap();
    }
}

#[test]
fn a_workload_that_panics_is_a_failure_and_not_the_end() {
    let mut host = Host::start(NoNest);
    assert!(refusal(host.play("panic in prepare"), Cause::Workload).contains("no stage"));
    assert_eq!(host.play("panic in unit"), Reply::Prepared);
    assert!(refusal(host.slice(), Cause::Workload).contains("stage left fell"));
    assert!(refusal(host.slice(), Cause::Workload).contains("no workload is prepared"));
    assert_eq!(host.play("well"), Reply::Prepared);
    assert!(matches!(host.slice(), Reply::Slice(_)));
    host.lives().hang_up().unwrap();
}

#[test]
fn what_cannot_be_cleaned_up_is_told_also_on_the_way_out() {
    let mut host = Host::start(NoNest);
    host.play("dirty");
    refusal(host.ask(&Request::CleanUp), Cause::TearDown);
    host.play("dirty");
    refusal(host.play("well"), Cause::TearDown);
    host.play("dirty");
    refusal(host.ask(&Request::ShutDown), Cause::TearDown);
    assert_eq!(host.agent.join().unwrap().unwrap(), Ended::ShutDown);
}

#[test]
fn a_long_story_is_cut_at_a_letter() {
    let mut host = Host::start(NoNest);
    host.play("long story");
    let message = refusal(host.slice(), Cause::Workload);
    assert!((MESSAGE_BYTES_MAX - 4..=MESSAGE_BYTES_MAX + 4).contains(&message.len()), "{}", message.len());
    host.hang_up().unwrap();
}

#[test]
fn a_frame_that_holds_no_request_is_refused_and_life_goes_on() {
    let mut host = Host::start(NoNest);
    let mut frame = b"PLIM".to_vec();
    frame.extend(PROTOCOL_VERSION.to_le_bytes());
    frame.extend(3_u32.to_le_bytes());
    frame.extend([0xff, 0xff, 0xff]);
    host.wire.write_all(&frame).unwrap();
    refusal(host.hear(), Cause::Protocol);
    host.lives().hang_up().unwrap();
}

#[test]
fn bytes_that_are_no_frame_are_answered_once_and_end_it() {
    let other_version = [b"PLIM".as_slice(), &99_u16.to_le_bytes(), &0_u32.to_le_bytes()].concat();
    let endless = [b"PLIM".as_slice(), &PROTOCOL_VERSION.to_le_bytes(), &u32::MAX.to_le_bytes()].concat();
    for (bytes, word) in [(b"GET / HTTP/1.1\r\n".to_vec(), "no frame"), (other_version, "99"), (endless, "limit")] {
        let mut host = Host::start(NoNest);
        host.wire.write_all(&bytes).unwrap();
        let message = refusal(host.hear(), Cause::Protocol);
        assert!(message.contains(word), "{message}");
        host.agent.join().unwrap().unwrap_err();
    }
}

#[test]
fn a_frame_cut_short_ends_it() {
    let mut host = Host::start(NoNest);
    host.wire.write_all(b"PLIM").unwrap();
    assert!(matches!(host.hang_up(), Err(FrameError::Stream(_))));
}

/// Starts another agent in a thread; `panic` and `stays` come from the order's stack.
struct Threads;

struct Within {
    wire: Wire,
    stays: bool,
    agent: Option<JoinHandle<Served>>,
}

impl Nest for Threads {
    fn nest(&mut self, order: &NestOrder) -> Result<Box<dyn Inner>, String> {
        assert_ne!(order.stack, "panic", "nest fell");
        let Host { wire, agent } = Host::start(NoNest);
        Ok(Box::new(Within { wire, stays: order.stack == "stays", agent: Some(agent) }))
    }
}

impl Inner for Within {
    fn facts(&self) -> BTreeMap<String, String> {
        [("label".to_owned(), "inner".to_owned())].into()
    }

    fn data_dir(&self) -> String {
        "/inner".into()
    }

    fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn tear_down(&mut self) -> Result<(), String> {
        // The agent within sees the end of its stream when this end goes.
        let (left, _) = UnixStream::pair().unwrap();
        self.wire = over(&left);
        self.agent.take().unwrap().join().unwrap().map_err(|error| error.to_string())?;
        if self.stays { Err("a mount stays".into()) } else { Ok(()) }
    }
}

fn nest(stack: &str) -> Request {
    Request::Nest(NestOrder {
        stack: stack.into(),
        launch: "l".into(),
        cpus: vec![0],
        memory_bytes: 1 << 30,
        tree: None,
    })
}

fn nested(host: &mut Host, stack: &str) {
    match host.ask(&nest(stack)) {
        Reply::Nested { facts, data_dir } => assert_eq!((facts["label"].as_str(), &*data_dir), ("inner", "/inner")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_nesting_the_agent_within_answers_until_it_says_goodbye() {
    let mut host = Host::start(Threads);
    nested(&mut host, "sandbox");
    assert_eq!(host.play("well"), Reply::Prepared);
    assert!(matches!(host.slice(), Reply::Slice(_)));
    assert!(refusal(host.ask(&nest("more")), Cause::Launch).contains("starts nothing"), "the agent within answered");
    assert_eq!(host.ask(&Request::ShutDown), Reply::Bye);
    assert_eq!(host.wire.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(host.agent.join().unwrap().unwrap(), Ended::Relayed { tear_down: Ok(()) });
}

#[test]
fn when_the_host_goes_what_was_nested_is_torn_down_and_leftovers_are_told() {
    for (stack, tear_down) in [("sandbox", Ok(())), ("stays", Err("a mount stays".to_owned()))] {
        let mut host = Host::start(Threads);
        nested(&mut host, stack);
        assert_eq!(host.hang_up().unwrap(), Ended::Relayed { tear_down });
    }
}

#[test]
fn a_launch_that_panics_is_a_failure_and_not_the_end() {
    let mut host = Host::start(Threads);
    assert!(refusal(host.ask(&nest("panic")), Cause::Workload).contains("nest fell"));
    host.lives().hang_up().unwrap();
}
