//! Evidence beside a number: counters by name, as means per slice. Nothing is inferred from them here.

use std::collections::BTreeMap;

use crate::sample::{Evidence, SliceBundle};

/// Mean per slice of every counter, by `source.name`. A counter that appears several times in a slice is summed; a
/// slice that lacks it does not count. Where host and inside use the same name, the host's gets ` (host)` behind it.
pub(super) fn mean_per_slice<'a>(slices: impl Iterator<Item = &'a SliceBundle>) -> BTreeMap<String, f64> {
    let (mut inside, mut host) = (Means::default(), Means::default());
    for bundle in slices {
        inside.add(bundle.slice.id, &bundle.evidence_inside);
        host.add(bundle.slice.id, &bundle.evidence_host);
    }
    let mut means: BTreeMap<String, f64> = inside.means().collect();
    let host: Vec<(String, f64)> = host.means().collect();
    for (name, mean) in host {
        let name = if means.contains_key(&name) { format!("{name} (host)") } else { name };
        means.insert(name, mean);
    }
    means
}

/// The value of the first row of this name.
pub(super) fn value_of(rows: &[Evidence], name: &str) -> Option<f64> {
    rows.iter().find(|row| row.name == name).map(|row| row.value)
}

/// Tallies in the order in which their counters first appear. Every slice has much the same rows in the same order, so a
/// row's counter is looked for behind that of the row before.
#[derive(Default)]
struct Means<'a>(Vec<Tally<'a>>);

struct Tally<'a> {
    source: &'a str,
    name: &'a str,
    total: f64,
    slices: u32,
    last_slice: Option<u64>,
}

impl<'a> Means<'a> {
    fn add(&mut self, slice: u64, rows: &'a [Evidence]) {
        let mut next = 0;
        for row in rows {
            let place = self.place(row, next);
            next = place + 1;
            let tally = &mut self.0[place];
            tally.total += row.value;
            tally.slices += u32::from(tally.last_slice.replace(slice) != Some(slice));
        }
    }

    fn place(&mut self, row: &'a Evidence, next: usize) -> usize {
        let is_rows = |tally: &Tally<'_>| tally.name == row.name && tally.source == row.source;
        if self.0.get(next).is_some_and(is_rows) {
            return next;
        }
        self.0.iter().position(is_rows).unwrap_or_else(|| {
            self.0.push(Tally { source: &row.source, name: &row.name, total: 0.0, slices: 0, last_slice: None });
            self.0.len() - 1
        })
    }

    fn means(self) -> impl Iterator<Item = (String, f64)> {
        let named = self
            .0
            .into_iter()
            .map(|tally| (format!("{}.{}", tally.source, tally.name), tally.total / f64::from(tally.slices)));
        named.filter(|(_, mean)| mean.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulated::{evidence, slice_with_evidence};

    #[test]
    fn counters_are_summed_in_a_slice_and_averaged_over_those_that_have_them() {
        let slices = [
            slice_with_evidence(1, vec![evidence("net", "packets", 3.0), evidence("net", "packets", 5.0)], vec![]),
            slice_with_evidence(2, vec![evidence("net", "packets", 2.0)], vec![evidence("net", "packets", 7.0)]),
            slice_with_evidence(3, vec![], vec![evidence("kvm", "exits", f64::NAN)]),
        ];
        let means = mean_per_slice(slices.iter());
        let expected = [("net.packets".to_owned(), 5.0), ("net.packets (host)".to_owned(), 7.0)];
        assert_eq!(means, BTreeMap::from(expected));
    }
}
