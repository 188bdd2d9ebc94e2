//! Our side: a run of one block, with nothing but native, from a plan file that is kept beside its run file.
//!
//! Native is launched twice in a block, as the control of every run. A figure is the geometric mean of both.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Contest, Scene, cpu_text, keep};
use crate::tools;

/// Measured slices of each native.
const SLICES: u32 = 3;
/// How long a slice is at least, where the machine's noise asks for nothing else.
pub(super) const SLICE: &str = "1s";
/// The seed of every plan: texts and orders are the same in each round.
pub(super) const SEED: u64 = 1;

/// What is run.
pub(super) struct Plan {
    pub(super) cpus: Vec<u32>,
    pub(super) memory_bytes: u64,
    /// How long a slice is at least.
    pub(super) slice: &'static str,
    /// Workloads, each with its parameters as a plan file has them.
    pub(super) workloads: Vec<(&'static str, Vec<(&'static str, String)>)>,
}

impl Plan {
    fn text(&self) -> String {
        let names: Vec<String> = self.workloads.iter().map(|(name, _)| format!("{name:?}")).collect();
        let mut text = format!(
            "environments = [\"native\"]\nworkloads = [{}]\nblocks = 1\nslices = {SLICES}\nslice = {:?}\n\
             seed = {SEED}\ncpus = {:?}\nmemory = \"{}\"\n",
            names.join(", "),
            self.slice,
            cpu_text(&self.cpus),
            self.memory_bytes
        );
        for (name, parameters) in &self.workloads {
            let _ = writeln!(text, "\n[parameters.{name:?}]");
            for (parameter, value) in parameters {
                let _ = writeln!(text, "{parameter} = {value}");
            }
        }
        text
    }
}

/// Where a figure stands in the report.
pub(super) struct Cell {
    pub(super) workload: &'static str,
    pub(super) metric: &'static str,
    /// For a metric that is the time of something: how much is done in that time, to get a rate.
    pub(super) work_per_time: Option<f64>,
}

impl Cell {
    /// The headline metric.
    pub(super) fn headline(workload: &'static str, metric: &'static str) -> Self {
        Self { workload, metric, work_per_time: None }
    }

    /// Out of a report in JSON.
    fn read(&self, report: &Value) -> Result<f64> {
        let Self { workload, metric, .. } = self;
        let mut cells = report["control"].as_array().into_iter().flatten();
        let cell = cells.find(|cell| cell["workload"] == *workload && cell["metric"] == *metric);
        let cell = cell.with_context(|| format!("the report has no {metric} of {workload}"))?;
        let value = |name: &str| cell[name].as_f64().filter(|value| *value > 0.0);
        let both = value("baseline_value").zip(value("value"));
        let (first, second) = both.with_context(|| format!("the report has no value for {metric} of {workload}"))?;
        let value = (first * second).sqrt();
        Ok(self.work_per_time.map_or(value, |work| work / value))
    }
}

/// One run; its figures in the order of the pairs.
pub(super) fn turn(scene: &Scene, contest: &Contest, round: usize) -> Result<Vec<f64>> {
    let plan = format!("{}.toml", contest.name);
    keep(&scene.folder, &plan, &contest.plan.text())?;
    let mut command = tools::program(&scene.plimsoll, &["run", "--quiet", "--format", "json"]);
    command.arg(scene.folder.join(plan));
    // On the same filesystem as theirs.
    command.arg("--data").arg(&scene.folder);
    command.arg("-o").arg(scene.folder.join(format!("{}-{}.sqlite", contest.name, round + 1)));
    let said = tools::output_of(command)?;
    let report = serde_json::from_str(&said).context("`plimsoll run` printed no JSON")?;
    contest.pairs.iter().map(|pair| pair.ours.read(&report)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_names_native_alone_and_every_parameter() {
        let plan = Plan {
            cpus: vec![0, 1],
            memory_bytes: 1 << 30,
            slice: SLICE,
            workloads: vec![
                ("mem.copy", vec![("threads", "1".to_owned())]),
                ("kernel.switch", vec![("cpus", "\"same\"".to_owned())]),
            ],
        };
        assert_eq!(
            plan.text(),
            "environments = [\"native\"]\nworkloads = [\"mem.copy\", \"kernel.switch\"]\nblocks = 1\nslices = 3\n\
             slice = \"1s\"\nseed = 1\ncpus = \"0,1\"\nmemory = \"1073741824\"\n\n\
             [parameters.\"mem.copy\"]\nthreads = 1\n\n[parameters.\"kernel.switch\"]\ncpus = \"same\"\n"
        );
    }

    #[test]
    fn a_figure_is_that_of_both_natives() {
        let cell = |metric: &str, first: f64, second: f64| {
            json!({"workload": "mem.copy", "metric": metric, "environment": "native#2", "baseline": "native#1",
                   "baseline_value": first, "value": second})
        };
        let report = json!({"control": [cell("throughput", 4e9, 9e9), cell("pass.best", 0.5, 0.5)]});
        let throughput = Cell::headline("mem.copy", "throughput").read(&report).expect("it is there");
        assert!((throughput - 6e9).abs() < 1.0);
        let best = Cell { workload: "mem.copy", metric: "pass.best", work_per_time: Some(1e9) };
        assert!((best.read(&report).expect("it is there") - 2e9).abs() < 1.0);
        let error = Cell::headline("mem.add", "throughput").read(&report).expect_err("it is not there").to_string();
        assert_eq!(error, "the report has no throughput of mem.add");
    }

    #[test]
    fn a_figure_that_was_spoiled_is_an_error() {
        let report = json!({"control": [{"workload": "null", "metric": "time", "baseline_value": 1.0, "value": null}]});
        assert!(Cell::headline("null", "time").read(&report).is_err());
    }
}
