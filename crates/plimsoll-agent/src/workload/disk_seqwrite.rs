//! `disk.seqwrite`: direct 1 MiB writes, one after another over a file that is there.

use super::About;
use super::disk::{Io, LARGE, OF_ONE_DIRECTION, PER_BYTE, about};

static ABOUT: About = about(
    "disk.seqwrite",
    "direct 1 MiB writes one after another over a file",
    "byte written",
    PER_BYTE,
    OF_ONE_DIRECTION,
);

/// The workload `disk.seqwrite`.
pub(super) const SEQ_WRITE: Io =
    Io { about: &ABOUT, random: false, read_percent: 0, block_bytes: 1 << 20, counts_bytes: true, points: LARGE };
