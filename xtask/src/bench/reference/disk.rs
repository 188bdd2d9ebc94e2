//! The disk workloads beside fio: the same engine, sizes, depths and numbers of jobs, on a file of each side's own.

use anyhow::{Context, Result};
use serde_json::Value;

use super::ours::{Cell, Plan};
use super::theirs::{Program, first_line, lack};
use super::{Contest, Offer, Pair, Scene};

const MEMORY_BYTES: u64 = 1 << 30;
const FILE_BYTES: u64 = 256 << 20;
/// Turns are short, and rounds many: a virtual disk is faster in one second than in the next.
const SECONDS: &str = "1";
const SLICE: &str = "300ms";

/// A job of fio and ours that is to be the same.
#[derive(Clone, Copy)]
struct Job {
    workload: &'static str,
    /// As fio says it.
    direction: &'static str,
    block_bytes: u64,
    depth: u64,
    jobs: u64,
}

const fn job(workload: &'static str, direction: &'static str, depth: u64, jobs: u64) -> Job {
    Job { workload, direction, block_bytes: 4096, depth, jobs }
}

const JOBS: &[Job] = &[
    job("disk.randread", "randread", 1, 1),
    job("disk.randread", "randread", 16, 1),
    job("disk.randread", "randread", 16, 4),
    job("disk.randwrite", "randwrite", 1, 1),
    job("disk.randwrite", "randwrite", 16, 1),
    job("disk.randwrite", "randwrite", 16, 4),
    job("disk.mixed", "randrw", 1, 1),
    job("disk.mixed", "randrw", 16, 1),
    job("disk.mixed", "randrw", 16, 4),
    Job { block_bytes: 1 << 20, ..job("disk.seqread", "read", 1, 1) },
    Job { block_bytes: 1 << 20, ..job("disk.seqwrite", "write", 1, 1) },
];

/// One for each job.
pub(super) fn offers(scene: &Scene) -> Result<Vec<(String, Offer)>> {
    let lack = lack(&["fio", "--version"], "fio");
    JOBS.iter().map(|job| Ok((job.name(), offer(scene, *job, lack.clone())?))).collect()
}

fn offer(scene: &Scene, job: Job, lack: Option<String>) -> Result<Offer> {
    if let Some(lack) = scene.lacks_workload(job.workload).or(lack) {
        return Ok(Err(lack));
    }
    let cpus = scene.one_cpu();
    let metrics = job.metrics();
    let pair = |(metric, unit): &(&'static str, &'static str)| Pair {
        name: format!("{}, {metric} / fio {}", job.name(), job.direction),
        unit,
        ours: Cell::headline(job.workload, metric),
    };
    Ok(Ok(Contest {
        name: job.name(),
        plan: Plan {
            cpus: cpus.to_vec(),
            memory_bytes: MEMORY_BYTES,
            slice: SLICE,
            workloads: vec![(job.workload, job.parameters())],
        },
        pairs: metrics.iter().map(pair).collect(),
        program: Program::new(cpus, &job.words().iter().map(String::as_str).collect::<Vec<_>>()),
        read: Box::new(move |ran| {
            let said = ran.said.get(ran.said.find("\n{").context("fio printed no JSON")?..).unwrap_or_default();
            let report = serde_json::Deserializer::from_str(said).into_iter::<Value>().next();
            figures(&report.context("fio printed no JSON")??, &job)
        }),
        notes: vec![first_line(&["fio", "--version"])?],
    }))
}

impl Job {
    fn name(&self) -> String {
        format!("{}-{}x{}", self.workload, self.depth, self.jobs)
    }

    fn counts_bytes(&self) -> bool {
        !self.direction.starts_with("rand")
    }

    /// Names and units. Percentiles of a mixture are left out: fio has them of reads and writes by themselves.
    fn metrics(&self) -> Vec<(&'static str, &'static str)> {
        let rate = if self.counts_bytes() { ("throughput", "B/s") } else { ("iops", "1/s") };
        let latencies: &[_] =
            if self.direction == "randrw" { &[] } else { &[("latency.p50", "s"), ("latency.p99", "s")] };
        [&[rate], latencies, &[("cpu", "s")]].concat()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("file_bytes", FILE_BYTES.to_string()),
            ("depth", self.depth.to_string()),
            ("jobs", self.jobs.to_string()),
            ("engine", "\"aio\"".to_owned()),
        ]
    }

    /// Each job has its part of one file, which is written before, as ours.
    fn words(&self) -> Vec<String> {
        let part = FILE_BYTES / self.jobs;
        let own = [
            format!("--rw={}", self.direction),
            format!("--bs={}", self.block_bytes),
            format!("--iodepth={}", self.depth),
            format!("--numjobs={}", self.jobs),
            format!("--size={part}"),
            format!("--offset_increment={part}"),
            format!("--runtime={SECONDS}"),
        ];
        let same = "fio --name=job --filename=file --ioengine=libaio --direct=1 --thread --rwmixread=70 --norandommap \
                    --overwrite=1 --fallocate=none --unlink=1 --time_based --ramp_time=300ms --group_reporting --lat_percentiles=1 \
                    --output-format=json";
        same.split_ascii_whitespace().map(str::to_owned).chain(own).collect()
    }
}

/// Out of fio's report, in the order of the metrics.
fn figures(report: &Value, job: &Job) -> Result<Vec<f64>> {
    let sides: &[_] = match job.direction {
        "randrw" => &["read", "write"],
        "read" | "randread" => &["read"],
        _ => &["write"],
    };
    let all = &report["jobs"][0];
    let sum = |name: &str| -> Option<f64> { sides.iter().map(|side| all[side][name].as_f64()).sum() };
    let percentile = |which: &str| Some(all[sides[0]]["lat_ns"]["percentile"][which].as_f64()? / 1e9);
    let figure = |metric: &str| match metric {
        "iops" => sum("iops"),
        "throughput" => sum("bw_bytes"),
        "cpu" => cpu_seconds(all, sum(if job.counts_bytes() { "io_bytes" } else { "total_ios" })?),
        "latency.p50" => percentile("50.000000"),
        _ => percentile("99.000000"),
    };
    let read = |(metric, _): &(&str, &str)| figure(metric).with_context(|| format!("fio's report has no {metric}"));
    job.metrics().iter().map(read).collect()
}

/// CPU time of all threads for each request or byte: shares are percent of what the threads ran together.
fn cpu_seconds(all: &Value, work: f64) -> Option<f64> {
    let share = (all["usr_cpu"].as_f64()? + all["sys_cpu"].as_f64()?) / 100.0;
    Some(share * all["job_runtime"].as_f64()? / 1e3 / work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_read_from_the_side_that_was_measured() {
        let side = |iops: f64| {
            json!({"iops": iops, "bw_bytes": iops * 4096.0, "total_ios": iops, "io_bytes": iops * 4096.0,
                   "lat_ns": {"percentile": {"50.000000": 30_000, "99.000000": 80_000}}})
        };
        let report = json!({"jobs": [{"read": side(70.0), "write": side(30.0),
                                     "usr_cpu": 5.0, "sys_cpu": 20.0, "job_runtime": 2000}]});
        let read = |direction| figures(&report, &job("disk.x", direction, 1, 1)).expect("it is there");
        assert_eq!(read("randrw"), [100.0, 0.5 / 100.0]);
        assert_eq!(read("randwrite"), [30.0, 30e-6, 80e-6, 0.5 / 30.0]);
        assert_eq!(read("read"), [70.0 * 4096.0, 30e-6, 80e-6, 0.5 / (70.0 * 4096.0)]);
        let error = figures(&json!({}), &JOBS[0]).expect_err("nothing is there").to_string();
        assert_eq!(error, "fio's report has no iops");
    }

    #[test]
    fn both_sides_get_the_same_sizes() {
        let deep = job("disk.randread", "randread", 16, 4);
        let words = deep.words().join(" ");
        for part in ["--iodepth=16", "--numjobs=4", "--size=67108864", "--offset_increment=67108864", "--bs=4096"] {
            assert!(words.contains(part), "{words}");
        }
        assert!(deep.parameters().contains(&("file_bytes", FILE_BYTES.to_string())));
    }
}
