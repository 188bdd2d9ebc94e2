//! `kernel.syscall`: the way into the kernel and back. getppid does next to nothing there, and no C library caches it.

use plimsoll_protocol::Parameters;

use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};
use crate::sys::getppid_uncached;

const CALLS: u64 = 10_000;

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
    parameters: &[ParameterAbout { name: "calls", meaning: "system calls in one unit", range: Some((1, 10_000_000)) }],
    uses_disk: false,
    disk_bytes_per_work: None,
};

impl Workload for Syscall {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default().with("calls", CALLS), written)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let calls = ABOUT.number(parameters, "calls")?;
        let parent = getppid_uncached();
        // 0 is a parent outside the PID namespace; a filter would give -1.
        if parent < 0 {
            let error = nix::errno::Errno::last();
            return Err(WorkloadError::system("getppid is refused, so it cannot be measured", error));
        }
        Ok(Box::new(Calls { calls, parent }))
    }
}

struct Calls {
    calls: u64,
    parent: i64,
}

impl Prepared for Calls {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        let mut last = 0;
        for _ in 0..self.calls {
            last = getppid_uncached();
        }
        // Orphaned in mid-run it gets another parent, which is no failure of the call.
        if last < 0 {
            return Err(WorkloadError::Wrong(format!("getppid gave {last}, and {} before", self.parent)));
        }
        Ok(self.calls as f64)
    }
}
