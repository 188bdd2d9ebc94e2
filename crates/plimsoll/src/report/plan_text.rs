//! The plan as it is printed before a run: what runs, what cannot and why, how large, how long.

use std::io::{self, Write};

use super::page::unusable_line;
use super::paper::Paper;
use super::points::axes;
use super::units;
use super::words::{self, clean};
use crate::sample::{PlanRecord, PointRecord, WorkloadRecord};

/// What is said beside the plan, and how it is laid out.
#[derive(Debug, Clone, Copy)]
pub struct PlanText<'a> {
    /// Expected length of the run, seconds; `None` where nobody knows.
    pub estimate_seconds: Option<f64>,
    /// What the run can resolve, one sentence.
    pub resolution: &'a str,
    /// Columns of the terminal.
    pub width: u16,
    /// Whether titles are bold.
    pub colour: bool,
}

/// Prints the plan.
///
/// # Errors
/// When the writer fails.
pub fn write_plan(plan: &PlanRecord, text: &PlanText<'_>, writer: &mut dyn Write) -> io::Result<()> {
    let mut paper = Paper { width: text.width.max(40), colour: text.colour, writer };
    paper.paragraphs(&[length(plan, text.estimate_seconds)], "")?;
    paper.paragraphs(&[clean(text.resolution)], "")?;
    paper.section("Environments", &environments(plan))?;
    let unusable: Vec<String> = plan.unusable.iter().map(unusable_line).collect();
    paper.section("Cannot run here", &unusable)?;
    let workloads: Vec<String> = plan.workloads.iter().flat_map(workload).collect();
    paper.section("Workloads", &workloads)?;
    paper.section("Limits", &limits(plan))
}

fn length(plan: &PlanRecord, estimate_seconds: Option<f64>) -> String {
    let preset = plan.preset.as_deref().map_or_else(String::new, |preset| format!("Preset {}: ", clean(preset)));
    let at_most = if plan.precision.is_some() || plan.time_limit_seconds.is_some() { "at most " } else { "" };
    let time = estimate_seconds.map_or_else(String::new, |seconds| format!(", about {}", units::duration(seconds)));
    format!(
        "{preset}{at_most}{} × {} of each workload{time}; seed {}.",
        units::count(plan.blocks, "block"),
        units::count(plan.slices, "slice"),
        plan.seed
    )
}

fn environments(plan: &PlanRecord) -> Vec<String> {
    let name = |position: usize, name: &String| {
        let native = if position == 0 { " (twice in every block: the baseline and its control)" } else { "" };
        format!("{}{native}", clean(name))
    };
    let mut lines: Vec<String> =
        plan.environments.iter().enumerate().map(|(position, text)| name(position, text)).collect();
    if plan.groups.len() > 1 {
        lines.push(format!(
            "They do not all fit at once: each block has {} groups, each with natives of its own.",
            plan.groups.len()
        ));
    }
    lines
}

/// The workload, then the points of its sweep.
fn workload(workload: &WorkloadRecord) -> Vec<String> {
    let sizes: Vec<String> = workload.parameters.iter().map(|(key, value)| parameter(key, value)).collect();
    let sizes = if sizes.is_empty() { String::new() } else { format!(" ({})", sizes.join(", ")) };
    let headline = workload.metrics.iter().find(|metric| metric.headline);
    let tested = headline.map_or_else(String::new, |metric| format!("{}, ", metric.name));
    let about = clean(&format!("{}: {tested}counted per {}{sizes}", workload.name, workload.work));
    let points = (workload.points.len() > 1).then(|| points(workload));
    std::iter::once(about).chain(points).collect()
}

/// How many points a sweep has, and which is tested.
fn points(workload: &WorkloadRecord) -> String {
    let values = |point: &PointRecord| axes(serde_json::from_str(&point.point).ok().as_ref());
    let tested = workload.points.first().map(values).unwrap_or_default();
    clean(&format!("  at {} points, {tested} tested, the others exploratory", workload.points.len()))
}

/// A parameter as people write it: the unit at the end of its name goes to its value.
fn parameter(key: &str, value: &str) -> String {
    match (key.strip_suffix("_bytes"), key.strip_suffix("_ns"), value.parse::<u64>()) {
        (Some(name), _, Ok(bytes)) => format!("{name} {}", units::memory(bytes)),
        (_, Some(name), Ok(ns)) => {
            let time = std::time::Duration::from_nanos(ns).as_secs_f64();
            format!("{name} {}", units::duration(time))
        }
        _ => format!("{} {value}", key.replace('_', " ")),
    }
}

fn limits(plan: &PlanRecord) -> Vec<String> {
    let shared = if plan.shared_cpu { ", shared with the harness (label: shared cpu)" } else { "" };
    let mut limits = vec![
        format!("each environment: {}{shared}, {}", words::cpus(&plan.cpus), units::memory(plan.memory_bytes)),
        format!("counts as the same: within {}", units::share(plan.margin)),
    ];
    if let Some(precision) = plan.precision {
        limits.push(format!("stops early when every interval is within ±{}", units::share(precision)));
    }
    if let Some(seconds) = plan.time_limit_seconds {
        limits.push(format!("no new block after {}", units::duration(seconds)));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn printed(plan: &PlanRecord, width: u16) -> String {
        let text = PlanText {
            estimate_seconds: Some(125.0),
            resolution: "Differences of about 20 % will be found; smaller ones may stay open.",
            width,
            colour: false,
        };
        let mut bytes = Vec::new();
        write_plan(plan, &text, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_plan_with_groups_and_an_unusable_environment() {
        insta::assert_snapshot!(printed(&fixture::plan(), 100));
    }

    #[test]
    fn a_plan_that_stops_when_precise_on_one_shared_cpu() {
        let mut plan = fixture::plan();
        plan.precision = Some(0.01);
        plan.time_limit_seconds = None;
        plan.shared_cpu = true;
        plan.cpus = vec![0, 2];
        plan.unusable.clear();
        insta::assert_snapshot!(printed(&plan, 60));
    }
}
