//! `plimsoll report`: what a run file says, from the file alone.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use plimsoll::analysis::{Findings, analyse};
use plimsoll::report::{self, Format as _, Text};
use plimsoll::sample::RunRecord;
use plimsoll::store;

use super::exit::{self, Refusal};

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// The run file
    #[arg(value_name = "RUN.sqlite")]
    run_file: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value = "text")]
    format: ReportFormat,
    /// Where to write it; standard output if absent
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ReportFormat {
    Text,
    Json,
    Markdown,
    Csv,
    Html,
}

pub(super) fn report(arguments: &ReportArguments) -> Result<u8> {
    // The program ends with the report: to free a large record row by row would only delay that.
    let record = ManuallyDrop::new(store::load(&arguments.run_file)?);
    let findings = analyse(&record);
    let name = match arguments.format {
        ReportFormat::Text => "text",
        ReportFormat::Json => "json",
        ReportFormat::Markdown => "markdown",
        ReportFormat::Csv => "csv",
        ReportFormat::Html => "html",
    };
    if let Some(path) = &arguments.output {
        if same_file(path, &arguments.run_file) {
            return Err(Refusal::usage(format!("-o: {} is the run file itself", path.display())).into());
        }
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut writer = BufWriter::new(file);
        print(name, &findings, &record, &mut writer, false)?;
        writer.flush()?;
    } else {
        let stdout = std::io::stdout();
        let coloured = stdout.is_terminal();
        print(name, &findings, &record, &mut BufWriter::new(stdout.lock()), coloured)?;
    }
    Ok(exit::DONE)
}

fn same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

/// Writes a report in the format of this name; text is as wide as the terminal.
pub(super) fn print(
    name: &str,
    findings: &Findings,
    record: &RunRecord,
    writer: &mut dyn Write,
    colour: bool,
) -> Result<()> {
    if name == "text" {
        Text { width: width(), colour }.write(findings, record, writer)?;
    } else {
        let format = report::format(name).with_context(|| format!("no format `{name}`"))?;
        format.write(findings, record, writer)?;
    }
    Ok(())
}

/// Columns of the terminal, between 60 and 140; 100 where there is none.
pub(super) fn width() -> u16 {
    comfy_table::Table::new().width().map_or(100, |columns| columns.clamp(60, 140))
}
