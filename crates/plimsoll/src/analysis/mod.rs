//! From raw records to comparisons and verdicts. No I/O and no clock: the same run file gives the same bytes.

pub mod findings;

pub use findings::Findings;
