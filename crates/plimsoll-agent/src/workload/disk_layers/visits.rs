//! Going through sets of files: what a unit does, and how it is checked.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use super::super::disk::{Content, PAGE_BYTES};
use super::super::layer_tree::{Branch, MANIFEST, OF_A_LAYER, Operation, TOP, file_name};
use super::super::{Pace, Prepared, Recorder, Scene, WorkloadError, listing};
use super::Origin;

/// Evidence: 1 where the files came with the root, 0 where they were written here.
const FOUND: &str = "files came with the root";
/// Left in a branch that came with the root, once files of it were touched.
pub(super) const USED: &str = "used";

/// What is there beside the files, in a root that was built of layers.
pub(super) fn is_of_a_layer(name: &str) -> bool {
    name.starts_with(OF_A_LAYER)
}

/// Files below a directory that is held open: the data directory's own place differs between environments.
struct Files {
    root: File,
    path: PathBuf,
    /// Below it, all sets one after another.
    names: Vec<CString>,
    /// A name that was never looked up, and ends in a number.
    missing: Vec<u8>,
}

/// Goes through sets of files.
pub(super) struct Visits {
    branch: Branch,
    origin: Origin,
    content: Content,
    files: Files,
    /// Sets that were taken.
    taken: u64,
    /// What was read of a set.
    read: Vec<u8>,
    page: Vec<u8>,
}

impl Files {
    fn open(branch: &Branch, path: PathBuf) -> Result<Self, WorkloadError> {
        let root = File::open(&path).map_err(|error| refused("opening", &path, error))?;
        let named = |path: PathBuf| {
            CString::new(path.into_os_string().into_vec())
                .map_err(|error| WorkloadError::system("naming a file", error))
        };
        let of_set = |set| {
            let folder = branch.folder(set);
            (0..branch.files).map(move |file| folder.join(file_name(file)))
        };
        let names = (0..branch.sets()).flat_map(of_set).map(named).collect::<Result<_, _>>()?;
        let missing = named(branch.folder(0).join("missing-0000000000000000"))?.into_bytes_with_nul();
        Ok(Self { root, path, names, missing })
    }

    fn path(&self, name: &CStr) -> PathBuf {
        self.path.join(name.to_string_lossy().as_ref())
    }

    #[inline]
    fn open_one(&self, file: usize, flags: OFlag) -> Result<File, WorkloadError> {
        let name = self.names[file].as_c_str();
        let opened = openat(&self.root, name, flags | OFlag::O_CLOEXEC, Mode::empty());
        opened.map(File::from).map_err(|error| refused("opening", &self.path(name), error.into()))
    }

    #[inline]
    fn read(&self, file: usize, bytes: &mut [u8]) -> Result<(), WorkloadError> {
        let read = self.open_one(file, OFlag::O_RDONLY)?.read_exact_at(bytes, 0);
        read.map_err(|error| refused("reading", &self.path(&self.names[file]), error))
    }

    fn read_manifest(&self, bytes: &mut [u8]) -> Result<(), WorkloadError> {
        let opened = openat(&self.root, MANIFEST, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let read = opened.map_err(io::Error::from).and_then(|file| File::from(file).read_at(bytes, 0));
        read.map(drop).map_err(|error| refused("reading", &self.path.join(MANIFEST), error))
    }

    #[inline]
    fn write_page(&self, file: usize, page: &[u8]) -> Result<(), WorkloadError> {
        let written = self.open_one(file, OFlag::O_WRONLY)?.write_all_at(page, 0);
        written.map_err(|error| refused("writing", &self.path(&self.names[file]), error))
    }

    #[inline]
    fn miss(&mut self) -> Result<(), WorkloadError> {
        let name = CStr::from_bytes_with_nul(&self.missing).unwrap_or_default();
        match fstatat(&self.root, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {
                count(&mut self.missing);
                Ok(())
            }
            Err(error) => Err(refused("looking up", &self.path(name), error.into())),
            Ok(_) => Err(WorkloadError::Wrong(format!("{} is there", self.path(name).display()))),
        }
    }
}

/// Adds one to the number at the end of a name that ends in a zero byte.
fn count(name: &mut [u8]) {
    for digit in name.iter_mut().rev().skip(1).take_while(|digit| digit.is_ascii_digit()) {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

fn refused(doing: &str, path: &Path, error: io::Error) -> WorkloadError {
    WorkloadError::system(format!("{doing} {}", path.display()), error)
}

impl Visits {
    pub(super) fn start(branch: Branch, origin: Origin, scene: &Scene<'_>) -> Result<Self, WorkloadError> {
        let files = Files::open(&branch, scene.data_dir.join(TOP).join(branch.name()))?;
        let content = Content::new(scene.seed);
        let mut page = vec![0; PAGE_BYTES];
        content.fill(&mut page, 0);
        // Ones: memory that was never written would be faulted in while time is taken.
        let read = vec![1; (branch.files * branch.file_bytes) as usize];
        Ok(Self { branch, origin, content, files, taken: 0, read, page })
    }

    /// The set of the next unit.
    fn take_set(&mut self) -> Result<u64, WorkloadError> {
        if self.branch.operation.uses_up() && self.taken == self.branch.sets() {
            let rounds = self.branch.rounds;
            return Err(WorkloadError::Wrong(format!(
                "{TOP}: the files for {rounds} slices were all touched in this launch: set larger `rounds` in the plan"
            )));
        }
        self.taken = (self.taken + 1).min(self.branch.sets());
        Ok(self.taken - 1)
    }

    fn touch(&mut self, set: u64, number: u64) -> Result<(), WorkloadError> {
        let file = (set * self.branch.files + number) as usize;
        match self.branch.operation {
            Operation::Open | Operation::Again => self.files.read(file, part(&mut self.read, &self.branch, number)),
            Operation::Write => {
                self.content.stamp(&mut self.page, self.branch.first_page(set, number), 1);
                self.files.write_page(file, &self.page)
            }
            Operation::Missing => self.files.miss(),
        }
    }

    /// Reads what was written, and compares it: the first page is new.
    fn check_written(&mut self, set: u64) -> Result<(), WorkloadError> {
        for number in 0..self.branch.files {
            let bytes = part(&mut self.read, &self.branch, number);
            self.files.read((set * self.branch.files + number) as usize, bytes)?;
            let (first, (head, rest)) = (self.branch.first_page(set, number), bytes.split_at(PAGE_BYTES));
            let checked = self.content.check(head, first, 1).and_then(|()| self.content.check(rest, first + 1, 0));
            checked.map_err(|what| self.wrong(&what))?;
        }
        Ok(())
    }

    fn wrong(&self, what: &str) -> WorkloadError {
        WorkloadError::Wrong(format!("{}: {what}", self.files.path.display()))
    }
}

/// Where the bytes of a file of a set go.
fn part<'a>(read: &'a mut [u8], branch: &Branch, number: u64) -> &'a mut [u8] {
    &mut read[(number * branch.file_bytes) as usize..][..branch.file_bytes as usize]
}

impl Prepared for Visits {
    fn pace(&self) -> Pace {
        if self.branch.operation.uses_up() { Pace::Amount } else { Pace::Time }
    }

    /// Where units use files up, as many openings of the manifest, which was opened before.
    fn rehearse(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        if !self.branch.operation.uses_up() {
            return self.unit(recorder);
        }
        for _ in 0..self.branch.files {
            self.files.read_manifest(&mut self.read[..PAGE_BYTES])?;
        }
        Ok(0.0)
    }

    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        recorder.note(FOUND, "1", f64::from(u8::from(self.origin.is_found())));
        let set = self.take_set()?;
        let mut before = Instant::now();
        for number in 0..self.branch.files {
            self.touch(set, number)?;
            let after = Instant::now();
            recorder.record("latency", after - before);
            before = after;
        }
        Ok(self.branch.files as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        let Some(set) = self.taken.checked_sub(1) else { return Ok(()) };
        match self.branch.operation {
            Operation::Open | Operation::Again => {
                let first = self.branch.first_page(set, 0);
                self.content.check(&self.read, first, 0).map_err(|what| self.wrong(&what))?;
            }
            Operation::Write => self.check_written(set)?,
            Operation::Missing => {}
        }
        let folder = self.files.path.join(self.branch.folder(set));
        listing::check(&folder, (0..self.branch.files).map(file_name), |_| false)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        match &mut self.origin {
            Origin::Made(made) => made.remove(),
            Origin::Found if self.taken > 0 && self.branch.operation.uses_up() => {
                let mark = self.files.path.join(USED);
                fs::write(&mark, "").map_err(|error| refused("writing", &mark, error))
            }
            Origin::Found => Ok(()),
        }
    }
}

impl Drop for Visits {
    fn drop(&mut self) {
        let _ = self.clean_up();
    }
}
