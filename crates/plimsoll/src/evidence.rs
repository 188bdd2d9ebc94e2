//! Counters of the host, read around slices: how much CPU time the hypervisor under us gave to others, and what the disk
//! under test delivered.
//!
//! The counters of /proc/stat move in ticks (10 ms on usual kernels): in a slice of 0.2 s on one CPU one stolen tick
//! reads as 5 %. Smaller thefts show only in the sum of many slices.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::{major, minor};
use nix::unistd::{SysconfVar, sysconf};

use crate::clock;
use crate::sample::Evidence;

/// Bytes that one `cpuN` line takes at most: ten numbers of 20 digits.
const LINE_BYTES_MAX: usize = 224;

/// Reads /proc/stat around a slice: one read each.
#[derive(Debug)]
pub struct StealMeter {
    stat: File,
    buffer: Vec<u8>,
    cpus: Vec<u32>,
    tick_seconds: f64,
    started: Option<(Instant, CpuTicks)>,
}

/// What happened on the environments' CPUs during a slice.
#[derive(Debug, Clone, PartialEq)]
pub struct StealReading {
    /// Stolen time as a share of the CPUs' time, 0 to 1.
    pub stolen_share: f64,
    /// The same in ticks of the kernel's counters: a single one may have begun long before.
    pub stolen_ticks: u64,
    /// Seconds stolen and seconds in soft interrupts, summed over the CPUs.
    pub evidence: Vec<Evidence>,
}

/// Ticks since boot, summed over some CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct CpuTicks {
    steal: u64,
    softirq: u64,
}

impl StealMeter {
    /// A meter for these CPUs.
    ///
    /// # Errors
    /// When /proc/stat cannot be opened.
    pub fn open(cpus: &[u32]) -> std::io::Result<Self> {
        // CPU lines come first and in order, so a buffer that holds the lines up to our last CPU is enough.
        let lines = 2 + cpus.iter().max().map_or(0, |cpu| *cpu as usize);
        Ok(Self {
            stat: File::open("/proc/stat")?,
            buffer: vec![0; lines * LINE_BYTES_MAX],
            cpus: cpus.to_vec(),
            tick_seconds: tick_seconds(),
            started: None,
        })
    }

    /// A slice begins.
    pub fn start(&mut self) {
        self.started = self.read().map(|ticks| (clock::now(), ticks));
    }

    /// The slice has ended. `None` if it was not started, or if the counters could not be read.
    pub fn end(&mut self) -> Option<StealReading> {
        let (since, before) = self.started.take()?;
        let after = self.read()?;
        let elapsed = clock::now().duration_since(since);
        Some(reading(before, after, elapsed, self.cpus.len(), self.tick_seconds))
    }

    fn read(&mut self) -> Option<CpuTicks> {
        let count = self.stat.read_at(&mut self.buffer, 0).ok()?;
        sum_ticks(&String::from_utf8_lossy(self.buffer.get(..count)?), &self.cpus)
    }
}

/// Counts what the disk under a directory delivers and takes, around a slice. Other processes' I/O is counted too, so
/// the figures can show that a disk was not reached, never that it was reached by us.
#[derive(Debug)]
pub struct DiskMeter {
    stat: File,
    source: String,
    started: Option<DiskBytes>,
}

/// Bytes since the host was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DiskBytes {
    read: u64,
    written: u64,
}

/// Bytes of one sector in the kernel's counters, whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;
/// Bytes that the one line of a disk's counters takes at most.
const DISK_LINE_BYTES_MAX: usize = 512;

impl DiskMeter {
    /// A meter for the disk under this directory; `None` where it lies on none that the kernel counts (tmpfs, network).
    #[must_use]
    pub fn under(directory: &Path) -> Option<Self> {
        let device = std::fs::metadata(directory).ok()?.dev();
        let source = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
        Some(Self { stat: File::open(&source).ok()?, source, started: None })
    }

    /// A slice begins.
    pub fn start(&mut self) {
        self.started = self.bytes();
    }

    /// The slice has ended: bytes that the disk delivered, and those that it took. `None` if it was not started, or if
    /// the counters could not be read.
    pub fn end(&mut self) -> Option<[Evidence; 2]> {
        let (before, after) = (self.started.take()?, self.bytes()?);
        let row = |name: &str, before: u64, after: u64| {
            let value = after.checked_sub(before)? as f64;
            Some(Evidence { source: self.source.clone(), name: name.to_owned(), unit: "B".to_owned(), value })
        };
        Some([
            row(Evidence::DISK_READ, before.read, after.read)?,
            row(Evidence::DISK_WRITTEN, before.written, after.written)?,
        ])
    }

    fn bytes(&self) -> Option<DiskBytes> {
        let mut line = [0; DISK_LINE_BYTES_MAX];
        let count = self.stat.read_at(&mut line, 0).ok()?;
        disk_bytes(&String::from_utf8_lossy(line.get(..count)?))
    }
}

/// Third and seventh number of the line (Documentation/block/stat.rst).
fn disk_bytes(line: &str) -> Option<DiskBytes> {
    let bytes = |index| line.split_whitespace().nth(index)?.parse::<u64>().ok()?.checked_mul(SECTOR_BYTES);
    Some(DiskBytes { read: bytes(2)?, written: bytes(6)? })
}

/// Seconds of one tick of /proc/stat.
fn tick_seconds() -> f64 {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).max(1);
    1.0 / per_second as f64
}

fn reading(before: CpuTicks, after: CpuTicks, elapsed: Duration, cpus: usize, tick_seconds: f64) -> StealReading {
    let stolen_ticks = after.steal.saturating_sub(before.steal);
    let steal = stolen_ticks as f64 * tick_seconds;
    let softirq = after.softirq.saturating_sub(before.softirq) as f64 * tick_seconds;
    let capacity = elapsed.as_secs_f64() * cpus as f64;
    let stolen_share = if capacity > 0.0 { (steal / capacity).min(1.0) } else { 0.0 };
    StealReading { stolen_share, stolen_ticks, evidence: vec![seconds("steal", steal), seconds("softirq", softirq)] }
}

fn seconds(name: &str, value: f64) -> Evidence {
    Evidence { source: "/proc/stat".to_owned(), name: name.to_owned(), unit: "s".to_owned(), value }
}

/// The sums over these CPUs; `None` if a line of one of them is missing or cut.
fn sum_ticks(stat: &str, cpus: &[u32]) -> Option<CpuTicks> {
    let mut sum = CpuTicks::default();
    let mut found = 0;
    for line in stat.lines().take_while(|line| line.starts_with("cpu")) {
        let mut fields = line.split_whitespace();
        let Some(Ok(cpu)) = fields.next().and_then(|name| name.strip_prefix("cpu")).map(str::parse::<u32>) else {
            continue;
        };
        if cpus.contains(&cpu) {
            // user nice system idle iowait irq softirq steal guest guest_nice
            let numbers: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
            sum.softirq += numbers.get(6)?;
            sum.steal += numbers.get(7)?;
            found += 1;
        }
    }
    (found == cpus.len()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  72587 0 9127 220256 1350 0 164 144 0 0\ncpu0 33179 0 3802 114347 339 0 66 82 0 0\n\
                        cpu1 39407 0 5324 105908 1010 0 97 62 0 0\nintr 496204 0 0\n";

    #[test]
    fn only_the_asked_cpus_are_summed() {
        assert_eq!(sum_ticks(STAT, &[1]), Some(CpuTicks { steal: 62, softirq: 97 }));
        assert_eq!(sum_ticks(STAT, &[0, 1]), Some(CpuTicks { steal: 144, softirq: 163 }));
    }

    #[test]
    fn a_disk_takes_and_delivers_what_goes_past_every_cache() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let Some(mut meter) = DiskMeter::under(folder.path()) else { return };
        let path = folder.path().join("file");
        meter.start();
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        let [_, written] = meter.end().unwrap();
        assert!(written.name == Evidence::DISK_WRITTEN && written.value >= f64::from(1 << 20), "{written:?}");
        nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        assert_eq!(meter.end(), None);
        meter.start();
        assert_eq!(std::fs::read(&path).unwrap().len(), 1 << 20);
        let [read, _] = meter.end().unwrap();
        assert!(read.name == Evidence::DISK_READ && read.value >= f64::from(1 << 20), "{read:?}");
    }

    #[test]
    fn the_third_and_the_seventh_number_count_sectors() {
        let bytes = disk_bytes("  8 0 4096 1 5 0 8 2 0 3 3 0 0 0 0 1 0");
        assert_eq!(bytes, Some(DiskBytes { read: 4096 * 512, written: 8 * 512 }));
        assert_eq!((disk_bytes(""), disk_bytes("8 0 4096")), (None, None));
    }

    #[test]
    fn a_missing_or_cut_line_is_no_reading() {
        assert_eq!(sum_ticks(STAT, &[2]), None);
        assert_eq!(sum_ticks("cpu0 1 2 3 4 5 6", &[0]), None);
    }

    #[test]
    fn the_share_is_of_all_cpus_asked() {
        let (before, after) = (CpuTicks { steal: 10, softirq: 1 }, CpuTicks { steal: 20, softirq: 6 });
        let reading = reading(before, after, Duration::from_secs(1), 2, 0.01);
        assert!((reading.stolen_share - 0.05).abs() < 1e-12);
        assert!((reading.evidence[0].value - 0.1).abs() < 1e-12);
        assert!((reading.evidence[1].value - 0.05).abs() < 1e-12);
    }

    #[test]
    fn counters_that_run_backwards_read_as_nothing() {
        let before = CpuTicks { steal: 10, softirq: 10 };
        let reading = reading(before, CpuTicks::default(), Duration::ZERO, 1, 0.01);
        assert_eq!((reading.stolen_share, reading.evidence[0].value), (0.0, 0.0));
    }

    #[test]
    fn this_hosts_counters_are_readable_and_an_end_needs_a_start() {
        let mut meter = StealMeter::open(&[0]).unwrap();
        assert_eq!(meter.end(), None);
        meter.start();
        let reading = meter.end().unwrap();
        assert!((0.0..=1.0).contains(&reading.stolen_share));
        assert_eq!(reading.evidence.len(), 2);
        assert_eq!(meter.end(), None);
    }
}
