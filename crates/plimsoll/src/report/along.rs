//! A sweep over environments: those that differ in one number of their options alone, such as `layers=1`, `layers=8`, are
//! places on an axis. The figures are those of the workload's headline metric; nothing is derived.

use std::collections::BTreeSet;

use super::environments::{About, is_control};
use super::points;
use super::sweep::{Cell, Column, PLACES_MIN, Sweep, SweepRow};
use super::units;
use super::words::clean;
use crate::analysis::Findings;
use crate::analysis::findings::{Comparison, Rung};

/// What stands over all of them.
pub(super) const TITLE: &str = "Along an option";
/// What is to be known before they are read.
pub(super) const INTRODUCTION: &str = "The same figures once more, of environments that differ in one number alone.";

/// Environments that differ in one number.
struct Ladder<'a> {
    option: &'a str,
    /// The name without the option, and the environments by its value.
    families: Vec<(&'a str, Vec<(u64, &'a str)>)>,
}

/// Every option with its environments, as far as there are enough values to see a course.
fn ladders(findings: &Findings) -> Vec<Ladder<'_>> {
    let mut ladders: Vec<Ladder<'_>> = Vec::new();
    for (environment, Rung { option, value, rest }) in
        findings.environments.iter().flat_map(|it| it.rungs.iter().map(move |rung| (it.name.as_str(), rung)))
    {
        let ladder = found(&mut ladders, |it| it.option == option, || Ladder { option, families: Vec::new() });
        let family = found(&mut ladder.families, |(name, _)| name == rest, || (rest.as_str(), Vec::new()));
        family.1.push((*value, environment));
    }
    for ladder in &mut ladders {
        ladder.families.retain(|(_, members)| {
            let values: BTreeSet<u64> = members.iter().map(|(value, _)| *value).collect();
            values.len() >= PLACES_MIN
        });
    }
    ladders.retain(|ladder| !ladder.families.is_empty());
    ladders
}

fn found<T>(all: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let place = all.iter().position(is_it).unwrap_or_else(|| {
        all.push(new());
        all.len() - 1
    });
    &mut all[place]
}

/// One for each option and workload.
pub(super) fn sweeps(findings: &Findings, panels: &[Vec<&Comparison>]) -> Vec<Sweep> {
    let about = About::of(findings);
    let mut sweeps = Vec::new();
    for ladder in ladders(findings) {
        let mut workloads: Vec<(&str, &str, Vec<SweepRow>, &Comparison)> = Vec::new();
        for cells in panels {
            let Some(first) = cells.first() else { continue };
            // Workloads declare their headline metric first.
            let new = || (first.workload.as_str(), first.metric.as_str(), Vec::new(), *first);
            let (_, metric, rows, _) = found(&mut workloads, |it| it.0 == first.workload, new);
            if *metric == first.metric {
                rows.extend(ladder.rows(cells, &about));
            }
        }
        sweeps.extend(workloads.into_iter().filter_map(|(_, _, rows, first)| ladder.sweep(rows, first)));
    }
    sweeps
}

impl Ladder<'_> {
    /// A row for each value of the option at which somebody was measured at this point.
    fn rows(&self, cells: &[&Comparison], about: &About<'_>) -> Vec<SweepRow> {
        let mut values: Vec<u64> =
            self.families.iter().flat_map(|(_, members)| members.iter().map(|(value, _)| *value)).collect();
        values.sort_unstable();
        values.dedup();
        let cell = |value: u64, members: &[(u64, &str)]| {
            let (_, name) = members.iter().find(|(other, _)| *other == value)?;
            cells.iter().find(|cell| cell.environment == *name && !is_control(cell)).copied()
        };
        let row = |value: u64| {
            let of_families: Vec<Option<&Comparison>> =
                self.families.iter().map(|(_, members)| cell(value, members)).collect();
            let first = of_families.iter().flatten().next()?;
            let point = points::axes(first.point.as_ref());
            let at = format!("{}={value}", self.option);
            Some(SweepRow {
                point: clean(&if point.is_empty() { at } else { format!("{at}, {point}") }),
                group: clean(&point),
                begins_group: false,
                at: Some(value as f64),
                at_words: value.to_string(),
                tested: false,
                native: clean(&units::quantity(first.baseline_value, &first.unit)),
                native_value: Some(first.baseline_value),
                cells: of_families
                    .iter()
                    .map(|cell| cell.map_or_else(Cell::absent, |cell| Cell::of(cell, about)))
                    .collect(),
            })
        };
        let mut rows: Vec<SweepRow> = values.into_iter().filter_map(row).collect();
        if let Some(first) = rows.first_mut() {
            first.begins_group = true;
        }
        rows
    }

    fn sweep(&self, mut rows: Vec<SweepRow>, first: &Comparison) -> Option<Sweep> {
        rows.first_mut()?.begins_group = false;
        let column = |(name, _): &(&str, Vec<_>)| Column { name: clean(name), control: false };
        Some(Sweep {
            workload: clean(&first.workload),
            metric: clean(&first.metric),
            better: if first.better == "lower" { "lower is better" } else { "higher is better" }.to_owned(),
            unit: clean(&first.unit),
            axis: self.option.to_owned(),
            columns: self.families.iter().map(column).collect(),
            rows,
            notes: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::curves::Curves;
    use super::super::fixture;
    use super::super::page::Page;
    use super::*;

    #[test]
    fn environments_that_differ_in_one_number_are_a_curve() {
        let along = Page::of(&fixture::ladder()).along;
        let shown: Vec<String> = along
            .iter()
            .map(|sweep| {
                let rows = sweep.rows.iter().map(|row| {
                    let cells: Vec<String> = row.cells.iter().map(Cell::whole).collect();
                    format!("  {} | {} | {}", row.point, row.native, cells.join(" | "))
                });
                let columns: Vec<&str> = sweep.columns.iter().map(|column| column.name.as_str()).collect();
                let head = format!("{} {} by {}: {}", sweep.workload, sweep.metric, sweep.axis, columns.join(" | "));
                std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
        assert!(along.iter().all(|sweep| Curves::of(sweep).is_some()));
    }

    #[test]
    fn two_values_are_no_course() {
        let mut findings = fixture::ladder();
        findings.environments.retain(|it| it.name == "native" || it.name == "sandbox" || it.name == "sandbox:layers=8");
        assert!(Page::of(&findings).along.is_empty());
    }
}
