//! The report in a terminal: what ran, one table per family, then what is to be known about the numbers.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, TableComponent, Width, presets};

use super::Format;
use super::page::{Family, Page, Panel, Sentence};
use super::words::Tone;
use crate::analysis::Findings;
use crate::sample::RunRecord;

/// `--format text`.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Columns of the terminal.
    pub width: u16,
    /// Whether verdicts are coloured.
    pub colour: bool,
}

impl Text {
    /// 100 columns, no colour: for a file or a pipe.
    pub const PLAIN: Self = Self { width: 100, colour: false };
    const WIDTH_MIN: u16 = 40;
}

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn write(&self, findings: &Findings, _record: &RunRecord, writer: &mut dyn Write) -> io::Result<()> {
        let page = Page::of(findings);
        let mut out = Paper { width: self.width.max(Self::WIDTH_MIN), colour: self.colour, writer };
        out.paragraphs(&page.what_ran, "")?;
        for sentence in &page.loud {
            out.loud(sentence)?;
        }
        out.tables(&page.families)?;
        out.section("In words", &page.answer.iter().map(Sentence::whole).collect::<Vec<_>>())?;
        out.section("What these numbers do not say", &page.warnings)?;
        out.section("For a sharper answer", &page.advice)?;
        let mishaps: Vec<String> =
            page.mishaps.iter().map(|m| format!("{}, {}: {}: {}", m.block, m.what, m.cause, m.message)).collect();
        out.section("Mishaps", &mishaps)?;
        out.section("Could not run here", &page.unusable)
    }
}

/// Marks around a coloured cell: no width for the table, replaced by colours once its lines stand. Text of the run
/// cannot hold them ([`super::words::clean`]).
const MARKS: [(char, &str); 5] = [
    ('\u{2061}', "\u{1b}[31m"),
    ('\u{2062}', "\u{1b}[32m"),
    ('\u{2063}', "\u{1b}[36m"),
    ('\u{2064}', "\u{1b}[2m"),
    ('\u{206a}', "\u{1b}[1;31m"),
];
const END: char = '\u{206f}';
const RESET: &str = "\u{1b}[0m";

pub(super) struct Paper<'a> {
    pub(super) width: u16,
    pub(super) colour: bool,
    pub(super) writer: &'a mut dyn Write,
}

impl Paper<'_> {
    /// Lines wrapped at the width; the first line of each stands behind `lead`, the others are indented as far.
    pub(super) fn paragraphs(&mut self, lines: &[String], lead: &str) -> io::Result<()> {
        for line in lines {
            let mut table = Table::new();
            table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
            let lead_width = u16::try_from(lead.chars().count()).unwrap_or(0);
            table.set_width(self.width.saturating_sub(lead_width)).add_row([line]);
            if let Some(column) = table.column_mut(0) {
                column.set_padding((0, 0));
            }
            for (number, text) in table.lines().enumerate() {
                let lead = if number == 0 { lead.to_owned() } else { " ".repeat(lead_width.into()) };
                writeln!(self.writer, "{}", format!("{lead}{}", text.trim_end()).trim_end())?;
            }
        }
        Ok(())
    }

    pub(super) fn section(&mut self, title: &str, sentences: &[String]) -> io::Result<()> {
        if sentences.is_empty() {
            return Ok(());
        }
        writeln!(self.writer, "\n{}", self.bold(title))?;
        self.paragraphs(sentences, "  ")
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}{RESET}") } else { text.to_owned() }
    }

    fn loud(&mut self, sentence: &str) -> io::Result<()> {
        writeln!(self.writer)?;
        if self.colour {
            write!(self.writer, "\u{1b}[1;31m")?;
        }
        self.paragraphs(&[sentence.to_owned()], "!! ")?;
        if self.colour { write!(self.writer, "{RESET}") } else { Ok(()) }
    }

    /// All families' tables, with their columns below one another.
    fn tables(&mut self, families: &[Family]) -> io::Result<()> {
        let mut tables: Vec<(Table, Vec<String>)> =
            families.iter().filter(|family| !family.headline.is_empty()).map(|family| self.family(family)).collect();
        let panels: Vec<&Panel> = families.iter().flat_map(|family| &family.exploratory).collect();
        if !panels.is_empty() {
            tables.push(self.explorations(&panels));
        }
        align(&mut tables, self.width);
        tables.iter().try_for_each(|(table, notes)| {
            self.print(table)?;
            self.paragraphs(notes, "    ")
        })
    }

    fn family(&self, family: &Family) -> (Table, Vec<String>) {
        let mut table = self.table(&[&family.title, "value", "cost", "verdict"]);
        for panel in &family.headline {
            table.add_row([heading(panel)]);
            for row in &panel.rows {
                let verdict = self.marked(&row.verdict, row.tone);
                table.add_row([indented(&row.name), row.value.clone(), row.cost.clone(), verdict]);
            }
        }
        (table, family.headline.iter().flat_map(|panel| panel.notes.clone()).collect())
    }

    fn explorations(&self, panels: &[&Panel]) -> (Table, Vec<String>) {
        let mut table = self.table(&["Also seen, not tested", "value", "cost"]);
        for panel in panels {
            table.add_row([heading(panel)]);
            for row in &panel.rows {
                let cost = self.marked(&row.cost, Tone::Open);
                table.add_row([indented(&row.name), row.value.clone(), cost]);
            }
        }
        (table, panels.iter().flat_map(|panel| panel.notes.clone()).collect())
    }

    fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(self.width).set_style(TableComponent::HeaderLines, '─');
        table.set_header(header.iter().copied());
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 1));
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if let Some(column) = table.column_mut(3) {
            column.set_padding((1, 0));
        }
        table
    }

    fn marked(&self, text: &str, tone: Tone) -> String {
        let mark = match tone {
            Tone::Cost => 0,
            Tone::Gain => 1,
            Tone::Same => 2,
            Tone::Open | Tone::Emulated | Tone::Control => 3,
            Tone::Spoiled | Tone::Alarm => 4,
            Tone::Native => return text.to_owned(),
        };
        if self.colour && !text.is_empty() { format!("{}{text}{END}", MARKS[mark].0) } else { text.to_owned() }
    }

    fn print(&mut self, table: &Table) -> io::Result<()> {
        writeln!(self.writer)?;
        for line in table.lines() {
            writeln!(self.writer, "{}", coloured(line.trim_end()))?;
        }
        Ok(())
    }
}

/// Gives each column but the last the same width in all tables, where the terminal has room for that.
fn align(tables: &mut [(Table, Vec<String>)], width: u16) {
    let mut widest: Vec<u16> = Vec::new();
    for (table, _) in tables.iter() {
        let columns = table.column_max_content_widths();
        widest.resize(widest.len().max(columns.len()), 0);
        widest.iter_mut().zip(columns).for_each(|(widest, column)| *widest = (*widest).max(column));
    }
    let room = |columns: usize| widest.iter().take(columns).map(|content| u32::from(*content) + 2).sum::<u32>();
    let aligned = if room(4) <= u32::from(width) + 2 {
        3
    } else if room(2) <= u32::from(width) / 2 {
        2
    } else {
        return;
    };
    for (table, _) in tables {
        for (number, content) in widest.iter().enumerate().take(aligned) {
            if let Some(column) = table.column_mut(number) {
                let with_padding = content + if number == 0 { 1 } else { 2 };
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(with_padding)));
            }
        }
    }
}

/// Replaces marks by colours; a colour never crosses the end of a line.
fn coloured(line: &str) -> String {
    let mut open = false;
    let mut text = String::with_capacity(line.len());
    for character in line.chars() {
        match MARKS.iter().find(|(mark, _)| *mark == character) {
            Some((_, colour)) => text.push_str(colour),
            None if character == END && open => text.push_str(RESET),
            None if character == END => {}
            None => text.push(character),
        }
        open = character != END && (open || MARKS.iter().any(|(mark, _)| *mark == character));
    }
    if open { text + RESET } else { text }
}

fn heading(panel: &Panel) -> String {
    format!("{}: {}", panel.workload, panel.metric)
}

fn indented(name: &str) -> String {
    format!("  {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_rich_run() {
        insta::assert_snapshot!(fixture::written(&Text::PLAIN, &fixture::rich()));
    }

    #[test]
    fn a_rich_run_in_colour_and_narrow() {
        insta::assert_snapshot!(fixture::written(&Text { width: 72, colour: true }, &fixture::rich()));
    }

    #[test]
    fn two_blocks_give_values_without_verdicts() {
        let text = fixture::written(&Text::PLAIN, &fixture::two_blocks());
        insta::assert_snapshot!(text);
        assert!(!text.contains("costs") && !text.contains("same within"));
    }

    #[test]
    fn a_run_without_its_control_says_so() {
        let text = fixture::written(&Text::PLAIN, &fixture::without_control());
        assert!(text.contains("!! No control:"), "{text}");
    }

    #[test]
    fn an_empty_run_says_that_nothing_was_compared() {
        insta::assert_snapshot!(fixture::written(&Text::PLAIN, &fixture::empty()));
    }

    #[test]
    fn a_spoiled_native_spoils_every_number() {
        let mut findings = fixture::rich();
        findings.environments[0].mismatches.push("asked for CPU 1, got CPU 0".to_owned());
        let text = fixture::written(&Text::PLAIN, &findings);
        assert!(text.contains("No number of this run can be used."), "{text}");
        assert!(!text.contains(" costs\n"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [60, 80, 100, 140] {
            let text = fixture::written(&Text { width, colour: false }, &fixture::rich());
            for line in text.lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let mut findings = fixture::rich();
        findings.comparisons[0].environment = "docker\u{1b}[2J\u{9b}31m\u{202e}\u{2061}".to_owned();
        let text = fixture::written(&Text::PLAIN, &findings);
        for bad in ['\u{1b}', '\u{9b}', '\u{202e}', '\u{2061}'] {
            assert!(!text.contains(bad), "{text}");
        }
    }

    #[test]
    fn not_significant_is_never_called_no_overhead() {
        for findings in [fixture::rich(), fixture::two_blocks(), fixture::without_control(), fixture::empty()] {
            let text = fixture::written(&Text::PLAIN, &findings).to_lowercase();
            assert!(!text.contains("no overhead") && !text.contains("no cost") && !text.contains("no difference"));
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn any_numbers_and_names_can_be_printed(
            numbers in proptest::collection::vec(proptest::num::f64::ANY, 12),
            name in ".{0,40}",
            blocks in 0_u32..30,
            width in 0_u16..200,
        ) {
            let findings = fixture::arbitrary(&numbers, &name, blocks);
            for colour in [false, true] {
                let text = fixture::written(&Text { width, colour }, &findings);
                proptest::prop_assert!(!text.is_empty());
            }
            for format in crate::report::FORMATS {
                let _ = fixture::written(*format, &findings);
            }
        }
    }
}
