//! `disk.randwrite`: direct 4 KiB writes at random places of a file that is there.

use super::About;
use super::disk::{Io, OF_ONE_DIRECTION, PER_REQUEST, SMALL, about};

static ABOUT: About =
    about("disk.randwrite", "direct 4 KiB writes at random places of a file", "write", PER_REQUEST, OF_ONE_DIRECTION);

/// The workload `disk.randwrite`.
pub(super) const RAND_WRITE: Io =
    Io { about: &ABOUT, random: true, read_percent: 0, block_bytes: 4096, counts_bytes: false, points: SMALL };
