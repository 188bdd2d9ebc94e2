//! The files of `disk.layers`: what lies where, in one directory tree or spread over the layers of a root.
//!
//! ```text
//! disk.layers / BRANCH / manifest
//!                      / 0 / 2 / 3 .. DEPTH / file-0000 ..     a chain of directories for each set of files
//!                      / 1 / 2 / 3 .. DEPTH / file-0000 ..
//! ```
//! Each point has a branch of its own, so none touches what another is to touch first. The host may build a root of
//! layers from this description; where it did not, the agent writes the same tree itself.

use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};

use plimsoll_protocol::{ParameterError, Parameters, TreeOrder};

use super::disk::{Content, PAGE_BYTES};
use super::words::{Words, chosen};
use super::{ParameterAbout, WorkloadError, check_multiple, mib};

/// The folder in the data directory that holds everything.
pub const TOP: &str = "disk.layers";
pub(super) const MANIFEST: &str = "manifest";
/// How names begin of what layers above the lowest hold.
pub(super) const OF_A_LAYER: &str = "layer-";

const FILES_MAX: u64 = 2000;
const FILE_BYTES_MAX: u64 = 32 << 20;
/// What a unit reads is kept until it is compared.
const UNIT_BYTES_MAX: u64 = 32 << 20;
/// Directories and files of a branch: the data disk of a guest has inodes for some of these.
const ENTRIES_MAX: u64 = 20_000;

pub(super) const PARAMETERS: &[ParameterAbout] = &[
    ParameterAbout {
        name: "operation",
        meaning: "open (first), write (first), again (open what was opened) or missing (look up no name)",
        range: None,
    },
    ParameterAbout { name: "depth", meaning: "directories above a file", range: Some((1, 64)) },
    ParameterAbout {
        name: "file_bytes",
        meaning: "size of a file, a multiple of 4096",
        range: Some((PAGE_BYTES as u64, FILE_BYTES_MAX)),
    },
    ParameterAbout { name: "files", meaning: "files in one unit", range: Some((1, FILES_MAX)) },
    ParameterAbout {
        name: "rounds",
        meaning: "units of files that a launch can touch for the first time",
        range: Some((1, 200)),
    },
];

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// It is opened for the first time in a launch, and read.
    Open,
    /// It is written for the first time in a launch.
    Write,
    /// It is opened and read as often as there is time.
    Again,
    /// A name that no file has is looked up.
    Missing,
}

impl Operation {
    /// As plans name them; the first is the default.
    pub(super) const WORDS: &Words<Self> =
        &[("open", Self::Open), ("write", Self::Write), ("again", Self::Again), ("missing", Self::Missing)];

    fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, operation)| *operation == self).map_or("", |(name, _)| name)
    }

    /// Whether it can be done with a file only once in a launch.
    pub(super) fn uses_up(self) -> bool {
        matches!(self, Self::Open | Self::Write)
    }
}

/// The part of the tree that belongs to one point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) operation: Operation,
    pub(super) depth: u64,
    pub(super) file_bytes: u64,
    /// In a set: what one unit touches.
    pub(super) files: u64,
    pub(super) rounds: u64,
}

impl Branch {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, WorkloadError> {
        let branch = Self {
            operation: chosen(parameters, "operation", Operation::WORDS)?,
            depth: number(parameters, "depth")?,
            file_bytes: number(parameters, "file_bytes")?,
            files: number(parameters, "files")?,
            rounds: number(parameters, "rounds")?,
        };
        check_multiple("file_bytes", branch.file_bytes, PAGE_BYTES as u64)
            .and_then(|()| branch.check_size())
            .map_err(|what| WorkloadError::Wrong(format!("{TOP}: {what}")))?;
        Ok(branch)
    }

    fn check_size(&self) -> Result<(), String> {
        let unit_bytes = self.files * self.file_bytes;
        if unit_bytes > UNIT_BYTES_MAX {
            let (unit, most) = (mib(unit_bytes), mib(UNIT_BYTES_MAX));
            return Err(format!(
                "a unit is {unit} MiB of files and may be {most}: set smaller `files` or `file_bytes`"
            ));
        }
        let entries = self.sets() * (self.depth + self.files);
        if entries > ENTRIES_MAX {
            return Err(format!(
                "{entries} files and directories are more than {ENTRIES_MAX}: set smaller `files`, `rounds` or `depth`"
            ));
        }
        Ok(())
    }

    /// All that names it, so that points of one plan never share a file.
    pub(super) fn name(&self) -> String {
        let Self { operation, depth, file_bytes, files, rounds } = self;
        format!("{}-{depth}-{file_bytes}-{files}-{rounds}", operation.name())
    }

    /// Sets of files: as many as there are rounds, if each serves once.
    pub(super) fn sets(&self) -> u64 {
        if self.operation.uses_up() { self.rounds } else { 1 }
    }

    /// Bytes of its files.
    pub(super) fn bytes(&self) -> u64 {
        self.sets() * self.files * self.file_bytes
    }

    /// What stands in its manifest.
    pub(super) fn manifest(&self, seed: u64) -> String {
        format!("{TOP} {}\nseed {seed}\n", self.name())
    }

    /// The directories of a set, below the branch, the highest first.
    fn chain(&self, set: u64) -> impl Iterator<Item = PathBuf> {
        let names = iter::once(set).chain(2..=self.depth);
        names.scan(PathBuf::new(), |path, name| {
            path.push(name.to_string());
            Some(path.clone())
        })
    }

    /// The directory that holds the files of a set, below the branch.
    pub(super) fn folder(&self, set: u64) -> PathBuf {
        self.chain(set).last().unwrap_or_default()
    }

    /// The page, of all of the branch, with which a file of a set begins.
    pub(super) fn first_page(&self, set: u64, file: u64) -> u64 {
        (set * self.files + file) * (self.file_bytes / PAGE_BYTES as u64)
    }
}

/// The name of a file in its folder.
pub(super) fn file_name(file: u64) -> String {
    format!("file-{file:04}")
}

fn number(parameters: &Parameters, name: &str) -> Result<u64, ParameterError> {
    let range = PARAMETERS.iter().find(|parameter| parameter.name == name).and_then(|parameter| parameter.range);
    let (low, high) = range.unwrap_or((0, u64::MAX));
    parameters.integer(name, low, high)
}

/// A directory or a file of the tree; its path is relative to the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory.
    Directory(PathBuf),
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// All that is in it.
        bytes: Vec<u8>,
    },
}

/// The files that points of `disk.layers` need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    branches: Vec<Branch>,
    order: TreeOrder,
}

/// A directory, and what the lowest layer has in it beside directories.
struct Folder<'a> {
    path: PathBuf,
    holds: Holds<'a>,
}

#[derive(Clone, Copy)]
enum Holds<'a> {
    Nothing,
    Manifest(&'a Branch),
    Set(&'a Branch, u64),
}

impl Tree {
    /// The tree of all these points, each with every parameter set.
    ///
    /// # Errors
    /// [`WorkloadError`] when a parameter is missing, wrong, or does not go with the others.
    pub fn of(order: &TreeOrder) -> Result<Self, WorkloadError> {
        let mut branches = Vec::new();
        for parameters in &order.points {
            let branch = Branch::read(parameters)?;
            if !branches.contains(&branch) {
                branches.push(branch);
            }
        }
        Ok(Self { branches, order: order.clone() })
    }

    /// What it follows from.
    #[must_use]
    pub fn order(&self) -> TreeOrder {
        self.order.clone()
    }

    /// Bytes of the files in the lowest layer.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.branches.iter().map(Branch::bytes).sum()
    }

    /// What lies in this layer, parents first; 0 is the lowest of `layers`, and beyond them lies nothing. The lowest has
    /// every file. Each above it has every directory again, as if something had changed there, and one small file of its
    /// own in each branch.
    pub fn entries(&self, layer: u32, layers: u32) -> impl Iterator<Item = Entry> {
        let (content, seed) = (Content::new(self.order.seed), self.order.seed);
        let folders = if layer < layers { self.folders() } else { Vec::new() };
        folders.into_iter().flat_map(move |Folder { path, holds }| {
            let (directory, content) = (Entry::Directory(path.clone()), content.clone());
            let files = if layer == 0 { holds.files() } else { u64::from(matches!(holds, Holds::Manifest(_))) };
            let file = move |number| match (layer, holds) {
                (0, Holds::Set(branch, set)) => file(&path, branch, set, number, &content),
                (0, Holds::Manifest(branch)) => {
                    Entry::File { path: path.join(MANIFEST), bytes: branch.manifest(seed).into_bytes() }
                }
                _ => Entry::File { path: path.join(format!("{OF_A_LAYER}{layer}")), bytes: b"changed\n".to_vec() },
            };
            iter::once(directory).chain((0..files).map(file))
        })
    }

    /// Every directory and file of the lowest layer, relative to the data directory.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let files = |folder: &Folder<'_>| match folder.holds {
            Holds::Nothing => Vec::new(),
            Holds::Manifest(_) => vec![folder.path.join(MANIFEST)],
            Holds::Set(branch, _) => (0..branch.files).map(|number| folder.path.join(file_name(number))).collect(),
        };
        self.folders().into_iter().flat_map(|folder| iter::once(folder.path.clone()).chain(files(&folder))).collect()
    }

    /// Writes the whole tree as plain directories and files.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&self, data_dir: &Path) -> io::Result<()> {
        self.entries(0, 1).try_for_each(|entry| match entry {
            Entry::Directory(path) => fs::create_dir(data_dir.join(path)),
            Entry::File { path, bytes } => fs::write(data_dir.join(path), bytes),
        })
    }

    fn folders(&self) -> Vec<Folder<'_>> {
        let mut folders = vec![Folder { path: TOP.into(), holds: Holds::Nothing }];
        for branch in &self.branches {
            let root = Path::new(TOP).join(branch.name());
            folders.push(Folder { path: root.clone(), holds: Holds::Manifest(branch) });
            for set in 0..branch.sets() {
                for (level, path) in (1..).zip(branch.chain(set)) {
                    let holds = if level == branch.depth { Holds::Set(branch, set) } else { Holds::Nothing };
                    folders.push(Folder { path: root.join(path), holds });
                }
            }
        }
        folders
    }
}

impl Holds<'_> {
    fn files(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Manifest(_) => 1,
            Self::Set(branch, _) => branch.files,
        }
    }
}

fn file(folder: &Path, branch: &Branch, set: u64, number: u64, content: &Content) -> Entry {
    let mut bytes = vec![0; branch.file_bytes as usize];
    content.fill(&mut bytes, branch.first_page(set, number));
    Entry::File { path: folder.join(file_name(number)), bytes }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn point(operation: &str, depth: u64) -> Parameters {
        let sizes = Parameters::default().with("file_bytes", 8192).with("files", 3).with("rounds", 2);
        sizes.with("operation", operation).with("depth", depth)
    }

    fn of(points: &[Parameters], seed: u64) -> Result<Tree, WorkloadError> {
        Tree::of(&TreeOrder { points: points.to_vec(), seed })
    }

    fn tree() -> Tree {
        of(&[point("open", 1), point("missing", 3), point("open", 1)], 7).unwrap()
    }

    /// The directories, and the files with their bytes.
    fn layer(layer: u32, layers: u32) -> (BTreeSet<String>, BTreeMap<String, Vec<u8>>) {
        let (mut directories, mut files) = (BTreeSet::new(), BTreeMap::new());
        for entry in tree().entries(layer, layers) {
            let (Entry::Directory(path) | Entry::File { path, .. }) = &entry;
            let parent = path.parent().unwrap().to_str().unwrap();
            assert!(parent.is_empty() || directories.contains(parent), "{path:?} comes before its parent");
            let path = path.to_str().unwrap().to_owned();
            let is_new = match entry {
                Entry::Directory(_) => directories.insert(path),
                Entry::File { bytes, .. } => files.insert(path, bytes).is_none(),
            };
            assert!(is_new, "twice");
        }
        (directories, files)
    }

    #[test]
    fn the_lowest_layer_has_every_file_in_a_branch_of_its_point() {
        let (directories, files) = layer(0, 3);
        let branches = ["disk.layers/open-1-8192-3-2", "disk.layers/missing-3-8192-3-2"];
        let mut expected: BTreeSet<_> = branches.iter().map(|branch| (*branch).to_owned()).collect();
        expected.insert("disk.layers".to_owned());
        expected.extend(["/0", "/1"].map(|below| format!("{}{below}", branches[0])));
        expected.extend(["/0", "/0/2", "/0/2/3"].map(|below| format!("{}{below}", branches[1])));
        assert_eq!(directories, expected);
        assert_eq!(files.len(), 2 + 2 * 3 + 3, "manifests, two sets, and one that serves every round");
        assert_eq!(files[&format!("{}/manifest", branches[0])], b"disk.layers open-1-8192-3-2\nseed 7\n");
        // The files of a branch are pages in a row.
        let last = &files[&format!("{}/1/file-0002", branches[0])];
        Content::new(7).check(last, 10, 0).unwrap();
        assert_eq!(last.len(), 8192);
        assert_eq!(tree().bytes(), 9 * 8192);
        assert_eq!(layer(0, 1), (directories, files));
    }

    #[test]
    fn every_path_is_that_of_an_entry_of_the_lowest_layer() {
        let (directories, files) = layer(0, 1);
        let entries: BTreeSet<PathBuf> = directories.into_iter().chain(files.into_keys()).map(PathBuf::from).collect();
        assert_eq!(tree().paths().into_iter().collect::<BTreeSet<_>>(), entries);
    }

    #[test]
    fn every_layer_above_has_the_same_directories_and_one_small_file_in_each_branch() {
        let lowest = layer(0, 3).0;
        for number in [1, 2] {
            let (directories, files) = layer(number, 3);
            assert_eq!(directories, lowest);
            let branches = ["missing-3-8192-3-2", "open-1-8192-3-2"];
            assert!(files.keys().cloned().eq(branches.map(|branch| format!("disk.layers/{branch}/layer-{number}"))));
            assert!(files.values().all(|bytes| bytes.len() < 100));
        }
        assert!(tree().entries(3, 3).next().is_none());
    }

    #[test]
    fn sizes_that_do_not_go_together_are_refused_with_what_to_set() {
        let refused = |parameters: Parameters| of(&[parameters], 1).unwrap_err().to_string();
        assert!(refused(point("open", 1).with("file_bytes", 5000)).contains("not a multiple of 4096"));
        assert!(
            refused(point("open", 1).with("files", 2000).with("file_bytes", 1 << 20)).contains("2000 MiB of files")
        );
        let many = point("write", 64).with("files", 100).with("rounds", 200);
        assert!(refused(many.clone()).contains("32800 files and directories are more than 20000: set smaller `files`"));
        assert!(of(&[many.with("operation", "again")], 1).is_ok(), "one set serves all rounds");
    }
}
