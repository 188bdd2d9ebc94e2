//! `disk.seqread`: direct 1 MiB reads, one after another through a file.

use super::About;
use super::disk::{Io, LARGE, OF_ONE_DIRECTION, PER_BYTE, about};

static ABOUT: About = about(
    "disk.seqread",
    "direct 1 MiB reads one after another through a file",
    "byte read",
    PER_BYTE,
    OF_ONE_DIRECTION,
);

/// The workload `disk.seqread`.
pub(super) const SEQ_READ: Io =
    Io { about: &ABOUT, random: false, read_percent: 100, block_bytes: 1 << 20, counts_bytes: true, points: LARGE };
