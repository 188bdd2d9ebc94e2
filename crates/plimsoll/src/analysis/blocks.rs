//! Block values: one number per launch, workload, point and metric. The natural logarithm of time per unit of work.
//!
//! `y = ln(sum of seconds / sum of work)` over the launch's measured, unspoiled slices: a stall weighs what it cost, and
//! no slice is dropped by its value. For a workload that the host times, `y = ln(seconds until ready)`; for a
//! percentile, its logarithm; for CPU time, that of its sum over the work of slices and lead-ins. Below the launch nothing is modelled: whatever slices do is inside the spread of blocks.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::cells::{Arranged, Cell, Measured, Slot};
use super::evidence::value_of;
use super::percentile::{merged, percentile_seconds};
use crate::sample::{Evidence, MetricKindRecord, MetricRecord};

/// Largest absolute logarithm that is believed; beyond it ratios of two would leave `f64`.
const LOG_MAX: f64 = 300.0;

/// Why a launch has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// It did not measure all that the others of its group measured, or nothing that can be used.
    NotMeasured,
    /// Too few samples for the percentile.
    TooFewSamples,
}

/// The values of one cell: per launch, one for each of the metrics asked for.
pub(super) type BlockValues = BTreeMap<Slot, Vec<Result<f64, Gap>>>;

/// A cell with its block values on some of its workload's metrics.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) cell: &'a Cell<'a>,
    pub(super) metrics: Vec<&'a MetricRecord>,
    pub(super) values: BlockValues,
}

/// The block values of every cell, on the metrics that are wanted.
pub(super) fn tables<'a>(arranged: &'a Arranged<'a>, wanted: fn(&Cell<'_>, &MetricRecord) -> bool) -> Vec<Table<'a>> {
    let table = |cell: &'a Cell<'a>| {
        let metrics: Vec<&MetricRecord> = cell.workload.metrics.iter().filter(|metric| wanted(cell, metric)).collect();
        Table { cell, values: block_values(cell, &metrics, arranged.record.plan.slices as usize), metrics }
    };
    arranged.cells.iter().map(table).collect()
}

fn block_values(cell: &Cell<'_>, metrics: &[&MetricRecord], planned: usize) -> BlockValues {
    let fullest = fullest_by_group(cell);
    let values_of = |slot: &Slot, measured: &Measured<'_>| {
        if cell.is_measured_by_launch() {
            return metrics.iter().map(|metric| ready_value(measured, metric)).collect();
        }
        // A launch that the host disturbed has more slices than were planned.
        let expected = fullest.get(&(slot.block, slot.group)).copied().unwrap_or(0).min(planned);
        // Slices interleave, so a launch with fewer than the others of its group failed on the way: a mishap says how.
        if measured.slices.len() < expected {
            return vec![Err(Gap::NotMeasured); metrics.len()];
        }
        slice_values(measured, metrics)
    };
    cell.launches.iter().map(|(slot, measured)| (*slot, values_of(slot, measured))).collect()
}

fn fullest_by_group(cell: &Cell<'_>) -> BTreeMap<(u32, u32), usize> {
    let mut fullest = BTreeMap::new();
    for (slot, measured) in &cell.launches {
        let most = fullest.entry((slot.block, slot.group)).or_insert(0);
        *most = measured.slices.len().max(*most);
    }
    fullest
}

fn ready_value(measured: &Measured<'_>, metric: &MetricRecord) -> Result<f64, Gap> {
    match metric.kind {
        MetricKindRecord::Rate | MetricKindRecord::Time => log(measured.launch.ready_seconds).ok_or(Gap::NotMeasured),
        MetricKindRecord::CpuTime | MetricKindRecord::Percentile { .. } => Err(Gap::NotMeasured),
    }
}

fn slice_values(measured: &Measured<'_>, metrics: &[&MetricRecord]) -> Vec<Result<f64, Gap>> {
    let mut histograms: BTreeMap<&str, Option<Histogram<u64>>> = BTreeMap::new();
    let mut values = Vec::with_capacity(metrics.len());
    for metric in metrics {
        values.push(match &metric.kind {
            MetricKindRecord::Rate | MetricKindRecord::Time => time_per_work(measured).ok_or(Gap::NotMeasured),
            MetricKindRecord::CpuTime => cpu_per_work(measured).ok_or(Gap::NotMeasured),
            MetricKindRecord::Percentile { histogram, p } => {
                let whole = histograms.entry(histogram).or_insert_with(|| merged(measured.sound(), histogram));
                percentile_value(whole.as_ref(), *p)
            }
        });
    }
    values
}

fn percentile_value(histogram: Option<&Histogram<u64>>, p: f64) -> Result<f64, Gap> {
    let seconds = percentile_seconds(histogram.ok_or(Gap::NotMeasured)?, p).ok_or(Gap::TooFewSamples)?;
    log(seconds).ok_or(Gap::NotMeasured)
}

fn time_per_work(measured: &Measured<'_>) -> Option<f64> {
    let (mut seconds, mut work) = (0.0, 0.0);
    for bundle in measured.sound() {
        seconds += bundle.slice.seconds_inside;
        work += bundle.slice.work;
    }
    log(seconds / work)
}

/// CPU time over work, of the slices together with their lead-ins. Without one of the rows there is no figure.
fn cpu_per_work(measured: &Measured<'_>) -> Option<f64> {
    let (mut seconds, mut work) = (0.0, 0.0);
    for bundle in measured.sound() {
        seconds += value_of(&bundle.evidence_host, Evidence::CPU)?;
        work += value_of(&bundle.evidence_inside, Evidence::WORK_WITH_LEAD_IN)?;
    }
    log(seconds / work)
}

/// The logarithm of what can be a time per unit of work: a positive number of any believable size.
fn log(number: f64) -> Option<f64> {
    let log = number.ln();
    (number > 0.0 && log.abs() <= LOG_MAX).then_some(log)
}
