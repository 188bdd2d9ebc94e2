//! The design of a run, walked: a pure seeded schedule, and the loop that follows it.
//!
//! ```text
//! block:  launch every arm (random order) -> for each workload (random order):
//!             prepare everywhere -> warm up -> visits: every arm once, in random order, the others parked
//!         -> shut every arm down
//! ```
//!
//! The loop emits a closed set of [`Event`]s; whoever stores or shows them is a [`Listener`]. It starts no process,
//! writes no SQL, prints nothing and computes no statistic: when to stop is asked of a [`StopRule`].

mod schedule;
mod walk;
mod warm_up;

#[cfg(test)]
mod tests;

use std::time::Duration;

use plimsoll_protocol::WorkloadOrder;

pub use schedule::Schedule;
pub use walk::{Design, Walk, WorkloadDesign, visits_max, walk};
pub use warm_up::{Warmth, warmth};

use crate::sample::{Arm, Evidence, Failure, Histogram, LaunchRecord, MishapRecord, Profile, SliceBundle, StopReason};

/// Starts arms. The real one is `launch::Launchpad`; tests use a fake.
pub trait Launcher {
    /// Starts an arm afresh and waits for its agent's first answer.
    ///
    /// # Errors
    /// A failure that concerns this arm alone; the block goes on without it.
    fn launch(&mut self, arm: &Arm, launch: u64) -> Result<Launched, Failure>;
}

/// An arm that answered.
pub struct Launched {
    /// The live connection.
    pub session: Box<dyn Session>,
    /// Seconds from the request to the agent's first answer.
    pub ready_seconds: f64,
    /// What it turned out to be.
    pub profile: Profile,
}

/// A live connection to an agent in its environment.
pub trait Session {
    /// Gets a workload ready. The data directory in the order is replaced by the environment's own.
    ///
    /// # Errors
    /// When the agent refuses, dies or does not answer in time.
    fn prepare(&mut self, order: &WorkloadOrder) -> Result<(), Failure>;

    /// Measures one slice.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    fn slice(&mut self, lead_in: Duration, slice_min: Duration) -> Result<Slice, Failure>;

    /// Removes what the workload left behind.
    ///
    /// # Errors
    /// As [`Session::prepare`].
    fn clean_up(&mut self) -> Result<(), Failure>;

    /// Stops everything in the environment while others are measured.
    ///
    /// # Errors
    /// When the environment cannot be stopped.
    fn park(&mut self) -> Result<(), Failure>;

    /// Lets it run again.
    ///
    /// # Errors
    /// When the environment cannot be continued.
    fn resume(&mut self) -> Result<(), Failure>;

    /// Ends the environment and removes everything it left on the host. Safe to call twice.
    ///
    /// # Errors
    /// When something could not be removed; the journal still knows it.
    fn shut_down(&mut self) -> Result<(), Failure>;
}

/// One slice, as the session measured it.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Work done.
    pub work: f64,
    /// Seconds of the timed region by the agent's clock.
    pub seconds_inside: f64,
    /// Seconds from request to reply by the host's clock.
    pub seconds_outside: f64,
    /// Latency histograms.
    pub histograms: Vec<Histogram>,
    /// Counters read by the agent.
    pub evidence_inside: Vec<Evidence>,
    /// Counters read on the host around the slice.
    pub evidence_host: Vec<Evidence>,
    /// Host-wide cause that spoils it.
    pub spoiled: Option<String>,
}

/// What happens in a run: a closed set, in the order in which it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A block begins (from 1).
    BlockStarted {
        /// Its number.
        block: u32,
    },
    /// An arm is about to be launched.
    Launching {
        /// Which.
        arm: Arm,
    },
    /// An arm answered.
    Launched(LaunchRecord),
    /// A workload is about to visit all arms.
    WorkloadStarted {
        /// `family.name`.
        workload: String,
    },
    /// A slice was measured.
    Sliced(SliceBundle),
    /// Something failed.
    Mishap(MishapRecord),
    /// All arms of the block are shut down.
    BlockFinished {
        /// Its number.
        block: u32,
    },
    /// Nothing more will happen.
    Stopped {
        /// Why.
        reason: StopReason,
    },
}

/// Hears every event. A listener that fails stops the run: the record is the product.
pub trait Listener {
    /// Takes one event.
    ///
    /// # Errors
    /// When the event could not be recorded.
    fn hear(&mut self, event: &Event) -> Result<(), Failure>;
}

/// Decides after every finished block whether to go on.
pub trait StopRule {
    /// `Some` ends the run. `seconds` is the time since the run's start.
    fn after_block(&mut self, blocks_done: u32, seconds: f64) -> Option<StopReason>;
}
