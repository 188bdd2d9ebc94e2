//! The words of a report: what a verdict, a control, an end of a run is called. One place, so that all formats agree.
//!
//! A run that cannot tell says so: nothing here ever turns "not significant" into "no overhead".

use super::units;
use crate::analysis::findings::{Comparison, Findings, Verdict};

/// Blocks under which a value gets no verdict.
pub(super) const BLOCKS_FOR_A_VERDICT: u32 = 3;

/// The environment of a control.
pub(super) const CONTROL: &str = "native#2";

/// Label of an environment whose CPU is interpreted.
pub(super) const EMULATED: &str = "emulated";

/// Label of a metric that is not tested.
pub(super) const EXPLORATORY: &str = "exploratory";
/// How the label of a figure begins whose environment, or whose baseline, was not what was asked for.
pub(super) const SPOILED: &str = "spoiled: ";
pub(super) const HEAVY_TAIL: &str = "heavy tail";
pub(super) const AUTOCORRELATED: &str = "autocorrelated";

const NOT_AS_ASKED: &str = "spoiled: not as asked";

/// How a row is to be seen, whatever the format does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tone {
    /// The baseline.
    Native,
    /// It costs.
    Cost,
    /// It gains.
    Gain,
    /// The same within the margin.
    Same,
    /// The run cannot tell.
    Open,
    /// Says nothing about KVM.
    Emulated,
    /// Not what was asked.
    Spoiled,
    /// The control, as it should be.
    Control,
    /// The control, not as it should be.
    Alarm,
}

/// Text of the run without what could steer a terminal or reorder a line.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => ' ',
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => '\u{fffd}',
            character if character.is_control() => '\u{fffd}',
            character => character,
        })
        .collect()
}

/// What a label says could not be verified.
pub(super) fn unverified(label: &str) -> Option<String> {
    label.strip_suffix(" not verified").map(clean)
}

/// Stands for what could not be verified; what that is, is said below the tables.
const UNVERIFIED: &str = "partly unverified";

/// A name with its labels: `docker (net=none, shared cpu)`.
pub(super) fn name_with_labels(name: &str, labels: &[String]) -> String {
    let is_partly = labels.iter().any(|label| unverified(label).is_some());
    let plain = labels.iter().filter(|label| unverified(label).is_none()).map(|label| clean(label));
    let labels: Vec<String> = plain.chain(is_partly.then(|| UNVERIFIED.to_owned())).collect();
    if labels.is_empty() { clean(name) } else { format!("{} ({})", clean(name), labels.join(", ")) }
}

/// Whether a figure is not to be used for a reason of its own.
pub(super) fn is_spoiled(comparison: &Comparison) -> bool {
    comparison.labels.iter().any(|label| label.starts_with(SPOILED))
}

/// The verdict in words, with the tone in which to say it. `spoiled`: the environment was not what was asked.
pub(super) fn verdict(comparison: &Comparison, spoiled: bool) -> (String, Tone) {
    if spoiled || is_spoiled(comparison) {
        return (NOT_AS_ASKED.to_owned(), Tone::Spoiled);
    }
    if comparison.labels.iter().any(|label| label == EMULATED) {
        return ("emulated: says nothing about KVM".to_owned(), Tone::Emulated);
    }
    if comparison.blocks < BLOCKS_FOR_A_VERDICT {
        return (format!("no verdict: {}", units::count(comparison.blocks, "block")), Tone::Open);
    }
    match comparison.verdict {
        Verdict::Cost => ("costs".to_owned(), Tone::Cost),
        Verdict::Gain => ("gains".to_owned(), Tone::Gain),
        Verdict::Equivalent => (format!("same within {}", units::share(comparison.margin)), Tone::Same),
        Verdict::Unresolved => (cannot_tell(comparison.mde), Tone::Open),
    }
}

fn cannot_tell(mde: Option<f64>) -> String {
    match mde.filter(|mde| mde.is_finite()) {
        // Not to be broken before the sign.
        Some(mde) => format!("cannot tell yet (would see {})", units::share(mde).replace(' ', "\u{a0}")),
        None => "cannot tell yet".to_owned(),
    }
}

/// What native against itself says.
pub(super) fn control_verdict(control: &Comparison) -> (String, Tone) {
    if is_spoiled(control) {
        return (NOT_AS_ASKED.to_owned(), Tone::Spoiled);
    }
    if control.blocks < BLOCKS_FOR_A_VERDICT {
        return (format!("no verdict: {}", units::count(control.blocks, "block")), Tone::Control);
    }
    match control.verdict {
        Verdict::Cost | Verdict::Gain => ("WARNING: should be 0".to_owned(), Tone::Alarm),
        Verdict::Equivalent | Verdict::Unresolved => ("as it should be".to_owned(), Tone::Control),
    }
}

/// Why the run ended.
pub(super) fn stopped(because: &str) -> String {
    match because {
        "blocks" => "all blocks done".to_owned(),
        "precision" => "it stopped because the asked precision was reached".to_owned(),
        "time" => "it stopped because the time was up".to_owned(),
        "interrupted" => "it was interrupted: only what was finished counts".to_owned(),
        "failed" => "it could not go on: see the mishaps".to_owned(),
        "killed" => "it was killed: only what was finished counts".to_owned(),
        other => clean(other),
    }
}

/// The title of a family of workloads.
pub(super) fn family_title(family: &str) -> String {
    let title = match family {
        "null" => "The ruler itself",
        "cpu" => "Processor",
        "mem" => "Memory",
        "kernel" => "Kernel",
        "disk" => "Disk",
        "net" => "Network",
        "app" => "Servers",
        "start" => "Start",
        "kvm" => "Virtual machine exits",
        "exec" => "Your command",
        other => return clean(other),
    };
    title.to_owned()
}

/// CPUs as a list: `CPU 1`, `CPUs 1, 3`.
pub(super) fn cpus(cpus: &[u32]) -> String {
    let list: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    if cpus.len() == 1 { format!("CPU {}", list.join(", ")) } else { format!("CPUs {}", list.join(", ")) }
}

/// What ran, on what, how it ended: two or three lines.
pub(super) fn what_ran(findings: &Findings) -> Vec<String> {
    let (run, design) = (&findings.run, &findings.design);
    let fact = |name: &str| run.host.get(name).map(|value| clean(value));
    let cpu = fact("cpu.model").unwrap_or_else(|| "unknown CPU".to_owned());
    let kernel =
        fact("kernel.release").map_or_else(|| "unknown kernel".to_owned(), |release| format!("Linux {release}"));
    let preset = run.preset.as_deref().map_or_else(String::new, |preset| format!("preset {}, ", clean(preset)));
    vec![
        format!("{cpu}, {kernel}; each environment: {}, {}", cpus(&design.cpus), units::memory(design.memory_bytes)),
        format!(
            "{} × {} of at least {} in {}; {preset}seed {}; {}",
            units::count(design.blocks, "block"),
            units::count(design.slices, "slice"),
            units::duration(design.slice_seconds_min),
            units::duration(design.seconds),
            run.seed,
            stopped(&run.stopped_because)
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_labels_but_those_that_take_a_sentence() {
        let labels = ["kernel and filesystems not verified", "net=none"].map(str::to_owned);
        assert_eq!(name_with_labels("gvisor", &labels), "gvisor (net=none, partly unverified)");
        assert_eq!(unverified(&labels[0]).as_deref(), Some("kernel and filesystems"));
    }
}
