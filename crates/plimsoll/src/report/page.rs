//! A report arranged for people: families, workloads, rows, every cell already in words.
//!
//! Terminal, Markdown and HTML print the same page, so they cannot disagree. Everything here is cleaned of control
//! characters; what a format must escape beyond that, it escapes. No number is derived.

use std::collections::BTreeMap;

use serde::Serialize;

use super::advice::Sentence;
use super::counted::Counted;
use super::environments::{About, is_control};
use super::missing::{self, is_missing};
use super::points::{with_point, workload_with_point};
use super::sweep::{self, Place, Sweep, Swept};
use super::words::{self, Tone, clean};
use super::{advice, along, units};
use crate::analysis::Findings;
use crate::analysis::findings::Comparison;

/// The whole page.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    /// What ran, on what, how it ended.
    pub(super) what_ran: Vec<String>,
    /// What must be read before any number.
    pub(super) loud: Vec<String>,
    /// The answer in words.
    pub(super) answer: Vec<Sentence>,
    /// Families in the order of the findings.
    pub(super) families: Vec<Family>,
    /// Sweeps over environments.
    pub(super) along: Vec<Sweep>,
    /// What the formats for reading leave out, in a sentence.
    pub(super) left_out: Option<String>,
    /// What the numbers do not say.
    pub(super) warnings: Vec<String>,
    /// What to do for a sharper answer.
    pub(super) advice: Vec<String>,
    /// What failed.
    pub(super) mishaps: Vec<Mishap>,
    /// What could not run here, one line each.
    pub(super) unusable: Vec<String>,
}

/// The workloads of one family.
#[derive(Debug, Default, Serialize)]
pub(super) struct Family {
    /// Its word in workloads' names.
    pub(super) name: String,
    /// Its title.
    pub(super) title: String,
    /// Headline metrics, one per workload, at the point that is tested.
    pub(super) headline: Vec<Panel>,
    /// Headline metrics at all points, where a workload has several.
    pub(super) sweeps: Vec<Sweep>,
    /// The other metrics at the same points as the headline; they are not tested.
    pub(super) exploratory: Vec<Panel>,
    /// The other metrics at the other points: too many to be read from the top to the end.
    pub(super) further: Vec<Panel>,
}

/// One metric of one workload in every environment.
#[derive(Debug, Serialize)]
pub(super) struct Panel {
    /// `family.name` with its point.
    pub(super) workload: String,
    /// The same without its point.
    pub(super) workload_alone: String,
    /// The metric.
    pub(super) metric: String,
    /// `higher is better` or `lower is better`.
    pub(super) better: String,
    /// Native, the environments in the plan's order, the control.
    pub(super) rows: Vec<Row>,
    /// Sentences about single figures.
    pub(super) notes: Vec<String>,
    /// What was counted around the slices.
    pub(super) counted: Option<Counted>,
}

/// One environment in a panel.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Its name as written.
    pub(super) environment: String,
    /// The name with its labels.
    pub(super) name: String,
    /// The value with a unit for people.
    pub(super) value: String,
    /// The cost with its interval; empty for native.
    pub(super) cost: String,
    /// The cost alone; empty for native.
    pub(super) cost_alone: String,
    /// The verdict in words; empty for native.
    pub(super) verdict: String,
    /// How it is to be seen.
    pub(super) tone: Tone,
    /// Where a drawing puts it: the cost.
    #[serde(skip)]
    pub(super) at: f64,
    /// And its interval.
    #[serde(skip)]
    pub(super) span: Option<[f64; 2]>,
    /// Margin of equivalence, for the drawing.
    #[serde(skip)]
    pub(super) margin: f64,
}

/// A mishap in words.
#[derive(Debug, Serialize)]
pub(super) struct Mishap {
    /// Block, or empty before the first.
    pub(super) block: String,
    /// What it happened to.
    pub(super) what: String,
    /// Its kind.
    pub(super) cause: String,
    /// What happened.
    pub(super) message: String,
}

impl Page {
    /// Arranges what a run says.
    pub(super) fn of(findings: &Findings) -> Self {
        let families = families(findings);
        Self {
            what_ran: words::what_ran(findings),
            loud: advice::loud(findings),
            answer: advice::answer(findings),
            left_out: left_out(&families),
            along: along::sweeps(findings, &cells_by_panel(findings)),
            families,
            warnings: advice::warnings(findings),
            advice: advice::sharper(findings),
            mishaps: mishaps(findings),
            unusable: unusable(findings),
        }
    }
}

fn families(findings: &Findings) -> Vec<Family> {
    let about = About::of(findings);
    let panels = cells_by_panel(findings);
    let all_swept = Swept::all(&panels);
    let mut families: Vec<Family> = Vec::new();
    for cells in &panels {
        let Some(first) = cells.first() else { continue };
        let swept = all_swept.iter().find(|swept| swept.workload() == first.workload);
        let family = family_of(&mut families, &first.workload);
        match swept.map(|swept| swept.place(first)) {
            _ if first.headline => family.headline.push(panel(cells, &about)),
            // A row of the sweep that follows.
            Some(Place::Row) => {}
            Some(Place::Further) => family.further.push(panel(cells, &about)),
            Some(Place::Beside) | None => family.exploratory.push(panel(cells, &about)),
        }
    }
    for swept in &all_swept {
        family_of(&mut families, swept.workload()).sweeps.push(Sweep::of(swept, findings, &about));
    }
    families
}

/// The family of a workload; the first of its family makes it.
fn family_of<'a>(families: &'a mut Vec<Family>, workload: &str) -> &'a mut Family {
    let name = clean(workload.split('.').next().unwrap_or_default());
    let place = families.iter().position(|family| family.name == name).unwrap_or_else(|| {
        let title = words::family_title(&name);
        families.push(Family { name, title, ..Family::default() });
        families.len() - 1
    });
    &mut families[place]
}

fn left_out(families: &[Family]) -> Option<String> {
    let name = |panel: &Panel| [panel.workload_alone.clone(), panel.metric.clone()];
    sweep::left_out(&families.iter().flat_map(|family| &family.further).map(name).collect::<Vec<_>>())
}

/// Comparisons and controls of the same workload, point and metric together, in the order of the findings.
fn cells_by_panel(findings: &Findings) -> Vec<Vec<&Comparison>> {
    let mut places: BTreeMap<(&str, String, &str), usize> = BTreeMap::new();
    let mut panels: Vec<Vec<&Comparison>> = Vec::new();
    for cell in findings.comparisons.iter().chain(&findings.control) {
        let point = cell.point.as_ref().map(ToString::to_string).unwrap_or_default();
        let place = *places.entry((&cell.workload, point, &cell.metric)).or_insert(panels.len());
        if place == panels.len() {
            panels.push(Vec::new());
        }
        panels[place].push(cell);
    }
    panels
}

fn panel(cells: &[&Comparison], about: &About<'_>) -> Panel {
    let first = cells[0];
    let mut rows = vec![native_row(first)];
    rows.extend(cells.iter().map(|cell| if is_control(cell) { control_row(cell, about) } else { row(cell, about) }));
    Panel {
        workload: workload_with_point(first),
        workload_alone: clean(&first.workload),
        metric: clean(&first.metric),
        better: if first.better == "lower" { "lower is better" } else { "higher is better" }.to_owned(),
        rows,
        notes: cells.iter().flat_map(|cell| advice::notes(cell, about.labels(&cell.environment))).collect(),
        counted: Counted::of(cells),
    }
}

fn native_row(cell: &Comparison) -> Row {
    Row {
        environment: "native".to_owned(),
        name: "native".to_owned(),
        value: clean(&units::quantity(cell.baseline_value, &cell.unit)),
        cost: String::new(),
        cost_alone: String::new(),
        verdict: String::new(),
        tone: Tone::Native,
        at: 0.0,
        span: None,
        margin: cell.margin,
    }
}

fn row(cell: &Comparison, about: &About<'_>) -> Row {
    let (verdict, tone) = words::verdict(cell, about.is_spoiled(&cell.environment));
    Row {
        environment: clean(&cell.environment),
        name: words::name_with_labels(&cell.environment, about.labels(&cell.environment)),
        value: clean(&units::quantity(cell.value, &cell.unit)),
        cost: units::cost_with_interval(cell.cost, cell.cost_ci95),
        cost_alone: units::cost(cell.cost),
        verdict,
        tone,
        at: cell.cost,
        span: cell.cost_ci95,
        margin: cell.margin,
    }
}

fn control_row(cell: &Comparison, about: &About<'_>) -> Row {
    let (verdict, tone) = words::control_verdict(cell);
    Row {
        environment: "control".to_owned(),
        name: "control: native against itself".to_owned(),
        verdict,
        tone,
        ..row(cell, about)
    }
}

fn mishaps(findings: &Findings) -> Vec<Mishap> {
    findings.mishaps.iter().filter(|mishap| !is_missing(mishap)).map(mishap).collect()
}

fn mishap(mishap: &crate::analysis::findings::MishapFindings) -> Mishap {
    let workload = mishap.workload.as_ref().map(|workload| with_point(workload, mishap.point.as_ref()));
    let what: Vec<String> = mishap.environment.iter().map(|name| clean(name)).chain(workload).collect();
    Mishap {
        block: if mishap.block == 0 { "before block 1".to_owned() } else { format!("block {}", mishap.block) },
        what: if what.is_empty() { "the run".to_owned() } else { what.join(", ") },
        cause: clean(&mishap.cause),
        message: clean(&mishap.message),
    }
}

fn unusable(findings: &Findings) -> Vec<String> {
    findings.unusable.iter().map(unusable_line).chain(missing::lines(findings)).collect()
}

/// An environment that cannot run, why, and what helps.
pub(super) fn unusable_line(record: &crate::sample::UnusableRecord) -> String {
    let remedy = record.remedy.as_deref().map_or_else(String::new, |remedy| format!("; {remedy}"));
    clean(&format!("{}: {}{remedy}", record.environment, record.why))
}
