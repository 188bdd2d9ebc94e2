//! One job: it keeps its slots under way, in its own part of the file, and remembers what it wrote.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

use super::super::WorkloadError;
use super::super::team::Member;
use super::content::{Content, PAGE_BYTES};
use super::engine::{Direction, Ended, Engine, Request, Slots};
use super::kind::EngineKind;
use crate::seeded::Seeded;

/// Written blocks that are read again after a slice.
const READ_AGAIN: usize = 4;

/// Latencies that a job keeps to itself before it hands them over.
const LATENCIES: usize = 1024;

/// How often a job that sees the end of a unit looks whether the others see it, a completion each.
const LOOKS: u32 = 8;

/// What all jobs of a workload do.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) engine: EngineKind,
    pub(super) direct: bool,
    /// Whether places are drawn; else they follow each other.
    pub(super) random: bool,
    /// Reads among a hundred requests.
    pub(super) read_percent: u64,
    pub(super) block_bytes: usize,
    /// Requests that each job keeps under way.
    pub(super) depth: usize,
}

/// What all jobs share.
#[derive(Debug)]
pub(super) struct Shared {
    jobs: usize,
    /// Jobs that have seen the end of this unit.
    at_end: AtomicUsize,
    /// Requests that are still to end in this unit.
    left: AtomicI64,
    /// Of the requests that have ended in this unit, how many were writes.
    pub(super) writes: AtomicU64,
    /// Of the requests that have ended in this unit.
    pub(super) latencies: Mutex<Vec<Duration>>,
}

impl Shared {
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            jobs,
            at_end: AtomicUsize::new(0),
            left: AtomicI64::new(0),
            writes: AtomicU64::new(0),
            latencies: Mutex::default(),
        }
    }

    /// A unit of so many requests begins. Those that ended beyond the unit before belong to it.
    pub(super) fn begin(&self, requests: u32) {
        self.at_end.store(0, Ordering::Relaxed);
        self.left.fetch_add(i64::from(requests), Ordering::Relaxed);
    }

    /// Nothing is under way any more.
    pub(super) fn rest(&self) {
        self.left.store(0, Ordering::Relaxed);
    }
}

/// What a job sees of the end of a unit. One that fails or panics has seen it, too, so that nobody goes on for it.
struct End<'a> {
    shared: &'a Shared,
    is_told: bool,
    /// How often it still looks for the others: one that has no CPU at the moment is not waited for.
    looks: u32,
}

impl End<'_> {
    fn is_reached(&mut self) -> bool {
        if self.shared.left.load(Ordering::Relaxed) > 0 {
            return false;
        }
        self.tell();
        self.looks = self.looks.saturating_sub(1);
        self.looks == 0 || self.shared.at_end.load(Ordering::Relaxed) >= self.shared.jobs
    }

    fn tell(&mut self) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.shared.at_end.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// Requests until there are none left to do; the queue stays full.
    Work,
    /// Waits for what is under way.
    Drain,
    /// Checks what was read and written, after all are drained.
    Check,
}

/// A thread's share of the work.
pub(super) struct Job {
    shape: Shape,
    content: Content,
    path: PathBuf,
    engine: Box<dyn Engine>,
    /// For reading again.
    file: File,
    /// Its blocks of the file.
    blocks: Range<u64>,
    next: u64,
    draws: Seeded,
    slots: Vec<Slot>,
    under_way: usize,
    /// How often each of its blocks was written.
    generations: Vec<u32>,
    /// The last written blocks, the newest in place of the oldest.
    written: Vec<u64>,
    ended: Vec<Ended>,
    latencies: Vec<Duration>,
    shared: Arc<Shared>,
}

/// The request of a slot, or the last one.
#[derive(Debug, Clone, Copy)]
struct Slot {
    block: u64,
    direction: Direction,
    /// Of the block: what is read, or what it becomes.
    generation: u32,
    since: Instant,
    under_way: bool,
}

impl Job {
    /// With the part of the file that is this job's; it has at least as many blocks as slots.
    pub(super) fn start(
        shape: Shape,
        path: &Path,
        content: Content,
        blocks: Range<u64>,
        seed: u64,
        shared: Arc<Shared>,
    ) -> Result<Self, WorkloadError> {
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(shape.read_percent < 100);
            options.custom_flags(if shape.direct { libc::O_DIRECT } else { 0 }).open(path)
        };
        let direct = shape.direct;
        let refused = |error| refused(path, error, "opening", direct);
        let (file, again) = (open().map_err(refused)?, open().map_err(refused)?);
        let mut slots = Slots::new(shape.depth, shape.block_bytes)?;
        for slot in 0..shape.depth {
            content.fill(slots.buffer(slot), 0);
        }
        let rest =
            Slot { block: 0, direction: Direction::Write, generation: 0, since: Instant::now(), under_way: false };
        Ok(Self {
            engine: shape.engine.start(file, slots)?,
            content,
            path: path.to_owned(),
            file: again,
            next: blocks.start,
            draws: Seeded::stream(seed, blocks.start + 1),
            slots: vec![rest; shape.depth],
            under_way: 0,
            generations: vec![0; (blocks.end - blocks.start) as usize],
            written: Vec::with_capacity(READ_AGAIN),
            ended: Vec::with_capacity(shape.depth),
            latencies: Vec::with_capacity(LATENCIES + shape.depth),
            blocks,
            shape,
            shared,
        })
    }

    /// Nobody stops before all have seen the end, within reason: while one waits, its queue would stand still.
    fn work(&mut self) -> Result<u64, WorkloadError> {
        let shared = Arc::clone(&self.shared);
        let mut end = End { shared: &shared, is_told: false, looks: LOOKS };
        for slot in 0..self.slots.len() {
            if !self.slots[slot].under_way {
                self.begin(slot, Instant::now())?;
            }
        }
        let mut done = 0;
        while !end.is_reached() {
            self.wait()?;
            let now = Instant::now();
            shared.left.fetch_sub(self.ended.len() as i64, Ordering::Relaxed);
            done += self.ended.len() as u64;
            self.follow(now)?;
            if self.latencies.len() + self.slots.len() > self.latencies.capacity() {
                self.hand_over();
            }
        }
        self.hand_over();
        Ok(done)
    }

    /// Lets another request follow each that has ended: the first at once, the others when those before are submitted.
    fn follow(&mut self, now: Instant) -> Result<(), WorkloadError> {
        let mut ended = std::mem::take(&mut self.ended);
        let (mut since, mut failure) = (Some(now), None);
        for one in ended.drain(..) {
            let slot = one.slot;
            self.latencies.push(now - self.slots[slot].since);
            let followed = self.finish(one).and_then(|()| self.begin(slot, since.take().unwrap_or_else(Instant::now)));
            if let Err(error) = followed {
                failure.get_or_insert(error);
            }
        }
        self.ended = ended;
        failure.map_or(Ok(()), Err)
    }

    /// Latencies go to the thread that measures.
    fn hand_over(&mut self) {
        let mut all = self.shared.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(&mut self.latencies);
    }

    fn begin(&mut self, slot: usize, now: Instant) -> Result<(), WorkloadError> {
        let block = self.place();
        let is_read = self.shape.read_percent == 100 || self.draws.below(100) < self.shape.read_percent;
        let direction = if is_read { Direction::Read } else { Direction::Write };
        let mut generation = self.generation(block);
        if direction == Direction::Write {
            generation += 1;
            let first = self.first_page(block);
            self.content.stamp(self.engine.buffer(slot), first, generation);
        }
        let request = Request { direction, offset: block * self.shape.block_bytes as u64 };
        let started = self.engine.start(slot, request);
        started.map_err(|error| self.refused(error, "asking for I/O on"))?;
        self.slots[slot] = Slot { block, direction, generation, since: now, under_way: true };
        self.under_way += 1;
        Ok(())
    }

    /// The next block; never one that is under way, since nobody could say what it holds then.
    fn place(&mut self) -> u64 {
        loop {
            let block = if self.shape.random {
                self.blocks.start + self.draws.below(self.blocks.end - self.blocks.start)
            } else {
                let block = self.next;
                self.next = if block + 1 < self.blocks.end { block + 1 } else { self.blocks.start };
                block
            };
            if !self.slots.iter().any(|slot| slot.under_way && slot.block == block) {
                return block;
            }
        }
    }

    fn wait(&mut self) -> Result<(), WorkloadError> {
        self.engine
            .wait(&mut self.ended)
            .map_err(|error| WorkloadError::system(format!("waiting for I/O on {}", self.path.display()), error))
    }

    fn finish(&mut self, ended: Ended) -> Result<(), WorkloadError> {
        let slot = &mut self.slots[ended.slot];
        slot.under_way = false;
        self.under_way -= 1;
        let Slot { block, direction, generation, .. } = *slot;
        let doing = if direction == Direction::Read { "reading" } else { "writing" };
        let bytes = ended.outcome.map_err(|error| self.refused(error, doing))?;
        if bytes != self.shape.block_bytes {
            let (path, expected) = (self.path.display(), self.shape.block_bytes);
            return Err(WorkloadError::Wrong(format!("{doing} {expected} bytes of {path} gave {bytes}")));
        }
        if direction == Direction::Write {
            self.shared.writes.fetch_add(1, Ordering::Relaxed);
            let index = (block - self.blocks.start) as usize;
            self.generations[index] = generation;
            self.remember(block);
        }
        Ok(())
    }

    fn refused(&self, error: io::Error, doing: &str) -> WorkloadError {
        refused(&self.path, error, doing, self.shape.direct)
    }

    fn remember(&mut self, block: u64) {
        if self.written.len() == READ_AGAIN {
            self.written.rotate_left(1);
            self.written.pop();
        }
        self.written.push(block);
    }

    fn generation(&self, block: u64) -> u32 {
        self.generations[(block - self.blocks.start) as usize]
    }

    fn first_page(&self, block: u64) -> u64 {
        block * (self.shape.block_bytes / PAGE_BYTES) as u64
    }

    fn drain(&mut self) -> Result<(), WorkloadError> {
        while self.under_way > 0 {
            self.wait()?;
            for one in std::mem::take(&mut self.ended) {
                self.finish(one)?;
            }
        }
        Ok(())
    }

    /// What the buffers hold of the last reads, and what the file holds of the last writes.
    fn check(&mut self) -> Result<(), WorkloadError> {
        let wrong = |path: &Path, what: String| WorkloadError::Wrong(format!("{}: {what}", path.display()));
        for slot in 0..self.slots.len() {
            let Slot { block, direction, generation, .. } = self.slots[slot];
            if direction == Direction::Read {
                let first = self.first_page(block);
                let read = self.content.check(self.engine.buffer(slot), first, generation);
                read.map_err(|what| wrong(&self.path, what))?;
            }
        }
        for block in std::mem::take(&mut self.written) {
            let offset = block * self.shape.block_bytes as u64;
            let buffer = self.engine.buffer(0);
            self.file
                .read_exact_at(buffer, offset)
                .map_err(|error| refused(&self.path, error, "reading", self.shape.direct))?;
            let (first, generation) = (self.first_page(block), self.generation(block));
            let held = self.content.check(self.engine.buffer(0), first, generation);
            held.map_err(|what| wrong(&self.path, what))?;
            // What slot 0 read before is gone.
            self.slots[0].direction = Direction::Write;
        }
        Ok(())
    }
}

impl Member for Job {
    type Task = Task;

    fn perform(&mut self, task: Task) -> Result<u64, WorkloadError> {
        match task {
            Task::Work => self.work(),
            Task::Drain => self.drain().map(|()| 0),
            Task::Check => self.check().map(|()| 0),
        }
    }
}

/// EINVAL, at open or at the first request, is how a filesystem says no to O_DIRECT.
pub(super) fn refused(path: &Path, error: io::Error, doing: &str, direct: bool) -> WorkloadError {
    if direct && error.raw_os_error() == Some(Errno::EINVAL as i32) {
        return WorkloadError::Wrong(format!(
            "{doing} {}: the filesystem refuses O_DIRECT ({error}), and buffered I/O would measure memory: choose another \
             data folder or disk option",
            path.display(),
        ));
    }
    WorkloadError::system(format!("{doing} {}", path.display()), error)
}
