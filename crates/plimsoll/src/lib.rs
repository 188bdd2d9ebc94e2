//! Plimsoll: what each layer of isolation costs.
//!
//! The modules stand in the order in which data flows through them:
//!
//! ```text
//! plan -> launch -> rounds -> sample -> store -> analysis -> report        cli wires them
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod analysis;
pub mod clock;
pub mod environment;
pub mod interrupt;
pub mod launch;
pub mod report;
pub mod rounds;
pub mod sample;
