//! `mem.triad`: a = b + s * c over arrays that no cache holds, after STREAM (McCalpin 1995), counting bytes as it does.
//!
//! Every thread owns its part of the three arrays and lives across units. A unit is the next piece of a pass, the same
//! share of every part: whoever is slow need not make whole passes, and since the pieces follow each other in order, an
//! element is met again only after all others, whatever a piece's size.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use plimsoll_protocol::Parameters;

use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, mib,
};

/// STREAM counts two reads and one write of a double, and no write-allocate.
const BYTES_PER_ELEMENT: u64 = 24;
const ELEMENT_BYTES: u64 = 8;
/// STREAM's rule: each array at least this many times the last-level cache.
const CACHES_PER_ARRAY: u64 = 4;
/// No cache is believed to be larger.
const CACHE_BYTES_MAX: u64 = 1 << 38;
/// For hosts that do not tell their cache.
const ARRAY_BYTES_MIN: u64 = 16 << 20;
/// Pieces of a pass; each is still long beside the two messages that start and end it.
const PIECES_PER_PASS: usize = 16;
/// One element of each page is checked after a slice.
const CHECK_STRIDE: usize = 512;

/// The workload `mem.triad`.
#[derive(Debug)]
pub(super) struct Triad;

static ABOUT: About = About {
    name: "mem.triad",
    summary: "memory bandwidth: STREAM's triad over arrays of four times the last-level cache",
    work: "byte read or written",
    metrics: &[Metric { name: "throughput", unit: "B/s", kind: MetricKind::Rate, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.10 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout {
            name: "array_bytes",
            meaning: "size of each of the three arrays",
            range: Some((4096, 1 << 40)),
        },
        ParameterAbout { name: "threads", meaning: "threads that share a pass", range: Some((1, 4096)) },
    ],
    uses_disk: false,
    disk_bytes_per_work: None,
};

impl Workload for Triad {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let array_bytes = room.cache_bytes.min(CACHE_BYTES_MAX).saturating_mul(CACHES_PER_ARRAY).max(ARRAY_BYTES_MIN);
        let derived = Parameters::default().with("array_bytes", array_bytes.next_multiple_of(4096));
        let parameters = ABOUT.merged(derived.with("threads", u64::from(room.cpus.max(1))), written)?;
        let array_bytes = ABOUT.number(&parameters, "array_bytes").map_err(|error| error.to_string())?;
        let needed = array_bytes.saturating_mul(6);
        if needed > room.memory_bytes {
            return Err(format!(
                "mem.triad needs three arrays of {} MiB (without `array_bytes` in the plan: four times the last-level cache) in \
                 half of the memory, and the limit is {} MiB: set --memory to {} MiB or more, or a smaller `array_bytes` \
                 in the plan",
                mib(array_bytes),
                mib(room.memory_bytes),
                mib(needed),
            ));
        }
        Ok(parameters)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let elements = ABOUT.count(parameters, "array_bytes")? / ELEMENT_BYTES as usize;
        let threads = ABOUT.count(parameters, "threads")?.min(elements);
        let mut team = Team { workers: Vec::new(), next: Piece::first_of(PIECES_PER_PASS.min(elements / threads)) };
        for index in 0..threads {
            let (from, to) = (elements * index / threads, elements * (index + 1) / threads);
            team.workers.push(Worker::start(from, to - from)?);
        }
        // The first pass faults in the array that is written to, and shows that the arithmetic is right.
        for _ in 0..team.next.pieces {
            team.step()?;
        }
        team.verify()?;
        Ok(Box::new(team))
    }
}

/// A piece of a pass.
#[derive(Debug, Clone, Copy)]
struct Piece {
    pass: u64,
    /// Its number in the pass.
    index: usize,
    /// How many there are.
    pieces: usize,
}

impl Piece {
    fn first_of(pieces: usize) -> Self {
        Self { pass: 0, index: 0, pieces }
    }

    fn next(self) -> Self {
        match self.index + 1 {
            index if index < self.pieces => Self { index, ..self },
            _ => Self { pass: self.pass + 1, index: 0, ..self },
        }
    }

    /// Its range in a part of so many elements.
    fn range(self, elements: usize) -> Range<usize> {
        elements * self.index / self.pieces..elements * (self.index + 1) / self.pieces
    }
}

#[derive(Debug, Clone, Copy)]
enum Task {
    /// The kernel over one piece, with the scalar of its pass.
    Do(Piece),
    /// Checks that everything before this piece was done, in this pass and in the one before.
    CheckBefore(Piece),
}

struct Team {
    workers: Vec<Worker>,
    next: Piece,
}

impl Team {
    /// Gives every worker the same task and waits for all; the elements that they computed.
    fn all(&self, task: Task) -> Result<usize, WorkloadError> {
        let gone = || WorkloadError::Wrong("a thread of mem.triad ended by itself".to_owned());
        for worker in &self.workers {
            worker.tasks.send(task).map_err(|_| gone())?;
        }
        let mut sum = Ok(0);
        for worker in &self.workers {
            let outcome = worker.outcomes.recv().map_err(|_| gone())?;
            sum = sum.and_then(|sum| Ok(sum + outcome?));
        }
        sum.map_err(WorkloadError::Wrong)
    }

    fn step(&mut self) -> Result<usize, WorkloadError> {
        let elements = self.all(Task::Do(self.next))?;
        self.next = self.next.next();
        Ok(elements)
    }
}

impl Prepared for Team {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        Ok((self.step()? as u64 * BYTES_PER_ELEMENT) as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        self.all(Task::CheckBefore(self.next)).map(drop)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.workers.clear();
        Ok(())
    }
}

/// A thread with its part of the arrays; it ends when its channel of tasks does.
struct Worker {
    tasks: Sender<Task>,
    outcomes: Receiver<Result<usize, String>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread and waits until its arrays are made, by itself, so that they are near the CPU it runs on.
    fn start(first: usize, elements: usize) -> Result<Self, WorkloadError> {
        let (tasks, received) = channel();
        let (sent, outcomes) = channel();
        let work = move || {
            let Some(mut part) = Part::new(first, elements) else {
                let _ = sent.send(Err("no memory".to_owned()));
                return;
            };
            let _ = sent.send(Ok(0));
            while let Ok(task) = received.recv() {
                if sent.send(part.perform(task)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("triad".to_owned()).spawn(work);
        let thread = thread.map_err(|error| WorkloadError::system("starting a thread of mem.triad", error))?;
        match outcomes.recv() {
            Ok(Ok(_)) => Ok(Self { tasks, outcomes, thread: Some(thread) }),
            _ => Err(WorkloadError::no_memory("making the arrays of mem.triad")),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tasks = channel().0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A range of the three arrays.
struct Part {
    first: usize,
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
}

impl Part {
    fn new(first: usize, elements: usize) -> Option<Self> {
        let places = first..first + elements;
        let (a, b, c) = (filled(places.clone(), |_| 0.0)?, filled(places.clone(), b_at)?, filled(places, c_at)?);
        Some(Self { first, a, b, c })
    }

    fn perform(&mut self, task: Task) -> Result<usize, String> {
        match task {
            Task::Do(piece) => {
                let range = piece.range(self.a.len());
                let (b, c) = (&self.b[range.clone()], &self.c[range.clone()]);
                triad(&mut self.a[range.clone()], b, c, scalar(piece.pass));
                Ok(range.len())
            }
            Task::CheckBefore(next) => self.check_before(next).map(|()| 0),
        }
    }

    /// One element of every page, another one each time, against its value computed anew.
    fn check_before(&self, next: Piece) -> Result<(), String> {
        let done = next.range(self.a.len()).start;
        let offset = (next.pass as usize + next.index) % CHECK_STRIDE.min(self.a.len());
        for index in (offset..self.a.len()).step_by(CHECK_STRIDE) {
            let pass = if index < done { Some(next.pass) } else { next.pass.checked_sub(1) };
            let Some(pass) = pass else { break };
            let place = self.first + index;
            let expected = b_at(place) + scalar(pass) * c_at(place);
            if self.a[index] != expected {
                return Err(format!("mem.triad: a[{place}] is {} and should be {expected}", self.a[index]));
            }
        }
        Ok(())
    }
}

/// An array with these values; `None` where there is no memory for it.
fn filled(places: Range<usize>, value: impl Fn(usize) -> f64) -> Option<Vec<f64>> {
    let mut array = Vec::new();
    array.try_reserve_exact(places.len()).ok()?;
    array.extend(places.map(value));
    Some(array)
}

/// The kernel itself. The compiler must believe that somebody reads the result.
#[inline(never)]
fn triad(a: &mut [f64], b: &[f64], c: &[f64], scalar: f64) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + scalar * c;
    }
    std::hint::black_box(a);
}

/// Another one each pass, so that a pass that was not done shows. All values are small whole numbers: sums are exact.
fn scalar(pass: u64) -> f64 {
    (3 + pass % 5) as f64
}

fn b_at(index: usize) -> f64 {
    (index & 1023) as f64
}

fn c_at(index: usize) -> f64 {
    (index & 511) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(memory_bytes: u64) -> Room {
        Room { cpus: 2, memory_bytes, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 36 << 20 }
    }

    #[test]
    fn arrays_are_four_caches_and_must_fit_half_of_the_memory() {
        let derived = |memory_bytes| Triad.size(&room(memory_bytes), &Parameters::default());
        let parameters = derived(1 << 30).unwrap();
        assert_eq!(parameters.integer("array_bytes", 0, u64::MAX), Ok(144 << 20));
        let refusal = derived(512 << 20).unwrap_err();
        assert!(refusal.contains("set --memory to 864 MiB or more"), "{refusal}");
        assert!(derived(864 << 20).is_ok());
    }

    #[test]
    fn a_written_size_replaces_the_derived_one_and_must_fit_as_well() {
        let written = |bytes: u64| Triad.size(&room(512 << 20), &Parameters::default().with("array_bytes", bytes));
        assert_eq!(written(64 << 20).unwrap().integer("array_bytes", 0, u64::MAX), Ok(64 << 20));
        let refusal = written(1 << 40).unwrap_err();
        assert!(refusal.contains("three arrays of 1048576 MiB"), "{refusal}");
    }

    #[test]
    fn a_pass_computes_every_element_and_a_missed_or_broken_one_is_found() {
        let mut part = Part::new(1000, 5000).unwrap();
        let mut piece = Piece::first_of(3);
        for _ in 0..6 {
            part.perform(Task::Do(piece)).unwrap();
            piece = piece.next();
        }
        assert_eq!((piece.pass, piece.index), (2, 0));
        for index in 0..5000 {
            assert_eq!(part.a[index], b_at(1000 + index) + 4.0 * c_at(1000 + index));
        }
        assert!(part.perform(Task::CheckBefore(piece)).is_ok());
        assert!(part.perform(Task::CheckBefore(piece.next())).is_err(), "the next piece was not done");
        part.a[2 + CHECK_STRIDE] = -1.0;
        assert!(part.perform(Task::CheckBefore(piece)).is_err());
    }

    #[test]
    fn in_the_middle_of_a_pass_both_passes_are_checked() {
        let mut part = Part::new(0, 5000).unwrap();
        let mut piece = Piece::first_of(2);
        for _ in 0..3 {
            part.perform(Task::Do(piece)).unwrap();
            piece = piece.next();
        }
        assert!(part.perform(Task::CheckBefore(piece)).is_ok());
        for broken in [2 + CHECK_STRIDE, 2 + 8 * CHECK_STRIDE] {
            let kept = std::mem::replace(&mut part.a[broken], -1.0);
            assert!(part.perform(Task::CheckBefore(piece)).is_err(), "{broken}");
            part.a[broken] = kept;
        }
    }

    #[test]
    fn the_pieces_of_threads_make_up_the_whole_whatever_their_number() {
        let scene = Scene { data_dir: std::path::Path::new("."), seed: 1 };
        for (threads, pieces) in [(1, 16), (3, 16), (100, 10), (4096, 1)] {
            let parameters = Parameters::default().with("array_bytes", 8 * 1000).with("threads", threads);
            let mut team = Triad.prepare(&parameters, &scene).unwrap();
            let work: f64 = (0..pieces).map(|_| team.unit(&mut Recorder::default()).unwrap()).sum();
            assert_eq!(work, 24_000.0, "{threads} threads");
            team.verify().unwrap();
        }
    }
}
