//! `disk.metadata`: what a filesystem does beside reading and writing: files without content are created, looked up, opened,
//! renamed and removed, in one wide directory or at the end of a deep path.
//!
//! A unit goes once through all files. What creating and removing need anew is made before each unit and not timed; since
//! that can take many times as long, their slices are one unit. Nothing is flushed between: that is `disk.fsync`.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use plimsoll_protocol::Parameters;

use super::made::Made;
use super::words::{Words, chosen};
use super::{
    About, MeasuredBy, Metric, MetricKind, Pace, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, listing,
};

/// Some 20 ms of creating, and a few of looking up.
const FILES: u64 = 1000;
/// Directories of a deep path.
const DEPTH: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Stat,
    Open,
    Rename,
    Unlink,
}

const OPERATIONS: &Words<Operation> = &[
    ("create", Operation::Create),
    ("stat", Operation::Stat),
    ("open", Operation::Open),
    ("rename", Operation::Rename),
    ("unlink", Operation::Unlink),
];

/// Directories between the one that is held open and the files.
const DIRECTORIES: &Words<u32> = &[("wide", 0), ("deep", DEPTH)];

/// The workload `disk.metadata`.
#[derive(Debug)]
pub(super) struct Metadata;

static ABOUT: About = About {
    name: "disk.metadata",
    summary: "create, look up, open, rename and remove files without content",
    work: "file",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.15 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout {
            name: "operation",
            meaning: "what is done with each file: create, stat, open, rename or unlink",
            range: None,
        },
        ParameterAbout {
            name: "directory",
            meaning: "wide: the files are in a directory that is held open; deep: 32 further down",
            range: None,
        },
        ParameterAbout { name: "files", meaning: "files in the directory, and in one unit", range: Some((1, 50_000)) },
    ],
    uses_disk: true,
};

impl Workload for Metadata {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let derived = Parameters::default()
            .with("operation", OPERATIONS[0].0)
            .with("directory", DIRECTORIES[0].0)
            .with("files", FILES);
        let parameters = ABOUT.merged(derived, written)?;
        let chosen = chosen(&parameters, "operation", OPERATIONS).and(chosen(&parameters, "directory", DIRECTORIES));
        chosen.map(|_| parameters).map_err(|error| error.to_string())
    }

    fn points(&self, _room: &Room) -> Vec<Parameters> {
        let of_all = |directory| {
            let point =
                move |operation| Parameters::default().with("operation", operation).with("directory", directory);
            OPERATIONS.iter().map(move |(operation, _)| point(*operation))
        };
        DIRECTORIES.iter().flat_map(|(directory, _)| of_all(*directory)).collect()
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let operation = chosen(parameters, "operation", OPERATIONS)?;
        let depth = chosen(parameters, "directory", DIRECTORIES)?;
        let files = ABOUT.number(parameters, "files")?;
        Ok(Box::new(Changes::make(scene.data_dir.join(ABOUT.name), operation, depth, files)?))
    }
}

/// Which names the files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    First,
    Second,
}

impl Named {
    fn other(self) -> Self {
        if self == Self::First { Self::Second } else { Self::First }
    }

    fn file(self, number: u64) -> String {
        let word = if self == Self::First { "file" } else { "name" };
        format!("{word}-{number:05}")
    }
}

struct Changes {
    operation: Operation,
    /// The directory that holds the files, below what was made.
    folder: PathBuf,
    made: Made,
    top: File,
    files: u64,
    /// Paths below `top`, of each file.
    first: Vec<CString>,
    second: Vec<CString>,
    /// `None` where there are no files.
    there: Option<Named>,
}

impl Changes {
    /// With as many files as the operation begins with.
    fn make(path: PathBuf, operation: Operation, depth: u32, files: u64) -> Result<Self, WorkloadError> {
        let below: PathBuf = (1..=depth).map(|level| level.to_string()).collect();
        let made = Made::by(path, |path| fs::create_dir_all(path.join(&below)))?;
        let top = File::open(made.path());
        let top = top.map_err(|error| WorkloadError::system(format!("opening {}", made.path().display()), error))?;
        let paths = |named: Named| {
            let path = |number| below.join(named.file(number)).to_string_lossy().into_owned();
            let paths = (0..files).map(|number| CString::new(path(number))).collect::<Result<Vec<_>, _>>();
            paths.map_err(|error| WorkloadError::system("naming a file", error))
        };
        let (first, second) = (paths(Named::First)?, paths(Named::Second)?);
        let folder = made.path().join(&below);
        let mut changes = Self { operation, folder, made, top, files, first, second, there: None };
        if operation != Operation::Create {
            changes.each(Operation::Create)?;
        }
        Ok(changes)
    }

    /// Does one thing with each file.
    fn each(&mut self, operation: Operation) -> Result<(), WorkloadError> {
        let named = self.there.unwrap_or(Named::First);
        let (paths, others) =
            if named == Named::First { (&self.first, &self.second) } else { (&self.second, &self.first) };
        for (path, other) in paths.iter().zip(others) {
            let done = act(&self.top, operation, path, other);
            done.map_err(|error| {
                let (operation, path) = (doing(operation), path.to_string_lossy());
                WorkloadError::system(format!("{operation} {}", self.made.path().join(&*path).display()), error)
            })?;
        }
        self.there = match operation {
            Operation::Create | Operation::Stat | Operation::Open => Some(named),
            Operation::Rename => Some(named.other()),
            Operation::Unlink => None,
        };
        Ok(())
    }
}

#[inline]
fn act(top: &File, operation: Operation, path: &CStr, other: &CStr) -> io::Result<()> {
    let open = |flags: OFlag| openat(top, path, flags | OFlag::O_CLOEXEC, Mode::S_IRUSR | Mode::S_IWUSR).map(drop);
    match operation {
        Operation::Create => open(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?,
        Operation::Open => open(OFlag::O_RDONLY)?,
        Operation::Rename => renameat(top, path, top, other)?,
        Operation::Unlink => unlinkat(top, path, UnlinkatFlags::NoRemoveDir)?,
        Operation::Stat => {
            let found = fstatat(top, path, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let is_file = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
            if !is_file || found.st_size != 0 {
                return Err(io::Error::other("it is no empty file"));
            }
        }
    }
    Ok(())
}

fn doing(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "creating",
        Operation::Stat => "looking up",
        Operation::Open => "opening",
        Operation::Rename => "renaming",
        Operation::Unlink => "removing",
    }
}

impl Prepared for Changes {
    fn pace(&self) -> Pace {
        match self.operation {
            Operation::Create | Operation::Unlink => Pace::Amount,
            Operation::Stat | Operation::Open | Operation::Rename => Pace::Time,
        }
    }

    fn renew(&mut self) -> Result<bool, WorkloadError> {
        let before = match (self.operation, self.there) {
            (Operation::Create, Some(_)) => Operation::Unlink,
            (Operation::Unlink, None) => Operation::Create,
            _ => return Ok(false),
        };
        self.each(before).map(|()| true)
    }

    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.each(self.operation)?;
        Ok(self.files as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        let files = self.there.map_or(0, |_| self.files);
        let named = self.there.unwrap_or(Named::First);
        listing::check(&self.folder, (0..files).map(|number| named.file(number)), |_| false)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.made.remove()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::folder;

    /// What the directory holds after each of three units, and after what is made before the last.
    fn course(operation: Operation, depth: u32) -> Vec<Vec<String>> {
        let folder = folder();
        let mut changes = Changes::make(folder.path().join("x"), operation, depth, 2).unwrap();
        let names = |changes: &Changes| {
            let entries = changes.folder.read_dir().unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        let mut course = Vec::new();
        for _ in 0..2 {
            changes.renew().unwrap();
            course.push(names(&changes));
            assert_eq!(changes.unit(&mut Recorder::default()).unwrap(), 2.0);
            changes.verify().unwrap();
            course.push(names(&changes));
        }
        assert_eq!(changes.folder.strip_prefix(folder.path()).unwrap().components().count(), 1 + depth as usize);
        changes.clean_up().unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        course
    }

    #[test]
    fn each_operation_begins_and_ends_a_unit_with_its_files() {
        let (none, first, second) = (vec![], vec!["file-00000", "file-00001"], vec!["name-00000", "name-00001"]);
        for depth in [0, 3] {
            assert_eq!(course(Operation::Create, depth), [&none[..], &first, &none, &first]);
            assert_eq!(course(Operation::Stat, depth), [&first[..], &first, &first, &first]);
            assert_eq!(course(Operation::Open, depth), [&first[..], &first, &first, &first]);
            assert_eq!(course(Operation::Rename, depth), [&first[..], &second, &second, &first]);
            assert_eq!(course(Operation::Unlink, depth), [&first[..], &none, &first, &none]);
        }
    }

    #[test]
    fn a_file_that_is_gone_in_the_way_or_too_many_is_an_error_that_names_it() {
        let folder = folder();
        let changes = |operation| Changes::make(folder.path().join("x"), operation, 0, 3).unwrap();
        let unit = |changes: &mut Changes| changes.unit(&mut Recorder::default()).unwrap_err().to_string();
        for operation in [Operation::Stat, Operation::Open, Operation::Rename, Operation::Unlink] {
            let mut changes = changes(operation);
            fs::remove_file(changes.folder.join("file-00001")).unwrap();
            let error = unit(&mut changes);
            assert!(error.contains("file-00001: No such file"), "{error}");
        }
        let mut creating = changes(Operation::Create);
        fs::write(creating.folder.join("file-00002"), "").unwrap();
        let error = unit(&mut creating);
        assert!(error.starts_with("creating ") && error.contains("file-00002: File exists"), "{error}");
        drop(creating);

        let mut stats = changes(Operation::Stat);
        fs::write(stats.folder.join("other"), "").unwrap();
        stats.unit(&mut Recorder::default()).unwrap();
        assert!(stats.verify().unwrap_err().to_string().contains("`other` is there"));
        fs::write(stats.folder.join("file-00000"), "content").unwrap();
        assert!(unit(&mut stats).contains("file-00000: it is no empty file"));
    }
}
