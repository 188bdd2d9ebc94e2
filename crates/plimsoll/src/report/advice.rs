//! The sentences around the tables: the answer, what must be read first, what was not seen, what to do next.

use std::collections::BTreeSet;

use serde::Serialize;

use super::environments::spoiled;
use super::points::tested_at;
use super::units;
use super::words::{
    self, AUTOCORRELATED, BLOCKS_FOR_A_VERDICT, CONTROL, EMULATED, EXPLORATORY, HEAVY_TAIL, SPOILED, Tone, clean,
};
use crate::analysis::Findings;
use crate::analysis::findings::{Comparison, Verdict};

/// A sentence of the answer.
#[derive(Debug, Serialize)]
pub(super) struct Sentence {
    /// The environments it is about.
    pub(super) who: String,
    /// What is said of them.
    pub(super) what: String,
}

impl Sentence {
    /// The whole sentence.
    pub(super) fn whole(&self) -> String {
        format!("{} {}", self.who, self.what)
    }
}

/// What must be read before any number.
pub(super) fn loud(findings: &Findings) -> Vec<String> {
    let mut loud = Vec::new();
    for environment in &findings.environments {
        for mismatch in &environment.mismatches {
            let whose = if environment.name == "native" { "No number of this run" } else { "None of its numbers" };
            let name = clean(&environment.name);
            loud.push(format!("{name} is spoiled: {}. {whose} can be used.", clean(mismatch.trim_end_matches('.'))));
        }
    }
    if findings.comparisons.is_empty() && findings.control.is_empty() {
        loud.push(match findings.design.blocks {
            0 => "Nothing was compared: no block was finished.".to_owned(),
            _ => "Nothing was compared: native has no value of any workload. See below what failed or is missing."
                .to_owned(),
        });
    } else if findings.design.blocks < BLOCKS_FOR_A_VERDICT {
        loud.push(format!(
            "Values without verdicts: {} of at least {BLOCKS_FOR_A_VERDICT} were finished.",
            units::count(findings.design.blocks, "block")
        ));
    }
    loud.extend(alarms(findings));
    loud
}

/// Controls that found a difference where there is none.
fn alarms(findings: &Findings) -> Vec<String> {
    let mut alarms: Vec<String> = findings
        .control
        .iter()
        .filter(|control| control.headline && words::control_verdict(control).1 == Tone::Alarm)
        .map(|control| {
            format!(
                "The control failed on {}: native against itself differs by {}. By chance \
                 this happens to 1 control in 20; read this workload's numbers with care.",
                clean(&control.workload),
                units::cost_with_interval(control.cost, control.cost_ci95)
            )
        })
        .collect();
    if findings.control.is_empty() && !findings.comparisons.is_empty() {
        alarms.push("No control: native was not compared with itself, so nothing checks these numbers.".to_owned());
    }
    alarms
}

/// Workload that measures the ruler: not part of the answer.
const RULER: &str = "null";

/// The answer in words: one sentence for each environment, and one for all that say nothing about KVM.
pub(super) fn answer(findings: &Findings) -> Vec<Sentence> {
    let spoiled = spoiled(findings);
    let mut by_environment: Vec<(&str, Vec<&Comparison>)> = Vec::new();
    for cell in findings.comparisons.iter().filter(|cell| cell.headline && cell.workload != RULER) {
        match by_environment.iter_mut().find(|(name, _)| *name == cell.environment) {
            Some((_, cells)) => cells.push(cell),
            None => by_environment.push((&cell.environment, vec![cell])),
        }
    }
    by_environment.retain(|(name, _)| !spoiled.contains(name));
    let emulated = |cells: &[&Comparison]| cells.iter().all(|cell| cell.labels.iter().any(|label| label == EMULATED));
    let (emulated, real): (Vec<_>, Vec<_>) = by_environment.into_iter().partition(|(_, cells)| emulated(cells));
    let mut answer: Vec<Sentence> = real.iter().filter_map(|(name, cells)| sentence(name, cells)).collect();
    let emulated: Vec<String> = emulated.iter().map(|(name, _)| clean(name)).collect();
    if !emulated.is_empty() {
        let whose = if emulated.len() == 1 { "its" } else { "their" };
        let what = format!("ran emulated: {whose} numbers say nothing about KVM.");
        answer.push(Sentence { who: and(&emulated), what });
    }
    answer
}

fn sentence(name: &str, cells: &[&Comparison]) -> Option<Sentence> {
    let told: Vec<(&Comparison, Tone)> = cells.iter().map(|cell| (*cell, words::verdict(cell, false).1)).collect();
    if cells.iter().all(|cell| cell.blocks < BLOCKS_FOR_A_VERDICT) {
        return None;
    }
    let with = |wanted: Tone, print: &dyn Fn(&Comparison) -> String| -> Option<String> {
        let list: Vec<String> = told.iter().filter(|(_, tone)| *tone == wanted).map(|(cell, _)| print(cell)).collect();
        (!list.is_empty()).then(|| and(&list))
    };
    let workload = |cell: &Comparison| clean(&cell.workload);
    let amount = |cell: &Comparison| format!("{} on {}", units::share(cell.cost.abs()), clean(&cell.workload));
    let margin = units::share(cells[0].margin);
    let parts: Vec<String> = [
        with(Tone::Cost, &amount).map(|list| format!("costs {list}")),
        with(Tone::Gain, &amount).map(|list| format!("gains {list}")),
        with(Tone::Same, &workload).map(|list| format!("is within {margin} of native on {list}")),
        with(Tone::Open, &workload).map(|list| format!("may or may not differ on {list}: cannot tell yet")),
        with(Tone::Spoiled, &workload).map(|list| format!("was not measured as asked on {list}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(Sentence { who: clean(name), what: format!("{}.", parts.join("; ")) })
}

fn and(list: &[String]) -> String {
    match list {
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
        [] => String::new(),
    }
}

/// What the numbers do not say.
pub(super) fn warnings(findings: &Findings) -> Vec<String> {
    let design = &findings.design;
    let mut warnings = Vec::new();
    if design.blocks > 0 {
        warnings
            .push(format!("A slow launch that happens less than 1 time in {} may not have been seen.", design.blocks));
    }
    warnings.extend(tested_at(findings));
    if findings.environments.iter().any(|environment| environment.labels.iter().any(|label| label == EMULATED)) {
        warnings.push("Emulated means that the guest's CPU was interpreted: no hardware KVM was used.".to_owned());
    }
    for environment in &findings.environments {
        let unverified: Vec<String> = environment.labels.iter().filter_map(|label| words::unverified(label)).collect();
        if !unverified.is_empty() {
            let (name, what) = (clean(&environment.name), and(&unverified));
            warnings.push(format!("{name}: {what} could not be verified: what was asked for is believed."));
        }
    }
    for (environment, slices) in design.spoiled.iter().filter(|(_, slices)| **slices > 0) {
        warnings.push(format!(
            "{}: {} disturbed from outside and left out, by the rule fixed before the run.",
            clean(environment),
            was(*slices)
        ));
    }
    warnings.extend(without_value(findings));
    warnings.extend(not_steady(&design.not_steady));
    warnings
}

/// One line for each environment, out of lines such as `docker: cpu.lzma (1 block)`.
fn not_steady(which: &[String]) -> Vec<String> {
    let mut by_environment: Vec<(&str, Vec<String>)> = Vec::new();
    for (environment, what) in which.iter().filter_map(|which| which.split_once(": ")) {
        match by_environment.iter_mut().find(|(known, _)| *known == environment) {
            Some((_, all)) => all.push(clean(what)),
            None => by_environment.push((environment, vec![clean(what)])),
        }
    }
    let line = |(environment, what): &(&str, Vec<String>)| {
        format!("Measured before it was steady: {}: {}.", clean(environment), what.join(", "))
    };
    by_environment.iter().map(line).collect()
}

fn was(slices: u32) -> String {
    format!("{} {}", units::count(slices, "slice"), if slices == 1 { "was" } else { "were" })
}

/// What to do for a sharper answer.
pub(super) fn sharper(findings: &Findings) -> Vec<String> {
    if findings.design.blocks < BLOCKS_FOR_A_VERDICT {
        return vec![format!("Run at least {BLOCKS_FOR_A_VERDICT} blocks for verdicts (--blocks 5).")];
    }
    let spoiled = spoiled(findings);
    let mut by_workload: Vec<(String, [u32; 2])> = Vec::new();
    for cell in open_cells(findings, &spoiled) {
        let Some([low, high]) = cell.blocks_for_one_percent else { continue };
        let workload = clean(&cell.workload);
        match by_workload.iter_mut().find(|(name, _)| *name == workload) {
            Some((_, range)) => *range = [range[0].max(low), range[1].max(high)],
            None => by_workload.push((workload, [low, high])),
        }
    }
    needs(&by_workload, findings)
}

/// One line for each range of blocks, then what a block took.
fn needs(by_workload: &[(String, [u32; 2])], findings: &Findings) -> Vec<String> {
    let ranges: BTreeSet<[u32; 2]> = by_workload.iter().map(|(_, range)| *range).collect();
    let mut lines: Vec<String> = Vec::new();
    for [low, high] in ranges {
        let workloads: Vec<String> =
            by_workload.iter().filter(|(_, range)| *range == [low, high]).map(|(name, _)| name.clone()).collect();
        let range = if low == high { low.to_string() } else { format!("{low} to {high}") };
        lines.push(format!("To know every cost on {} to within 1 %: about {range} blocks.", and(&workloads)));
    }
    if !lines.is_empty() {
        let (blocks, time) = (units::count(findings.design.blocks, "block"), units::duration(findings.design.seconds));
        lines.push(format!("This run had {blocks} in {time}; `--blocks` sets how many the next one has."));
    }
    lines
}

/// Environments that have no value where others have one.
fn without_value(findings: &Findings) -> Vec<String> {
    let mut workloads: Vec<(String, BTreeSet<&str>)> = Vec::new();
    for cell in findings.comparisons.iter().filter(|cell| cell.headline) {
        let workload = clean(&cell.workload);
        match workloads.iter_mut().find(|(name, _)| *name == workload) {
            Some((_, seen)) => drop(seen.insert(&cell.environment)),
            None => workloads.push((workload, BTreeSet::from([cell.environment.as_str()]))),
        }
    }
    let mut lines = Vec::new();
    for environment in findings.environments.iter().filter(|environment| environment.name != "native") {
        let missing = workloads.iter().filter(|(_, seen)| !seen.contains(environment.name.as_str()));
        let missing: Vec<String> = missing.map(|(workload, _)| workload.clone()).collect();
        if !missing.is_empty() {
            lines.push(format!(
                "{} has no value for {}: see what failed or could not run.",
                clean(&environment.name),
                and(&missing)
            ));
        }
    }
    lines
}

fn open_cells<'a>(findings: &'a Findings, spoiled: &BTreeSet<&str>) -> Vec<&'a Comparison> {
    let open = |cell: &&Comparison| {
        cell.headline && cell.verdict == Verdict::Unresolved && !spoiled.contains(cell.environment.as_str())
    };
    let real = |cell: &&Comparison| !cell.labels.iter().any(|label| label == EMULATED) && !words::is_spoiled(cell);
    findings.comparisons.iter().filter(open).filter(real).collect()
}

/// Sentences about one figure: whatever its labels say beyond those of its environment.
pub(super) fn notes(cell: &Comparison, of_environment: &[String]) -> Vec<String> {
    let notes = own_labels(cell, of_environment).filter_map(|label| note(cell, label));
    notes.map(|note| format!("{}: {note}.", who(cell))).collect()
}

/// Whose figure it is.
pub(super) fn who(cell: &Comparison) -> String {
    match cell.environment.as_str() {
        CONTROL => "control".to_owned(),
        other => clean(other),
    }
}

/// What its labels say beyond those of its environment.
pub(super) fn own_labels<'a>(cell: &'a Comparison, of_environment: &'a [String]) -> impl Iterator<Item = &'a String> {
    cell.labels.iter().filter(|label| !of_environment.contains(label))
}

/// How the label of a figure ends whose whole environment was not what was asked for.
const MISMATCH: &str = "asked ≠ got";

/// A label of a figure as a sentence; `None` where it needs none.
pub(super) fn note(cell: &Comparison, label: &str) -> Option<String> {
    match label {
        HEAVY_TAIL => {
            let typical = cell.cost_typical?;
            let typical = units::cost_with_interval(typical, cell.cost_typical_ci95);
            Some(format!("heavy tail: typical cost {typical}, average cost {}", units::cost(cell.cost)))
        }
        AUTOCORRELATED => Some("blocks in a row resemble each other, so the interval was made wider".to_owned()),
        EXPLORATORY | EMULATED => None,
        // Said once for the whole environment, at the top.
        mismatch if mismatch.starts_with(SPOILED) && mismatch.ends_with(MISMATCH) => None,
        other => Some(clean(other.strip_prefix(SPOILED).unwrap_or(other))),
    }
}
