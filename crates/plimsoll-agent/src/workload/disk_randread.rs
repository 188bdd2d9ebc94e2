//! `disk.randread`: 4 KiB reads at random places, one at a time, past the page cache of whoever runs the agent.
//!
//! A filesystem that refuses O_DIRECT is an error here: a buffered read in its place would measure memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use plimsoll_protocol::Parameters;

use super::made::Made;
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, mib,
};
use crate::seeded::Seeded;

const BLOCK_BYTES: usize = 4096;
const UNIT_READS: u32 = 256;
const FILE_BYTES: u64 = 32 << 20;
/// Data is written in pieces of this many blocks.
const PIECE_BLOCKS: u64 = 256;

/// The workload `disk.randread`.
#[derive(Debug)]
pub(super) struct RandRead;

static ABOUT: About = About {
    name: "disk.randread",
    summary: "direct 4 KiB reads at random places of a file, one at a time",
    work: "read",
    metrics: &[
        Metric { name: "iops", unit: "1/s", kind: MetricKind::Rate, headline: true },
        Metric { name: "latency.p50", unit: "s", kind: MetricKind::Percentile("latency", 0.50), headline: false },
        Metric { name: "latency.p99", unit: "s", kind: MetricKind::Percentile("latency", 0.99), headline: false },
    ],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.15 },
    measured_by: MeasuredBy::Slices,
    parameters: &[ParameterAbout {
        name: "file_bytes",
        meaning: "size of the file, a multiple of 4096",
        range: Some((BLOCK_BYTES as u64, 1 << 40)),
    }],
    uses_disk: true,
    disk_bytes_per_work: Some(BLOCK_BYTES as u32),
};

impl Workload for RandRead {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let parameters = ABOUT.merged(Parameters::default().with("file_bytes", FILE_BYTES), written)?;
        let file_bytes = ABOUT.number(&parameters, "file_bytes").map_err(|error| error.to_string())?;
        check_multiple(file_bytes)?;
        if file_bytes > room.files_bytes_max {
            return Err(format!(
                "disk.randread's file of {} MiB does not fit the data disk of a guest, which holds files of up to {} MiB: \
                 set a smaller `file_bytes` in the plan",
                mib(file_bytes),
                mib(room.files_bytes_max),
            ));
        }
        let needed = file_bytes.saturating_mul(2);
        if room.disk_bytes < needed {
            return Err(format!(
                "disk.randread needs {} MiB of free disk for each environment and finds {} MiB: free some, choose another \
                 --data folder or set a smaller `file_bytes` in the plan",
                mib(needed),
                mib(room.disk_bytes),
            ));
        }
        Ok(parameters)
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let file_bytes = ABOUT.number(parameters, "file_bytes")?;
        check_multiple(file_bytes).map_err(WorkloadError::Wrong)?;
        let blocks = file_bytes / BLOCK_BYTES as u64;
        let path = scene.data_dir.join("disk.randread");
        let made = Made::by(path, |path| fill(path, scene.seed, blocks))?;
        let mut reads = Reads::open(made, scene.seed, blocks)?;
        reads.read_one()?;
        reads.verify()?;
        Ok(Box::new(reads))
    }
}

fn check_multiple(file_bytes: u64) -> Result<(), String> {
    let is_multiple = file_bytes.is_multiple_of(BLOCK_BYTES as u64);
    if is_multiple { Ok(()) } else { Err(format!("`file_bytes` is {file_bytes}, not a multiple of {BLOCK_BYTES}")) }
}

/// Writes the file, down to the device and out of the page cache.
fn fill(path: &Path, seed: u64, blocks: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut piece = Vec::with_capacity(PIECE_BLOCKS as usize * BLOCK_BYTES);
    for number in 0..blocks {
        piece.extend_from_slice(&block(seed, number));
        if piece.len() == piece.capacity() || number + 1 == blocks {
            file.write_all(&piece)?;
            piece.clear();
        }
    }
    file.sync_all()?;
    // A filesystem without a page cache may refuse; the reads are direct either way.
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    Ok(())
}

/// What stands in a block: its number, the seed, and noise that no device can compress.
fn block(seed: u64, number: u64) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut noise = Seeded::stream(seed, number);
    for word in block.chunks_exact_mut(8) {
        word.copy_from_slice(&noise.next().to_le_bytes());
    }
    block[..8].copy_from_slice(&number.to_le_bytes());
    block[8..16].copy_from_slice(&seed.to_le_bytes());
    block
}

struct Reads {
    made: Made,
    file: File,
    buffer: Aligned,
    places: Seeded,
    seed: u64,
    blocks: u64,
    last: u64,
}

impl Reads {
    fn open(made: Made, seed: u64, blocks: u64) -> Result<Self, WorkloadError> {
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(made.path());
        let file = opened.map_err(|error| refused(made.path(), error))?;
        Ok(Self { made, file, buffer: Aligned::new(), places: Seeded::new(seed), seed, blocks, last: 0 })
    }

    fn read_one(&mut self) -> Result<(), WorkloadError> {
        self.last = self.places.below(self.blocks);
        let offset = self.last * BLOCK_BYTES as u64;
        match self.file.read_at(self.buffer.block(), offset) {
            Ok(BLOCK_BYTES) => Ok(()),
            Ok(count) => Err(WorkloadError::Wrong(format!("a read of {BLOCK_BYTES} bytes gave {count}"))),
            Err(error) => Err(refused(self.made.path(), error)),
        }
    }
}

/// EINVAL, at open or at the first read, is how a filesystem says no to O_DIRECT.
fn refused(path: &Path, error: io::Error) -> WorkloadError {
    if error.raw_os_error() == Some(Errno::EINVAL as i32) {
        return WorkloadError::Wrong(format!(
            "the filesystem under {} refuses O_DIRECT, and buffered reads would measure memory: choose another data \
             folder or disk option",
            path.display(),
        ));
    }
    WorkloadError::system(format!("reading {}", path.display()), error)
}

impl Prepared for Reads {
    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        // One look at the clock per read: on a slow clock source two would be felt.
        let mut before = Instant::now();
        for _ in 0..UNIT_READS {
            self.read_one()?;
            let after = Instant::now();
            recorder.record("latency", after - before);
            before = after;
        }
        recorder.note("o_direct", "1", 1.0);
        Ok(f64::from(UNIT_READS))
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        if *self.buffer.block() == block(self.seed, self.last) {
            return Ok(());
        }
        Err(WorkloadError::Wrong(format!("block {} of {} holds something else", self.last, self.made.path().display())))
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.made.remove()
    }
}

/// A block at an address that direct reads accept.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; 2 * BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Self { bytes, start }
    }

    fn block(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + BLOCK_BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_differ_by_number_and_seed_and_carry_both() {
        let one = block(7, 3);
        assert_eq!((&one[..8], &one[8..16]), (&3_u64.to_le_bytes()[..], &7_u64.to_le_bytes()[..]));
        assert_ne!(block(7, 4)[16..], one[16..]);
        assert_ne!(block(8, 3)[16..], one[16..]);
    }

    #[test]
    fn a_file_of_odd_size_or_too_little_disk_is_refused() {
        let scene = Scene { data_dir: Path::new("/nonexistent"), seed: 1 };
        let error = RandRead.prepare(&Parameters::default().with("file_bytes", 5000), &scene).err().unwrap();
        assert!(error.to_string().contains("not a multiple of 4096"), "{error}");
        let room = Room { cpus: 1, memory_bytes: 0, disk_bytes: 40 << 20, files_bytes_max: 768 << 20, cache_bytes: 0 };
        assert!(RandRead.size(&room, &Parameters::default()).unwrap_err().contains("64 MiB"));
    }

    #[test]
    fn a_written_size_must_fit_the_disk_and_that_of_a_guest() {
        let room = Room { cpus: 1, memory_bytes: 0, disk_bytes: 8 << 30, files_bytes_max: 768 << 20, cache_bytes: 0 };
        let written = |bytes: u64| RandRead.size(&room, &Parameters::default().with("file_bytes", bytes));
        assert_eq!(written(768 << 20).unwrap().integer("file_bytes", 0, u64::MAX), Ok(768 << 20));
        assert!(written(1 << 40).unwrap_err().contains("up to 768 MiB"));
        assert!(written(5000).unwrap_err().contains("not a multiple of 4096"));
    }

    #[test]
    fn a_filesystem_without_direct_reads_is_named_and_not_read_buffered() {
        let error = refused(Path::new("/data/x"), Errno::EINVAL.into());
        assert!(matches!(&error, WorkloadError::Wrong(message) if message.contains("refuses O_DIRECT")), "{error}");
        let error = refused(Path::new("/data/x"), Errno::EIO.into());
        assert!(matches!(error, WorkloadError::System { .. }));
    }

    #[test]
    fn a_file_has_all_of_its_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fill(&path, 1, 3).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 * 4096);
    }
}
