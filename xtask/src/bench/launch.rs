//! How long a launch takes beside the usual way: sandbox and `runc run`, docker and `docker run --rm`, qemu and a bare
//! kernel that ends at once.
//!
//! Ours is what a user gets: from the request to the agent's first answer, as the run file records it
//! (`ready_seconds`), so the bench needs a way to ask `plimsoll` for single launches.

use anyhow::{Result, bail};

use super::{Pair, measure, print};

const ROUNDS: usize = 21;

/// The bench.
pub(super) fn run(_arguments: &[String]) -> Result<()> {
    let mut pairs = pairs();
    if pairs.is_empty() {
        bail!("no pair can be measured: this build of the bench knows no way to ask `plimsoll` for a single launch");
    }
    print(&measure(&mut pairs, ROUNDS)?);
    Ok(())
}

/// One line per comparison. Empty until `plimsoll` can launch one environment by itself: a stand-in would be a made-up
/// number.
fn pairs<'a>() -> Vec<Pair<'a>> {
    Vec::new()
}
