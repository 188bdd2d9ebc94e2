//! Plimsoll: what each layer of isolation costs.
//!
//! The modules stand in the order in which data flows through them:
//!
//! ```text
//! plan -> launch -> rounds -> sample -> store -> analysis -> report        cli wires them
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

// The nouns, and what the host is and can do.
pub mod environment;
#[allow(clippy::disallowed_methods, reason = "a host is examined by asking its programs")]
pub mod probe;
#[allow(clippy::disallowed_methods, reason = "packages are installed by the system's package manager")]
pub mod setup;

// The way of a run.
pub mod plan;

#[allow(clippy::disallowed_methods, reason = "environments are processes; `process` starts and ends them")]
pub mod launch;

pub mod guest;

pub mod rounds;

pub mod sample;

pub mod store;

pub mod analysis;

pub mod report;

// What every part may ask.
#[allow(clippy::disallowed_methods, reason = "the one place that reads time")]
pub mod clock;
pub mod evidence;
pub mod interrupt;
