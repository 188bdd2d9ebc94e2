//! `kernel.timer`: how late a sleep of 1 ms ends, as cyclictest asks, but without its real-time priority.
//!
//! The sleep is to an absolute time on the monotonic clock. The kernel may itself be late by the timer slack that it
//! grants to programs of ordinary priority; the slack is stated with each slice.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl::get_timerslack;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use plimsoll_protocol::Parameters;

use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};

const SLEEPS: u64 = 5;
const SLEEP: Duration = Duration::from_millis(1);
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// The workload `kernel.timer`.
#[derive(Debug)]
pub(super) struct Timer;

static ABOUT: About = About {
    name: "kernel.timer",
    summary: "lateness of a sleep of 1 ms",
    work: "sleep",
    metrics: &[
        Metric { name: "lateness.p50", unit: "s", kind: MetricKind::Percentile("lateness", 0.50), headline: true },
        Metric { name: "lateness.p99", unit: "s", kind: MetricKind::Percentile("lateness", 0.99), headline: false },
        Metric { name: "lateness.max", unit: "s", kind: MetricKind::Percentile("lateness", 1.0), headline: false },
    ],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.05 },
    measured_by: MeasuredBy::Slices,
    parameters: &[ParameterAbout { name: "sleeps", meaning: "sleeps in one unit", range: Some((1, 100_000)) }],
    uses_disk: false,
};

impl Workload for Timer {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default().with("sleeps", SLEEPS), written)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let sleeps = ABOUT.number(parameters, "sleeps")?;
        // gVisor does not know of it.
        let slack = get_timerslack().ok().and_then(|nanoseconds| u32::try_from(nanoseconds).ok());
        let prepared = Sleeps { sleeps, sleep: sleep_until, slack };
        prepared.lateness()?;
        Ok(Box::new(prepared))
    }
}

fn now() -> Result<TimeSpec, WorkloadError> {
    clock_gettime(CLOCK).map_err(|error| WorkloadError::system("reading the monotonic clock", error))
}

/// Goes on sleeping when a signal ends it: the time is absolute.
fn sleep_until(time: &TimeSpec) -> nix::Result<()> {
    loop {
        match clock_nanosleep(CLOCK, ClockNanosleepFlags::TIMER_ABSTIME, time) {
            Err(Errno::EINTR) => {}
            slept => return slept.map(drop),
        }
    }
}

struct Sleeps {
    sleeps: u64,
    sleep: fn(&TimeSpec) -> nix::Result<()>,
    /// Nanoseconds.
    slack: Option<u32>,
}

impl Sleeps {
    /// Sleeps once.
    fn lateness(&self) -> Result<Duration, WorkloadError> {
        let time = now()? + TimeSpec::from_duration(SLEEP);
        (self.sleep)(&time).map_err(|error| WorkloadError::system("sleeping", error))?;
        let awake = now()?;
        if awake < time {
            let early = Duration::from(time - awake);
            return Err(WorkloadError::Wrong(format!("a sleep of {SLEEP:?} ended {early:?} early")));
        }
        Ok(Duration::from(awake - time))
    }
}

impl Prepared for Sleeps {
    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        for _ in 0..self.sleeps {
            let lateness = self.lateness()?;
            recorder.record("lateness", lateness);
        }
        // Outside what is recorded.
        if let Some(nanoseconds) = self.slack {
            recorder.note("timer_slack", "s", f64::from(nanoseconds) / 1e9);
        }
        Ok(self.sleeps as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sleep_is_recorded_and_none_is_early() {
        let mut recorder = Recorder::new(&ABOUT);
        let mut sleeps = Sleeps { sleeps: 3, sleep: sleep_until, slack: Some(50_000) };
        let before = now().unwrap();
        assert_eq!(sleeps.unit(&mut recorder).unwrap(), 3.0);
        assert!(Duration::from(now().unwrap() - before) >= 3 * SLEEP);
        assert_eq!((recorder.histograms.len(), recorder.histograms[0].1.len()), (1, 3));
        assert_eq!((recorder.evidence[0].name.as_str(), recorder.evidence[0].value), ("timer_slack", 5e-5));

        sleeps.sleep = |_| Ok(());
        let error = sleeps.unit(&mut recorder).unwrap_err().to_string();
        assert!(error.starts_with("a sleep of 1ms ended") && error.ends_with("early"), "{error}");
        assert_eq!(recorder.histograms[0].1.len(), 3);
        sleeps.sleep = |_| Err(Errno::EPERM);
        assert!(sleeps.unit(&mut recorder).is_err());
    }
}
