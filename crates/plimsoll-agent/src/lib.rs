//! The side of Plimsoll that runs inside an environment: workloads, and an observer of what is around them.
//!
//! ```text
//! wire (bytes with deadlines) -> serve (one reply per request) -> workload (prepare, units, clean up)
//!                                                              -> observe (what is around the agent)
//! ```
//!
//! The agent is never told where it is and does nothing but answer. It starts nothing by itself, opens no network
//! connection, and says nothing during a slice.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod wire;
pub mod workload;
