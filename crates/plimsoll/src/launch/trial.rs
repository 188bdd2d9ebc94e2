//! Whether this host lets us enclose a container at all: tried for real, in a child, with nothing left behind.

use std::time::Duration;

use super::enclosure::{Enclosure, TRIAL_WORD, Then, UnionKind, arguments};
use super::process::run_tool;
use crate::interrupt;
use crate::sample::Failure;

/// How long the trial may take.
const TRIAL_BOUND: Duration = Duration::from_secs(3);

/// Enters the namespaces that a container needs here and mounts a union in them.
///
/// # Errors
/// Why not.
pub(super) fn can_enclose(union: UnionKind) -> Result<(), Failure> {
    let user_namespace = !nix::unistd::geteuid().is_root();
    let trial = Enclosure { user_namespace, unmount: Vec::new(), root: None, then: Then::Trial(union) };
    let [subcommand, order] = arguments(&trial)?;
    let output = run_tool(&["/proc/self/exe", &subcommand, &order], TRIAL_BOUND, interrupt::requested)?;
    if output.stdout == TRIAL_WORD {
        return Ok(());
    }
    let said = output.stderr.trim();
    Err(Failure::launch(if said.is_empty() { "the trial of a container did not answer" } else { said }))
}
