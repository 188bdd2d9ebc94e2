//! Evidence beside a panel: what was counted around the slices, one counter a row, one environment a column.

use std::collections::BTreeSet;

use serde::Serialize;

use super::units;
use super::words::clean;
use crate::analysis::findings::Comparison;

/// The counters of a panel.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    /// Names of the columns.
    pub(super) environments: Vec<String>,
    /// Counters with a value for each column; empty where it was not counted.
    pub(super) rows: Vec<Counter>,
}

/// One counter.
#[derive(Debug, Serialize)]
pub(super) struct Counter {
    /// Its name.
    pub(super) name: String,
    /// Means per slice.
    pub(super) values: Vec<String>,
}

impl Counted {
    /// The counters of these cells; `None` where nothing was counted. The control's stand for native.
    pub(super) fn of(cells: &[&Comparison]) -> Option<Self> {
        let (control, others): (Vec<&Comparison>, Vec<&Comparison>) =
            cells.iter().copied().partition(|cell| cell.environment == "native#2");
        let columns: Vec<&Comparison> = control.into_iter().chain(others).collect();
        let names: BTreeSet<&String> = columns.iter().flat_map(|cell| cell.evidence.keys()).collect();
        let value = |cell: &&Comparison, name: &String| {
            cell.evidence.get(name).map_or_else(String::new, |value| units::quantity(*value, "1"))
        };
        let row = |name: &String| Counter {
            name: clean(name),
            values: columns.iter().map(|cell| value(cell, name)).collect(),
        };
        let rows: Vec<Counter> = names.into_iter().map(row).collect();
        let environments = columns.iter().map(|cell| clean(&cell.environment)).collect();
        (!rows.is_empty()).then_some(Self { environments, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_counter_that_one_environment_lacks_leaves_its_cell_empty() {
        let mut findings = fixture::rich();
        findings.comparisons[1].evidence.insert("kvm.exits".to_owned(), 12_345.0);
        let cells = [&findings.comparisons[0], &findings.comparisons[1], &findings.control[0]];
        let counted = Counted::of(&cells).unwrap();
        assert_eq!(counted.environments, ["native#2", "sandbox", "sandbox:disk=volume"]);
        let rows: Vec<(&str, &[String])> =
            counted.rows.iter().map(|row| (row.name.as_str(), row.values.as_slice())).collect();
        let text = |values: [&str; 3]| values.map(str::to_owned);
        assert_eq!(
            rows,
            [
                ("host.ctx_switches", text(["12.5", "12.5", "12.5"]).as_slice()),
                ("kvm.exits", text(["", "", "12345"]).as_slice())
            ]
        );
    }

    #[test]
    fn without_evidence_there_is_no_table() {
        let mut cell = fixture::rich().comparisons.remove(0);
        cell.evidence.clear();
        assert!(Counted::of(&[&cell]).is_none());
    }
}
