//! A sweep as what it is: the headline metric of one workload at all its points, a row for each, in the order in which
//! it reads as a curve.
//!
//! Which points and environments there are, how they are sorted and grouped, and what a cell says is settled here for
//! all formats. Nothing is derived, and nothing is drawn: that is [`super::curves`].

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::environments::{About, is_control};
use super::missing::{self, is_missing};
use super::words::{self, CONTROL, HEAVY_TAIL, Tone, clean};
use super::{advice, points, units};
use crate::analysis::Findings;
use crate::analysis::findings::{Comparison, MishapFindings};

/// What stands in the place of an interval that there is none of.
const NO_INTERVAL: &str = "[–]";
/// Different places on an axis from which on there is a course to see.
pub(super) const PLACES_MIN: usize = 3;
/// What stands over all sweeps.
pub(super) const TITLE: &str = "Point by point";
/// What is to be known before they are read.
pub(super) const INTRODUCTION: &str =
    "Costs [95 %] against native at every point. Points marked * are tested; all others were only seen.";
/// What marks a figure that is not to be used.
const SPOILED_MARK: &str = "!";

/// All points of a workload's headline metric, as the findings have them.
pub(super) struct Swept<'a> {
    workload: &'a str,
    metric: &'a str,
    tested: Vec<Option<&'a Value>>,
    points: Vec<Vec<&'a Comparison>>,
}

/// What becomes of the figures of a metric at a point.
pub(super) enum Place {
    /// They are a row of the sweep.
    Row,
    /// Another metric, at the point that is tested.
    Beside,
    /// Another metric, at a point that is not.
    Further,
}

impl<'a> Swept<'a> {
    /// Every workload whose headline metric has more than one point. Without its tested point a workload's first metric
    /// counts as the headline: workloads declare theirs first.
    pub(super) fn all(panels: &[Vec<&'a Comparison>]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for first in panels.iter().filter_map(|cells| cells.first()) {
            let place = all.iter().position(|it| it.workload == first.workload).unwrap_or_else(|| {
                all.push(Self { workload: &first.workload, metric: &first.metric, tested: vec![], points: vec![] });
                all.len() - 1
            });
            if first.headline {
                all[place].metric = &first.metric;
                all[place].tested.push(first.point.as_ref());
            }
        }
        for it in &mut all {
            it.points = panels.iter().filter(|cells| it.holds(cells)).cloned().collect();
        }
        all.retain(|it| it.points.len() > 1);
        all
    }

    fn holds(&self, cells: &[&Comparison]) -> bool {
        cells.first().is_some_and(|first| first.workload == self.workload && first.metric == self.metric)
    }

    /// The workload.
    pub(super) fn workload(&self) -> &'a str {
        self.workload
    }

    /// Where figures of this workload belong.
    pub(super) fn place(&self, cell: &Comparison) -> Place {
        match (cell.metric == self.metric, self.tested.contains(&cell.point.as_ref())) {
            (true, _) => Place::Row,
            (false, true) => Place::Beside,
            (false, false) => Place::Further,
        }
    }
}

/// A sweep, arranged.
#[derive(Debug, Serialize)]
pub(super) struct Sweep {
    /// `family.name`.
    pub(super) workload: String,
    /// The headline metric.
    pub(super) metric: String,
    /// `higher is better` or `lower is better`.
    pub(super) better: String,
    /// Base unit of the values.
    pub(super) unit: String,
    /// The axis along which the rows of a group go; empty where no axis has numbers.
    pub(super) axis: String,
    /// The environments in the plan's order, then the control; native is in each row.
    pub(super) columns: Vec<Column>,
    /// Its points, group by group.
    pub(super) rows: Vec<SweepRow>,
    /// What marks mean, and sentences about single figures.
    pub(super) notes: Vec<String>,
}

/// An environment of a sweep.
#[derive(Debug, Serialize)]
pub(super) struct Column {
    /// Its name with its labels; `control`.
    pub(super) name: String,
    /// Whether it is the control.
    pub(super) control: bool,
}

/// A point.
#[derive(Debug, Serialize)]
pub(super) struct SweepRow {
    /// All its values: `size=4 KiB, pages=4k`.
    pub(super) point: String,
    /// Those off the axis: `pages=4k`. Rows with the same stand together.
    pub(super) group: String,
    /// Whether it begins another group than the row before it.
    pub(super) begins_group: bool,
    /// Its place on the axis.
    #[serde(skip)]
    pub(super) at: Option<f64>,
    /// The same in words: `4 KiB`.
    pub(super) at_words: String,
    /// Whether it is tested.
    pub(super) tested: bool,
    /// Native's value, or why there is none.
    pub(super) native: String,
    /// Where a drawing puts it.
    #[serde(skip)]
    pub(super) native_value: Option<f64>,
    /// One for each column.
    pub(super) cells: Vec<Cell>,
}

/// An environment at a point.
#[derive(Debug, Default, Serialize)]
pub(super) struct Cell {
    /// The cost alone, or why there is none: `missing`, `-`.
    pub(super) cost: String,
    /// Its interval and the mark of a spoiled figure: `[22, 28] !`.
    pub(super) interval: String,
    /// The value with a unit for people; empty without one.
    pub(super) value: String,
    /// How it is to be seen; `None` without a figure.
    pub(super) tone: Option<Tone>,
    /// Where a drawing puts it.
    #[serde(skip)]
    pub(super) drawn: Option<Drawn>,
}

/// A figure for a drawing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn {
    pub(super) value: f64,
    pub(super) baseline: f64,
    pub(super) cost_interval: Option<[f64; 2]>,
    pub(super) higher_is_better: bool,
}

impl SweepRow {
    /// The point, with a mark where it is tested.
    pub(super) fn marked_point(&self) -> String {
        if self.tested { format!("{} *", self.point) } else { self.point.clone() }
    }
}

impl Cell {
    /// Cost and interval: `+25 % [22, 28]`.
    pub(super) fn whole(&self) -> String {
        format!("{} {}", self.cost, self.interval).trim_end().to_owned()
    }

    /// The figure of a comparison.
    pub(super) fn of(comparison: &Comparison, about: &About<'_>) -> Self {
        let is_spoiled = about.is_spoiled(&comparison.environment) && !is_control(comparison);
        let tone = match is_control(comparison) {
            true => words::control_verdict(comparison).1,
            false => words::verdict(comparison, is_spoiled).1,
        };
        // A point that is not tested has no verdict, whatever its interval is.
        let tone = match tone {
            Tone::Spoiled | Tone::Emulated => tone,
            tone if comparison.headline => tone,
            _ => Tone::Open,
        };
        let (cost, interval) = units::cost_and_interval(comparison.cost, comparison.cost_ci95);
        let interval = interval.unwrap_or_else(|| NO_INTERVAL.to_owned());
        let mark = if tone == Tone::Spoiled { format!(" {SPOILED_MARK}") } else { String::new() };
        Self {
            cost,
            interval: format!("{interval}{mark}"),
            value: clean(&units::quantity(comparison.value, &comparison.unit)),
            tone: Some(tone),
            drawn: Some(Drawn {
                value: comparison.value,
                baseline: comparison.baseline_value,
                cost_interval: comparison.cost_ci95,
                higher_is_better: comparison.better != "lower",
            }),
        }
    }

    /// There is none, whatever the reason.
    pub(super) fn absent() -> Self {
        Self::without(ABSENT)
    }

    fn without(words: &str) -> Self {
        Self { cost: words.to_owned(), ..Self::default() }
    }
}

impl Sweep {
    /// Arranges a sweep.
    pub(super) fn of(swept: &Swept<'_>, findings: &Findings, about: &About<'_>) -> Self {
        let first = swept.points[0][0];
        let lacks = Lacks::of(findings, swept.workload);
        let environments = environments(swept, findings, &lacks);
        let mut points: Vec<(Option<&Value>, &[&Comparison])> =
            swept.points.iter().map(|cells| (cells[0].point.as_ref(), cells.as_slice())).collect();
        for point in lacks.0.iter().filter_map(|mishap| mishap.point.as_ref()) {
            if !points.iter().any(|(known, _)| *known == Some(point)) {
                points.push((Some(point), &[]));
            }
        }
        let axis = axis(&points.iter().map(|(point, _)| *point).collect::<Vec<_>>());
        let rows = points.iter().map(|(point, cells)| row(*point, cells, &environments, &lacks, axis, about)).collect();
        let mut sweep = Self {
            workload: clean(swept.workload),
            metric: clean(swept.metric),
            better: if first.better == "lower" { "lower is better" } else { "higher is better" }.to_owned(),
            unit: clean(&first.unit),
            axis: axis.map_or_else(String::new, |key| clean(points::axis_name(key))),
            columns: environments.iter().map(|environment| column(environment, about)).collect(),
            rows: sorted(rows),
            notes: Vec::new(),
        };
        sweep.notes = sweep.legend().into_iter().chain(notes(swept, about)).collect();
        sweep
    }

    /// What the marks mean that it has.
    fn legend(&self) -> Vec<String> {
        let has = |what: &dyn Fn(&Cell) -> bool| self.rows.iter().flat_map(|row| &row.cells).any(what);
        let natives = |words: &str| self.rows.iter().any(|row| row.native == words);
        let legend = [
            (has(&|cell| cell.tone == Some(Tone::Spoiled)), "!: spoiled, not as asked: not to be used."),
            (
                has(&|cell| cell.interval.starts_with(NO_INTERVAL)),
                "[–]: no interval: a single block, or one without bounds.",
            ),
            (
                has(&|cell| cell.cost == MISSING) || natives(MISSING),
                "missing: lacking there; the reason stands under “Could not run here”.",
            ),
            (has(&|cell| cell.cost == ABSENT) || natives(ABSENT), "-: no value in a finished block on both sides."),
        ];
        legend.into_iter().filter(|(applies, _)| *applies).map(|(_, words)| words.to_owned()).collect()
    }
}

/// The environment lacks what the point needs.
const MISSING: &str = "missing";
/// There is no value, whatever failed.
const ABSENT: &str = "-";

/// What environments lacked for points of a workload.
struct Lacks<'a>(Vec<&'a MishapFindings>);

impl<'a> Lacks<'a> {
    fn of(findings: &'a Findings, workload: &str) -> Self {
        let of_workload = |mishap: &&MishapFindings| mishap.workload.as_deref() == Some(workload);
        Self(findings.mishaps.iter().filter(|mishap| is_missing(mishap)).filter(of_workload).collect())
    }

    fn words(&self, environment: &str, point: Option<&Value>) -> &'static str {
        let is_it = |mishap: &&&MishapFindings| missing::who(mishap) == environment && mishap.point.as_ref() == point;
        if self.0.iter().any(|mishap| is_it(&mishap)) { MISSING } else { ABSENT }
    }
}

/// Whoever has a value at a point or is known to lack something: the plan's order, strangers, the control.
fn environments<'a>(swept: &Swept<'a>, findings: &'a Findings, lacks: &Lacks<'a>) -> Vec<&'a str> {
    let cells = || swept.points.iter().flatten();
    let measured = cells().map(|cell| cell.environment.as_str());
    let seen: BTreeSet<&str> = measured.chain(lacks.0.iter().map(|mishap| missing::who(mishap))).collect();
    let planned = findings.environments.iter().map(|environment| environment.name.as_str());
    let mut environments: Vec<&str> = planned.filter(|name| *name != "native" && seen.contains(name)).collect();
    for cell in cells().filter(|cell| !is_control(cell)) {
        if !environments.contains(&cell.environment.as_str()) {
            environments.push(&cell.environment);
        }
    }
    environments.extend(cells().any(|cell| is_control(cell)).then_some(CONTROL));
    environments
}

fn column(environment: &str, about: &About<'_>) -> Column {
    match environment {
        CONTROL => Column { name: "control".to_owned(), control: true },
        name => Column { name: words::name_with_labels(name, about.labels(name)), control: false },
    }
}

fn row(
    point: Option<&Value>,
    cells: &[&Comparison],
    environments: &[&str],
    lacks: &Lacks<'_>,
    axis: Option<&str>,
    about: &About<'_>,
) -> SweepRow {
    let cell = |environment: &&str| match cells.iter().find(|cell| cell.environment == *environment) {
        Some(cell) => Cell::of(cell, about),
        None => Cell::without(lacks.words(environment, point)),
    };
    let on_axis = axis.and_then(|key| Some((key, point?.get(key)?)));
    let first = cells.first();
    SweepRow {
        point: clean(&points::axes(point)),
        group: clean(&off_axis(point, axis)),
        begins_group: false,
        at: on_axis.and_then(|(_, value)| value.as_f64()),
        at_words: on_axis.map_or_else(String::new, |(key, value)| clean(&points::axis_value(key, value))),
        tested: first.is_some_and(|first| first.headline),
        native: first.map_or_else(
            || lacks.words("native", point).to_owned(),
            |first| clean(&units::quantity(first.baseline_value, &first.unit)),
        ),
        native_value: first.map(|first| first.baseline_value),
        cells: environments.iter().map(cell).collect(),
    }
}

/// The axis with the most different numbers; the first of several.
fn axis<'a>(points: &[Option<&'a Value>]) -> Option<&'a str> {
    let fields = || points.iter().filter_map(|point| point.and_then(Value::as_object)).flatten();
    let keys: BTreeSet<&str> = fields().map(|(key, _)| key.as_str()).collect();
    let different = |wanted: &str| {
        let numbers: Option<Vec<f64>> = fields().filter(|(key, _)| *key == wanted).map(|(_, it)| it.as_f64()).collect();
        let mut numbers = numbers.unwrap_or_default();
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        numbers.len()
    };
    let several = keys.into_iter().map(|key| (different(key), key)).filter(|(count, _)| *count > 1);
    several.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, key)| key)
}

fn off_axis(point: Option<&Value>, axis: Option<&str>) -> String {
    let mut point = point.cloned();
    if let (Some(Value::Object(fields)), Some(axis)) = (point.as_mut(), axis) {
        fields.remove(axis);
    }
    if axis.is_none() { String::new() } else { points::axes(point.as_ref()) }
}

/// By group, in the order in which groups were first met, then along the axis.
fn sorted(mut rows: Vec<SweepRow>) -> Vec<SweepRow> {
    let mut groups: Vec<String> = Vec::new();
    for row in &rows {
        if !groups.contains(&row.group) {
            groups.push(row.group.clone());
        }
    }
    let group = |row: &SweepRow| groups.iter().position(|group| *group == row.group);
    let at = |row: &SweepRow| row.at.unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| group(a).cmp(&group(b)).then_with(|| at(a).total_cmp(&at(b))));
    for number in 1..rows.len() {
        rows[number].begins_group = rows[number].group != rows[number - 1].group;
    }
    rows
}

/// Sentences about figures of points that are not tested: those of the tested one stand with its verdict. The same
/// sentence about several points stands once.
fn notes(swept: &Swept<'_>, about: &About<'_>) -> Vec<String> {
    let mut notes: Vec<(String, String, Vec<String>)> = Vec::new();
    for cell in swept.points.iter().flatten().filter(|cell| !cell.headline) {
        let own = advice::own_labels(cell, about.labels(&cell.environment));
        for note in own.filter_map(|label| short_note(cell, label)) {
            let (who, point) = (advice::who(cell), clean(&points::axes(cell.point.as_ref())));
            match notes.iter_mut().find(|(other, said, _)| (other, said) == (&who, &note)) {
                Some((_, _, points)) => points.push(point),
                None => notes.push((who, note, vec![point])),
            }
        }
    }
    notes.iter().map(|(who, note, points)| format!("{who}, {}: {note}.", missing::named(points))).collect()
}

/// Without figures, which would make a sentence for each point.
fn short_note(cell: &Comparison, label: &str) -> Option<String> {
    match label {
        HEAVY_TAIL => Some("heavy tail: the typical cost differs from this average".to_owned()),
        other => advice::note(cell, other),
    }
}

/// What is left out of formats for reading: metrics beside the headline, at points that are not tested.
pub(super) fn left_out(further: &[[String; 2]]) -> Option<String> {
    let mut by_workload: Vec<(&str, Vec<&str>)> = Vec::new();
    for [workload, metric] in further {
        match by_workload.iter_mut().find(|(name, _)| name == workload) {
            Some((_, metrics)) if metrics.contains(&metric.as_str()) => {}
            Some((_, metrics)) => metrics.push(metric),
            None => by_workload.push((workload, vec![metric])),
        }
    }
    let parts: Vec<String> =
        by_workload.iter().map(|(workload, metrics)| format!("{workload}: {}", metrics.join(", "))).collect();
    (!parts.is_empty()).then(|| {
        format!(
            "Left out here, of points that are not tested: {}. `plimsoll report RUN.sqlite --format html` has them, \
             and so has `--format json`.",
            parts.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::page::{Family, Page};

    fn memory(findings: &Findings) -> Family {
        let mut families = Page::of(findings).families;
        let place = families.iter().position(|family| family.name == "mem").unwrap();
        families.remove(place)
    }

    #[test]
    fn rows_are_sorted_along_the_axis_within_their_groups() {
        let sweeps = memory(&fixture::sweeps()).sweeps;
        let points = |sweep: &Sweep| sweep.rows.iter().map(SweepRow::marked_point).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(points(&sweeps[0]), @r"
        size=4 KiB, pages=4k
        size=32 KiB, pages=4k
        size=1 MiB, pages=4k
        size=16 MiB, pages=4k
        size=144 MiB, pages=4k *
        size=4 KiB, pages=huge
        size=32 KiB, pages=huge
        size=1 MiB, pages=huge
        size=16 MiB, pages=huge
        size=144 MiB, pages=huge
        size=512 MiB, pages=huge
        ");
        insta::assert_snapshot!(points(&sweeps[1]), @r"
        threads=1
        threads=2 *
        ");
        let begins: Vec<usize> = (0..11).filter(|number| sweeps[0].rows[*number].begins_group).collect();
        assert_eq!(begins, [5]);
    }

    #[test]
    fn no_figure_of_the_headline_metric_is_lost() {
        let findings = fixture::sweeps();
        let sweeps = memory(&findings).sweeps;
        let cells = findings.comparisons.iter().chain(&findings.control).filter(|cell| cell.metric != "pass.best");
        for cell in cells {
            let sweep = sweeps.iter().find(|sweep| sweep.workload == cell.workload).unwrap();
            let point = points::axes(cell.point.as_ref());
            let row = sweep.rows.iter().find(|row| row.point == point).unwrap();
            let name = advice::who(cell);
            let column = sweep.columns.iter().position(|column| column.name.split(" (").next() == Some(&name)).unwrap();
            let printed = &row.cells[column];
            let expected = units::cost_with_interval(cell.cost, cell.cost_ci95);
            assert!(printed.whole().starts_with(&expected), "{name}, {point}: {printed:?}");
            assert_eq!(printed.value, units::quantity(cell.value, &cell.unit));
        }
        let figures =
            sweeps.iter().flat_map(|sweep| &sweep.rows).flat_map(|row| &row.cells).filter(|cell| cell.tone.is_some());
        let pass_best = findings.comparisons.iter().chain(&findings.control).filter(|cell| cell.metric == "pass.best");
        assert_eq!(figures.count() + pass_best.count(), findings.comparisons.len() + findings.control.len());
    }

    #[test]
    fn other_metrics_stay_where_the_point_is_tested_and_are_named_elsewhere() {
        let family = memory(&fixture::sweeps());
        let names = |panels: &[crate::report::page::Panel]| {
            panels.iter().map(|panel| format!("{}: {}", panel.workload, panel.metric)).collect::<Vec<_>>()
        };
        assert_eq!(names(&family.exploratory), ["mem.copy, threads=2: pass.best"]);
        assert_eq!(names(&family.further), ["mem.copy, threads=1: pass.best"]);
        assert!(Page::of(&fixture::sweeps()).left_out.unwrap().contains("mem.copy: pass.best"));
        assert!(Page::of(&fixture::rich()).left_out.is_none());
    }

    #[test]
    fn a_point_without_its_tested_one_is_still_a_row() {
        let mut findings = fixture::sweeps();
        findings.comparisons.retain(|cell| !cell.headline);
        findings.control.retain(|cell| !cell.headline);
        let sweep = memory(&findings).sweeps.remove(0);
        assert_eq!((sweep.metric.as_str(), sweep.rows.len()), ("latency", 10));
        assert!(sweep.rows.iter().all(|row| !row.tested));
    }

    #[test]
    fn words_have_no_axis_and_keep_their_order() {
        let calls = ["getppid", "close"].map(|call| serde_json::json!({ "call": call }));
        let points: Vec<Option<&Value>> = calls.iter().map(Some).collect();
        assert_eq!(axis(&points), None);
        assert_eq!(off_axis(points[0], None), "");
    }

    #[test]
    fn the_axis_has_the_most_places() {
        let points = [(1, 4), (1, 8), (2, 8), (2, 16)].map(|(a, b)| serde_json::json!({"a_threads": a, "bytes": b}));
        let points: Vec<Option<&Value>> = points.iter().map(Some).collect();
        assert_eq!(axis(&points), Some("bytes"));
        assert_eq!(off_axis(points[0], Some("bytes")), "a_threads=1");
    }
}
