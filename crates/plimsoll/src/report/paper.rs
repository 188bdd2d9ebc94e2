//! Text laid out for a terminal: wrapped sentences, sections, tables with headings, colours.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, TableComponent, Width, presets};

use super::words::Tone;

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
const OUTDENT: char = '\u{206b}';
const OUTDENT_END: char = '\u{206c}';
/// Columns by which names stand to the right of their headings.
const INDENT: u16 = 2;
const RESET: &str = "\u{1b}[0m";

/// A writer with a width.
pub(super) struct Paper<'a> {
    /// Columns.
    pub(super) width: u16,
    /// Whether colours are wanted.
    pub(super) colour: bool,
    /// Where the text goes.
    pub(super) writer: &'a mut dyn Write,
}

/// A table whose rows stand under headings that span it; notes follow it.
pub(super) struct Grid {
    table: Table,
    headings: Vec<String>,
    notes: Vec<String>,
}

impl Grid {
    /// An empty table; the first title stands above the headings.
    pub(super) fn new(titles: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_style(TableComponent::HeaderLines, '─');
        let title = |(number, text): (usize, &&str)| match number {
            0 => format!("{OUTDENT}{text}{OUTDENT_END}"),
            _ => (*text).to_owned(),
        };
        table.set_header(titles.iter().enumerate().map(title));
        let mut grid = Self { table, headings: Vec::new(), notes: Vec::new() };
        grid.column(0, |column| {
            column.set_padding((INDENT, 1));
        });
        grid.column(1, |column| {
            column.set_cell_alignment(CellAlignment::Right);
        });
        grid.column(titles.len().max(4) - 1, |column| {
            column.set_padding((1, 0));
        });
        grid
    }

    /// A heading over the rows that follow.
    pub(super) fn heading(&mut self, text: String) {
        self.headings.push(text);
        self.table.add_row([OUTDENT.to_string()]);
    }

    /// A row.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.table.add_row(cells);
    }

    /// An empty line between rows that belong together and the next.
    pub(super) fn gap(&mut self) {
        self.table.add_row([""]);
    }

    /// A sentence under the table.
    pub(super) fn note(&mut self, sentence: &str) {
        // Panels of one table share launches, and so their notes.
        if !self.notes.iter().any(|note| note == sentence) {
            self.notes.push(sentence.to_owned());
        }
    }

    fn column(&mut self, number: usize, change: impl FnOnce(&mut comfy_table::Column)) {
        if let Some(column) = self.table.column_mut(number) {
            change(column);
        }
    }
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

    /// A title and sentences; nothing without sentences.
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

    /// A sentence that must be read.
    pub(super) fn loud(&mut self, sentence: &str) -> io::Result<()> {
        writeln!(self.writer)?;
        if self.colour {
            write!(self.writer, "\u{1b}[1;31m")?;
        }
        self.paragraphs(&[sentence.to_owned()], "!! ")?;
        if self.colour { write!(self.writer, "{RESET}") } else { Ok(()) }
    }

    /// Text in the colour of its tone, for a cell.
    pub(super) fn marked(&self, text: &str, tone: Tone) -> String {
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

    /// Tables with their columns below one another.
    pub(super) fn grids(&mut self, mut grids: Vec<Grid>) -> io::Result<()> {
        align(&mut grids, self.width);
        self.separate_grids(grids)
    }

    /// Tables each with columns of its own.
    pub(super) fn separate_grids(&mut self, grids: Vec<Grid>) -> io::Result<()> {
        for mut grid in grids {
            grid.table.set_width(self.width);
            self.grid(&grid)?;
        }
        Ok(())
    }

    fn grid(&mut self, grid: &Grid) -> io::Result<()> {
        writeln!(self.writer)?;
        let mut headings = grid.headings.iter();
        for line in grid.table.lines() {
            match headings.as_slice().first() {
                Some(heading) if line.trim() == OUTDENT.to_string() => {
                    self.paragraphs(std::slice::from_ref(heading), "")?;
                    headings.next();
                }
                _ => writeln!(self.writer, "{}", coloured(outdent(&line).trim_end()))?,
            }
        }
        self.paragraphs(&grid.notes, "    ")
    }
}

/// Gives each column but the last the same width in all tables, as far as the terminal has room for that.
fn align(grids: &mut [Grid], width: u16) {
    let mut widest: Vec<u16> = Vec::new();
    for grid in grids.iter() {
        let columns = grid.table.column_max_content_widths();
        widest.resize(widest.len().max(columns.len()), 0);
        widest.iter_mut().zip(columns).for_each(|(widest, column)| *widest = (*widest).max(column));
    }
    let room = |columns: usize| widest.iter().take(columns).map(|content| u32::from(*content) + 2).sum::<u32>() + 1;
    let aligned = if room(4) <= u32::from(width) + 1 {
        3
    } else if room(2) <= u32::from(width) / 2 {
        2
    } else {
        return;
    };
    for grid in grids {
        for (number, content) in widest.iter().enumerate().take(aligned) {
            let with_padding = content + if number == 0 { INDENT + 1 } else { 2 };
            let constraint = ColumnConstraint::LowerBoundary(Width::Fixed(with_padding));
            grid.column(number, |column| {
                column.set_constraint(constraint);
            });
        }
    }
}

/// Moves what is outdented over the padding of the first column.
fn outdent(line: &str) -> String {
    let padding = " ".repeat(INDENT.into());
    match line.strip_prefix(&padding).and_then(|line| line.strip_prefix(OUTDENT)) {
        Some(rest) if rest.contains(OUTDENT_END) => rest.replacen(OUTDENT_END, &padding, 1),
        _ => line.replace([OUTDENT, OUTDENT_END], ""),
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
