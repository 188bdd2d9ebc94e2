//! `disk.randread`: direct 4 KiB reads at random places of a file.

use super::About;
use super::disk::{Io, OF_ONE_DIRECTION, PER_REQUEST, SMALL, about};

static ABOUT: About =
    about("disk.randread", "direct 4 KiB reads at random places of a file", "read", PER_REQUEST, OF_ONE_DIRECTION);

/// The workload `disk.randread`.
pub(super) const RAND_READ: Io =
    Io { about: &ABOUT, random: true, read_percent: 100, block_bytes: 4096, counts_bytes: false, points: SMALL };
