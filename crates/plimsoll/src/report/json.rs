//! The report for programs: the findings as they are, schema 1. Values stand in base units.

use std::io::{self, Write};

use super::Format;
use crate::analysis::Findings;
use crate::sample::RunRecord;

/// `--format json`.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn write(&self, findings: &Findings, _record: &RunRecord, writer: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *writer, findings)?;
        writeln!(writer)
    }
}
