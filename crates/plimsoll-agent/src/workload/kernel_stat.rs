//! `kernel.stat`: looking up a path: stat of a file ten directories down, with every name in the kernel's cache.
//!
//! The path starts at a directory that is held open, not at the root: the data directory's own place differs between
//! environments, and its names would be looked up too.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use plimsoll_protocol::Parameters;

use super::made::Made;
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError,
};

const LOOKUPS: u64 = 1000;
/// Below the directory that is held open.
const PATH: &CStr = c"1/2/3/4/5/6/7/8/9/10/file";

/// The workload `kernel.stat`.
#[derive(Debug)]
pub(super) struct Stat;

static ABOUT: About = About {
    name: "kernel.stat",
    summary: "look up a file ten directories down (stat)",
    work: "lookup",
    metrics: &[Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.05 },
    measured_by: MeasuredBy::Slices,
    parameters: &[ParameterAbout { name: "lookups", meaning: "lookups in one unit", range: Some((1, 10_000_000)) }],
    uses_disk: true,
};

impl Workload for Stat {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
        ABOUT.merged(Parameters::default().with("lookups", LOOKUPS), written)
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let lookups = ABOUT.number(parameters, "lookups")?;
        let prepared = Lookups::make(scene.data_dir.join("kernel.stat"), lookups)?;
        prepared.look_up()?;
        Ok(Box::new(prepared))
    }
}

/// The directories, and the file in the deepest.
fn make_tree(top: &Path) -> io::Result<()> {
    let file = file_below(top);
    fs::create_dir_all(file.parent().unwrap_or(top))?;
    File::create(file).map(drop)
}

fn file_below(top: &Path) -> PathBuf {
    top.join(PATH.to_str().unwrap_or_default())
}

struct Lookups {
    lookups: u64,
    made: Made,
    top: File,
    path: CString,
    inode: u64,
}

impl Lookups {
    fn make(top: PathBuf, lookups: u64) -> Result<Self, WorkloadError> {
        let made = Made::by(top, make_tree)?;
        let opened = || Ok((fs::symlink_metadata(file_below(made.path()))?.ino(), File::open(made.path())?));
        let refused = |error: io::Error| WorkloadError::system(format!("opening {}", made.path().display()), error);
        let (inode, top) = opened().map_err(refused)?;
        Ok(Self { lookups, made, top, path: PATH.to_owned(), inode })
    }

    fn file(&self) -> PathBuf {
        file_below(self.made.path())
    }

    #[inline]
    fn look_up(&self) -> Result<(), WorkloadError> {
        match fstatat(&self.top, self.path.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) if found.st_ino == self.inode => Ok(()),
            Ok(found) => {
                let message = format!("inode {} was found and {} was made", found.st_ino, self.inode);
                Err(WorkloadError::Wrong(format!("{}: {message}", self.file().display())))
            }
            Err(error) => Err(WorkloadError::system(format!("looking up {}", self.file().display()), error)),
        }
    }
}

impl Prepared for Lookups {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        for _ in 0..self.lookups {
            self.look_up()?;
        }
        Ok(self.lookups as f64)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.made.remove()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_file_is_ten_directories_down() {
        assert_eq!(Path::new(PATH.to_str().unwrap()).components().count(), 11);
    }

    #[test]
    fn another_file_in_its_place_and_no_file_are_errors() {
        let folder = crate::workload::tests::folder();
        let mut lookups = Lookups::make(folder.path().join("tree"), 5).unwrap();
        assert_eq!(lookups.unit(&mut Recorder::default()).unwrap(), 5.0);

        let (file, other) = (lookups.file(), folder.path().join("other"));
        fs::write(&other, "other").unwrap();
        fs::rename(&other, &file).unwrap();
        let error = lookups.unit(&mut Recorder::default()).unwrap_err().to_string();
        assert!(error.contains("was found and"), "{error}");

        fs::remove_file(file).unwrap();
        let error = lookups.unit(&mut Recorder::default()).unwrap_err().to_string();
        assert!(error.contains("looking up"), "{error}");
        lookups.clean_up().unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn half_a_tree_is_removed() {
        let folder = crate::workload::tests::folder();
        let top = folder.path().join("tree");
        fs::create_dir_all(top.join("1")).unwrap();
        fs::write(top.join("1/2"), "in the way").unwrap();
        assert!(Lookups::make(top, 1).is_err());
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}
