//! A pool of threads for libraries that share their work out by rayon: of a stated size, each thread pinned as a team's
//! are, and all of them gone when the pool is.

use std::thread::JoinHandle;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::WorkloadError;
use super::team::{Affinity, pin};

/// Threads that wait for work.
pub(super) struct Pool {
    /// `None` while it is being dropped.
    pool: Option<ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `count` threads. The one that measures is none of them: it waits.
    ///
    /// # Errors
    /// [`WorkloadError`] when a thread cannot be started; those that were started end.
    pub(super) fn start(count: usize) -> Result<Self, WorkloadError> {
        let affinity = Affinity::for_threads(count);
        let mut threads = Vec::new();
        let builder = ThreadPoolBuilder::new().num_threads(count).spawn_handler(|worker| {
            let cpu = affinity.cpu(worker.index());
            let run = move || {
                pin(cpu);
                worker.run();
            };
            threads.push(std::thread::Builder::new().name("pool".to_owned()).spawn(run)?);
            Ok(())
        });
        let pool = builder
            .build()
            .map_err(|error| WorkloadError::system("starting a thread", std::io::Error::other(error)))?;
        Ok(Self { pool: Some(pool), threads })
    }

    /// Does this on the pool's threads and waits for it.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Rayon tells its threads to end and does not wait for them.
        drop(self.pool.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CpuSet, sched_getaffinity};
    use nix::unistd::Pid;
    use std::sync::Arc;

    fn cpus() -> usize {
        let set = sched_getaffinity(Pid::from_raw(0)).unwrap();
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).count()
    }

    #[test]
    fn each_thread_has_one_cpu_while_there_are_enough_and_the_caller_keeps_its_own() {
        let before = cpus();
        for (count, expected) in [(before, 1), (before + 1, before)] {
            let pool = Pool::start(count).unwrap();
            let found = pool.run(|| rayon::broadcast(|_| cpus()));
            assert_eq!(found, vec![expected; count]);
            assert_eq!(cpus(), before);
        }
    }

    #[test]
    fn no_thread_outlives_the_pool() {
        let held = Arc::new(());
        let pool = Pool::start(3).unwrap();
        thread_local! { static KEPT: std::cell::RefCell<Option<Arc<()>>> = const { std::cell::RefCell::new(None) } }
        pool.run(|| rayon::broadcast(|_| KEPT.set(Some(Arc::clone(&held)))));
        assert_eq!(Arc::strong_count(&held), 4);
        drop(pool);
        assert_eq!(Arc::strong_count(&held), 1, "a thread still lives");
    }
}
