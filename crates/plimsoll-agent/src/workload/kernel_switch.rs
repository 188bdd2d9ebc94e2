//! `kernel.switch`: two processes hand a byte to and fro over two pipes, as `perf bench sched pipe` does.
//!
//! ```text
//! agent --byte--> pipe --> partner      one round trip: four system calls, two wake-ups,
//! agent <-- pipe <--byte + 1-- partner  and on one CPU two switches of the process
//! ```
//!
//! Both are pinned, so that the scheduler has no say in what is compared. The partner lives from prepare to clean-up.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2, read, write};
use plimsoll_protocol::Parameters;

use super::affinity::{Affinity, only};
use super::sys::fork_answering;
use super::words::{Words, chosen, points};
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};

const CPUS: &Words<Cpus> = &[("same", Cpus::Same), ("across", Cpus::Across)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cpus {
    Same,
    Across,
}

impl Cpus {
    /// Fewer across CPUs: each waits for two interrupts, which in a translated guest take milliseconds.
    fn round_trips(self) -> u64 {
        match self {
            Self::Same => 400,
            Self::Across => 100,
        }
    }
}

/// The workload `kernel.switch`.
#[derive(Debug)]
pub(super) struct Switch;

static ABOUT: About = About {
    name: "kernel.switch",
    summary: "two pinned processes hand a byte to and fro over pipes",
    work: "round trip",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.10 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout { name: "cpus", meaning: "where the two run: same CPU or across two", range: None },
        ParameterAbout { name: "round_trips", meaning: "round trips in one unit", range: Some((1, 1_000_000)) },
    ],
    uses_disk: false,
};

impl Workload for Switch {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let named = ABOUT.merged(Parameters::default().with("cpus", CPUS[0].0), written)?;
        let cpus = chosen(&named, "cpus", CPUS).map_err(|error| error.to_string())?;
        if cpus == Cpus::Across && room.cpus < 2 {
            return Err("kernel.switch across two CPUs needs two: set --cpus to 2 or more, or `cpus` to `same`".into());
        }
        ABOUT.merged(Parameters::default().with("round_trips", cpus.round_trips()), &named)
    }

    fn points(&self, room: &Room) -> Vec<Parameters> {
        let mut points = points("cpus", CPUS);
        points.truncate(if room.cpus < 2 { 1 } else { 2 });
        points
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let cpus = chosen(parameters, "cpus", CPUS)?;
        let round_trips = ABOUT.number(parameters, "round_trips")?;
        let pinned = Pinned::choose(cpus)?;
        let partner = Partner::start()?;
        let mut switches = Switches { pinned, partner: Some(partner), round_trips, byte: 0 };
        switches.pin()?;
        switches.round_trip()?;
        Ok(Box::new(switches))
    }
}

/// The CPUs of both, and what this thread had before.
struct Pinned {
    affinity: Affinity,
    own: CpuSet,
    partner: CpuSet,
}

impl Pinned {
    /// The first CPU that this process may use, and for the partner the same or the next one.
    fn choose(cpus: Cpus) -> Result<Self, WorkloadError> {
        let affinity = Affinity::of_this_thread();
        let affinity = affinity.map_err(|error| refused("reading the CPUs of this thread", error))?;
        let mut allowed = affinity.cpus();
        let first = allowed.next().ok_or_else(|| WorkloadError::Wrong("this thread may use no CPU".to_owned()))?;
        let other = match cpus {
            Cpus::Same => first,
            Cpus::Across => allowed.next().ok_or_else(|| {
                WorkloadError::Missing("kernel.switch across two CPUs needs two, and this process may use one".into())
            })?,
        };
        drop(allowed);
        let set = |cpu| only(cpu).map_err(|error| refused("naming a CPU", error));
        Ok(Self { own: set(first)?, partner: set(other)?, affinity })
    }
}

fn refused(what: &str, errno: Errno) -> WorkloadError {
    WorkloadError::system(format!("kernel.switch: {what}"), errno)
}

/// The forked child; it is killed and reaped when this goes.
struct Partner {
    process: Pid,
    to: OwnedFd,
    from: OwnedFd,
}

impl Partner {
    fn start() -> Result<Self, WorkloadError> {
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|error| refused("making a pipe", error));
        let ((questions, to), (from, answers)) = (pipe()?, pipe()?);
        let forked = fork_answering(questions.as_fd(), answers.as_fd());
        let process = forked.map_err(|error| refused("forking the partner", error))?;
        Ok(Self { process, to, from })
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = kill(self.process, Signal::SIGKILL);
        // A killed process ends; there is nothing to wait for but the kernel.
        while waitpid(self.process, None) == Err(Errno::EINTR) {}
    }
}

struct Switches {
    // Dropped in this order: first the partner, then back to the old CPUs.
    partner: Option<Partner>,
    pinned: Pinned,
    round_trips: u64,
    byte: u8,
}

impl Switches {
    fn partner(&self) -> Result<&Partner, WorkloadError> {
        self.partner.as_ref().ok_or_else(|| WorkloadError::Wrong("kernel.switch is cleaned up already".to_owned()))
    }

    /// Both processes with the CPUs that they are to have.
    fn places(&self) -> Result<[(Pid, &CpuSet); 2], WorkloadError> {
        Ok([(self.pinned.affinity.thread(), &self.pinned.own), (self.partner()?.process, &self.pinned.partner)])
    }

    fn pin(&self) -> Result<(), WorkloadError> {
        for (process, cpus) in self.places()? {
            sched_setaffinity(process, cpus).map_err(|error| refused("pinning a process", error))?;
        }
        Ok(())
    }

    #[inline]
    fn round_trip(&mut self) -> Result<(), WorkloadError> {
        let partner = self.partner()?;
        let (asked, mut answer) = (self.byte, [0]);
        write(&partner.to, &[asked]).map_err(|error| refused("asking the partner", error))?;
        let count = read(&partner.from, &mut answer).map_err(|error| refused("hearing the partner", error))?;
        if count == 0 {
            return Err(WorkloadError::Wrong("the partner of kernel.switch has ended".to_owned()));
        }
        if answer[0] != asked.wrapping_add(1) {
            let message = format!("the partner of kernel.switch answers {asked} with {}", answer[0]);
            return Err(WorkloadError::Wrong(message));
        }
        // Another question each time, so that an old answer is a wrong one.
        self.byte = asked.wrapping_add(2);
        Ok(())
    }
}

impl Prepared for Switches {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        for _ in 0..self.round_trips {
            self.round_trip()?;
        }
        Ok(self.round_trips as f64)
    }

    /// Every answer was checked already; this is about the place where they were given.
    fn verify(&mut self) -> Result<(), WorkloadError> {
        for (process, cpus) in self.places()? {
            let now = sched_getaffinity(process).map_err(|error| refused("reading the CPUs of a process", error))?;
            if now != *cpus {
                return Err(WorkloadError::Wrong("somebody has moved a process of kernel.switch".to_owned()));
            }
        }
        Ok(())
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.partner = None;
        self.pinned.affinity.restore().map_err(|error| refused("returning to the CPUs of before", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

    use crate::workload::tests::{alone, scene};

    const ROOM: Room = Room { cpus: 2, memory_bytes: 0, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 0 };

    fn switches() -> Switches {
        let pinned = Pinned::choose(Cpus::Same).unwrap();
        Switches { partner: Some(Partner::start().unwrap()), pinned, round_trips: 10, byte: 0 }
    }

    fn cpus_of_this_thread() -> CpuSet {
        sched_getaffinity(Pid::from_raw(0)).unwrap()
    }

    fn is_there(process: Pid) -> bool {
        kill(process, None).is_ok()
    }

    #[test]
    fn the_partner_is_reaped_and_the_cpus_are_restored_by_clean_up_and_by_drop() {
        let _alone = alone();
        let before = cpus_of_this_thread();
        let mut switches = switches();
        let partner = switches.partner().unwrap().process;
        switches.pin().unwrap();
        let pinned = cpus_of_this_thread();
        assert_eq!((0..CpuSet::count()).filter(|cpu| pinned.is_set(*cpu) == Ok(true)).count(), 1);
        assert!(is_there(partner));
        switches.clean_up().unwrap();
        assert_eq!((is_there(partner), cpus_of_this_thread()), (false, before));
        assert!(switches.unit(&mut Recorder::default()).is_err());

        let dropped = self::switches();
        let partner = dropped.partner().unwrap().process;
        dropped.pin().unwrap();
        drop(dropped);
        assert_eq!((is_there(partner), cpus_of_this_thread()), (false, before));
    }

    #[test]
    fn a_partner_that_ends_or_gives_a_wrong_answer_is_found_out() {
        let _alone = alone();
        let mut switches = switches();
        assert_eq!(switches.unit(&mut Recorder::default()).unwrap(), 10.0);
        kill(switches.partner().unwrap().process, Signal::SIGKILL).unwrap();
        let error = switches.unit(&mut Recorder::default()).unwrap_err().to_string();
        assert!(error.contains("has ended") || error.contains("asking the partner"), "{error}");

        // A pipe that ends where it began is a partner that says the same again.
        let (from, to) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let partner = switches.partner.as_mut().unwrap();
        (partner.from, partner.to) = (from, to);
        let error = switches.unit(&mut Recorder::default()).unwrap_err().to_string();
        assert!(error.contains("answers 20 with 20"), "{error}");
    }

    #[test]
    fn a_process_that_was_moved_is_noticed() {
        let _alone = alone();
        let before = cpus_of_this_thread();
        let mut switches = switches();
        switches.pin().unwrap();
        switches.verify().unwrap();
        if before == switches.pinned.own {
            return;
        }
        sched_setaffinity(switches.partner().unwrap().process, &before).unwrap();
        assert!(switches.verify().unwrap_err().to_string().contains("moved"));
    }

    #[test]
    fn the_partner_ends_with_its_pipe() {
        let _alone = alone();
        let mut partner = Partner::start().unwrap();
        partner.to = pipe2(OFlag::O_CLOEXEC).unwrap().1;
        // Left to be reaped when it is dropped.
        let ended = waitid(Id::Pid(partner.process), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        assert_eq!(ended, WaitStatus::Exited(partner.process, 0));
    }

    #[test]
    fn the_partner_keeps_its_two_pipe_ends_and_nothing_else_open() {
        let _alone = alone();
        let mut switches = switches();
        // After an answer it has closed the rest.
        switches.round_trip().unwrap();
        let open = format!("/proc/{}/fd", switches.partner().unwrap().process);
        assert_eq!(std::fs::read_dir(open).unwrap().count(), 2);
    }

    #[test]
    fn two_cpus_are_asked_for_only_where_there_are_two() {
        assert_eq!(Switch.points(&ROOM).len(), 2);
        assert_eq!(Switch.points(&Room { cpus: 1, ..ROOM }), [Parameters::default().with("cpus", "same")]);
        let across = Parameters::default().with("cpus", "across");
        assert!(Switch.size(&Room { cpus: 1, ..ROOM }, &across).unwrap_err().contains("--cpus"));
        let nowhere = Parameters::default().with("cpus", "nowhere").with("round_trips", 1);
        assert!(Switch.size(&ROOM, &nowhere).is_err());
        let error = Switch.prepare(&nowhere, &scene()).err().unwrap().to_string();
        assert!(error.contains("it can be `same` or `across`"), "{error}");
    }
}
