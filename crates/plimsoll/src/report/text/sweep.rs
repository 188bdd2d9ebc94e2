//! Sweeps in a terminal: a row for each point, a column for each environment; as many tables as the width asks for.

use std::io;

use crate::report::page::Page;
use crate::report::paper::{Grid, Paper};
use crate::report::sweep::{Cell, INTRODUCTION, Sweep, TITLE};
use crate::report::words::Tone;

/// Columns between two cells.
const GAP: usize = 2;
/// Columns by which rows are indented.
const INDENT: usize = 2;

/// All sweeps, and what was left out of them; nothing without any.
pub(super) fn write(page: &Page, paper: &mut Paper<'_>) -> io::Result<()> {
    let sweeps: Vec<&Sweep> = page.families.iter().flat_map(|family| &family.sweeps).collect();
    if sweeps.is_empty() {
        return Ok(());
    }
    paper.section(TITLE, &[INTRODUCTION.to_owned()])?;
    for sweep in sweeps {
        let grids = grids(sweep, paper);
        paper.separate_grids(grids)?;
    }
    if page.left_out.is_some() {
        writeln!(paper.writer)?;
    }
    paper.paragraphs(page.left_out.as_slice(), "  ")
}

/// The environments side by side as far as they fit, the others in further tables. Notes follow the last.
fn grids(sweep: &Sweep, paper: &Paper<'_>) -> Vec<Grid> {
    let columns = columns(sweep, paper);
    let title = format!("{}: {}", sweep.workload, sweep.metric);
    let points = sweep.rows.iter().map(|row| row.marked_point()).chain([title.clone()]);
    let natives = sweep.rows.iter().map(|row| row.native.clone()).chain(["native".to_owned()]);
    let lead = INDENT + widest(points) + GAP + widest(natives) + GAP;
    let room = usize::from(paper.width).saturating_sub(lead);
    let mut grids: Vec<Grid> = side_by_side(&columns, room).iter().map(|part| grid(sweep, &title, part)).collect();
    if let Some(last) = grids.last_mut() {
        sweep.notes.iter().for_each(|note| last.note(note));
    }
    grids
}

fn grid(sweep: &Sweep, title: &str, columns: &[Column]) -> Grid {
    let titles = [title, "native"].into_iter().chain(columns.iter().map(|column| column.title.as_str()));
    let mut grid = Grid::new(&titles.collect::<Vec<_>>());
    for (number, row) in sweep.rows.iter().enumerate() {
        if row.begins_group {
            grid.gap();
        }
        let cells = columns.iter().map(|column| column.cells[number].clone());
        grid.row([row.marked_point(), row.native.clone()].into_iter().chain(cells).collect());
    }
    grid
}

/// An environment's column, ready to print.
struct Column {
    title: String,
    cells: Vec<String>,
    width: usize,
}

fn columns(sweep: &Sweep, paper: &Paper<'_>) -> Vec<Column> {
    let column = |(number, column): (usize, &crate::report::sweep::Column)| {
        let cells = || sweep.rows.iter().map(|row| &row.cells[number]);
        // Costs stand below one another by their percent sign.
        let costs = widest(cells().map(|cell| cell.cost.clone()));
        let printed = |cell: &Cell| {
            let text = format!("{:>costs$} {}", cell.cost, cell.interval).trim_end().to_owned();
            paper.marked(&text, cell.tone.unwrap_or(Tone::Open))
        };
        let intervals = widest(cells().map(|cell| cell.interval.clone()));
        let content = if intervals == 0 { costs } else { costs + 1 + intervals };
        let title = wrapped(&column.name, content);
        let width = content.max(widest(title.lines().map(str::to_owned)));
        Column { title, cells: cells().map(printed).collect(), width }
    };
    sweep.columns.iter().enumerate().map(column).collect()
}

/// Runs of columns that fit into the room; at least one in each.
fn side_by_side(columns: &[Column], room: usize) -> Vec<&[Column]> {
    let mut parts = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (number, column) in columns.iter().enumerate() {
        if number > start && used + column.width > room {
            parts.push(&columns[start..number]);
            (start, used) = (number, 0);
        }
        used += column.width + GAP;
    }
    parts.push(&columns[start..]);
    parts
}

/// A name broken where an option begins, so that it is no wider than what stands below it, where that can be.
fn wrapped(name: &str, width: usize) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for piece in name.split_inclusive([' ', ',', ':', '/']) {
        let line = lines.last().map_or("", String::as_str);
        if !line.is_empty() && line.chars().count() + piece.trim_end().chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(piece);
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

fn widest(texts: impl Iterator<Item = String>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::text::Text;

    #[test]
    fn sweeps_are_tables_of_points() {
        let text = fixture::written(&Text::PLAIN, &fixture::sweeps());
        insta::assert_snapshot!(&text[text.find("\nPoint by point").unwrap()..text.find("\nIn words").unwrap()]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_cost_is_lost() {
        let findings = fixture::sweeps();
        let costs =
            findings.comparisons.iter().chain(&findings.control).filter(|cell| cell.metric != "pass.best").count();
        for width in [60, 80, 100, 140, 400] {
            let text = fixture::written(&Text { width, colour: false }, &findings);
            for line in text.lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
            let tables = &text[text.find("\nPoint by point").unwrap()..text.find("\nIn words").unwrap()];
            let rows = tables.lines().filter(|line| line.contains("size=") || line.contains("threads="));
            assert_eq!(rows.map(|row| row.matches(" %").count()).sum::<usize>(), costs, "{width}\n{tables}");
        }
    }

    #[test]
    fn a_long_name_breaks_where_an_option_begins() {
        assert_eq!(
            wrapped("docker:net=none,disk=volume (net=none)", 14),
            "docker:\nnet=none,\ndisk=volume\n(net=none)"
        );
        assert_eq!(wrapped("qemu/sandbox", 14), "qemu/sandbox");
        assert_eq!(wrapped("qemu/sandbox (emulated)", 14), "qemu/sandbox\n(emulated)");
    }
}
