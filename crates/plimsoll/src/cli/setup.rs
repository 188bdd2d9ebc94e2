//! `plimsoll setup`: installs what engines need, with the system's package manager, after asking.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal, Write};

use anyhow::Result;
use clap::Args;
use plimsoll::launch::engines;
use plimsoll::plan::Plan;
use plimsoll::{interrupt, setup};

use super::exit::{self, Refusal};

#[derive(Debug, Args)]
pub(super) struct SetupArguments {
    /// Engines; all of them if none is named
    engines: Vec<String>,
    /// Answer yes to every question
    #[arg(long)]
    yes: bool,
}

pub(super) fn setup(arguments: &SetupArguments) -> Result<u8> {
    let engines: Vec<&str> = arguments.engines.iter().map(String::as_str).collect();
    install(&engines, arguments.yes)
}

/// Installs what the environments of a plan need; what cannot be installed is left to the plan's own examination.
pub(super) fn for_plan(plan: &Plan, yes: bool) -> Result<()> {
    let layers = plan.environments().iter().flat_map(|planned| planned.environment.stack());
    let named = layers.flat_map(|layer| [Some(layer.engine.name), engines::needs_beside(layer)]).flatten();
    let engines: BTreeSet<&str> = named.filter(|name| *name != "sandbox").collect();
    if engines.is_empty() {
        return Ok(());
    }
    let engines: Vec<&str> = engines.into_iter().collect();
    match install(&engines, yes) {
        Err(error) if !interrupt::requested() => eprintln!("setup: {error:#}; going on with what is here"),
        other => drop(other?),
    }
    Ok(())
}

fn install(engines: &[&str], yes: bool) -> Result<u8> {
    let plan = setup::plan(engines);
    if !plan.unknown.is_empty() {
        return Err(Refusal::usage(format!("unknown engine: {}", plan.unknown.join(", "))).into());
    }
    eprintln!("setup: {}", plan.summary());
    if plan.is_empty() {
        return Ok(exit::DONE);
    }
    for command in plan.commands() {
        eprintln!("  {command}");
    }
    if !yes && !agreed()? {
        return Err(Refusal::usage("nothing was installed").into());
    }
    setup::carry_out(&plan, &mut std::io::stderr().lock()).map_err(|error| Refusal::host(error.to_string()))?;
    Ok(exit::DONE)
}

fn agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Refusal::usage("cannot ask, since standard input is no terminal; say --yes").into());
    }
    eprint!("install? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
