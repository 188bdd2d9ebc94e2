//! A bar and lines below it on a terminal that is a given writer. They are drawn when they are set, and at no other time.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// A writer that bars and plain lines can share.
pub(super) type Shared = Arc<Mutex<Box<dyn Write + Send>>>;

/// The progress of a block and the costs so far.
pub(super) struct Bars {
    all: MultiProgress,
    bar: ProgressBar,
    costs: Vec<ProgressBar>,
}

/// Writes a line at once.
pub(super) fn write_line(writer: &Shared, line: &str) -> io::Result<()> {
    let mut writer = lock(writer)?;
    writeln!(writer, "{line}")?;
    writer.flush()
}

fn lock(writer: &Shared) -> io::Result<MutexGuard<'_, Box<dyn Write + Send>>> {
    writer.lock().map_err(|_| io::Error::other("the writer of the progress is broken"))
}

impl Bars {
    /// A bar of so many slices, on a terminal of this width.
    pub(super) fn new(writer: Shared, width: u16, per_block: u64) -> Self {
        let terminal = Box::new(Terminal { writer, width });
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(terminal));
        let bar = all.add(ProgressBar::new(per_block.max(1)));
        bar.set_style(style("{bar:20.cyan/dim} {wide_msg}").progress_chars("━╸─"));
        Self { all, bar, costs: Vec::new() }
    }

    /// What is being done now, and how many slices of the block are done.
    pub(super) fn doing(&self, line: String, slices: u64) {
        self.bar.set_message(line);
        self.bar.set_position(slices);
    }

    /// How many slices of the block are done.
    pub(super) fn reached(&self, slices: u64) {
        self.bar.set_position(slices);
    }

    /// Prints a line above the bars that stays.
    pub(super) fn keep(&self, line: &str) -> io::Result<()> {
        self.all.println(line)
    }

    /// The costs so far, below the bar.
    pub(super) fn show(&mut self, lines: &[String]) {
        while self.costs.len() < lines.len() {
            let line = self.all.add(ProgressBar::new(1));
            line.set_style(style("  {wide_msg}"));
            self.costs.push(line);
        }
        for (bar, text) in self.costs.iter().zip(lines.iter().map(String::as_str).chain(std::iter::repeat(""))) {
            bar.set_message(text.to_owned());
        }
    }

    /// Takes the bars away.
    pub(super) fn clear(&self) -> io::Result<()> {
        for bar in self.costs.iter().chain([&self.bar]) {
            bar.finish_and_clear();
        }
        self.all.clear()
    }
}

/// A template that is wrong would be a bug of ours; the default style still shows the run.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A given writer as a terminal.
struct Terminal {
    writer: Shared,
    width: u16,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Terminal({})", self.width)
    }
}

impl Terminal {
    fn put(&self, text: &str) -> io::Result<()> {
        lock(&self.writer)?.write_all(text.as_bytes())
    }

    fn cursor(&self, by: usize, letter: char) -> io::Result<()> {
        if by == 0 { Ok(()) } else { self.put(&format!("\u{1b}[{by}{letter}")) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.width
    }

    fn move_cursor_up(&self, by: usize) -> io::Result<()> {
        self.cursor(by, 'A')
    }

    fn move_cursor_down(&self, by: usize) -> io::Result<()> {
        self.cursor(by, 'B')
    }

    fn move_cursor_right(&self, by: usize) -> io::Result<()> {
        self.cursor(by, 'C')
    }

    fn move_cursor_left(&self, by: usize) -> io::Result<()> {
        self.cursor(by, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.put(&format!("{text}\r\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        lock(&self.writer)?.flush()
    }
}
