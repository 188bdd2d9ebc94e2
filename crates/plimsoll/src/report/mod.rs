//! What a run says, for people and for programs: terminal, JSON, Markdown, CSV, HTML; the plan before and the progress
//! during a run.
//!
//! Everything is built as text for a writer that is given. This module computes no number beyond rounding it for print,
//! opens no file and knows no engine. One format, one file; the table is [`FORMATS`].

mod advice;
mod csv;
#[cfg(test)]
mod fixture;
mod html;
mod json;
pub mod live;
mod markdown;
mod page;
mod plan_text;
mod plot;
mod text;
pub mod units;
mod words;

use std::io::{self, Write};

pub use csv::Csv;
pub use html::Html;
pub use json::Json;
pub use live::{Current, Live, Progress};
pub use markdown::Markdown;
pub use plan_text::{PlanText, write_plan};
pub use text::Text;

use crate::analysis::Findings;
use crate::sample::RunRecord;

/// One way to write a report.
pub trait Format: Sync {
    /// The word after `--format`.
    fn name(&self) -> &'static str;

    /// Writes the whole report.
    ///
    /// # Errors
    /// When the writer fails.
    fn write(&self, findings: &Findings, record: &RunRecord, writer: &mut dyn Write) -> io::Result<()>;
}

/// Every format. A new one is one file and one line here.
pub const FORMATS: &[&dyn Format] = &[&Text::PLAIN, &Json, &Markdown, &Csv, &Html];

/// The format of this name.
#[must_use]
pub fn format(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.name() == name)
}
