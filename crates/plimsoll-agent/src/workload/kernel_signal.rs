//! `kernel.signal`: a signal that the agent sends to itself, delivered to a handler that counts.
//!
//! It is sent to the thread and delivered before the call that sent it returns: one system call to send, the handler,
//! one system call to return from it.

use nix::sys::signal::Signal;
use plimsoll_protocol::Parameters;

use super::sys::CountedSignal;
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};

const SIGNALS: u64 = 1000;
const SIGNAL: Signal = Signal::SIGUSR1;

/// The workload `kernel.signal`.
#[derive(Debug)]
pub(super) struct Signals;

static ABOUT: About = About {
    name: "kernel.signal",
    summary: "send a signal to oneself and handle it",
    work: "signal",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.05 },
    measured_by: MeasuredBy::Slices,
    parameters: &[ParameterAbout { name: "signals", meaning: "signals in one unit", range: Some((1, 10_000_000)) }],
    uses_disk: false,
};

impl Workload for Signals {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default().with("signals", SIGNALS), written)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let signals = ABOUT.number(parameters, "signals")?;
        let caught = CountedSignal::catch(SIGNAL);
        let caught = caught.map_err(|error| WorkloadError::system("catching the signal of kernel.signal", error))?;
        let prepared = Sent { signals, caught: Some(caught) };
        prepared.send(1)?;
        Ok(Box::new(prepared))
    }
}

struct Sent {
    signals: u64,
    /// `None` after clean-up.
    caught: Option<CountedSignal>,
}

impl Sent {
    fn send(&self, signals: u64) -> Result<(), WorkloadError> {
        let cleaned = || WorkloadError::Wrong("kernel.signal is cleaned up already".to_owned());
        let caught = self.caught.as_ref().ok_or_else(cleaned)?;
        let before = caught.deliveries();
        caught.send(signals).map_err(|error| WorkloadError::system("sending the signal of kernel.signal", error))?;
        match caught.deliveries() - before {
            delivered if delivered == signals => Ok(()),
            delivered => Err(WorkloadError::Wrong(format!("{delivered} of {signals} signals were delivered"))),
        }
    }
}

impl Prepared for Sent {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.send(self.signals)?;
        Ok(self.signals as f64)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.caught = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::{alone, scene};
    use nix::sys::signal::{SigSet, SigmaskHow};

    #[test]
    fn signals_that_are_held_back_are_missed_and_the_mask_of_before_returns() {
        let _alone = alone();
        let only = SigSet::from_iter([SIGNAL]);
        // Held back before prepare: it must come through all the same.
        let before = only.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
        let mut sent = Signals.prepare(&Parameters::default().with("signals", 9), &scene()).unwrap();
        assert_eq!(sent.unit(&mut Recorder::default()).unwrap(), 9.0);
        let caught = only.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
        let error = sent.unit(&mut Recorder::default()).unwrap_err().to_string();
        assert_eq!(error, "0 of 9 signals were delivered");
        caught.thread_set_mask().unwrap();
        sent.clean_up().unwrap();
        assert!(SigSet::thread_get_mask().unwrap().contains(SIGNAL));
        before.thread_set_mask().unwrap();
        assert!(sent.unit(&mut Recorder::default()).is_err());
    }

    #[test]
    fn the_disposition_of_before_returns() {
        let _alone = alone();
        let caught = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
            u64::from_str_radix(&mask, 16).unwrap() >> (SIGNAL as u64 - 1) & 1
        };
        assert_eq!(caught(), 0);
        let prepare = || Signals.prepare(&Parameters::default().with("signals", 1), &scene());
        let sent = prepare().unwrap();
        assert_eq!(caught(), 1);
        assert!(prepare().is_err(), "there is one counter");
        drop(sent);
        assert_eq!(caught(), 0);
        drop(prepare().unwrap());
    }
}
