//! `plimsoll doctor`: what this host can run, why not, the remedy; and what about it spoils measuring.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use plimsoll::environment::Environment;
use plimsoll::launch::{Usability, engines};
use plimsoll::probe::{self, EnvironmentReport, readiness};
use serde_json::{Value, json};

use super::{TextOrJson, exit};

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value = "text")]
    format: TextOrJson,
    /// Directory on the disk under test
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    data: PathBuf,
}

pub(super) fn doctor(arguments: &DoctorArguments) -> Result<u8> {
    let reports = probe::examine(&environments());
    let obstacles = readiness::readiness(&arguments.data);
    match arguments.format {
        TextOrJson::Text => print_text(&reports, &obstacles),
        TextOrJson::Json => println!("{}", serde_json::to_string_pretty(&json(&reports, &obstacles))?),
    }
    let usable = reports.iter().filter(|report| matches!(report.usability, Usability::Usable { .. })).count();
    Ok(if usable > 1 { exit::DONE } else { exit::HOST })
}

/// Every engine by itself, and each that nests, in a guest.
fn environments() -> Vec<Environment> {
    let abouts = engines::abouts();
    let guests = abouts.iter().filter(|engine| engine.virtual_machine);
    let nested = guests.flat_map(|guest| {
        abouts.iter().filter(|engine| engine.nests_in_guest).map(move |inner| format!("{}/{}", guest.name, inner.name))
    });
    let names =
        std::iter::once("native".to_owned()).chain(abouts.iter().map(|engine| engine.name.to_owned())).chain(nested);
    names.filter_map(|name| Environment::parse(&name, &abouts).ok()).collect()
}

fn print_text(reports: &[EnvironmentReport], obstacles: &[readiness::Obstacle]) {
    println!("What this host can run");
    for report in reports {
        match &report.usability {
            Usability::Usable { details, labels } => {
                let labels = if labels.is_empty() { String::new() } else { format!(" ({})", labels.join(", ")) };
                println!("  {:<14} yes{labels}", report.name);
                for (name, value) in details {
                    println!("  {:<14}   {name}: {value}", "");
                }
            }
            Usability::Unusable { why, remedy } => {
                println!("  {:<14} no: {why}", report.name);
                if let Some(remedy) = remedy {
                    println!("  {:<14}   remedy: {remedy}", "");
                }
            }
        }
    }
    println!("\nWhat about it spoils measuring");
    if obstacles.is_empty() {
        println!("  nothing was found");
    }
    for obstacle in obstacles {
        println!("  {}: {} ({})", obstacle.severity.name(), obstacle.what, obstacle.why);
        if let Some(remedy) = &obstacle.remedy {
            println!("    remedy: {remedy}");
        }
    }
}

fn json(reports: &[EnvironmentReport], obstacles: &[readiness::Obstacle]) -> Value {
    let environments: Vec<Value> = reports
        .iter()
        .map(|report| match &report.usability {
            Usability::Usable { details, labels } => {
                json!({"name": report.name, "usable": true, "details": details, "labels": labels})
            }
            Usability::Unusable { why, remedy } => {
                json!({"name": report.name, "usable": false, "why": why, "remedy": remedy})
            }
        })
        .collect();
    let obstacles: Vec<Value> = obstacles
        .iter()
        .map(|obstacle| {
            json!({"severity": obstacle.severity.name(), "what": obstacle.what, "why": obstacle.why, "remedy": obstacle.remedy})
        })
        .collect();
    json!({"environments": environments, "obstacles": obstacles})
}
