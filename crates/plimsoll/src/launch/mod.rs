//! Places, layers and everything that is made on the host for them.
//!
//! A [`Place`] is somewhere a file can be put and a process started; the host is the first, a guest the second. An
//! [`Engine`] opens a [`Layer`] in a place once per run; the layer launches [`Vessel`]s, one per block; a vessel carries
//! an agent and can be parked, resumed and torn down. Everything made is in the [`Journal`] before it exists.
//!
//! This module knows no order, no store and no analysis.

pub mod bundle;
mod cage;
pub mod cgroup;
mod clocks;
pub mod device;
pub mod enclosure;
pub mod engines;
mod expectation;
mod ground;
pub mod journal;
mod launchpad;
mod lowers;
mod oci;
mod patience;
pub mod place;
pub mod process;
mod session;
mod sys;
#[cfg(test)]
#[allow(clippy::print_stderr, reason = "a skipped test says why")]
mod testing;
mod trial;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_agent::wire::Wire;

use crate::environment::{EngineAbout, Layer as LayerChoice};
use crate::sample::Failure;

pub use ground::{CachedLoop, Ground};
pub use launchpad::Launchpad;
pub use oci::write_bundle as write_oci_bundle;
pub use place::{Folders, Limits, Place};
pub(crate) use sys::raise_loopback;

/// One engine of isolation: one file in `engines/`, one line in [`engines::ENGINES`].
pub trait Engine: Sync {
    /// What it is, as data.
    fn about(&self) -> &'static EngineAbout;

    /// Whether it can run here; may try it, bounded to about a second.
    fn probe(&self, choice: &LayerChoice) -> Usability;

    /// Makes what every launch of the run shares (an image, an initramfs).
    ///
    /// # Errors
    /// When the engine cannot be used after all.
    fn open(&self, place: &Arc<Place>, choice: &LayerChoice) -> Result<Box<dyn Layer>, Failure>;
}

/// Whether an engine can run on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usability {
    /// It can. `details` are facts such as versions; `labels` qualify every number, such as `emulated`.
    Usable {
        /// Facts by name.
        details: BTreeMap<String, String>,
        /// Words that qualify every number.
        labels: Vec<String>,
    },
    /// It cannot.
    Unusable {
        /// Why, one line.
        why: String,
        /// A command or a sentence that helps, if anything does.
        remedy: Option<String>,
    },
}

impl Usability {
    /// It cannot, and this would help.
    pub fn no(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unusable { why: why.into(), remedy: Some(remedy.into()) }
    }
}

/// An engine with its options, opened in a place.
pub trait Layer: Send {
    /// Starts an environment; returns as soon as its byte stream exists, before the agent has answered.
    ///
    /// # Errors
    /// When the engine refuses; whatever was made is undone before the error returns.
    fn launch(&mut self, order: &LaunchOrder) -> Result<Box<dyn Vessel>, Failure>;

    /// Removes what [`Engine::open`] made. Safe to call twice.
    ///
    /// # Errors
    /// When something stays behind; the journal still knows it.
    fn close(&mut self) -> Result<(), Failure>;
}

/// What to launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchOrder {
    /// Unique name on this host, such as `plimsoll-1a2b3c4d-17`: everything made carries it.
    pub name: String,
    /// What the environment may use.
    pub limits: Limits,
    /// Whether one more container layer will run inside (a guest then needs room for it).
    pub holds_layers: bool,
}

/// A running environment: it holds the agent's processes.
pub trait Vessel: Send {
    /// The agent's byte stream.
    fn wire(&mut self) -> &mut Wire;

    /// The directory for workloads' data, as the agent sees it.
    fn data_dir(&self) -> String;

    /// Where the host keeps what is written in the data directory, if that is not in the run's own folder.
    fn data_on_host(&self) -> Option<&Path> {
        None
    }

    /// What the layer asked the engine for, to be compared with what the agent sees (`kernel`, `root_filesystem`,
    /// `data_filesystem`, `clock_source`: values separated by `|` where several are right), or with the fact of the same
    /// name, where only the host's side can see it.
    fn asked(&self) -> BTreeMap<String, String>;

    /// Facts that only the host's side knows: versions, arguments, accelerator.
    fn facts(&self) -> BTreeMap<String, String>;

    /// Words that qualify every number of this environment.
    fn labels(&self) -> Vec<String>;

    /// CPU time that everything which it runs on this host has used so far; `None` where the kernel does not say.
    fn cpu_time(&self) -> Option<Duration>;

    /// Stops every process of the environment.
    ///
    /// # Errors
    /// When that fails or takes longer than a bound.
    fn park(&mut self) -> Result<(), Failure>;

    /// Lets them run again.
    ///
    /// # Errors
    /// When that fails or takes longer than a bound.
    fn resume(&mut self) -> Result<(), Failure>;

    /// Why the agent is gone or silent, as far as the host can tell: OOM kill, exit status, last lines of its log.
    fn diagnose(&mut self) -> Diagnosis;

    /// Ends it and removes everything made for it; bounded; safe to call twice.
    ///
    /// # Errors
    /// When something stays behind; the journal still knows it.
    fn tear_down(&mut self) -> Result<(), Failure>;
}

/// What the host can say about an agent that is gone or silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The kernel killed a process of it for want of memory.
    pub out_of_memory: bool,
    /// Exit status and the last lines of its log.
    pub words: String,
}
