//! `kernel.syscall`: the way into the kernel and back, by calls that do next to nothing there and that no C library
//! caches.
//!
//! The second point exists for seccomp. Since Linux 5.11 a filter that allows a call whatever its arguments is not run
//! for it; Docker's default profile looks at the argument of personality, so there it runs each time.

use nix::errno::Errno;
use plimsoll_protocol::Parameters;

use super::sys::personality_queried;
use super::words::{Words, chosen, points};
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};
use crate::sys::getppid_uncached;

const CALLS: u64 = 1000;
const CALL: &Words<Call> = &[("getppid", Call::Getppid), ("personality", Call::Personality)];

#[derive(Debug, Clone, Copy)]
enum Call {
    Getppid,
    Personality,
}

/// The workload `kernel.syscall`.
#[derive(Debug)]
pub(super) struct Syscall;

static ABOUT: About = About {
    name: "kernel.syscall",
    summary: "the cheapest system call (getppid), one after another on one CPU",
    work: "system call",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.05 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout { name: "call", meaning: "which one: getppid or personality", range: None },
        ParameterAbout { name: "calls", meaning: "system calls in one unit", range: Some((1, 10_000_000)) },
    ],
    uses_disk: false,
};

impl Workload for Syscall {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let derived = Parameters::default().with("call", CALL[0].0).with("calls", CALLS);
        let parameters = ABOUT.merged(derived, written)?;
        chosen(&parameters, "call", CALL).map_err(|error| error.to_string())?;
        Ok(parameters)
    }

    fn points(&self, _room: &Room) -> Vec<Parameters> {
        points("call", CALL)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let calls = Calls { call: chosen(parameters, "call", CALL)?, calls: ABOUT.number(parameters, "calls")? };
        calls.try_one()?;
        Ok(Box::new(calls))
    }
}

struct Calls {
    call: Call,
    calls: u64,
}

impl Calls {
    /// 0 is a parent outside the PID namespace, or the usual personality; a filter would give -1.
    fn try_one(&self) -> Result<(), WorkloadError> {
        match self.call {
            Call::Getppid if getppid_uncached() < 0 => {
                Err(WorkloadError::system("getppid is refused, so it cannot be measured", Errno::last()))
            }
            // It can only fail by not being there: a filter forbids it, or the kernel does not know it.
            Call::Personality if personality_queried() < 0 => {
                let errno = Errno::last();
                Err(WorkloadError::Missing(format!("asking for the personality is refused here: {errno}")))
            }
            _ => Ok(()),
        }
    }
}

impl Prepared for Calls {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        match self.call {
            Call::Getppid => repeated(self.calls, getppid_uncached),
            Call::Personality => repeated(self.calls, personality_queried),
        }
    }
}

/// Every result is looked at. Orphaned in mid-run, the agent gets another parent, which is no failure of the call.
#[inline]
fn repeated(calls: u64, call: impl Fn() -> i64) -> Result<f64, WorkloadError> {
    let mut least = i64::MAX;
    for _ in 0..calls {
        least = least.min(call());
    }
    if least < 0 {
        return Err(WorkloadError::Wrong("a system call that was answered before is refused now".to_owned()));
    }
    Ok(calls as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_single_refused_call_spoils_the_unit() {
        let number = Cell::new(0);
        let refuse = |which: i64| {
            number.set(0);
            repeated(100, || {
                number.set(number.get() + 1);
                if number.get() == which { -1 } else { 0 }
            })
        };
        assert_eq!(refuse(0).unwrap(), 100.0);
        assert_eq!(number.get(), 100);
        assert!(refuse(1).is_err() && refuse(50).is_err() && refuse(100).is_err());
    }

    #[test]
    fn the_tested_point_is_getppid_and_another_call_is_refused() {
        let room = Room { cpus: 1, memory_bytes: 0, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 0 };
        assert_eq!(Syscall.points(&room)[0], Parameters::default().with("call", "getppid"));
        let error = Syscall.size(&room, &Parameters::default().with("call", "fork")).unwrap_err();
        assert_eq!(error, "parameter `call` is `fork`; it can be `getppid` or `personality`");
    }

    #[test]
    fn the_personality_that_is_asked_for_is_not_changed() {
        let before = std::fs::read_to_string("/proc/self/personality");
        if personality_queried() >= 0 {
            assert_eq!(before.ok(), std::fs::read_to_string("/proc/self/personality").ok());
        }
    }
}
