//! `mem.triad`: a = b + s * c over arrays that no cache holds, after STREAM (McCalpin 1995), counting bytes as it does.
//!
//! Every thread owns its part of the three arrays and lives across units; a unit is one whole pass of all of them.

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
    warm_up: WarmUp { slices_min: 1, slices_max: 6, tolerance: 0.05 },
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
        let mut team = Team { workers: Vec::new(), elements: elements as u64, pass: 0 };
        for index in 0..threads {
            let (from, to) = (elements * index / threads, elements * (index + 1) / threads);
            team.workers.push(Worker::start(from, to - from)?);
        }
        // The first pass faults in the array that is written to, and shows that the arithmetic is right.
        team.all(Task::Pass(0))?;
        team.verify()?;
        Ok(Box::new(team))
    }
}

#[derive(Debug, Clone, Copy)]
enum Task {
    /// One pass with the scalar of this pass.
    Pass(u64),
    /// Checks that this was the last pass.
    Check(u64),
}

struct Team {
    workers: Vec<Worker>,
    elements: u64,
    pass: u64,
}

impl Team {
    /// Gives every worker the same task and waits for all.
    fn all(&self, task: Task) -> Result<(), WorkloadError> {
        let gone = || WorkloadError::Wrong("a thread of mem.triad ended by itself".to_owned());
        for worker in &self.workers {
            worker.tasks.send(task).map_err(|_| gone())?;
        }
        let mut wrong = None;
        for worker in &self.workers {
            wrong = worker.outcomes.recv().map_err(|_| gone())?.err().or(wrong);
        }
        wrong.map_or(Ok(()), |message| Err(WorkloadError::Wrong(message)))
    }
}

impl Prepared for Team {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.pass += 1;
        self.all(Task::Pass(self.pass))?;
        Ok((self.elements * BYTES_PER_ELEMENT) as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        self.all(Task::Check(self.pass))
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.workers.clear();
        Ok(())
    }
}

/// A thread with its part of the arrays; it ends when its channel of tasks does.
struct Worker {
    tasks: Sender<Task>,
    outcomes: Receiver<Result<(), String>>,
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
            let _ = sent.send(Ok(()));
            while let Ok(task) = received.recv() {
                if sent.send(part.perform(task)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("triad".to_owned()).spawn(work);
        let thread = thread.map_err(|error| WorkloadError::system("starting a thread of mem.triad", error))?;
        match outcomes.recv() {
            Ok(Ok(())) => Ok(Self { tasks, outcomes, thread: Some(thread) }),
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
        let filled = |value: fn(usize) -> f64| {
            let mut array = Vec::new();
            array.try_reserve_exact(elements).ok()?;
            array.extend((first..first + elements).map(value));
            Some(array)
        };
        Some(Self { first, a: filled(|_| 0.0)?, b: filled(b_at)?, c: filled(c_at)? })
    }

    fn perform(&mut self, task: Task) -> Result<(), String> {
        match task {
            Task::Pass(pass) => triad(&mut self.a, &self.b, &self.c, scalar(pass)),
            Task::Check(pass) => return self.check(pass),
        }
        Ok(())
    }

    /// One element of every page, another one each time, against its value computed anew.
    fn check(&self, pass: u64) -> Result<(), String> {
        let offset = pass as usize % CHECK_STRIDE.min(self.a.len());
        for index in (offset..self.a.len()).step_by(CHECK_STRIDE) {
            let place = self.first + index;
            let expected = b_at(place) + scalar(pass) * c_at(place);
            if self.a[index] != expected {
                return Err(format!("mem.triad: a[{place}] is {} and should be {expected}", self.a[index]));
            }
        }
        Ok(())
    }
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
        part.perform(Task::Pass(1)).unwrap();
        for index in 0..5000 {
            assert_eq!(part.a[index], b_at(1000 + index) + 4.0 * c_at(1000 + index));
        }
        assert!(part.perform(Task::Check(1)).is_ok());
        assert!(part.perform(Task::Check(2)).is_err(), "the second pass was not done");
        part.a[1 + CHECK_STRIDE] = -1.0;
        assert!(part.perform(Task::Check(1)).is_err());
    }

    #[test]
    fn threads_share_all_elements_whatever_their_number() {
        let scene = Scene { data_dir: std::path::Path::new("."), seed: 1 };
        for threads in [1, 3, 4096] {
            let parameters = Parameters::default().with("array_bytes", 8 * 1000).with("threads", threads);
            let mut team = Triad.prepare(&parameters, &scene).unwrap();
            let work = team.unit(&mut Recorder::default()).unwrap();
            assert_eq!(work, 24_000.0);
            team.verify().unwrap();
        }
    }
}
