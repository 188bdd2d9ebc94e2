//! How long a run will take, guessed before it starts. The first block corrects it.
//!
//! The figures are rough times of the engines on one slow core. They decide nothing: they are printed behind "about".

use std::time::Duration;

use super::Settled;
use crate::environment::Environment;

/// Asking, answering, verifying, parking and resuming, seconds per slice.
const AROUND_A_SLICE: f64 = 0.03;
/// Making a workload's data, seconds.
const PREPARING: f64 = 0.25;
/// How much longer units, data and warm-up take where instructions are emulated.
const EMULATED: f64 = 4.0;

/// Guesses the seconds of the whole run; `emulated` says which environments (by position) are.
#[must_use]
pub fn seconds(settled: &Settled, emulated: &dyn Fn(&Environment) -> bool) -> f64 {
    let design = &settled.design;
    let block: f64 = design
        .groups
        .iter()
        .flatten()
        .filter_map(|arm| settled.environments.get(arm.environment as usize))
        .map(|environment| arm_seconds(settled, environment, emulated(environment)))
        .sum();
    let all = block * f64::from(design.blocks);
    settled.record.time_limit_seconds.map_or(all, |limit| limit.min(all))
}

fn arm_seconds(settled: &Settled, environment: &Environment, emulated: bool) -> f64 {
    let design = &settled.design;
    let slow = if emulated { EMULATED } else { 1.0 };
    let slice = (design.lead_in + design.slice_min).as_secs_f64() * slow.sqrt() + AROUND_A_SLICE;
    let workloads: f64 = design
        .workloads
        .iter()
        .map(|workload| PREPARING * slow + slice * f64::from(workload.warm_up.slices_min + 1 + design.slices))
        .sum();
    launch_seconds(environment).as_secs_f64() + workloads
}

fn launch_seconds(environment: &Environment) -> Duration {
    let milliseconds = environment.stack().iter().map(|layer| match layer.engine.name {
        "docker" => 1000,
        "qemu" => 4000,
        "gvisor" => 800,
        _ => 150,
    });
    Duration::from_millis(milliseconds.sum::<u64>() + 50)
}
