//! Waiting in a guest's first process for what the kernel makes by itself, with a bound.

use std::time::Duration;

use crate::clock;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What `look` finds, as soon as it does; `None` where it has not after this time.
pub(super) fn until<T>(time_max: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = clock::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > time_max {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_late_is_found_and_what_never_comes_is_given_up() {
        let mut looks = 0;
        let third = || {
            looks += 1;
            (looks == 3).then_some(looks)
        };
        assert_eq!(until(Duration::from_secs(60), third), Some(3));
        assert_eq!(until(Duration::ZERO, || None::<()>), None);
    }
}
