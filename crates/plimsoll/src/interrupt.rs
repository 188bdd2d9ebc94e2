//! Ctrl-C and SIGTERM: noticed once, asked for everywhere that waits.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether the user asked to stop.
#[must_use]
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Remembers that the user asked to stop. Safe in a signal handler.
pub fn request() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}
