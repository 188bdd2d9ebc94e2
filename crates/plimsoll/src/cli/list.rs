//! `plimsoll list`: environments, workloads, presets.

use anyhow::Result;
use clap::{Args, ValueEnum};
use plimsoll::environment::{EngineAbout, Values};
use plimsoll::launch::engines;
use plimsoll::plan::preset::PRESETS;
use plimsoll_agent::workload::{About, WORKLOADS};
use serde_json::{Value, json};

use super::{TextOrJson, exit};

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// Of what
    #[arg(value_enum)]
    of: Of,
    /// Text for people, JSON for programs
    #[arg(long, value_enum, default_value = "text")]
    format: TextOrJson,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    Environments,
    Workloads,
    Presets,
}

pub(super) fn list(arguments: &ListArguments) -> Result<u8> {
    let json = arguments.format == TextOrJson::Json;
    match (arguments.of, json) {
        (Of::Environments, false) => print!("{}", environments_text()),
        (Of::Workloads, false) => print!("{}", workloads_text()),
        (Of::Presets, false) => print!("{}", presets_text()),
        (Of::Environments, true) => print_json(&engines::abouts().into_iter().map(engine_json).collect::<Vec<_>>())?,
        (Of::Workloads, true) => {
            print_json(&WORKLOADS.iter().map(|workload| workload_json(workload.about())).collect::<Vec<_>>())?;
        }
        (Of::Presets, true) => print_json(&presets_json())?,
    }
    Ok(exit::DONE)
}

fn print_json(values: &[Value]) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(values)?);
    Ok(())
}

fn environments_text() -> String {
    let mut text =
        String::from("native      the host itself, under the same CPU set and memory limit as every other\n");
    for engine in engines::abouts() {
        text.push_str(&format!("\n{:<11} {}\n{:<11} needs {}\n", engine.name, engine.summary, "", engine.needs));
        for option in engine.options {
            let default =
                if option.default.is_empty() { String::new() } else { format!(" (default {})", option.default) };
            let written = format!("{}{}", option.key, values(&option.values));
            let set = set(&option.values).map(|set| format!(": {set}")).unwrap_or_default();
            text.push_str(&format!("  {written:<34} {}{set}{default}\n", option.meaning));
        }
    }
    text.push_str("\nLayers are joined by `/`, outermost first; options follow `:` and are separated by commas:\n");
    text.push_str(
        "  docker:net=host    sandbox:disk=volume,seccomp=off    qemu:kernel=\"/boot/vmlinuz\"    qemu/sandbox\n",
    );
    text
}

fn values(values: &Values) -> String {
    match values {
        Values::OneOf(words) => format!("={}", words.join("|")),
        Values::Number(low, high) => format!("={low}..{high}"),
        Values::Path => "=\"PATH\"".to_owned(),
        Values::Flag | Values::Set(_) => String::new(),
    }
}

/// The options that a set stands for, as they would be written.
fn set(values: &Values) -> Option<String> {
    let Values::Set(options) = values else { return None };
    let written =
        |(key, value): &(&str, &str)| if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") };
    Some(options.iter().map(written).collect::<Vec<_>>().join(","))
}

fn workloads_text() -> String {
    let mut text = String::new();
    for about in WORKLOADS.iter().map(|workload| workload.about()) {
        let metrics: Vec<String> = about
            .metrics
            .iter()
            .map(|metric| {
                format!("{} ({}){}", metric.name, metric.unit, if metric.headline { " headline" } else { "" })
            })
            .collect();
        text.push_str(&format!("{:<15} {}\n{:<15} {}\n", about.name, about.summary, "", metrics.join(", ")));
        for parameter in about.parameters {
            text.push_str(&format!("  {:<20} {}\n", parameter.name, parameter.meaning));
        }
    }
    text
}

fn presets_text() -> String {
    let entries = PRESETS.iter().map(|preset| {
        let (environments, workloads) = (preset.environments.join("  "), preset.workloads.join("  "));
        format!(
            "{:<10} {}\n{:<10} {environments}\n{:<10} {workloads}\n{:<10} {} blocks, {} slices\n",
            preset.name, preset.summary, "", "", "", preset.blocks, preset.slices
        )
    });
    entries.collect()
}

fn engine_json(engine: &'static EngineAbout) -> Value {
    let options: Vec<Value> = engine
        .options
        .iter()
        .map(|option| {
            let words = if let Values::OneOf(words) = option.values { Some(words) } else { None };
            json!({
                "key": option.key, "values": words, "default": option.default, "meaning": option.meaning,
                "stands_for": set(&option.values),
            })
        })
        .collect();
    json!({
        "name": engine.name, "summary": engine.summary, "needs": engine.needs,
        "virtual_machine": engine.virtual_machine, "nests_in_guest": engine.nests_in_guest, "options": options,
    })
}

fn workload_json(about: &About) -> Value {
    let metrics: Vec<Value> = about
        .metrics
        .iter()
        .map(|metric| json!({"name": metric.name, "unit": metric.unit, "headline": metric.headline}))
        .collect();
    let parameters: Vec<Value> = about
        .parameters
        .iter()
        .map(|parameter| json!({"name": parameter.name, "meaning": parameter.meaning, "range": parameter.range}))
        .collect();
    json!({"name": about.name, "summary": about.summary, "work": about.work, "metrics": metrics, "parameters": parameters})
}

fn presets_json() -> Vec<Value> {
    let preset = |preset: &plimsoll::plan::preset::Preset| {
        json!({
            "name": preset.name, "summary": preset.summary, "environments": preset.environments,
            "workloads": preset.workloads, "blocks": preset.blocks, "slices": preset.slices,
        })
    };
    PRESETS.iter().map(preset).collect()
}
