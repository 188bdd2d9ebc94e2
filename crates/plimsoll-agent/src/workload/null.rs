//! `null`: a loop that does nothing, so that what is measured is us: the slice loop, the clock, the CPU's frequency.
//!
//! Each iteration waits for the one before: a loop of independent steps took 0.4 ns per step in one slice and 1.0 ns
//! in the next on the test machine, this one stays within 2 %.

use std::hint::black_box;

use plimsoll_protocol::Parameters;

use super::{About, MeasuredBy, Metric, MetricKind, Prepared, Recorder, Room, Scene, WarmUp, Workload, WorkloadError};

const ITERATIONS: u32 = 1000;

/// The workload `null`.
#[derive(Debug)]
pub(super) struct Null;

static ABOUT: About = About {
    name: "null",
    summary: "a loop of arithmetic that nobody needs: measures Plimsoll itself",
    work: "loop iteration",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.05 },
    measured_by: MeasuredBy::Slices,
    parameters: &[],
    uses_disk: false,
};

impl Workload for Null {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default(), written)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        Ok(Box::new(Loop))
    }
}

struct Loop;

impl Prepared for Loop {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        let mut value = black_box(1_u64);
        for _ in 0..ITERATIONS {
            value = (value ^ (value >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        black_box(value);
        Ok(f64::from(ITERATIONS))
    }
}
