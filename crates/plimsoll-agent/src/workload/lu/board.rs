//! Where the threads of a factorisation show each other what they have finished.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::panel::Panel;
use super::sys::Instructions;
use crate::workload::WorkloadError;
use crate::workload::team::{locked, looks};

/// Nothing more will come.
const ABANDONED: usize = usize::MAX;

/// Panels, the solution, and how far the work has come: steps are counted by those who share it.
pub(super) struct Board {
    /// The panel of block k is in slot k modulo their number.
    slots: Vec<Slot>,
    threads: usize,
    solution: Mutex<Solution>,
    reached: AtomicUsize,
    changing: Mutex<()>,
    changed: Condvar,
    looks: u32,
}

struct Slot {
    panel: RwLock<Panel>,
    /// Threads that have not done with it, whether or not they have begun.
    left: AtomicUsize,
}

/// What was found.
pub(super) struct Solution {
    pub(super) x: Vec<f64>,
    /// The first pivot that nothing can be divided by.
    pub(super) bad_pivot: Option<usize>,
}

impl Board {
    pub(super) fn new(n: usize, width: usize, threads: usize, with: Instructions) -> Result<Self, WorkloadError> {
        // One that is read while the next is written; and where others are behind, one more that they still read.
        let slots = if threads == 1 { 2 } else { 3 };
        let slot = |_| {
            let panel = RwLock::new(Panel::new(n, width, with)?);
            Ok(Slot { panel, left: AtomicUsize::new(0) })
        };
        Ok(Self {
            slots: (0..slots).map(slot).collect::<Result<_, WorkloadError>>()?,
            threads,
            solution: Mutex::new(Solution { x: vec![0.0; n], bad_pivot: None }),
            reached: AtomicUsize::new(0),
            changing: Mutex::new(()),
            changed: Condvar::new(),
            looks: looks(threads),
        })
    }

    /// Begins anew; nobody may be at work.
    pub(super) fn restart(&self) {
        self.reached.store(0, Ordering::Release);
        self.slots.iter().for_each(|slot| slot.left.store(0, Ordering::Release));
        self.solution().bad_pivot = None;
    }

    fn slot(&self, block: usize) -> &Slot {
        &self.slots[block % self.slots.len()]
    }

    /// Fills the panel of a block, when all have done with the one that was there, and shows it to all.
    ///
    /// # Errors
    /// When another thread has left its work.
    pub(super) fn show(&self, block: usize, fill: impl FnOnce(&mut Panel)) -> Result<(), WorkloadError> {
        let slot = self.slot(block);
        self.wait_until(|| slot.left.load(Ordering::Acquire) == 0)?;
        fill(&mut slot.panel.write().unwrap_or_else(PoisonError::into_inner));
        slot.left.store(self.threads, Ordering::Release);
        self.reach(block + 1);
        Ok(())
    }

    /// The panel of a block, as soon as it is shown. Each thread says when it has [`Self::done_with`] it.
    ///
    /// # Errors
    /// When another thread has left its work.
    pub(super) fn panel(&self, block: usize) -> Result<RwLockReadGuard<'_, Panel>, WorkloadError> {
        self.wait_for(block + 1)?;
        Ok(self.slot(block).panel.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells that this thread needs the panel no more.
    pub(super) fn done_with(&self, block: usize, panel: RwLockReadGuard<'_, Panel>) {
        drop(panel);
        if self.slot(block).left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.change(|| ());
        }
    }

    pub(super) fn solution(&self) -> MutexGuard<'_, Solution> {
        locked(&self.solution)
    }

    /// Tells that this step is done.
    pub(super) fn reach(&self, step: usize) {
        self.change(|| {
            if self.reached.load(Ordering::Relaxed) != ABANDONED {
                self.reached.store(step, Ordering::Release);
            }
        });
    }

    /// Waits for a step.
    ///
    /// # Errors
    /// When another thread has left its work.
    pub(super) fn wait_for(&self, step: usize) -> Result<(), WorkloadError> {
        self.wait_until(|| self.reached.load(Ordering::Acquire) >= step)
    }

    fn change(&self, change: impl FnOnce()) {
        let changing = locked(&self.changing);
        change();
        drop(changing);
        self.changed.notify_all();
    }

    fn wait_until(&self, so: impl Fn() -> bool) -> Result<(), WorkloadError> {
        let abandoned = || self.reached.load(Ordering::Acquire) == ABANDONED;
        let over = || so() || abandoned();
        for _ in 0..self.looks {
            if over() {
                break;
            }
            std::hint::spin_loop();
        }
        if !over() {
            let mut changing = locked(&self.changing);
            while !over() {
                changing = self.changed.wait(changing).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if abandoned() {
            return Err(WorkloadError::Wrong("another thread has left its work".to_owned()));
        }
        Ok(())
    }

    /// Whoever holds this and panics tells the others, so that they do not wait for ever.
    pub(super) fn attend(&self) -> Attendance<'_> {
        Attendance(self)
    }
}

pub(super) struct Attendance<'a>(&'a Board);

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.reach(ABANDONED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_thread_that_panics_is_told() {
        let board = Board::new(4, 2, 2, Instructions::all()[0]).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| board.wait_for(1));
            let leaving = scope.spawn(|| {
                let _attendance = board.attend();
                panic!("made up");
            });
            assert!(leaving.join().is_err());
            assert!(waiting.join().unwrap().unwrap_err().to_string().contains("left its work"));
        });
        board.reach(2);
        assert!(board.wait_for(1).is_err(), "until all begin anew");
        board.restart();
        board.reach(2);
        assert!(board.wait_for(1).is_ok());
    }
}
