//! `disk.mixed`: direct 4 KiB requests at random places of a file, 70 reads for 30 writes.

use super::About;
use super::disk::{Io, OF_A_MIXTURE, PER_REQUEST, SMALL, about};

static ABOUT: About = about(
    "disk.mixed",
    "direct 4 KiB reads and writes (70 to 30) at random places of a file",
    "request",
    PER_REQUEST,
    OF_A_MIXTURE,
);

/// The workload `disk.mixed`.
pub(super) const MIXED: Io =
    Io { about: &ABOUT, random: true, read_percent: 70, block_bytes: 4096, counts_bytes: false, points: SMALL };
