//! The raw record for other tools: one slice a row, then one launch a row as workload `start.ready`.
//!
//! Fields are quoted as RFC 4180 says; lines end with a bare newline. Nothing is left out, warm-ups neither: the columns
//! `phase` and `spoiled` say what an analysis uses.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Format;
use crate::analysis::Findings;
use crate::sample::{LaunchRecord, Phase, RunRecord, SliceBundle};

const COLUMNS: [&str; 15] = [
    "run",
    "launch",
    "block",
    "group",
    "environment",
    "workload",
    "point",
    "phase",
    "visit",
    "position",
    "started_at",
    "work",
    "seconds_inside",
    "seconds_outside",
    "spoiled",
];

/// `--format csv`.
#[derive(Debug, Clone, Copy)]
pub struct Csv;

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn write(&self, _findings: &Findings, record: &RunRecord, writer: &mut dyn Write) -> io::Result<()> {
        let launches: BTreeMap<u64, &LaunchRecord> = record.launches.iter().map(|launch| (launch.id, launch)).collect();
        write_row(writer, &COLUMNS.map(str::to_owned))?;
        for bundle in &record.slices {
            write_row(writer, &slice_row(record, launches.get(&bundle.slice.launch).copied(), bundle))?;
        }
        for launch in &record.launches {
            write_row(writer, &launch_row(record, launch))?;
        }
        Ok(())
    }
}

/// Run, launch, block, group, environment. A slice whose launch is not in the file keeps its row, with these empty.
fn whose(record: &RunRecord, launch: Option<&LaunchRecord>) -> [String; 5] {
    let run = record.run.id.clone();
    launch.map_or_else(
        || [run.clone(), String::new(), String::new(), String::new(), String::new()],
        |launch| {
            let environment = record.arm_name(&launch.arm);
            [run.clone(), launch.id.to_string(), launch.block.to_string(), launch.group.to_string(), environment]
        },
    )
}

fn slice_row(record: &RunRecord, launch: Option<&LaunchRecord>, bundle: &SliceBundle) -> [String; 15] {
    let [run, id, block, group, environment] = whose(record, launch);
    let slice = &bundle.slice;
    let phase = match slice.phase {
        Phase::WarmUp => "warm-up",
        Phase::Measured => "measured",
    };
    [
        run,
        id,
        block,
        group,
        environment,
        slice.workload.clone(),
        slice.point.clone().unwrap_or_default(),
        phase.to_owned(),
        slice.visit.to_string(),
        slice.position.to_string(),
        slice.started_at.to_string(),
        slice.work.to_string(),
        slice.seconds_inside.to_string(),
        slice.seconds_outside.to_string(),
        slice.spoiled.clone().unwrap_or_default(),
    ]
}

fn launch_row(record: &RunRecord, launch: &LaunchRecord) -> [String; 15] {
    let [run, id, block, group, environment] = whose(record, Some(launch));
    [
        run,
        id,
        block,
        group,
        environment,
        "start.ready".to_owned(),
        String::new(),
        "measured".to_owned(),
        "0".to_owned(),
        launch.position.to_string(),
        launch.requested_at.to_string(),
        "1".to_owned(),
        String::new(),
        launch.ready_seconds.to_string(),
        String::new(),
    ]
}

fn write_row(writer: &mut dyn Write, fields: &[String; 15]) -> io::Result<()> {
    let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
    writeln!(writer, "{}", fields.join(","))
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_field_is_quoted_only_where_it_must_be() {
        assert_eq!(quoted("docker:net=host"), "docker:net=host");
        assert_eq!(quoted("docker:net=host,disk=volume"), "\"docker:net=host,disk=volume\"");
        assert_eq!(quoted("qemu:kernel=\"/boot/a\""), "\"qemu:kernel=\"\"/boot/a\"\"\"");
        assert_eq!(quoted("two\nlines"), "\"two\nlines\"");
    }

    #[test]
    fn every_slice_and_every_launch_has_a_row() {
        insta::assert_snapshot!(fixture::written(&Csv, &fixture::rich()));
    }

    #[test]
    fn a_slice_without_its_launch_keeps_its_row() {
        let mut record = fixture::record();
        record.launches.clear();
        let mut bytes = Vec::new();
        Csv.write(&fixture::rich(), &record, &mut bytes).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), 1 + record.slices.len());
    }
}
