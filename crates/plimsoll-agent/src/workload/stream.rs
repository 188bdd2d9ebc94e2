//! What the four kernels of STREAM (McCalpin 1995) share: sizes, points, passes in pieces, and checking.
//!
//! Every thread owns its part of the arrays. A unit is the next piece of a pass, the same share of every part: whoever
//! is slow need not make whole passes, and since the pieces follow each other in order, an element is met again only
//! after all others, whatever a piece's size.

use std::ops::Range;
use std::time::Instant;

use plimsoll_protocol::Parameters;

use super::region::Region;
use super::team::{Member, THREADS_MAX, Team, all_cpus_and_one};
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, mib,
};

const ELEMENT_BYTES: u64 = 8;
/// STREAM's rule: each array at least this many times the last-level cache.
const CACHES_PER_ARRAY: u64 = 4;
/// No cache is believed to be larger.
const CACHE_BYTES_MAX: u64 = 1 << 38;
/// For hosts that do not tell their cache.
const ARRAY_BYTES_MIN: u64 = 16 << 20;
/// What a piece takes of each thread's part of an array: a few milliseconds of work, long beside the signals around it.
const PIECE_BYTES: usize = 4 << 20;
/// One element of each page is checked after a slice.
const CHECK_STRIDE: usize = 512;
/// Passes read their sources from another cache line onward, in turn, so that a pass which was not done shows even where
/// nothing but a copy is computed.
const SHIFT_ELEMENTS: usize = 8;
const SHIFTS: usize = 5;

/// STREAM's `scalar`. The arrays hold small whole numbers, so that all results are exact.
pub(super) const SCALAR: f64 = 3.0;

/// A loop over the written slice and two that are read.
type Kernel = fn(&mut [f64], &[f64], &[f64]);

/// One of the kernels. `TO[i] = f(A[i], B[i])`, where B may be missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) about: &'static About,
    /// Arrays that it reads, 1 or 2. One more is written.
    pub(super) sources: usize,
    /// The loop that is measured; with one source the last slice is empty.
    pub(super) kernel: Kernel,
    /// What it should give for one element.
    pub(super) element: fn(f64, f64) -> f64,
}

/// What the kernels declare alike.
pub(super) const fn about(name: &'static str, summary: &'static str) -> About {
    About {
        name,
        summary,
        work: "byte read or written",
        metrics: &[
            Metric { name: "throughput", unit: "B/s", kind: MetricKind::Rate, headline: true },
            Metric { name: "pass.best", unit: "s", kind: MetricKind::Percentile("pass", 0.0), headline: false },
        ],
        warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.10 },
        measured_by: MeasuredBy::Slices,
        parameters: &[
            ParameterAbout { name: "array_bytes", meaning: "size of each of the arrays", range: Some((4096, 1 << 40)) },
            ParameterAbout {
                name: "threads",
                meaning: "threads that share a pass",
                range: Some((1, THREADS_MAX as u64)),
            },
        ],
        uses_disk: false,
    }
}

impl Stream {
    fn arrays(&self) -> u64 {
        self.sources as u64 + 1
    }

    /// As STREAM counts: reads and writes of the program, and no write-allocate of the cache.
    fn bytes_per_element(&self) -> u64 {
        self.arrays() * ELEMENT_BYTES
    }

    fn team(self, elements: usize, threads: usize) -> Result<Passes, WorkloadError> {
        let threads = threads.min(elements);
        let range = move |index: usize| elements * index / threads..elements * (index + 1) / threads;
        let team = Team::assemble(threads, move |index| Part::new(self, range(index)))?;
        let pieces = (elements / threads * ELEMENT_BYTES as usize).div_ceil(PIECE_BYTES);
        Ok(Passes { team, bytes_per_element: self.bytes_per_element(), next: Piece::first_of(pieces) })
    }
}

impl Workload for Stream {
    fn about(&self) -> &'static About {
        self.about
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let array_bytes = room.cache_bytes.min(CACHE_BYTES_MAX).saturating_mul(CACHES_PER_ARRAY).max(ARRAY_BYTES_MIN);
        let derived = Parameters::default().with("array_bytes", array_bytes.next_multiple_of(4096));
        let parameters =
            self.about.merged(derived.with("threads", u64::from(room.cpus.clamp(1, THREADS_MAX))), written)?;
        let array_bytes = self.about.number(&parameters, "array_bytes").map_err(|error| error.to_string())?;
        let needed = array_bytes.saturating_mul(2 * self.arrays());
        if needed > room.memory_bytes {
            return Err(format!(
                "{} needs {} arrays of {} MiB (without `array_bytes` in the plan: four times the last-level cache) in half \
                 of the memory, and the limit is {} MiB: set --memory to {} MiB or more, or `array_bytes` in the plan to \
                 {} or less",
                self.about.name,
                self.arrays(),
                mib(array_bytes),
                mib(room.memory_bytes),
                mib(needed),
                room.memory_bytes / (2 * self.arrays()),
            ));
        }
        Ok(parameters)
    }

    fn points(&self, room: &Room) -> Vec<Parameters> {
        all_cpus_and_one(room)
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        self.about.accept(parameters)?;
        let elements = self.about.count(parameters, "array_bytes")? / ELEMENT_BYTES as usize;
        let mut passes = self.team(elements, self.about.count(parameters, "threads")?)?;
        // The first piece shows that the arithmetic is right; the arrays are touched already.
        passes.step()?;
        passes.verify()?;
        Ok(Box::new(passes))
    }
}

/// A piece of a pass.
#[derive(Debug, Clone, Copy)]
struct Piece {
    pass: usize,
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
    /// The kernel over one piece.
    Do(Piece),
    /// Checks that everything before this piece was done, in this pass and in the one before.
    CheckBefore(Piece),
}

/// A team and where it stands.
struct Passes {
    team: Team<Part>,
    bytes_per_element: u64,
    next: Piece,
}

impl Passes {
    fn step(&mut self) -> Result<u64, WorkloadError> {
        let elements = self.team.all(Task::Do(self.next))?;
        self.next = self.next.next();
        Ok(elements)
    }
}

impl Prepared for Passes {
    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        let piece = self.next;
        let start = Instant::now();
        let elements = self.step()?;
        recorder.record_part("pass", start.elapsed(), piece.index, piece.pieces);
        Ok((elements * self.bytes_per_element) as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        self.team.all(Task::CheckBefore(self.next)).map(drop)
    }
}

/// A range of the arrays.
struct Part {
    stream: Stream,
    /// Index of its first element in the whole.
    first: usize,
    to: Region<f64>,
    /// A little longer than `to`, for the shifts.
    sources: Vec<Region<f64>>,
}

impl Part {
    fn new(stream: Stream, range: Range<usize>) -> Result<Self, WorkloadError> {
        let mut to = Region::new(range.len())?;
        to.fill(-1.0);
        let mut sources = Vec::new();
        for number in 0..stream.sources {
            let mut source = Region::new(range.len() + SHIFTS * SHIFT_ELEMENTS)?;
            fill(&mut source, number, range.start);
            sources.push(source);
        }
        Ok(Self { stream, first: range.start, to, sources })
    }

    fn compute(&mut self, piece: Piece) -> usize {
        let range = piece.range(self.to.len());
        let shifted = range.start + shift(piece.pass)..range.end + shift(piece.pass);
        let source = |number: usize| self.sources.get(number).map_or(&[][..], |source| &source[shifted.clone()]);
        (self.stream.kernel)(&mut self.to[range.clone()], source(0), source(1));
        range.len()
    }

    /// One element of every page, another one each time, against its value computed anew.
    fn check_before(&self, next: Piece) -> Result<(), WorkloadError> {
        let done = next.range(self.to.len()).start;
        let offset = (next.pass + next.index) % CHECK_STRIDE.min(self.to.len());
        for index in (offset..self.to.len()).step_by(CHECK_STRIDE) {
            let pass = if index < done { Some(next.pass) } else { next.pass.checked_sub(1) };
            let Some(pass) = pass else { break };
            let place = self.first + index;
            let value = |number| value_at(number, place + shift(pass));
            let expected = (self.stream.element)(value(0), value(1));
            if self.to[index] != expected {
                let name = self.stream.about.name;
                let found = self.to[index];
                return Err(WorkloadError::Wrong(format!("{name}: element {place} is {found}, not {expected}")));
            }
        }
        Ok(())
    }
}

impl Member for Part {
    type Task = Task;

    fn perform(&mut self, task: Task) -> Result<u64, WorkloadError> {
        match task {
            Task::Do(piece) => Ok(self.compute(piece) as u64),
            Task::CheckBefore(next) => self.check_before(next).map(|()| 0),
        }
    }
}

/// What a source holds. Any two successive shifts give other results, for every kernel and at every index.
fn value_at(number: usize, index: usize) -> f64 {
    (index % period(number)) as f64
}

fn period(number: usize) -> usize {
    if number == 0 { 1024 } else { 512 }
}

/// Copies whole periods: computing each element would take an emulated guest a second.
fn fill(source: &mut [f64], number: usize, first: usize) {
    let values: Vec<f64> = (first..first + period(number)).map(|index| value_at(number, index)).collect();
    for chunk in source.chunks_mut(values.len()) {
        chunk.copy_from_slice(&values[..chunk.len()]);
    }
}

fn shift(pass: usize) -> usize {
    pass % SHIFTS * SHIFT_ELEMENTS
}

#[cfg(test)]
mod tests {
    use super::super::{mem_add::ADD, mem_copy::COPY, mem_scale::SCALE, mem_triad::TRIAD};
    use super::*;
    use crate::slice::run_slice;
    use plimsoll_protocol::SliceOrder;

    const KERNELS: [Stream; 4] = [COPY, SCALE, ADD, TRIAD];

    fn room(memory_bytes: u64) -> Room {
        Room { cpus: 2, memory_bytes, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 36 << 20 }
    }

    #[test]
    fn arrays_are_four_caches_and_must_fit_half_of_the_memory() {
        let derived = |memory_bytes| TRIAD.size(&room(memory_bytes), &Parameters::default());
        let parameters = derived(1 << 30).unwrap();
        assert_eq!(parameters.integer("array_bytes", 0, u64::MAX), Ok(144 << 20));
        let refusal = derived(512 << 20).unwrap_err();
        assert!(refusal.contains("set --memory to 864 MiB or more"), "{refusal}");
        assert!(derived(864 << 20).is_ok());
        assert!(COPY.size(&room(576 << 20), &Parameters::default()).is_ok(), "it has two arrays");
        assert!(COPY.size(&room(575 << 20), &Parameters::default()).is_err());
    }

    #[test]
    fn a_written_size_replaces_the_derived_one_and_must_fit_as_well() {
        let written = |bytes: u64| TRIAD.size(&room(512 << 20), &Parameters::default().with("array_bytes", bytes));
        assert_eq!(written(64 << 20).unwrap().integer("array_bytes", 0, u64::MAX), Ok(64 << 20));
        let refusal = written(1 << 40).unwrap_err();
        assert!(refusal.contains("3 arrays of 1048576 MiB"), "{refusal}");
        let largest: u64 = refusal.split(" to ").last().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(written(largest).is_ok() && written(largest + 1).is_err(), "the advice can be followed");
    }

    #[test]
    fn absurd_hosts_are_sized_or_refused() {
        for number in [0, 1, u64::MAX] {
            let room = Room { cpus: number as u32, memory_bytes: number, cache_bytes: number, ..room(0) };
            for stream in KERNELS {
                for point in stream.points(&room) {
                    assert_eq!(stream.size(&room, &point).is_ok(), number == u64::MAX);
                }
            }
        }
    }

    #[test]
    fn it_runs_on_all_cpus_and_on_one() {
        let threads = |cpus| {
            let points = TRIAD.points(&Room { cpus, ..room(1 << 30) });
            points.iter().map(|point| point.integer("threads", 1, 4096).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((threads(8), threads(1), threads(0)), (vec![8, 1], vec![1], vec![1]));
    }

    /// A part after some pieces of a pass that has three.
    fn part_after(stream: Stream, pieces: usize) -> (Part, Piece) {
        let mut part = Part::new(stream, 1000..6000).unwrap();
        let mut piece = Piece::first_of(3);
        for _ in 0..pieces {
            assert!([1666, 1667].contains(&part.compute(piece)));
            piece = piece.next();
        }
        (part, piece)
    }

    #[test]
    fn a_pass_computes_every_element_and_a_missed_or_broken_one_is_found() {
        for stream in KERNELS {
            for pieces in 3..20 {
                let (mut part, next) = part_after(stream, pieces);
                part.check_before(next).unwrap();
                assert!(part.check_before(next.next()).is_err(), "the next piece was not done");
                let offset = (next.pass + next.index) % CHECK_STRIDE;
                for page in 0..9 {
                    let kept = std::mem::replace(&mut part.to[offset + page * CHECK_STRIDE], -2.0);
                    assert!(part.check_before(next).is_err(), "{} {page}", stream.about.name);
                    part.to[offset + page * CHECK_STRIDE] = kept;
                }
            }
        }
    }

    #[test]
    fn every_element_of_a_pass_differs_from_that_of_the_pass_before() {
        for stream in KERNELS {
            let (part, next) = part_after(stream, 6 * 3);
            for pass in 1..next.pass {
                let value = |pass, number, index| value_at(number, 1000 + index + shift(pass));
                let result = |pass, index| (stream.element)(value(pass, 0, index), value(pass, 1, index));
                assert!((0..part.to.len()).all(|index| result(pass, index) != result(pass - 1, index)));
            }
            let last = next.pass - 1;
            for (index, found) in part.to.iter().enumerate() {
                let value = |number| value_at(number, 1000 + index + shift(last));
                assert_eq!(*found, (stream.element)(value(0), value(1)), "{} {index}", stream.about.name);
            }
        }
    }

    #[test]
    fn kernels_that_do_nothing_or_half_are_found() {
        let scene = Scene { data_dir: std::path::Path::new("."), seed: 1 };
        let parameters = Parameters::default().with("array_bytes", 1 << 20).with("threads", 2);
        let half = |to: &mut [f64], a: &[f64], b: &[f64]| {
            let middle = to.len() / 2;
            (TRIAD.kernel)(&mut to[..middle], &a[..middle], &b[..middle]);
        };
        let kernels: [Kernel; 3] = [half, |_, _, _| {}, |to, a, _| to.copy_from_slice(a)];
        for kernel in kernels {
            let error = Stream { kernel, ..TRIAD }.prepare(&parameters, &scene).err().unwrap();
            assert!(matches!(error, WorkloadError::Wrong(_)), "{error}");
        }
    }

    #[test]
    fn the_pieces_of_threads_make_up_the_whole_whatever_their_number() {
        for stream in KERNELS {
            for (elements, threads, pieces) in
                [(1000, 1, 1), (1000, 3, 1), (1000, 1000, 1), (1000, 4096, 1), (3 << 19, 2, 2)]
            {
                let mut passes = stream.team(elements, threads).unwrap();
                assert_eq!(passes.next.pieces, pieces);
                let work: f64 = (0..pieces).map(|_| passes.unit(&mut Recorder::default()).unwrap()).sum();
                assert_eq!(work, (elements as u64 * stream.bytes_per_element()) as f64, "{threads} threads");
                passes.verify().unwrap();
            }
        }
    }

    #[test]
    fn the_points_are_measured_and_only_whole_passes_within_the_slice_are_recorded() {
        let scene = Scene { data_dir: std::path::Path::new("."), seed: 1 };
        let order = SliceOrder { lead_in_ns: 3_000_000, slice_ns_min: 30_000_000 };
        for stream in KERNELS {
            for point in stream.points(&room(1 << 30)) {
                let parameters = stream.size(&room(1 << 30), &point.with("array_bytes", 24 << 20)).unwrap();
                let mut prepared = stream.prepare(&parameters, &scene).unwrap();
                let pieces = 6 / parameters.integer("threads", 1, 2).unwrap();
                let mut recorder = Recorder::new(stream.about);
                for _ in 0..3 {
                    let report = run_slice(prepared.as_mut(), &mut recorder, &order).unwrap();
                    let passes = &recorder.histograms[0].1;
                    let whole = report.units / pieces;
                    assert!(passes.len() == whole || passes.len() + 1 == whole, "{} of {whole}", passes.len());
                    let sum = passes.mean() * passes.len() as f64 / 1e9;
                    assert!(sum <= report.seconds * 1.001, "{sum} of {}", report.seconds);
                }
                prepared.clean_up().unwrap();
            }
        }
    }
}
