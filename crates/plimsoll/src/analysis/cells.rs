//! What belongs together: launches by their place in the design, slices by workload, point and launch.
//!
//! Nothing is computed here. Rows are put in the order of their numbers, so that the order in which a record lists them
//! cannot change a sum.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::finished::finished;
use crate::sample::{LaunchRecord, Phase, RunRecord, SliceBundle, WorkloadRecord};

/// A launch's place in the design: block, group, and which arm. Ordered as the blocks were run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) block: u32,
    pub(super) group: u32,
    pub(super) environment: u32,
    pub(super) replica: u32,
}

impl Slot {
    fn of(launch: &LaunchRecord) -> Self {
        let LaunchRecord { block, group, arm, .. } = launch;
        Self { block: *block, group: *group, environment: arm.environment, replica: arm.replica }
    }
}

/// A launch with its measured slices of one workload at one point.
#[derive(Debug, Clone)]
pub(super) struct Measured<'a> {
    pub(super) launch: &'a LaunchRecord,
    /// In the order of their numbers, the spoiled ones among them.
    pub(super) slices: Vec<&'a SliceBundle>,
}

impl<'a> Measured<'a> {
    /// The slices that a figure may use.
    pub(super) fn sound(&self) -> impl Iterator<Item = &'a SliceBundle> {
        self.slices.iter().copied().filter(|bundle| bundle.slice.spoiled.is_none())
    }
}

/// One workload at one point, in every launch that could have measured it.
#[derive(Debug)]
pub(super) struct Cell<'a> {
    pub(super) workload: &'a WorkloadRecord,
    pub(super) point: Option<&'a str>,
    pub(super) launches: BTreeMap<Slot, Measured<'a>>,
}

impl Cell<'_> {
    /// Whether the host takes the time, once per launch.
    pub(super) fn is_measured_by_launch(&self) -> bool {
        self.workload.measured_by == "launch"
    }

    /// Whether this is the point of the workload that is tested.
    pub(super) fn is_tested(&self) -> bool {
        self.workload.tests(self.point)
    }

    /// The point as JSON; text that is no JSON stays text.
    pub(super) fn point_value(&self) -> Option<Value> {
        self.point.map(parse_point)
    }
}

/// A record, arranged.
#[derive(Debug)]
pub(super) struct Arranged<'a> {
    pub(super) record: &'a RunRecord,
    /// The blocks that count.
    pub(super) blocks: BTreeSet<u32>,
    /// In the order of the plan's workloads, then of their points; launches of blocks that count only.
    pub(super) cells: Vec<Cell<'a>>,
}

/// Arranges a record.
pub(super) fn arrange(record: &RunRecord) -> Arranged<'_> {
    let launches = launches_by_slot(record);
    let mut cells = all_cells(record, &launches);
    let blocks = finished(record, &cells);
    for cell in &mut cells {
        cell.launches.retain(|slot, _| blocks.contains(&slot.block));
    }
    Arranged { record, blocks, cells }
}

/// Should a record hold two launches of an arm in one place, the first counts.
fn launches_by_slot(record: &RunRecord) -> BTreeMap<Slot, &LaunchRecord> {
    let mut launches = BTreeMap::new();
    for launch in by_id(&record.launches) {
        launches.entry(Slot::of(launch)).or_insert(launch);
    }
    launches
}

/// The launches in the order of their numbers.
pub(super) fn by_id(launches: &[LaunchRecord]) -> Vec<&LaunchRecord> {
    let mut launches: Vec<&LaunchRecord> = launches.iter().collect();
    launches.sort_by_key(|launch| launch.id);
    launches
}

fn all_cells<'a>(record: &'a RunRecord, launches: &BTreeMap<Slot, &'a LaunchRecord>) -> Vec<Cell<'a>> {
    let mut slices = measured_slices(record);
    let mut cells = Vec::new();
    for workload in &record.plan.workloads {
        let points = slices.remove(workload.name.as_str()).unwrap_or_else(|| HashMap::from([(None, HashMap::new())]));
        let mut points: Vec<_> = points.into_iter().collect();
        points.sort_by(|(a, _), (b, _)| compare_points(*a, *b));
        cells.extend(points.into_iter().map(|(point, by_launch)| cell(workload, point, by_launch, launches)));
    }
    cells
}

type SlicesByLaunch<'a> = HashMap<u64, Vec<&'a SliceBundle>>;
type SlicesByPoint<'a> = HashMap<Option<&'a str>, SlicesByLaunch<'a>>;

fn measured_slices(record: &RunRecord) -> HashMap<&str, SlicesByPoint<'_>> {
    let mut slices: Vec<&SliceBundle> =
        record.slices.iter().filter(|bundle| bundle.slice.phase == Phase::Measured).collect();
    slices.sort_by_key(|bundle| bundle.slice.id);
    let mut grouped: HashMap<&str, SlicesByPoint<'_>> = HashMap::new();
    for bundle in slices {
        let points = grouped.entry(bundle.slice.workload.as_str()).or_default();
        let launches = points.entry(bundle.slice.point.as_deref()).or_default();
        launches.entry(bundle.slice.launch).or_default().push(bundle);
    }
    grouped
}

fn cell<'a>(
    workload: &'a WorkloadRecord,
    point: Option<&'a str>,
    mut slices: SlicesByLaunch<'a>,
    launches: &BTreeMap<Slot, &'a LaunchRecord>,
) -> Cell<'a> {
    let launches = launches
        .iter()
        .map(|(slot, launch)| (*slot, Measured { launch, slices: slices.remove(&launch.id).unwrap_or_default() }))
        .collect();
    Cell { workload, point, launches }
}

pub(super) fn parse_point(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// Numbers by size, so that 4 threads come before 16; whatever is left equal by that, as text.
fn compare_points(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare_values(&parse_point(a), &parse_point(b)).then_with(|| a.cmp(b)),
        _ => a.cmp(&b),
    }
}

fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN))
        }
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let unequal = keys
                .into_iter()
                .map(|key| compare_values(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null)));
            unequal.fold(Ordering::Equal, Ordering::then)
        }
        _ => a.to_string().cmp(&b.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_ordered_by_their_numbers() {
        let mut points = [Some(r#"{"threads":16}"#), None, Some("not json"), Some(r#"{"threads": 4}"#)];
        points.sort_by(|a, b| compare_points(*a, *b));
        assert_eq!(points, [None, Some("not json"), Some(r#"{"threads": 4}"#), Some(r#"{"threads":16}"#)]);
    }
}
