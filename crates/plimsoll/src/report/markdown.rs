//! The report as Markdown tables, for pasting into an issue.

use std::io::{self, Write};

use super::Format;
use super::advice::Sentence;
use super::page::{Page, Panel};
use super::sweep::{Cell, INTRODUCTION, Sweep, TITLE};
use crate::analysis::Findings;
use crate::sample::RunRecord;

/// `--format markdown`.
#[derive(Debug, Clone, Copy)]
pub struct Markdown;

impl Format for Markdown {
    fn name(&self) -> &'static str {
        "markdown"
    }

    fn write(&self, findings: &Findings, _record: &RunRecord, writer: &mut dyn Write) -> io::Result<()> {
        let page = Page::of(findings);
        writeln!(writer, "## What isolation costs\n")?;
        for line in &page.what_ran {
            writeln!(writer, "{}  ", escaped(line))?;
        }
        for sentence in &page.loud {
            writeln!(writer, "\n> **{}**", escaped(sentence))?;
        }
        if !page.answer.is_empty() {
            writeln!(writer)?;
        }
        list(writer, &page.answer.iter().map(Sentence::whole).collect::<Vec<_>>())?;
        for family in page.families.iter().filter(|family| !family.headline.is_empty()) {
            writeln!(writer, "\n### {}\n", escaped(&family.title))?;
            table(writer, &family.headline.iter().collect::<Vec<_>>(), true)?;
        }
        let exploratory: Vec<&Panel> = page.families.iter().flat_map(|family| &family.exploratory).collect();
        if !exploratory.is_empty() {
            writeln!(writer, "\n<details><summary>Also seen, not tested</summary>\n")?;
            table(writer, &exploratory, false)?;
            writeln!(writer, "\n</details>")?;
        }
        sweeps(writer, &page)?;
        section(writer, "What these numbers do not say", &page.warnings)?;
        section(writer, "For a sharper answer", &page.advice)?;
        mishaps(writer, &page)?;
        section(writer, "Could not run here", &page.unusable)
    }
}

fn table(writer: &mut dyn Write, panels: &[&Panel], tested: bool) -> io::Result<()> {
    let (verdict, rule) = if tested { (" verdict |", "---|") } else { ("", "") };
    writeln!(writer, "| workload | environment | value | cost [95 %] |{verdict}\n|---|---|--:|---|{rule}")?;
    for panel in panels {
        for row in &panel.rows {
            let workload = format!("{}: {}", panel.workload, panel.metric);
            let mut cells = vec![&workload, &row.name, &row.value, &row.cost];
            if tested {
                cells.push(&row.verdict);
            }
            let cells: Vec<String> = cells.into_iter().map(|cell| escaped(cell)).collect();
            writeln!(writer, "| {} |", cells.join(" | "))?;
        }
    }
    let notes: Vec<String> = panels.iter().flat_map(|panel| panel.notes.clone()).collect();
    if !notes.is_empty() {
        writeln!(writer)?;
    }
    list(writer, &notes)
}

fn sweeps(writer: &mut dyn Write, page: &Page) -> io::Result<()> {
    let sweeps: Vec<&Sweep> = page.families.iter().flat_map(|family| &family.sweeps).collect();
    if !sweeps.is_empty() {
        writeln!(writer, "\n<details><summary>{TITLE}</summary>\n\n{}", escaped(INTRODUCTION))?;
        sweeps.iter().try_for_each(|sweep| sweep_table(writer, sweep))?;
        writeln!(writer, "\n</details>")?;
    }
    page.left_out.iter().try_for_each(|sentence| writeln!(writer, "\n{}", escaped(sentence)))
}

fn sweep_table(writer: &mut dyn Write, sweep: &Sweep) -> io::Result<()> {
    let names: Vec<String> = sweep.columns.iter().map(|column| escaped(&column.name)).collect();
    let workload = escaped(&format!("{}: {}", sweep.workload, sweep.metric));
    writeln!(writer, "\n| {workload} | native | {} |\n|---|--:{}|", names.join(" | "), "|---".repeat(names.len()))?;
    for row in &sweep.rows {
        let cells = [row.marked_point(), row.native.clone()].into_iter().chain(row.cells.iter().map(Cell::whole));
        let cells: Vec<String> = cells.map(|cell| escaped(&cell)).collect();
        writeln!(writer, "| {} |", cells.join(" | "))?;
    }
    if !sweep.notes.is_empty() {
        writeln!(writer)?;
    }
    list(writer, &sweep.notes)
}

fn mishaps(writer: &mut dyn Write, page: &Page) -> io::Result<()> {
    if page.mishaps.is_empty() {
        return Ok(());
    }
    writeln!(writer, "\n### Mishaps\n\n| when | what | cause | message |\n|---|---|---|---|")?;
    for mishap in &page.mishaps {
        let cells = [&mishap.block, &mishap.what, &mishap.cause, &mishap.message].map(|cell| escaped(cell));
        writeln!(writer, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

fn section(writer: &mut dyn Write, title: &str, sentences: &[String]) -> io::Result<()> {
    if sentences.is_empty() {
        return Ok(());
    }
    writeln!(writer, "\n### {title}\n")?;
    list(writer, sentences)
}

fn list(writer: &mut dyn Write, sentences: &[String]) -> io::Result<()> {
    sentences.iter().try_for_each(|sentence| writeln!(writer, "- {}", escaped(sentence)))
}

/// Text of the run as text: nothing in it is markup, a mention or a link.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '#' => escaped.push_str("&#35;"),
            '|' | '*' | '_' | '`' | '\\' | '~' => escaped.extend(['\\', character]),
            other => escaped.push(other),
        }
    }
    // `[1, 2](x)` would be a link; an interval alone is none.
    escaped.replace("](", "]\\(")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_rich_run() {
        insta::assert_snapshot!(fixture::written(&Markdown, &fixture::rich()));
    }

    #[test]
    fn sweeps_are_tables_of_points() {
        let text = fixture::written(&Markdown, &fixture::sweeps());
        let start = text.find("<details><summary>Point by point").unwrap();
        insta::assert_snapshot!(&text[start..text.find("### What these numbers").unwrap()]);
    }

    #[test]
    fn a_name_is_never_markup() {
        assert_eq!(escaped("<script>|`x`"), "&lt;script&gt;\\|\\`x\\`");
        assert_eq!(escaped("[a](b) @you #1"), "[a]\\(b) &#64;you &#35;1");
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells_as_its_header() {
        let runs = [fixture::hostile(), fixture::sweeps(), fixture::hostile_sweeps()];
        let text = runs.map(|findings| fixture::written(&Markdown, &findings)).join("\n");
        let mut cells = None;
        for line in text.lines() {
            let bars = line.replace("\\|", "").matches('|').count();
            match cells {
                _ if !line.starts_with('|') => cells = None,
                None => cells = Some(bars),
                Some(header) => assert_eq!(header, bars, "{line}"),
            }
        }
    }
}
