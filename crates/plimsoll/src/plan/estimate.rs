//! How long a run will take, guessed before it starts. The first block corrects it.
//!
//! The figures are rough times of the engines on one slow core. They decide nothing: they are printed behind "about".

use super::Settled;
use crate::environment::Environment;
use crate::rounds::WorkloadDesign;

/// Asking, answering, verifying, parking and resuming, seconds per slice.
const AROUND_A_SLICE: f64 = 0.03;
/// Making a workload's data, seconds.
const PREPARING: f64 = 0.2;
/// How much longer it takes to make data, and to start what is inside, where instructions are emulated.
const EMULATED: f64 = 4.0;
/// Slices that a warm-up has beyond its fewest until two of them agree.
const WARM_UP_MORE: f64 = 1.5;

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
    // Slices last as long anywhere, until one unit fills them.
    let (slow, longer) = if emulated { (EMULATED, EMULATED.sqrt().sqrt()) } else { (1.0, 1.0) };
    let slice = (design.lead_in + design.slice_min).as_secs_f64() * longer + AROUND_A_SLICE;
    let warm_up = design.warm_up_min.as_secs_f64() * longer + AROUND_A_SLICE;
    let of_workload = |workload: &WorkloadDesign| {
        let warm_ups = f64::from(workload.warm_up.slices_min) + WARM_UP_MORE;
        let warm_ups = warm_ups.min(f64::from(workload.warm_up.slices_max));
        PREPARING * slow + warm_up * warm_ups + slice * f64::from(design.slices)
    };
    launch_seconds(environment, slow) + design.workloads.iter().map(of_workload).sum::<f64>()
}

/// A guest's own start, then what stands inside it, slowed down with it.
fn launch_seconds(environment: &Environment, slow: f64) -> f64 {
    let seconds = environment.stack().iter().map(|layer| match layer.engine.name {
        "docker" => 0.8,
        "qemu" => 1.2 * slow,
        "gvisor" => 0.6,
        _ => 0.15 * slow,
    });
    seconds.sum::<f64>() + 0.05
}
