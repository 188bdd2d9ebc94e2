//! `disk.fsync`: what a database feels when it commits: a write of 4 KiB and fdatasync, one after another through a file
//! that is there.
//!
//! The write goes through the page cache; the call after it must bring the data to the device. Whether it did, nobody
//! inside can tell: the host counts what its disk took.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use plimsoll_protocol::{Evidence, Parameters};

use super::disk::{CPU, Content, PAGE_BYTES, check_room};
use super::made::Made;
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, check_multiple,
};

const FILE_BYTES: u64 = 8 << 20;
/// Some milliseconds of work on a fast device.
const COMMITS: u64 = 16;

/// The workload `disk.fsync`.
#[derive(Debug)]
pub(super) struct Fsync;

static ABOUT: About = About {
    name: "disk.fsync",
    summary: "commits: a write of 4 KiB and fdatasync, one after another through a file",
    work: "commit",
    metrics: &[
        Metric { name: "time", unit: "s", kind: MetricKind::Time, headline: true },
        Metric { name: "latency.p50", unit: "s", kind: MetricKind::Percentile("latency", 0.50), headline: false },
        Metric { name: "latency.p99", unit: "s", kind: MetricKind::Percentile("latency", 0.99), headline: false },
        CPU,
    ],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.15 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout {
            name: "file_bytes",
            meaning: "size of the file, a multiple of 4096",
            range: Some((PAGE_BYTES as u64, 1 << 40)),
        },
        ParameterAbout { name: "commits", meaning: "commits in one unit", range: Some((1, 1_000_000)) },
    ],
    uses_disk: true,
};

impl Workload for Fsync {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let derived = Parameters::default().with("file_bytes", FILE_BYTES).with("commits", COMMITS);
        let parameters = ABOUT.merged(derived, written)?;
        let file_bytes = ABOUT.number(&parameters, "file_bytes").map_err(|error| error.to_string())?;
        check_multiple("file_bytes", file_bytes, PAGE_BYTES as u64)?;
        check_room(ABOUT.name, file_bytes, room)?;
        Ok(parameters)
    }

    fn files_bytes(&self, parameters: &Parameters) -> u64 {
        ABOUT.number(parameters, "file_bytes").unwrap_or(0)
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let (file_bytes, per_unit) = (ABOUT.number(parameters, "file_bytes")?, ABOUT.number(parameters, "commits")?);
        check_multiple("file_bytes", file_bytes, PAGE_BYTES as u64).map_err(WorkloadError::Wrong)?;
        let (content, pages) = (Content::new(scene.seed), file_bytes / PAGE_BYTES as u64);
        let made = Made::by(scene.data_dir.join(ABOUT.name), |path| content.lay_out(path, pages))?;
        let mut commits = Commits::open(made, content, pages, per_unit)?;
        commits.unit(&mut Recorder::default())?;
        commits.verify()?;
        Ok(Box::new(commits))
    }
}

struct Commits {
    made: Made,
    content: Content,
    file: File,
    page: Vec<u8>,
    pages: u64,
    per_unit: u64,
    /// Commits since the file was laid out.
    done: u64,
}

impl Commits {
    fn open(made: Made, content: Content, pages: u64, per_unit: u64) -> Result<Self, WorkloadError> {
        let opened = OpenOptions::new().read(true).write(true).open(made.path());
        let file =
            opened.map_err(|error| WorkloadError::system(format!("opening {}", made.path().display()), error))?;
        let mut page = vec![0; PAGE_BYTES];
        content.fill(&mut page, 0);
        Ok(Self { made, content, file, page, pages, per_unit, done: 0 })
    }

    /// The page that a commit writes, and how often it is written then.
    fn place(&self, commit: u64) -> (u64, u32) {
        (commit % self.pages, u32::try_from(commit / self.pages + 1).unwrap_or(u32::MAX))
    }

    fn commit(&mut self) -> Result<(), WorkloadError> {
        let (page, generation) = self.place(self.done);
        self.content.stamp(&mut self.page, page, generation);
        let written = self.file.write_all_at(&self.page, page * PAGE_BYTES as u64);
        let committed = written.and_then(|()| self.file.sync_data());
        committed.map_err(|error| WorkloadError::system(format!("writing {}", self.made.path().display()), error))?;
        self.done += 1;
        Ok(())
    }
}

impl Prepared for Commits {
    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        let mut before = Instant::now();
        for _ in 0..self.per_unit {
            self.commit()?;
            let after = Instant::now();
            recorder.record("latency", after - before);
            before = after;
        }
        recorder.add(Evidence::DISK_ASKED_WRITE, "B", (self.per_unit * PAGE_BYTES as u64) as f64);
        Ok(self.per_unit as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        let path = self.made.path();
        let first = self.done.saturating_sub(self.per_unit.min(self.pages));
        for commit in first..self.done {
            let ((page, generation), mut held) = (self.place(commit), vec![0; PAGE_BYTES]);
            let read = self.file.read_exact_at(&mut held, page * PAGE_BYTES as u64);
            read.map_err(|error| WorkloadError::system(format!("reading {}", path.display()), error))?;
            let checked = self.content.check(&held, page, generation);
            checked.map_err(|what| WorkloadError::Wrong(format!("{}: {what}", path.display())))?;
        }
        Ok(())
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.made.remove()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tests::folder;

    fn commits(folder: &std::path::Path, pages: u64) -> Commits {
        let content = Content::new(3);
        let made = Made::by(folder.join("file"), |path| content.lay_out(path, pages)).unwrap();
        Commits::open(made, content, pages, 5).unwrap()
    }

    #[test]
    fn commits_go_round_the_file_and_each_is_checked() {
        let folder = folder();
        let mut commits = commits(folder.path(), 7);
        let mut recorder = Recorder::with(&["latency"]);
        for _ in 0..4 {
            assert_eq!(commits.unit(&mut recorder).unwrap(), 5.0);
            commits.verify().unwrap();
        }
        assert_eq!((recorder.histograms[0].1.len(), recorder.evidence[0].value), (20, 20.0 * 4096.0));
        let bytes = std::fs::read(commits.made.path()).unwrap();
        commits.content.check(&bytes[..6 * PAGE_BYTES], 0, 3).unwrap();
        commits.content.check(&bytes[6 * PAGE_BYTES..], 6, 2).unwrap();
    }

    #[test]
    fn a_commit_that_was_lost_is_found() {
        let folder = folder();
        let mut commits = commits(folder.path(), 100);
        let before = std::fs::read(commits.made.path()).unwrap();
        commits.unit(&mut Recorder::default()).unwrap();
        commits.file.write_all_at(&before[..PAGE_BYTES], 0).unwrap();
        let error = commits.verify().unwrap_err().to_string();
        assert!(error.contains("page 0 of seed 3, generation 1, holds page 0 of seed 3, generation 0"), "{error}");
    }

    #[test]
    fn a_disk_that_takes_no_more_is_an_error_with_its_cause() {
        // Every write to it says that there is no space.
        let folder = folder();
        let mut commits = commits(folder.path(), 7);
        commits.file = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        let error = commits.unit(&mut Recorder::default()).unwrap_err();
        assert_eq!(error.cause(), plimsoll_protocol::Cause::DiskFull);
    }

    #[test]
    fn an_odd_size_is_refused_on_the_host_and_inside() {
        let room = Room { cpus: 1, memory_bytes: 0, disk_bytes: 8 << 30, files_bytes_max: 8 << 30, cache_bytes: 0 };
        let odd = Parameters::default().with("file_bytes", 5000);
        assert!(Fsync.size(&room, &odd).unwrap_err().contains("not a multiple of 4096"));
        let scene = Scene { data_dir: std::path::Path::new("/nonexistent"), seed: 1 };
        assert!(Fsync.prepare(&odd.with("commits", 1), &scene).is_err());
    }
}
