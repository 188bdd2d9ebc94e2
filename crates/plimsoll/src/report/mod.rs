//! What a run says, for people and for programs: terminal, JSON, Markdown, CSV, HTML; the plan before and the progress
//! during a run.
//!
//! Everything is built as text for a writer that is given. This module computes no number beyond rounding it for print,
//! opens no file and knows no engine. One format, one file; the table is [`FORMATS`].

mod advice;
mod along;
mod bars;
mod counted;
mod csv;
mod curves;
mod environments;
#[cfg(test)]
mod fixture;
mod html;
mod json;
pub mod live;
mod markdown;
mod missing;
mod page;
mod paper;
mod plan_text;
mod plot;
mod points;
mod standing;
mod sweep;
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
pub use standing::standing_lines;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_can_be_analysed_and_written_in_every_format() {
        let record = fixture::record();
        let findings = crate::analysis::analyse(&record);
        for format in FORMATS {
            let mut bytes = Vec::new();
            format.write(&findings, &record, &mut bytes).unwrap();
            assert!(bytes.ends_with(b"\n"), "{}", format.name());
        }
    }

    #[test]
    fn every_format_is_found_by_its_name() {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
        assert_eq!(names, ["text", "json", "markdown", "csv", "html"]);
        assert!(names.iter().all(|name| format(name).is_some_and(|format| format.name() == *name)));
        assert!(format("pdf").is_none());
    }
}
