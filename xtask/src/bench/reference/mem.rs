//! `mem.copy`, `mem.scale`, `mem.add`, `mem.triad` and `mem.random` beside STREAM and RandomAccess as HPCC has them: on
//! one CPU, and on all with one process of HPCC on each.

use anyhow::Result;

use super::ours::{Cell, Plan, SLICE};
use super::{Contest, Offer, Pair, Read, Scene, hpcc};

/// The rule of STREAM.
const CACHES_PER_ARRAY: u64 = 4;
/// For hosts that do not tell their cache, and for those with so much that HPL's matrix would take an hour.
const ARRAY_BYTES: std::ops::RangeInclusive<u64> = 16 << 20..=256 << 20;
const WORD_BYTES: u64 = 8;
/// Ours, what STREAM calls it, and the arrays that it reads or writes.
const KERNELS: [(&str, &str, u64); 4] =
    [("mem.copy", "Copy", 2), ("mem.scale", "Scale", 2), ("mem.add", "Add", 3), ("mem.triad", "Triad", 3)];
const RANDOM: &str = "mem.random";

/// What both sides get.
struct Sizes {
    /// The order of HPL's matrix.
    n: u64,
    array_bytes: u64,
    /// All tables together, as `mem.random` counts them.
    table_bytes: u64,
    /// The table of one process or thread.
    share_bytes: u64,
}

impl Sizes {
    /// HPCC: an array has a third of the words of HPL's matrix, shared out; a table the largest power of two within the
    /// matrix's words of one process.
    fn of(cache_bytes: u64, processes: u64) -> Self {
        let wanted = (CACHES_PER_ARRAY * cache_bytes).clamp(*ARRAY_BYTES.start(), *ARRAY_BYTES.end());
        let n = (3 * wanted / WORD_BYTES).isqrt() + 1;
        let share_bytes = (1 << (n * n / processes).ilog2()) * WORD_BYTES;
        let table_bytes = (share_bytes * processes).next_power_of_two();
        Self { n, array_bytes: n * n / 3 * WORD_BYTES, table_bytes, share_bytes }
    }

    /// Ours wants its arrays, and its table, in half of the limit.
    fn memory_bytes(&self) -> u64 {
        (6 * self.array_bytes).max(2 * self.table_bytes).next_multiple_of(1 << 20)
    }
}

/// Both contests.
pub(super) fn offers(scene: &Scene) -> Result<Vec<(String, Offer)>> {
    Ok(scene.one_and_all().into_iter().map(|cpus| (format!("mem-{}", cpus.len()), offer(scene, cpus))).collect())
}

fn offer(scene: &Scene, cpus: &[u32]) -> Offer {
    let ours = || KERNELS.iter().map(|kernel| kernel.0).chain([RANDOM]);
    if let Some(lack) = ours().find_map(|name| scene.lacks_workload(name)).or_else(|| hpcc::lacks(cpus.len())) {
        return Err(lack);
    }
    let sizes = Sizes::of(last_cache_bytes(), cpus.len() as u64);
    let mut notes = hpcc::notes();
    notes.push(format!(
        "N = {}; arrays of {} bytes, tables of {} bytes in all",
        sizes.n, sizes.array_bytes, sizes.table_bytes
    ));
    Ok(Contest {
        name: format!("mem-{}", cpus.len()),
        plan: plan(&sizes, cpus),
        program: hpcc::program(cpus, sizes.n),
        pairs: pairs(&sizes, cpus.len()),
        read: reader(&sizes, cpus.len()),
        notes,
    })
}

fn plan(sizes: &Sizes, cpus: &[u32]) -> Plan {
    let threads = ("threads", cpus.len().to_string());
    let kernels = KERNELS.iter().map(|(name, ..)| (*name, "array_bytes", sizes.array_bytes));
    let all = kernels.chain([(RANDOM, "table_bytes", sizes.table_bytes)]);
    let workloads = all.map(|(name, size, bytes)| (name, vec![(size, bytes.to_string()), threads.clone()])).collect();
    Plan { cpus: cpus.to_vec(), memory_bytes: sizes.memory_bytes(), slice: SLICE, workloads }
}

/// HPCC's names: `Single` is one process alone, `Star` the mean of processes that each do the same.
fn kind(processes: usize) -> &'static str {
    if processes == 1 { "Single" } else { "Star" }
}

/// Two for each of STREAM's kernels, since STREAM counts its best pass alone, and one of RandomAccess.
fn pairs(sizes: &Sizes, processes: usize) -> Vec<Pair> {
    let kind = kind(processes);
    let mut pairs = Vec::new();
    for (ours, theirs, arrays) in KERNELS {
        let best =
            Cell { workload: ours, metric: "pass.best", work_per_time: Some((arrays * sizes.array_bytes) as f64) };
        let (all, best_name) =
            (Cell::headline(ours, "throughput"), format!("{ours}, best pass / {kind}STREAM_{theirs}"));
        pairs.push(Pair { name: best_name, unit: "B/s", ours: best });
        pairs.push(Pair { name: format!("{ours}, all passes / {kind}STREAM_{theirs}"), unit: "B/s", ours: all });
    }
    let (name, ours) = (format!("{RANDOM} / {kind}RandomAccess"), Cell::headline(RANDOM, "throughput"));
    pairs.push(Pair { name, unit: "1/s", ours });
    pairs
}

/// Theirs, in the order of [`pairs`], summed over the processes.
fn reader(sizes: &Sizes, processes: usize) -> Read {
    let (array_bytes, share_bytes) = (sizes.array_bytes as f64, sizes.share_bytes as f64);
    Box::new(move |ran| {
        let (kind, processes, word) = (kind(processes), processes as f64, WORD_BYTES as f64);
        let summary = hpcc::Summary::of(ran)?;
        summary.expect("STREAM_VectorSize", array_bytes / processes / word)?;
        summary.expect("RandomAccess_N", share_bytes / word)?;
        let mut figures = Vec::new();
        for (_, name, _) in KERNELS {
            let rate = summary.number(&format!("{kind}STREAM_{name}"))? * 1e9 * processes;
            figures.extend([rate, rate]);
        }
        figures.push(summary.number(&format!("{kind}RandomAccess_GUPs"))? * 1e9 * processes);
        Ok(figures)
    })
}

/// The largest cache that the kernel tells of; 0 if it tells of none.
fn last_cache_bytes() -> u64 {
    let size = |index: u32| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size"));
        text.ok().and_then(|text| kibibytes(text.trim()))
    };
    (0..8).filter_map(size).max().unwrap_or(0)
}

/// `36608K`, in bytes.
fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix('K')?.parse::<u64>().ok().map(|number| number << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_hpcc_derives_from_its_matrix() {
        // Seen: N = 7500 on one process gave STREAM_VectorSize=18750000 and RandomAccess_N=33554432.
        let sizes = Sizes::of(37_486_592, 1);
        assert_eq!((sizes.n, sizes.share_bytes / 8, sizes.table_bytes), (7499, 33_554_432, 268_435_456));
        assert!((sizes.array_bytes as f64 / (18_750_000.0 * 8.0) - 1.0).abs() < 0.001);
        let four = Sizes::of(37_486_592, 4);
        assert_eq!((four.n, four.share_bytes * 4, four.table_bytes), (7499, 268_435_456, 268_435_456));
    }

    #[test]
    fn threads_get_the_tables_that_processes_have_on_any_number_of_cpus() {
        for processes in 1..=9 {
            let sizes = Sizes::of(1 << 20, processes);
            // As mem.random shares out: the largest power of two within an equal share.
            assert_eq!(1 << (sizes.table_bytes / processes).ilog2(), sizes.share_bytes, "{processes}");
        }
    }

    #[test]
    fn every_pair_has_a_figure_of_theirs() {
        assert_eq!(pairs(&Sizes::of(1 << 20, 1), 1).len(), 2 * KERNELS.len() + 1);
    }

    #[test]
    fn a_cache_is_read_in_kibibytes() {
        assert_eq!((kibibytes("36608K"), kibibytes("x")), (Some(37_486_592), None));
    }
}
