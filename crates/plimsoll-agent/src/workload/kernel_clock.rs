//! `kernel.clock`: reading the monotonic clock as programs do. With a good clock source that is no system call: the C
//! library reads it in a page that the kernel has mapped (the vDSO). With a poor one every reading is a system call.

use std::time::Instant;

use plimsoll_protocol::Parameters;

use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};

const READS: u64 = 10_000;

/// The workload `kernel.clock`.
#[derive(Debug)]
pub(super) struct Clock;

static ABOUT: About = About {
    name: "kernel.clock",
    summary: "read the monotonic clock",
    work: "reading",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.05 },
    measured_by: MeasuredBy::Slices,
    parameters: &[ParameterAbout { name: "reads", meaning: "readings in one unit", range: Some((1, 100_000_000)) }],
    uses_disk: false,
};

impl Workload for Clock {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default().with("reads", READS), written)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let reads = ABOUT.number(parameters, "reads")?;
        let now = Instant::now();
        Ok(Box::new(Reads { reads, now: Instant::now, checked: now, last: now }))
    }
}

struct Reads<N> {
    reads: u64,
    now: N,
    /// The last reading when somebody last looked.
    checked: Instant,
    last: Instant,
}

impl<N: FnMut() -> Instant> Prepared for Reads<N> {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        // Every reading is compared, and said at the end.
        let (mut last, mut backwards) = (self.last, 0_u64);
        for _ in 0..self.reads {
            let now = (self.now)();
            backwards += u64::from(now < last);
            last = now;
        }
        self.last = last;
        if backwards > 0 {
            return Err(WorkloadError::Wrong(format!("the monotonic clock went backwards {backwards} times")));
        }
        Ok(self.reads as f64)
    }

    /// A coarse clock may stand still for a unit, but not for a slice.
    fn verify(&mut self) -> Result<(), WorkloadError> {
        if self.last <= self.checked {
            return Err(WorkloadError::Wrong("the monotonic clock stood still during a slice".to_owned()));
        }
        self.checked = self.last;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn after_a_unit(step: impl Fn(u64) -> u64) -> Result<f64, WorkloadError> {
        let start = Instant::now();
        let mut reading = 0;
        let now = || {
            reading += 1;
            start + Duration::from_nanos(step(reading))
        };
        let mut reads = Reads { reads: 100, now, checked: start, last: start };
        let work = reads.unit(&mut Recorder::default())?;
        reads.verify().map(|()| work)
    }

    #[test]
    fn a_clock_that_goes_back_once_or_stands_still_is_an_error() {
        assert_eq!(after_a_unit(|reading| reading).unwrap(), 100.0);
        assert_eq!(after_a_unit(|reading| reading / 30).unwrap(), 100.0);
        let error = after_a_unit(|reading| if reading == 50 { 48 } else { reading }).unwrap_err().to_string();
        assert_eq!(error, "the monotonic clock went backwards 1 times");
        let error = after_a_unit(|_| 0).unwrap_err().to_string();
        assert!(error.contains("stood still"), "{error}");
    }
}
