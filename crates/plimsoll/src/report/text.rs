//! The report in a terminal: what ran, one table per family, one per sweep, then what is to be known about the numbers.

mod sweep;

use std::io::{self, Write};

use super::Format;
use super::advice::Sentence;
use super::page::{Family, Page, Panel};
use super::paper::{Grid, Paper};
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
        let grids = grids(&page.families, &out);
        out.grids(grids)?;
        sweep::write(&page, &mut out)?;
        out.section("In words", &page.answer.iter().map(Sentence::whole).collect::<Vec<_>>())?;
        out.section("What these numbers do not say", &page.warnings)?;
        out.section("For a sharper answer", &page.advice)?;
        let mishaps: Vec<String> =
            page.mishaps.iter().map(|m| format!("{}, {}: {}: {}", m.block, m.what, m.cause, m.message)).collect();
        out.section("Mishaps", &mishaps)?;
        out.section("Could not run here", &page.unusable)
    }
}

fn grids(families: &[Family], paper: &Paper<'_>) -> Vec<Grid> {
    let tested = families.iter().filter(|family| !family.headline.is_empty());
    let mut grids: Vec<Grid> = tested.map(|family| tested_grid(family, paper)).collect();
    let panels: Vec<&Panel> = families.iter().flat_map(|family| &family.exploratory).collect();
    if !panels.is_empty() {
        grids.push(exploratory_grid(&panels, paper));
    }
    grids
}

fn tested_grid(family: &Family, paper: &Paper<'_>) -> Grid {
    let mut grid = Grid::new(&[&family.title, "value", "cost [95 %]", "verdict"]);
    for panel in &family.headline {
        grid.heading(heading(panel));
        for row in &panel.rows {
            let verdict = paper.marked(&row.verdict, row.tone);
            grid.row(vec![row.name.clone(), row.value.clone(), row.cost.clone(), verdict]);
        }
        panel.notes.iter().for_each(|note| grid.note(note));
    }
    grid
}

fn exploratory_grid(panels: &[&Panel], paper: &Paper<'_>) -> Grid {
    let mut grid = Grid::new(&["Also seen, not tested", "value", "cost [95 %]"]);
    for panel in panels {
        grid.heading(heading(panel));
        for row in &panel.rows {
            grid.row(vec![row.name.clone(), row.value.clone(), paper.marked(&row.cost, Tone::Open)]);
        }
        panel.notes.iter().for_each(|note| grid.note(note));
    }
    grid
}

fn heading(panel: &Panel) -> String {
    format!("{}: {}", panel.workload, panel.metric)
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
        let some = [fixture::rich(), fixture::two_blocks(), fixture::without_control(), fixture::sweeps()];
        for findings in some.into_iter().chain([fixture::empty()]) {
            for format in crate::report::FORMATS {
                let text = fixture::written(*format, &findings).to_lowercase();
                assert!(!text.contains("no overhead") && !text.contains("no cost") && !text.contains("no difference"));
            }
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
