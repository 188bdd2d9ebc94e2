//! `cpu.lzma` beside xz, and `cpu.lu` beside HPL as HPCC has it: on one CPU and on all.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::ours::{Cell, Plan, SEED, SLICE};
use super::theirs::{Program, first_line, lack};
use super::{Contest, Offer, Pair, Scene, hpcc};
use crate::tools;

const MEMORY_BYTES: u64 = 1 << 30;
/// The size of a block of either.
const BLOCK_BYTES: usize = 128 << 10;
/// Blocks that each thread compresses in a unit of ours.
const UNIT_BLOCKS: usize = 4;
/// Blocks that xz gets for each thread: several seconds of work, so that its start does not matter.
const BLOCKS_PER_THREAD: usize = 256;
/// Text that is used where the executable cannot write that of the workload.
const OTHER_TEXTS: [&str; 2] = ["rs", "md"];
/// The order of the matrix: two of it, doubled, are within the memory limit.
const LU_N: u64 = 4000;

/// All four.
pub(super) fn offers(scene: &Scene) -> Result<Vec<(String, Offer)>> {
    let mut offers = Vec::new();
    for cpus in scene.one_and_all() {
        offers.push((format!("cpu.lzma-{}", cpus.len()), lzma(scene, cpus)?));
    }
    for cpus in scene.one_and_all() {
        offers.push((format!("cpu.lu-{}", cpus.len()), lu(scene, cpus)));
    }
    Ok(offers)
}

fn lzma(scene: &Scene, cpus: &[u32]) -> Result<Offer> {
    let threads = cpus.len();
    // With a sign even one thread is a threaded encoder, as ours is. Versions before 5.4 do not know it.
    let count = format!("-T{}{threads}", if threads == 1 { "+" } else { "" });
    let trial = ["xz", "-2", &count, "--stdout", "/etc/os-release"];
    if let Some(lack) = scene.lacks_workload("cpu.lzma").or_else(|| lack(&trial, "xz-utils")) {
        return Ok(Err(lack));
    }
    let text = Text::write(scene, threads)?;
    let file = text.file.to_string_lossy().into_owned();
    let block = format!("--block-size={BLOCK_BYTES}");
    let words = ["xz", "-2", &count, &block, "--check=crc64", "-vv", "--stdout", &file];
    let parameters = vec![
        ("threads", threads.to_string()),
        ("preset", "2".to_owned()),
        ("input_bytes", (threads * UNIT_BLOCKS * BLOCK_BYTES).to_string()),
    ];
    let name = format!("cpu.lzma, {threads} threads / xz -2 {count}{}", if text.same { "" } else { ", other text" });
    let note = text.note().to_owned();
    Ok(Ok(Contest {
        name: format!("cpu.lzma-{threads}"),
        plan: Plan {
            cpus: cpus.to_vec(),
            memory_bytes: MEMORY_BYTES,
            slice: SLICE,
            workloads: vec![("cpu.lzma", parameters)],
        },
        program: Program { discards_product: true, ..Program::new(cpus, &words) },
        pairs: vec![Pair { name, unit: "B/s", ours: Cell::headline("cpu.lzma", "throughput") }],
        read: Box::new(move |ran| Ok(vec![text.rate(ran.seconds)])),
        notes: vec![first_line(&["xz", "--version"])?, note],
    }))
}

/// What xz compresses; the file goes when this goes.
struct Text {
    file: PathBuf,
    bytes: usize,
    /// Whether it is that of the workload.
    same: bool,
}

impl Text {
    /// The input of a unit of ours, again and again: blocks are compressed by themselves, so none is easier because it
    /// was seen before.
    fn write(scene: &Scene, threads: usize) -> Result<Self> {
        let unit = scene.folder.join("text-of-a-unit");
        let (size, seed) = ((threads * UNIT_BLOCKS * BLOCK_BYTES).to_string(), SEED.to_string());
        let mut command = tools::program(&scene.plimsoll, &["synthetic-text", "--bytes", &size, "--seed", &seed]);
        command.arg(&unit);
        let same = tools::succeeds(command);
        let once = if same {
            std::fs::read(&unit).with_context(|| format!("cannot read {}", unit.display()))?
        } else {
            other_text(&tools::root())?
        };
        let bytes = threads * BLOCKS_PER_THREAD * BLOCK_BYTES;
        let text: Vec<u8> = once.iter().copied().cycle().take(bytes).collect();
        let file = scene.folder.join(format!("text-{threads}"));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self { file, bytes, same })
    }

    /// A method, so that whoever reads figures with it keeps the file.
    fn rate(&self, seconds: f64) -> f64 {
        self.bytes as f64 / seconds
    }

    fn note(&self) -> &'static str {
        if self.same {
            "the workload's own text, repeated"
        } else {
            "another text (this repository's sources): this build of plimsoll cannot write the workload's; the ratio also \
             compares texts"
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// This repository's sources and documents, in the order of their paths.
fn other_text(root: &Path) -> Result<Vec<u8>> {
    let listed = tools::output_of(tools::program("git", &["ls-files"]))?;
    let is_text =
        |name: &&str| OTHER_TEXTS.iter().any(|end| Path::new(name).extension().is_some_and(|has| has == *end));
    let read = |name: &str| std::fs::read(root.join(name)).with_context(|| format!("cannot read {name}"));
    let texts = listed.lines().filter(is_text).map(read).collect::<Result<Vec<_>>>()?;
    let text = texts.concat();
    anyhow::ensure!(text.len() > BLOCK_BYTES, "the repository's texts are shorter than a block");
    Ok(text)
}

fn lu(scene: &Scene, cpus: &[u32]) -> Offer {
    let threads = cpus.len();
    if let Some(lack) = scene.lacks_workload("cpu.lu").or_else(|| hpcc::lacks(threads)) {
        return Err(lack);
    }
    let parameters = vec![("n", LU_N.to_string()), ("threads", threads.to_string())];
    let mut notes = hpcc::notes();
    notes.push(format!("N = {LU_N} on either side"));
    Ok(Contest {
        name: format!("cpu.lu-{threads}"),
        plan: Plan {
            cpus: cpus.to_vec(),
            memory_bytes: MEMORY_BYTES,
            slice: SLICE,
            workloads: vec![("cpu.lu", parameters)],
        },
        program: hpcc::program(cpus, LU_N),
        pairs: vec![Pair {
            name: format!("cpu.lu, {threads} threads / HPL, {threads} processes"),
            unit: "FLOP/s",
            ours: Cell::headline("cpu.lu", "throughput"),
        }],
        read: Box::new(|ran| {
            let summary = hpcc::Summary::of(ran)?;
            summary.expect("HPL_N", LU_N as f64)?;
            Ok(vec![summary.number("HPL_Tflops")? * 1e12])
        }),
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_text_is_longer_than_a_block_and_the_same_each_time() {
        let text = other_text(&tools::root()).expect("the repository has sources");
        assert!(text.len() > BLOCK_BYTES);
        assert!(text == other_text(&tools::root()).expect("again"));
    }
}
