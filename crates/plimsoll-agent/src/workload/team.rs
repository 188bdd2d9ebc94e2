//! Threads that do one task together: each owns its share of the data, is pinned to a CPU of its own where that is
//! allowed, and has touched its share first, so that it lies near that CPU.
//!
//! The thread that measures is one of them, as in OpenMP: a team of one needs no signals. The others wait for a task
//! awake for a moment, since the next one usually follows at once, and then asleep.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};

use nix::sched::sched_setaffinity;
use nix::unistd::Pid;
use plimsoll_protocol::Parameters;

use super::affinity::{Affinity, only};
use super::{Room, WorkloadError};

/// Looks at a signal before going to sleep: some microseconds to a tenth of a millisecond, by the CPU's pause.
const LOOKS: u32 = 2000;

/// The most threads that a plan may ask for.
pub(super) const THREADS_MAX: u32 = 4096;

/// What each thread of a team does with its own data.
pub(super) trait Member: 'static {
    /// What all are told to do.
    type Task: Copy + Send + 'static;

    /// Does its share of the task; the work done.
    fn perform(&mut self, task: Self::Task) -> Result<u64, WorkloadError>;
}

/// A team at rest.
pub(super) struct Team<M: Member> {
    own: M,
    others: Others<M::Task>,
    /// Frees the thread that measures: what it does next is another workload.
    _affinity: Option<Affinity>,
}

impl<M: Member> Team<M> {
    /// Starts `count` threads, this one included; each makes its own member.
    ///
    /// # Errors
    /// The first [`WorkloadError`] of a thread that could not be started or whose member could not be made.
    pub(super) fn assemble(
        count: usize,
        make: impl Fn(usize) -> Result<M, WorkloadError> + Send + Sync + 'static,
    ) -> Result<Self, WorkloadError> {
        let (affinity, cpus) = places(count).unzip();
        let cpus = cpus.unwrap_or_default();
        let mut others = Others { signals: Arc::new(Signals::new(count)), threads: Vec::new() };
        let make = Arc::new(make);
        for index in 1..count {
            let (signals, make, cpu) = (Arc::clone(&others.signals), Arc::clone(&make), cpus.get(index).copied());
            let run = move || {
                pin(cpu);
                serve(&signals, || make(index));
            };
            let thread = std::thread::Builder::new().name("team".to_owned()).spawn(run);
            others.threads.push(thread.map_err(|error| WorkloadError::system("starting a thread", error))?);
        }
        pin(cpus.first().copied());
        let own = make(0);
        others.signals.wait_for_all();
        others.signals.outcome()?;
        Ok(Self { own: own?, others, _affinity: affinity })
    }

    /// Gives everyone the same task and waits for all; the sum of the work done.
    pub(super) fn all(&mut self, task: M::Task) -> Result<u64, WorkloadError> {
        self.others.order(Some(task));
        let own = caught(|| self.own.perform(task));
        self.others.signals.wait_for_all();
        Ok(self.others.signals.outcome()? + own?)
    }
}

/// All threads but the one that measures. They end when this is dropped.
struct Others<T: Copy> {
    signals: Arc<Signals<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Copy> Others<T> {
    fn order(&self, task: Option<T>) {
        self.signals.order(task, self.threads.len());
        for thread in &self.threads {
            thread.thread().unpark();
        }
    }
}

impl<T: Copy> Drop for Others<T> {
    fn drop(&mut self) {
        self.order(None);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The life of a thread: it makes its member, and performs task after task until there is none.
fn serve<M: Member>(signals: &Signals<M::Task>, make: impl FnOnce() -> Result<M, WorkloadError>) {
    let mut member = None;
    let made = caught(|| {
        member = Some(make()?);
        Ok(0)
    });
    signals.report(made);
    let Some(mut member) = member else { return };
    let mut seen = 0;
    while let Some((number, task)) = signals.next_after(seen) {
        seen = number;
        signals.report(caught(|| member.perform(task)));
    }
}

/// A panic is an error like another: whoever waits for a thread must hear of it, and nobody leaves while others work.
fn caught(perform: impl FnOnce() -> Result<u64, WorkloadError>) -> Result<u64, WorkloadError> {
    let panicked = |_| Err(WorkloadError::Wrong("a thread of the workload panicked".to_owned()));
    catch_unwind(AssertUnwindSafe(perform)).unwrap_or_else(panicked)
}

struct Signals<T> {
    /// The number of the task: another one is the signal to begin.
    number: AtomicU64,
    /// `None` is the end.
    task: Mutex<Option<T>>,
    /// Threads that have not finished it.
    left: AtomicUsize,
    work: AtomicU64,
    failure: Mutex<Option<WorkloadError>>,
    leader: Thread,
    looks: u32,
}

impl<T: Copy> Signals<T> {
    fn new(count: usize) -> Self {
        Self {
            number: AtomicU64::new(0),
            task: Mutex::new(None),
            left: AtomicUsize::new(count - 1),
            work: AtomicU64::new(0),
            failure: Mutex::new(None),
            leader: std::thread::current(),
            looks: looks(count),
        }
    }

    fn order(&self, task: Option<T>, threads: usize) {
        *locked(&self.task) = task;
        self.left.store(threads, Ordering::Relaxed);
        self.number.fetch_add(1, Ordering::Release);
    }

    fn next_after(&self, seen: u64) -> Option<(u64, T)> {
        self.wait_until(|| self.number.load(Ordering::Acquire) != seen);
        let number = self.number.load(Ordering::Acquire);
        locked(&self.task).map(|task| (number, task))
    }

    fn report(&self, outcome: Result<u64, WorkloadError>) {
        match outcome {
            Ok(work) => drop(self.work.fetch_add(work, Ordering::Relaxed)),
            Err(error) => drop(locked(&self.failure).get_or_insert(error)),
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.leader.unpark();
        }
    }

    fn wait_for_all(&self) {
        self.wait_until(|| self.left.load(Ordering::Acquire) == 0);
    }

    /// What all have reported since it was last asked.
    fn outcome(&self) -> Result<u64, WorkloadError> {
        let work = self.work.swap(0, Ordering::Relaxed);
        locked(&self.failure).take().map_or(Ok(work), Err)
    }

    fn wait_until(&self, signalled: impl Fn() -> bool) {
        for _ in 0..self.looks {
            if signalled() {
                return;
            }
            std::hint::spin_loop();
        }
        while !signalled() {
            std::thread::park();
        }
    }
}

/// How often each of so many threads looks for a signal before it goes to sleep.
pub(super) fn looks(count: usize) -> u32 {
    // Who looks takes the CPU from whom he waits for, unless there is one for each.
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if count <= cpus { LOOKS } else { 0 }
}

/// Nothing that is locked here can be half done, whoever panicked.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A CPU for each thread, and what this one might use before; none where there are fewer, or where nobody says.
fn places(count: usize) -> Option<(Affinity, Vec<usize>)> {
    let affinity = Affinity::of_this_thread().ok()?;
    let cpus: Vec<usize> = affinity.cpus().take(count).collect();
    (cpus.len() == count).then_some((affinity, cpus))
}

/// Keeps this thread on one CPU. Where that is refused it runs where it may.
fn pin(cpu: Option<usize>) {
    if let Some(only) = cpu.and_then(|cpu| only(cpu).ok()) {
        let _ = sched_setaffinity(Pid::from_raw(0), &only);
    }
}

/// The points of a workload on all CPUs and on one.
pub(super) fn all_cpus_and_one(room: &Room) -> Vec<Parameters> {
    let all = room.cpus.clamp(1, THREADS_MAX);
    let one = (all > 1).then_some(1);
    std::iter::once(all).chain(one).map(|threads| Parameters::default().with("threads", u64::from(threads))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Adder {
        index: u64,
        sum: u64,
    }

    #[derive(Debug, Clone, Copy)]
    enum Sum {
        Add(u64),
        Fail(u64),
        Panic(u64),
        CountCpus,
    }

    impl Member for Adder {
        type Task = Sum;

        fn perform(&mut self, task: Sum) -> Result<u64, WorkloadError> {
            match task {
                Sum::Add(number) => self.sum += number * self.index,
                Sum::Fail(index) if index == self.index => return Err(WorkloadError::Wrong(format!("{index}"))),
                Sum::Panic(index) => assert_ne!(index, self.index),
                Sum::Fail(_) => {}
                Sum::CountCpus => return Ok(cpus() as u64),
            }
            Ok(self.sum)
        }
    }

    fn cpus() -> usize {
        Affinity::of_this_thread().unwrap().cpus().count()
    }

    fn team(count: usize) -> Team<Adder> {
        Team::assemble(count, |index| Ok(Adder { index: index as u64, sum: 0 })).unwrap()
    }

    #[test]
    fn everyone_does_each_task_once_whatever_their_number() {
        for count in [1, 2, 3, 50] {
            let mut team = team(count);
            let indices: u64 = (0..count as u64).sum();
            for round in 1..=300 {
                assert_eq!(team.all(Sum::Add(2)).unwrap(), 2 * round * indices, "{count} threads");
            }
        }
    }

    #[test]
    fn a_failure_or_a_panic_of_any_thread_is_told_and_the_others_go_on() {
        let mut team = team(3);
        assert_eq!(team.all(Sum::Fail(0)).unwrap_err().to_string(), "0");
        assert_eq!(team.all(Sum::Fail(2)).unwrap_err().to_string(), "2");
        for index in 0..3 {
            assert!(team.all(Sum::Panic(index)).unwrap_err().to_string().contains("panicked"));
        }
        assert_eq!(team.all(Sum::Add(1)).unwrap(), 3);
    }

    #[test]
    fn a_member_that_cannot_be_made_is_told_and_no_thread_stays() {
        for broken in [0, 1, 3] {
            let make = move |index| {
                let made = Adder { index: index as u64, sum: 0 };
                if index == broken { Err(WorkloadError::no_memory("made up")) } else { Ok(made) }
            };
            let error = Team::assemble(4, make).err().unwrap();
            assert!(error.to_string().starts_with("made up"), "{error}");
        }
    }

    #[test]
    fn each_thread_has_one_cpu_while_there_are_enough_and_the_caller_gets_its_own_back() {
        let before = cpus();
        let mut enough = team(before);
        assert_eq!(enough.all(Sum::CountCpus).unwrap(), before as u64);
        drop(enough);
        assert_eq!(cpus(), before);
        let mut too_many = team(before + 1);
        assert_eq!(too_many.all(Sum::CountCpus).unwrap(), ((before + 1) * before) as u64);
    }
}
