//! Plimsoll: what each layer of isolation costs.
//!
//! The modules stand in the order in which data flows through them:
//!
//! ```text
//! plan -> launch -> rounds -> sample -> store -> analysis -> report        cli wires them
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod analysis;
#[allow(clippy::disallowed_methods, reason = "the one place that reads time")]
pub mod clock;
pub mod environment;
pub mod guest;
pub mod interrupt;
#[allow(clippy::disallowed_methods, reason = "environments are processes; `process` starts and ends them")]
pub mod launch;
pub mod probe;
pub mod rounds;
pub mod sample;
#[allow(clippy::disallowed_methods, reason = "packages are installed by the system's package manager")]
pub mod setup;
pub mod store;
