//! The side of Plimsoll that runs inside an environment: workloads, and an observer of what is around them.
//!
//! ```text
//! init (reaps) -> wire (bytes with deadlines) -> serve (one reply per request) -> workload + slice (units, timed)
//!                                                                              -> observe (what is around)
//!                                                                              -> relay (to an agent further in)
//! ```
//!
//! The agent is never told where it is and does nothing but answer. It starts nothing by itself, opens no network
//! connection, and says nothing during a slice.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod init;
pub mod observe;
mod relay;
mod seeded;
pub mod serve;
pub mod slice;
mod sys;
pub mod wire;
pub mod workload;

pub use init::run_under_init;
pub use observe::observe;
pub use serve::{Ended, Inner, Nest, NoNest, serve};
pub use wire::Wire;
