//! `start.ready`: how long a launch takes, from the request to the agent's first answer. The host takes the time.

use plimsoll_protocol::Parameters;

use super::{About, MeasuredBy, Metric, MetricKind, Prepared, Room, Scene, WarmUp, Workload, WorkloadError};

/// The workload `start.ready`.
#[derive(Debug)]
pub(super) struct Ready;

static ABOUT: About = About {
    name: "start.ready",
    summary: "time from the request to launch until the agent inside answers",
    work: "launch",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    // There is one per launch and nothing to warm.
    warm_up: WarmUp { slices_min: 1, slices_max: 1, tolerance: 1.0 },
    measured_by: MeasuredBy::Launch,
    parameters: &[],
    uses_disk: false,
};

impl Workload for Ready {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default(), written)
    }

    fn prepare(&self, _parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        let message = "`start.ready` is measured by the host, once per launch: an agent cannot prepare it";
        Err(WorkloadError::Wrong(message.to_owned()))
    }
}
