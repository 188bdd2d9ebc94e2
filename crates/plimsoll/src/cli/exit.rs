//! Exit codes: other people's scripts rely on them.

/// Done.
pub(super) const DONE: u8 = 0;
/// Wrong usage or plan; nothing was started.
pub(super) const USAGE: u8 = 2;
/// This host cannot do it: nothing but native is left.
pub(super) const HOST: u8 = 3;
/// Finished, but with mishaps, or an environment that was named is unusable.
pub(super) const MISHAPS: u8 = 4;
/// A bug in Plimsoll.
pub(super) const BUG: u8 = 70;
/// Interrupted; the run file holds every finished slice.
pub(super) const INTERRUPTED: u8 = 130;

/// An error that the user's world caused, with the code that says which kind.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    /// One of the codes above.
    pub(super) code: u8,
    /// What happened and what to do.
    pub(super) message: String,
}

impl Refusal {
    /// Wrong usage or plan.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    /// This host cannot do it.
    pub(super) fn host(message: impl Into<String>) -> Self {
        Self { code: HOST, message: message.into() }
    }
}

/// The code of an error: what was refused says its own; a failure of the host's is [`HOST`]; anything else is a bug.
pub(super) fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.code;
    }
    let worldly = error.is::<plimsoll::sample::Failure>()
        || error.is::<plimsoll::store::StoreError>()
        || error.is::<std::io::Error>();
    if worldly { HOST } else { BUG }
}

/// Whether an error is that nobody reads our output any more.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
