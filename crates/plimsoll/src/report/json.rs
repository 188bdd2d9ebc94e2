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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn one_of_everything_as_schema_1() {
        let mut findings = fixture::rich();
        findings.environments.truncate(1);
        findings.comparisons.truncate(1);
        findings.control.truncate(1);
        insta::assert_snapshot!(fixture::written(&Json, &findings));
    }

    #[test]
    fn a_number_that_is_none_is_null() {
        let mut findings = fixture::rich();
        findings.comparisons[0].cost = f64::NAN;
        let json: serde_json::Value = serde_json::from_str(&fixture::written(&Json, &findings)).unwrap();
        assert!(json["comparisons"][0]["cost"].is_null());
    }

    #[test]
    fn the_file_ends_with_one_newline() {
        let json = fixture::written(&Json, &fixture::empty());
        assert!(json.ends_with("}\n"));
    }
}
