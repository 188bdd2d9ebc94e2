//! The report as one HTML file that needs nothing else: no network, no script, no font. It reads on a phone, in the dark
//! and on paper.
//!
//! Templates lie in `html/`; every text of the run passes the engine's escaping. The findings are embedded as JSON, so
//! that the file can be analysed again.

use std::collections::BTreeMap;
use std::io::{self, Write};

use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use super::along;
use super::curves::Curves;
use super::environments::spoiled;
use super::page::{Page, Panel, Row};
use super::plot::{Axis, Mark};
use super::sweep::{self, Sweep};
use super::words::{self, Tone, clean};
use super::{Format, units};
use crate::analysis::Findings;
use crate::analysis::findings::EnvironmentFindings;
use crate::sample::RunRecord;

const STYLE: &str = include_str!("html/style.css");
const TEMPLATES: [(&str, &str); 6] = [
    ("report.html", include_str!("html/report.html")),
    ("panel.html", include_str!("html/panel.html")),
    ("curves.html", include_str!("html/curves.html")),
    ("sweep.html", include_str!("html/sweep.html")),
    ("glance.html", include_str!("html/glance.html")),
    ("environment.html", include_str!("html/environment.html")),
];

/// `--format html`.
#[derive(Debug, Clone, Copy)]
pub struct Html;

impl Format for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn write(&self, findings: &Findings, _record: &RunRecord, writer: &mut dyn Write) -> io::Result<()> {
        let html = rendered(findings).map_err(io::Error::other)?;
        writer.write_all(html.as_bytes())
    }
}

fn rendered(findings: &Findings) -> Result<String, minijinja::Error> {
    let mut engine = Environment::new();
    engine.set_auto_escape_callback(|_| AutoEscape::Html);
    engine.set_trim_blocks(true);
    engine.set_lstrip_blocks(true);
    engine.set_keep_trailing_newline(true);
    // A number and its percent sign stay on one line.
    engine.add_filter("whole", |text: String| text.replace(" %", "\u{a0}%"));
    for (name, template) in TEMPLATES {
        engine.add_template(name, template)?;
    }
    let page = Page::of(findings);
    let families: Vec<Drawn<'_>> = page.families.iter().map(Drawn::of).collect();
    let along: Vec<DrawnSweep<'_>> = page.along.iter().map(DrawnSweep::of).collect();
    engine.get_template("report.html")?.render(context! {
        style => Value::from_safe_string(STYLE.to_owned()),
        json => Value::from_safe_string(embedded_json(findings)),
        run => run(findings),
        design => design(findings),
        glance => glance(&page, findings),
        environments => environments(findings),
        host => pairs(&findings.run.host),
        sweeps => context! { title => sweep::TITLE, introduction => sweep::INTRODUCTION },
        families => families,
        along => context! { title => along::TITLE, introduction => along::INTRODUCTION, sweeps => along },
        page => page,
    })
}

/// JSON that ends no script element and opens no comment, whatever the run's texts are.
fn embedded_json(findings: &Findings) -> String {
    let json = serde_json::to_string_pretty(findings).unwrap_or_else(|_| "null".to_owned());
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[derive(Serialize)]
struct Drawn<'a> {
    title: &'a str,
    headline: Vec<DrawnPanel<'a>>,
    sweeps: Vec<DrawnSweep<'a>>,
    exploratory: Vec<DrawnPanel<'a>>,
    further: Vec<DrawnPanel<'a>>,
}

#[derive(Serialize)]
struct DrawnSweep<'a> {
    sweep: &'a Sweep,
    curves: Option<Curves>,
}

#[derive(Serialize)]
struct DrawnPanel<'a> {
    panel: &'a Panel,
    axis: Axis,
    rows: Vec<DrawnRow<'a>>,
}

#[derive(Serialize)]
struct DrawnRow<'a> {
    row: &'a Row,
    mark: Mark,
}

impl<'a> Drawn<'a> {
    fn of(family: &'a super::page::Family) -> Self {
        let drawn = |panels: &'a [Panel]| panels.iter().map(DrawnPanel::of).collect();
        Self {
            title: &family.title,
            headline: drawn(&family.headline),
            sweeps: family.sweeps.iter().map(DrawnSweep::of).collect(),
            exploratory: drawn(&family.exploratory),
            further: drawn(&family.further),
        }
    }
}

impl<'a> DrawnSweep<'a> {
    fn of(sweep: &'a Sweep) -> Self {
        Self { sweep, curves: Curves::of(sweep) }
    }
}

impl<'a> DrawnPanel<'a> {
    fn of(panel: &'a Panel) -> Self {
        let axis = Axis::of(panel);
        let rows = panel.rows.iter().map(|row| DrawnRow { row, mark: axis.mark(row.at, row.span) }).collect();
        Self { panel, axis, rows }
    }
}

#[derive(Serialize)]
struct Glance<'a> {
    workloads: Vec<&'a str>,
    rows: Vec<GlanceRow<'a>>,
}

#[derive(Serialize)]
struct GlanceRow<'a> {
    name: String,
    cells: Vec<Option<&'a Row>>,
}

/// Environments down, headline metrics across.
fn glance<'a>(page: &'a Page, findings: &Findings) -> Glance<'a> {
    let panels: Vec<&Panel> = page.families.iter().flat_map(|family| &family.headline).collect();
    let in_panel = |panel: &&'a Panel, name: &str| {
        panel
            .rows
            .iter()
            .find(|row| row.environment == name && !matches!(row.tone, Tone::Native | Tone::Control | Tone::Alarm))
    };
    let row = |environment: &EnvironmentFindings| {
        let name = clean(&environment.name);
        let cells: Vec<Option<&Row>> = panels.iter().map(|panel| in_panel(panel, &name)).collect();
        let name = words::name_with_labels(&environment.name, &environment.labels);
        cells.iter().any(Option::is_some).then_some(GlanceRow { name, cells })
    };
    let rows = findings.environments.iter().filter_map(row).collect();
    Glance { workloads: panels.iter().map(|panel| panel.workload.as_str()).collect(), rows }
}

fn run(findings: &Findings) -> Value {
    let run = &findings.run;
    context! {
        id => clean(&run.id),
        started => clean(&run.started),
        plimsoll => clean(&run.plimsoll),
        seed => run.seed.to_string(),
        schema => findings.schema,
    }
}

/// The design in words, for the paragraph on the method.
fn design(findings: &Findings) -> Value {
    let design = &findings.design;
    let family = findings.comparisons.iter().map(|cell| cell.family_size).max().unwrap_or(0);
    context! {
        blocks => units::count(design.blocks, "block"),
        slices => units::count(design.slices, "slice"),
        slice => units::duration(design.slice_seconds_min),
        margin => units::share(design.margin),
        adjustment => match design.adjustment.as_str() {
            "holm" => "Holm's method".to_owned(),
            "westfall-young" => "Westfall and Young's method".to_owned(),
            other => clean(other),
        },
        family => units::count(family, "comparison"),
        shared => findings.environments.iter().any(|environment| environment.labels.iter().any(|label| label == "shared cpu")),
    }
}

#[derive(Serialize)]
struct Seen {
    name: String,
    labels: Vec<String>,
    spoiled: bool,
    mismatches: Vec<String>,
    asked: Vec<[String; 3]>,
    other: Vec<[String; 2]>,
}

fn environments(findings: &Findings) -> Vec<Seen> {
    let spoiled = spoiled(findings);
    findings
        .environments
        .iter()
        .map(|environment| seen(environment, spoiled.contains(environment.name.as_str())))
        .collect()
}

fn seen(environment: &EnvironmentFindings, spoiled: bool) -> Seen {
    let got = |key: &String| environment.got.get(key).map_or_else(|| "not seen".to_owned(), |value| clean(value));
    let asked = environment.asked.iter().map(|(key, value)| [clean(key), clean(value), got(key)]).collect();
    let other = environment.got.iter().filter(|(key, _)| !environment.asked.contains_key(*key));
    Seen {
        name: clean(&environment.name),
        labels: environment.labels.iter().map(|label| clean(label)).collect(),
        spoiled: spoiled || !environment.mismatches.is_empty(),
        mismatches: environment.mismatches.iter().map(|mismatch| clean(mismatch)).collect(),
        asked,
        other: other.map(|(key, value)| [clean(key), clean(value)]).collect(),
    }
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<[String; 2]> {
    map.iter().map(|(key, value)| [clean(key), clean(value)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    const VOID: [&str; 8] = ["meta", "link", "br", "hr", "img", "input", "col", "!doctype"];

    /// Every element that opens also closes, in order. Fails on a `<` that is no tag.
    fn check_nesting(html: &str) {
        let mut open: Vec<String> = Vec::new();
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            let end = start + rest[start..].find('>').expect("a tag that never ends");
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            let name: String =
                tag.trim_start_matches('/').chars().take_while(|c| !c.is_whitespace() && *c != '/').collect();
            assert!(name.starts_with('!') || name.chars().all(|c| c.is_ascii_alphanumeric()), "not a tag: {tag}");
            if tag.starts_with('/') {
                assert_eq!(
                    open.pop().as_deref(),
                    Some(name.as_str()),
                    "closed out of order near {}",
                    &rest[..rest.len().min(80)]
                );
            } else if !tag.ends_with('/') && !VOID.contains(&name.to_lowercase().as_str()) {
                open.push(name.clone());
            }
            if name == "style" && !tag.starts_with('/') {
                rest = &rest[rest.find("</style>").expect("style ends")..];
            }
        }
        assert!(open.is_empty(), "never closed: {open:?}");
    }

    fn every_fixture() -> Vec<Findings> {
        let ordinary = [fixture::rich(), fixture::two_blocks(), fixture::without_control(), fixture::empty()];
        let swept = [fixture::sweeps(), fixture::hostile(), fixture::hostile_sweeps()];
        ordinary.into_iter().chain(swept).collect()
    }

    #[test]
    fn every_element_is_closed() {
        for findings in every_fixture() {
            check_nesting(&fixture::written(&Html, &findings));
        }
    }

    #[test]
    fn the_file_refers_to_nothing_outside() {
        for findings in every_fixture() {
            let html = fixture::written(&Html, &findings).to_lowercase();
            for reference in ["http:", "https:", "//", "src=", "@import", "url(", "<link", "<script>", " onclick"] {
                assert!(!html.contains(reference), "{reference}");
            }
        }
    }

    #[test]
    fn a_name_is_never_markup() {
        for findings in [fixture::hostile(), fixture::hostile_sweeps()] {
            let html = fixture::written(&Html, &findings);
            assert!(!html.contains("<script>alert"));
            assert!(!html.contains("<!--"));
            assert_eq!(html.matches("<script").count(), 1);
            assert_eq!(html.matches("</script>").count(), 1);
            assert!(html.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;"), "escaped text is still there");
        }
    }

    #[test]
    fn the_embedded_json_is_the_json_report() {
        for findings in [fixture::rich(), fixture::hostile()] {
            let html = fixture::written(&Html, &findings);
            let start = html.find("type=\"application/json\">").unwrap() + "type=\"application/json\">".len();
            let json = &html[start..start + html[start..].find("</script>").unwrap()];
            let report = fixture::written(&crate::report::Json, &findings);
            let [embedded, report] =
                [json, &report].map(|json| serde_json::from_str::<serde_json::Value>(json).unwrap());
            assert!(embedded == report);
        }
    }

    #[test]
    fn every_drawing_has_words_and_every_header_a_scope() {
        for findings in [fixture::rich(), fixture::sweeps()] {
            let html = fixture::written(&Html, &findings);
            let drawings = html.matches("role=\"img\"").count();
            assert_eq!(html.matches("<title>").count(), drawings + 1);
            assert_eq!(html.matches("<desc>").count(), drawings);
            assert_eq!(html.matches("<th ").count(), html.matches("scope=").count());
            assert!(!html.contains("<th>"));
        }
    }

    #[test]
    fn a_sweep_is_drawn_and_every_cell_of_it_is_on_the_page() {
        let findings = fixture::sweeps();
        let html = fixture::written(&Html, &findings).replace('\u{a0}', " ").replace("&#x2f;", "/");
        assert_eq!(html.matches("<svg class=\"curve\" role=\"img\">").count(), 2, "one for each kind of page");
        let page = Page::of(&findings);
        for cell in page.families.iter().flat_map(|it| &it.sweeps).flat_map(|it| &it.rows).flat_map(|it| &it.cells) {
            assert!([&cell.cost, &cell.interval, &cell.value].iter().all(|words| html.contains(*words)), "{cell:?}");
        }
    }

    #[test]
    fn every_cell_of_the_tables_is_on_the_page() {
        let findings = fixture::rich();
        let text = fixture::written(&Html, &findings).replace('\u{a0}', " ");
        for row in Page::of(&findings).families.iter().flat_map(|family| &family.headline).flat_map(|panel| &panel.rows)
        {
            let verdict = row.verdict.replace('\u{a0}', " ");
            assert!(text.contains(&row.cost) && text.contains(&verdict), "{row:?}");
        }
    }
}
