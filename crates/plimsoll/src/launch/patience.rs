//! Bounded waiting for something that the kernel does not announce.

use std::time::Duration;

use crate::clock;

/// The shortest and the longest nap between two looks.
const NAP_MIN: Duration = Duration::from_micros(200);
const NAP_MAX: Duration = Duration::from_millis(5);

/// Looks until `condition` holds; `false` when `bound` has passed first.
pub(crate) fn until(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = clock::now() + bound;
    let mut nap = NAP_MIN;
    loop {
        if condition() {
            return true;
        }
        if clock::now() >= deadline {
            return false;
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(NAP_MAX);
    }
}
