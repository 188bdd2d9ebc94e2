//! `kernel.thread`: create one thread and join it, again and again.
//!
//! pthread_create itself and not std's threads, which make several more system calls each. The C library keeps the stack
//! of an ended thread for the next one, as it does for every program.

use nix::errno::Errno;
use plimsoll_protocol::Parameters;

use super::sys::add_one_in_a_thread;
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};

const THREADS: u64 = 50;

/// The workload `kernel.thread`.
#[derive(Debug)]
pub(super) struct Thread;

static ABOUT: About = About {
    name: "kernel.thread",
    summary: "create one thread and join it",
    work: "thread",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.10 },
    measured_by: MeasuredBy::Slices,
    parameters: &[ParameterAbout {
        name: "threads",
        meaning: "threads in one unit, one after another",
        range: Some((1, 1_000_000)),
    }],
    uses_disk: false,
};

impl Workload for Thread {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default().with("threads", THREADS), written)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let threads = ABOUT.count(parameters, "threads")?;
        let mut prepared = Threads { threads, add_one: add_one_in_a_thread, sum: 0 };
        prepared.start_one()?;
        Ok(Box::new(prepared))
    }
}

struct Threads {
    threads: usize,
    add_one: fn(usize) -> nix::Result<usize>,
    /// Every thread adds one to it.
    sum: usize,
}

impl Threads {
    #[inline]
    fn start_one(&mut self) -> Result<(), WorkloadError> {
        let sum = (self.add_one)(self.sum).map_err(refused)?;
        if sum != self.sum.wrapping_add(1) {
            return Err(WorkloadError::Wrong(format!("a thread of kernel.thread added one to {}: {sum}", self.sum)));
        }
        self.sum = sum;
        Ok(())
    }
}

fn refused(errno: Errno) -> WorkloadError {
    WorkloadError::system("starting or joining a thread of kernel.thread", errno)
}

impl Prepared for Threads {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        for _ in 0..self.threads {
            self.start_one()?;
        }
        Ok(self.threads as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(add_one: fn(usize) -> nix::Result<usize>) -> Result<f64, WorkloadError> {
        Threads { threads: 5, add_one, sum: 0 }.unit(&mut Recorder::default())
    }

    #[test]
    fn a_thread_that_did_nothing_or_could_not_start_is_an_error() {
        assert_eq!(unit(add_one_in_a_thread).unwrap(), 5.0);
        let error = unit(|sum| if sum == 3 { Ok(sum) } else { add_one_in_a_thread(sum) }).unwrap_err().to_string();
        assert!(error.contains("added one to 3: 3"), "{error}");
        assert!(matches!(unit(|_| Err(Errno::EAGAIN)), Err(WorkloadError::System { .. })));
    }
}
