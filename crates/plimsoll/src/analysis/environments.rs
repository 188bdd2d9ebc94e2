//! What each environment turned out to be, over all its launches, and how that qualifies its numbers.

use std::collections::BTreeMap;

use super::cells::by_id;
use super::findings::{EnvironmentFindings, Rung};
use crate::sample::{Profile, RunRecord, RungRecord};

/// The label of an environment whose guest is emulated or interpreted: it never decides a claim about KVM.
pub(super) const EMULATED: &str = "emulated";
/// The label of a comparison whose environment was not what was asked for.
const SPOILED: &str = "spoiled: asked ≠ got";
/// The same where it is the baseline that was not.
const SPOILED_NATIVE: &str = "spoiled: native asked ≠ got";
/// The label of every environment of a run whose harness had no CPU of its own.
const SHARED_CPU: &str = "shared cpu";
/// So many different values of a fact are shown; one that differs in every launch says nothing.
const VALUES_SHOWN_MAX: usize = 4;

/// Every environment of the plan, in its order.
pub(super) fn environments(record: &RunRecord) -> Vec<EnvironmentFindings> {
    let launches = by_id(&record.launches);
    let of_the_run: Vec<String> = record.plan.shared_cpu.then(|| SHARED_CPU.to_owned()).into_iter().collect();
    let environment = |(position, name): (u32, &String)| {
        let profiles: Vec<&Profile> =
            launches.iter().filter(|launch| launch.arm.environment == position).map(|launch| &launch.profile).collect();
        EnvironmentFindings {
            name: name.clone(),
            labels: distinct(profiles.iter().flat_map(|profile| &profile.labels).chain(&of_the_run)),
            asked: merged(profiles.iter().map(|profile| &profile.asked)),
            got: merged(profiles.iter().map(|profile| &profile.got)),
            mismatches: distinct(profiles.iter().flat_map(|profile| &profile.mismatches)),
            rungs: record
                .plan
                .rungs
                .get(position as usize)
                .map(|rungs| rungs.iter().map(rung).collect())
                .unwrap_or_default(),
        }
    };
    (0..).zip(&record.plan.environments).map(environment).collect()
}

fn rung(record: &RungRecord) -> Rung {
    let RungRecord { option, value, rest } = record.clone();
    Rung { option, value, rest }
}

/// What qualifies every comparison of an environment.
pub(super) struct Qualities {
    /// Its labels, and the one of a mismatch.
    pub(super) labels: Vec<String>,
    /// Whether it or native was not what was asked for: then nothing is decided.
    pub(super) spoiled: bool,
}

/// The qualities of the environment at this position of the plan.
pub(super) fn qualities(environments: &[EnvironmentFindings], position: u32) -> Qualities {
    let is_spoiled =
        |environment: Option<&EnvironmentFindings>| environment.is_some_and(|it| !it.mismatches.is_empty());
    let environment = environments.get(position as usize);
    let (own, native) = (is_spoiled(environment), is_spoiled(environments.first()));
    let mut labels = environment.map(|it| it.labels.clone()).unwrap_or_default();
    if own {
        labels.push(SPOILED.to_owned());
    }
    if native && position != 0 {
        labels.push(SPOILED_NATIVE.to_owned());
    }
    Qualities { labels, spoiled: own || native }
}

impl Qualities {
    /// The same for one cell whose disk may not have been one.
    pub(super) fn and_disk(mut self, label: Option<&str>) -> Self {
        self.spoiled |= label.is_some();
        self.labels.extend(label.map(str::to_owned));
        self
    }
}

/// Each text once, in the order of its first appearance.
fn distinct<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for text in texts {
        if !seen.contains(text) {
            seen.push(text.clone());
        }
    }
    seen
}

/// Facts of all launches; one that differs between launches reads `a | b`.
fn merged<'a>(launches: impl Iterator<Item = &'a BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut values: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    for (fact, value) in launches.flatten() {
        values.entry(fact).or_default().push(value);
    }
    values.into_iter().map(|(fact, values)| (fact.clone(), joined(&distinct(values.into_iter())))).collect()
}

fn joined(values: &[String]) -> String {
    let shown = values.iter().take(VALUES_SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(" | ");
    match values.len().saturating_sub(VALUES_SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} | {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_that_differs_between_launches_shows_each_value_once_and_not_without_end() {
        let texts: Vec<String> = ["a", "b", "a", "c", "d", "e", "f"].map(str::to_owned).to_vec();
        assert_eq!(joined(&distinct(texts[..3].iter())), "a | b");
        assert_eq!(joined(&distinct(texts.iter())), "a | b | c | d | 2 more");
    }
}
