//! What the host and the agent say to each other.
//!
//! Both ends are the same executable, so the version is checked for equality and nothing is negotiated. The host asks,
//! the agent answers each request with one reply, and nobody speaks during a slice. The bytes cross a pipe, a Docker
//! attach stream or a virtio-serial port: any ordered byte stream will do.
//!
//! What an agent says is untrusted input: every frame and every collection has a bound, and every number is checked by
//! [`Reply::check`] before anyone uses it.
//!
//! This crate deliberately opens nothing, waits for nothing and knows no workload.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod frame;
mod message;
mod parameter;

pub use frame::{FRAME_BYTES_MAX, FrameError, PROTOCOL_VERSION, read_frame, write_frame};
pub use message::{
    Cause, EVIDENCE_ROWS_MAX, Evidence, Hello, Histogram, NestOrder, Observation, Reply, Request, SliceOrder,
    SliceReport, TreeOrder, UntrustedNumber, WorkloadOrder,
};
pub use parameter::{Parameter, ParameterError, Parameters};
