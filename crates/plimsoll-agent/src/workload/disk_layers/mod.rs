//! `disk.layers`: what names, first opens and first writes cost below a number of directories. Where the root is a union of
//! layers, it must look for each name in several of them, and copies a file up when it is first written.
//!
//! A unit goes once through a set of files that have a chain of directories to themselves. What can be done with a file
//! only once in a launch takes a new set each time, until there is none left.
//!
//! The files are there if the environment's root was built of layers from [`layer_tree`](super::layer_tree); else they are
//! written first. Nobody says which: the agent looks. Files that are to be touched for the first time are not looked at
//! before: their branch has a manifest, and their folder is compared after a slice has been through it.

mod visits;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use plimsoll_protocol::{Parameters, TreeOrder};

use self::visits::{USED, Visits, is_of_a_layer};
use super::disk::check_room;
use super::layer_tree::{Branch, MANIFEST, Operation, PARAMETERS, TOP, Tree};
use super::made::Made;
use super::{
    About, MeasuredBy, Metric, MetricKind, Pace, Prepared, Recorder, Room, Scene, SlicesMax, WarmUp, Workload,
    WorkloadError, listing,
};

const FILE_BYTES: u64 = 4096;
const LARGE_FILE_BYTES: u64 = 1 << 20;
/// Files in a unit, unless they are large: then as many as fit these bytes.
const FILES: u64 = 128;
const UNIT_BYTES: u64 = 4 << 20;
/// Three slices, and as many again in case that the host spoils them.
const ROUNDS: u64 = 6;

/// The workload `disk.layers`.
#[derive(Debug)]
pub(super) struct Layers;

static ABOUT: About = About {
    name: TOP,
    summary: "look up, open and write files below directories, each file for the first time in a launch",
    work: "file",
    metrics: &[
        Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true },
        Metric { name: "latency.p50", unit: "s", kind: MetricKind::Percentile("latency", 0.50), headline: false },
        Metric { name: "latency.p99", unit: "s", kind: MetricKind::Percentile("latency", 0.99), headline: false },
    ],
    // It would use the files up; what is not used up is warmed when it is prepared.
    warm_up: WarmUp { slices_min: 0, slices_max: 0, tolerance: 0.0 },
    measured_by: MeasuredBy::Slices,
    parameters: PARAMETERS,
    uses_disk: true,
};

impl Workload for Layers {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let file_bytes = written.integer("file_bytes", 1, u64::MAX).unwrap_or(FILE_BYTES);
        let derived = Parameters::default()
            .with("operation", Operation::WORDS[0].0)
            .with("depth", 1)
            .with("file_bytes", FILE_BYTES)
            .with("files", (UNIT_BYTES / file_bytes).clamp(1, FILES))
            .with("rounds", ROUNDS);
        let parameters = ABOUT.merged(derived, written)?;
        let branch = Branch::read(&parameters).map_err(|error| error.to_string())?;
        check_room(ABOUT.name, branch.bytes(), room)?;
        Ok(parameters)
    }

    fn points(&self, _room: &Room) -> Vec<Parameters> {
        let point = |operation: &str, depth: u64, file_bytes: u64| {
            Parameters::default().with("operation", operation).with("depth", depth).with("file_bytes", file_bytes)
        };
        let opens = [1, 2, 4, 8, 16, 32, 64].map(|depth| point("open", depth, FILE_BYTES));
        let warm = [("again", 1), ("again", 64), ("missing", 1), ("missing", 64)];
        let warm = warm.map(|(operation, depth)| point(operation, depth, FILE_BYTES));
        let writes = [FILE_BYTES, LARGE_FILE_BYTES].map(|file_bytes| point("write", 1, file_bytes));
        [&opens[..], &warm, &writes].concat()
    }

    fn slices_max(&self, parameters: &Parameters) -> Option<SlicesMax> {
        let branch = Branch::read(parameters).ok().filter(|branch| branch.operation.uses_up())?;
        Some(SlicesMax { slices: branch.rounds, parameter: "rounds" })
    }

    fn files_bytes(&self, parameters: &Parameters) -> u64 {
        Branch::read(parameters).map_or(0, |branch| branch.bytes())
    }

    fn tree(&self, points: &[Parameters], seed: u64) -> Option<TreeOrder> {
        Some(TreeOrder { points: points.to_vec(), seed })
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let branch = Branch::read(parameters)?;
        let origin = Origin::find(
            &branch,
            &Tree::of(&TreeOrder { points: vec![parameters.clone()], seed: scene.seed })?,
            scene,
        )?;
        let mut visits = Visits::start(branch, origin, scene)?;
        if visits.pace() == Pace::Time {
            visits.unit(&mut Recorder::default())?;
            visits.verify()?;
        }
        Ok(Box::new(visits))
    }
}

/// Where the branch came from.
enum Origin {
    /// We wrote it.
    Made(Made),
    /// It came with the root and stays.
    Found,
}

impl Origin {
    fn is_found(&self) -> bool {
        matches!(self, Self::Found)
    }

    fn find(branch: &Branch, tree: &Tree, scene: &Scene<'_>) -> Result<Self, WorkloadError> {
        let top = scene.data_dir.join(TOP);
        match fs::symlink_metadata(&top) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Made::by(top, |_| tree.write(scene.data_dir)).map(Self::Made)
            }
            Err(error) => Err(WorkloadError::system(format!("looking for {}", top.display()), error)),
            Ok(_) => check_found(branch, &top.join(branch.name()), scene.seed).map(|()| Self::Found),
        }
    }
}

/// A branch that came with the root must be whole and fresh, as far as that can be told without touching its files.
fn check_found(branch: &Branch, root: &Path, seed: u64) -> Result<(), WorkloadError> {
    let wrong = |what: &str| WorkloadError::Wrong(format!("{}: {what}", root.display()));
    let manifest = fs::read_to_string(root.join(MANIFEST)).map_err(|error| {
        wrong(&format!("the tree that is there has no such branch, or none with a manifest: {error}"))
    })?;
    if manifest != branch.manifest(seed) {
        return Err(wrong(&format!("the manifest says {manifest:?} and should say {:?}", branch.manifest(seed))));
    }
    if root.join(USED).exists() {
        return Err(wrong("its files were touched before in this launch: only another launch has fresh ones"));
    }
    let sets = (0..branch.sets()).map(|set| set.to_string());
    listing::check(root, sets.chain([MANIFEST.to_owned()]), is_of_a_layer)
}

#[cfg(test)]
mod tests;
