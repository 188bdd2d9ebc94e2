//! A live connection to an agent: asks, waits with a bound, checks what comes back, and knows why when nothing does.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use nix::unistd::syncfs;
use plimsoll_agent::workload;
use plimsoll_protocol::{
    FrameError, NestOrder, Observation, Reply, Request, SliceOrder, WorkloadOrder, read_frame, write_frame,
};

use super::clocks::Clocks;
use super::{Diagnosis, Vessel};
use crate::clock;
use crate::evidence::{DiskMeter, StealMeter, StealReading};
use crate::rounds::{Session, Slice};
use crate::sample::{Cause, Evidence, Failure};

/// From the request to the first answer of an agent; an emulated guest on a busy host needs most of it.
const READY_WAIT: Duration = Duration::from_secs(120);
/// Making and verifying a workload's data.
const PREPARE_WAIT: Duration = Duration::from_secs(180);
/// What a slice may take beside its own time: a unit that is slow under emulation, and verification.
const SLICE_WAIT: Duration = Duration::from_secs(120);
/// Writing back what others left in memory for the disk under test.
const SETTLE_WAIT: Duration = Duration::from_secs(120);
/// Everything else.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How long an agent may take to say goodbye; then it is ended.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);
/// The real session over a vessel.
pub(super) struct LiveSession {
    vessel: Box<dyn Vessel>,
    data_dir: String,
    /// `None` where the host's counters cannot be read; then no slice is spoiled and no row is written.
    meter: Option<StealMeter>,
    /// `None` where the disk under test is none that the kernel counts.
    disk: Option<DiskMeter>,
    /// Of the filesystems on the host that hold data of this run.
    folders: Vec<File>,
    /// Whether the workload that was prepared last keeps files.
    uses_disk: bool,
    steal_share_max: f64,
    clocks: Clocks,
    parked: bool,
    gone: bool,
}

impl LiveSession {
    pub(super) fn new(vessel: Box<dyn Vessel>, cpus: &[u32], data: &Path, steal_share_max: f64) -> Self {
        let data_dir = vessel.data_dir();
        let meter = StealMeter::open(cpus).ok();
        let own = vessel.data_on_host();
        let disk = DiskMeter::under(own.unwrap_or(data));
        // One that cannot be opened lies in nobody's reach, and its filesystem is left to the agent.
        let folders = [Some(data), own].into_iter().flatten().filter_map(|folder| File::open(folder).ok()).collect();
        Self {
            vessel,
            data_dir,
            meter,
            disk,
            folders,
            uses_disk: false,
            steal_share_max,
            clocks: Clocks::default(),
            parked: false,
            gone: false,
        }
    }

    pub(super) fn vessel(&self) -> &dyn Vessel {
        self.vessel.as_ref()
    }

    /// The first thing ever said.
    pub(super) fn hello(&mut self) -> Result<(), Failure> {
        match self.ask(&Request::Hello, READY_WAIT)? {
            Reply::Hello(_) => Ok(()),
            other => Err(unexpected("hello", &other)),
        }
    }

    /// Has the agent start further layers inside; whoever answers from then on is the agent in the innermost. Returns
    /// the facts of the inner launch.
    pub(super) fn nest(&mut self, order: NestOrder) -> Result<BTreeMap<String, String>, Failure> {
        match self.ask(&Request::Nest(order), READY_WAIT)? {
            Reply::Nested { facts, data_dir } => {
                self.data_dir = data_dir;
                Ok(facts)
            }
            other => Err(unexpected("nest", &other)),
        }
    }

    pub(super) fn observe(&mut self) -> Result<Observation, Failure> {
        match self.ask(&Request::Observe { data_dir: self.data_dir.clone() }, ANSWER_WAIT)? {
            Reply::Observation(observation) => Ok(*observation),
            other => Err(unexpected("observe", &other)),
        }
    }

    /// Nothing waits to be written any more when the slice begins, neither a neighbour's data nor that of the slice before:
    /// first inside, then what that, or anybody else, left in the host's memory.
    fn settle(&mut self) -> Result<(), Failure> {
        match self.ask(&Request::Settle, SETTLE_WAIT)? {
            Reply::Settled => {}
            other => return Err(unexpected("settle", &other)),
        }
        for folder in self.folders.iter().filter(|_| self.uses_disk) {
            syncfs(folder).map_err(|error| {
                Failure::from(std::io::Error::from(error)).while_doing("writing back the disk under test")
            })?;
        }
        Ok(())
    }

    fn ask(&mut self, request: &Request, wait: Duration) -> Result<Reply, Failure> {
        let wire = self.vessel.wire();
        wire.allow(Some(wait));
        let asked = write_frame(wire, request).and_then(|()| read_frame::<Reply>(wire));
        let reply = asked.map_err(|error| self.explain(&error, wait))?;
        reply.check().map_err(|error| Failure::new(Cause::Protocol, error.to_string()))?;
        match reply {
            Reply::Failed { cause, message } => Err(Failure::new(cause, message)),
            reply => Ok(reply),
        }
    }

    /// Why there is no answer, as far as the host can tell.
    fn explain(&mut self, error: &FrameError, wait: Duration) -> Failure {
        let kind = if let FrameError::Stream(error) = error { Some(error.kind()) } else { None };
        if kind == Some(std::io::ErrorKind::ConnectionAborted) {
            return Failure::new(Cause::Interrupted, "stopped by the user");
        }
        let diagnosis = self.vessel.diagnose();
        let cause = match (diagnosis.out_of_memory, error, kind) {
            (true, ..) => Cause::OutOfMemory,
            (_, _, Some(std::io::ErrorKind::TimedOut)) => Cause::Timeout,
            (_, FrameError::Closed | FrameError::Stream(_), _) => Cause::Died,
            _ => Cause::Protocol,
        };
        let what = match cause {
            Cause::OutOfMemory => "killed for want of memory; raise --memory".to_owned(),
            Cause::Timeout => format!("no answer within {} s", wait.as_secs()),
            Cause::Died => "the agent ended".to_owned(),
            _ => error.to_string(),
        };
        let words = diagnosis.words.trim();
        Failure::new(cause, if words.is_empty() { what } else { format!("{what}; {words}") })
    }

    /// What carries the agent ended between two slices: the same words as when it ends in one.
    fn explain_end(&mut self, failure: Failure) -> Failure {
        if failure.cause != Cause::Died {
            return failure;
        }
        let Diagnosis { out_of_memory, words } = self.vessel.diagnose();
        let cause = if out_of_memory { Cause::OutOfMemory } else { Cause::Died };
        let message = match words.trim() {
            words if failure.message.contains(words) => failure.message,
            words => format!("{}; {words}", failure.message),
        };
        Failure::new(cause, message)
    }
}

impl Session for LiveSession {
    fn prepare(&mut self, order: &WorkloadOrder) -> Result<(), Failure> {
        self.uses_disk = workload::find(&order.name).is_some_and(|workload| workload.about().uses_disk);
        let order = WorkloadOrder { data_dir: self.data_dir.clone(), ..order.clone() };
        match self.ask(&Request::Prepare(order), PREPARE_WAIT)? {
            Reply::Prepared => Ok(()),
            other => Err(unexpected("prepare", &other)),
        }
    }

    fn slice(&mut self, lead_in: Duration, slice_min: Duration) -> Result<Slice, Failure> {
        let order = SliceOrder { lead_in_ns: lead_in.as_nanos() as u64, slice_ns_min: slice_min.as_nanos() as u64 };
        // Before the meters: they would take what is written back for the slice's own.
        self.settle()?;
        if let Some(meter) = &mut self.meter {
            meter.start();
        }
        if let Some(disk) = &mut self.disk {
            disk.start();
        }
        let used = self.vessel.cpu_time();
        let started = clock::now();
        let reply = self.ask(&Request::Slice(order), SLICE_WAIT + lead_in + slice_min)?;
        let seconds_outside = started.elapsed().as_secs_f64();
        let used = used.zip(self.vessel.cpu_time()).and_then(|(before, after)| cpu_between(before, after));
        let counted = self.meter.as_mut().and_then(StealMeter::end);
        let delivered = self.disk.as_mut().and_then(DiskMeter::end);
        let Reply::Slice(report) = reply else { return Err(unexpected("slice", &reply)) };
        let jumped = self.clocks.compare(&report, seconds_outside)?;
        Ok(Slice {
            work: report.work,
            seconds_inside: report.seconds,
            seconds_outside,
            histograms: report.histograms,
            evidence_inside: report.evidence,
            spoiled: jumped.or_else(|| stolen(counted.as_ref()?, self.steal_share_max)),
            evidence_host: counted
                .map(|counted| counted.evidence)
                .unwrap_or_default()
                .into_iter()
                .chain(delivered.into_iter().flatten())
                .chain(used)
                .collect(),
        })
    }

    fn clean_up(&mut self) -> Result<(), Failure> {
        match self.ask(&Request::CleanUp, ANSWER_WAIT)? {
            Reply::CleanedUp => Ok(()),
            other => Err(unexpected("clean up", &other)),
        }
    }

    fn park(&mut self) -> Result<(), Failure> {
        self.vessel.park().map_err(|failure| self.explain_end(failure))?;
        self.parked = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Failure> {
        self.vessel.resume().map_err(|failure| self.explain_end(failure))?;
        self.parked = false;
        Ok(())
    }

    fn shut_down(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.gone, true) {
            return Ok(());
        }
        let awake = !self.parked || self.vessel.resume().is_ok();
        if awake {
            let wire = self.vessel.wire();
            wire.allow(Some(GOODBYE_WAIT));
            let _ = write_frame(wire, &Request::ShutDown).and_then(|()| read_frame::<Reply>(wire));
        }
        self.vessel.tear_down()
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        let _ = self.shut_down();
    }
}

fn cpu_between(before: Duration, after: Duration) -> Option<Evidence> {
    let value = after.checked_sub(before)?.as_secs_f64();
    Some(Evidence { source: "cgroup".to_owned(), name: Evidence::CPU.to_owned(), unit: "s".to_owned(), value })
}

/// The rule that spoils a slice: fixed in the plan before the run, the same for every environment. A single tick of the
/// counters says nothing of a slice that is not much longer: most of it may have been stolen before.
fn stolen(counted: &StealReading, share_max: f64) -> Option<String> {
    let share = counted.stolen_share;
    (share > share_max && counted.stolen_ticks > 1)
        .then(|| format!("the hypervisor gave {:.0} % of the CPUs' time to others", share * 100.0))
}

fn unexpected(asked: &str, got: &Reply) -> Failure {
    let got: String = format!("{got:?}").chars().take(120).collect();
    Failure::new(Cause::Protocol, format!("asked to {asked}, the agent answered {got}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use plimsoll_agent::Wire;
    use plimsoll_protocol::SliceReport;

    use super::*;

    /// A stream, and nothing around it.
    struct Stream(Wire);

    impl Vessel for Stream {
        fn wire(&mut self) -> &mut Wire {
            &mut self.0
        }

        fn data_dir(&self) -> String {
            "/data".to_owned()
        }

        fn asked(&self) -> BTreeMap<String, String> {
            BTreeMap::new()
        }

        fn facts(&self) -> BTreeMap<String, String> {
            BTreeMap::new()
        }

        fn labels(&self) -> Vec<String> {
            Vec::new()
        }

        fn cpu_time(&self) -> Option<Duration> {
            None
        }

        fn park(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn resume(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        fn diagnose(&mut self) -> Diagnosis {
            Diagnosis { out_of_memory: false, words: String::new() }
        }

        fn tear_down(&mut self) -> Result<(), Failure> {
            Ok(())
        }
    }

    fn over(stream: &UnixStream) -> Wire {
        let copy = || stream.try_clone().unwrap().into();
        Wire::new(copy(), copy(), || false).unwrap()
    }

    /// What a session asks for a slice, of an agent that answers `replies`.
    fn asked(replies: Vec<Reply>) -> (Vec<Request>, Result<Slice, Failure>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let agent = thread::spawn(move || {
            let mut wire = over(&theirs);
            let answer = |reply: &Reply| {
                let request = read_frame(&mut wire).ok()?;
                write_frame(&mut wire, reply).ok().map(|()| request)
            };
            replies.iter().map_while(answer).collect()
        });
        let mut session = LiveSession::new(Box::new(Stream(over(&ours))), &[0], Path::new("/"), 0.06);
        let slice = session.slice(Duration::from_millis(20), Duration::ZERO);
        drop((session, ours));
        (agent.join().unwrap(), slice)
    }

    #[test]
    fn a_single_tick_spoils_no_slice_however_short() {
        let reading =
            |stolen_share: f64, stolen_ticks: u64| StealReading { stolen_share, stolen_ticks, evidence: vec![] };
        assert_eq!(stolen(&reading(1.0, 1), 0.06), None);
        assert_eq!(stolen(&reading(0.05, 2), 0.06), None);
        let words = stolen(&reading(0.1, 2), 0.06);
        assert_eq!(words.as_deref(), Some("the hypervisor gave 10 % of the CPUs' time to others"));
    }

    #[test]
    fn the_disk_is_settled_before_the_lead_in_and_a_slice_needs_it() {
        let report =
            SliceReport { work: 1.0, seconds: 1e-9, handled_seconds: 1e-9, units: 1, ..SliceReport::default() };
        let (requests, slice) = asked(vec![Reply::Settled, Reply::Slice(report)]);
        assert_eq!(requests, [Request::Settle, Request::Slice(SliceOrder { lead_in_ns: 20_000_000, slice_ns_min: 0 })]);
        assert_eq!(slice.unwrap().work, 1.0);

        let (cause, message) = (Cause::Workload, "the disk fell".to_owned());
        let (requests, slice) = asked(vec![Reply::Failed { cause, message: message.clone() }]);
        assert_eq!((requests, slice.unwrap_err()), (vec![Request::Settle], Failure::new(cause, message)));
    }
}
