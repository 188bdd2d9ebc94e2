//! The agent's clock against ours: a guest whose clock runs fast or slow would measure nonsense and never know.
//!
//! The agent says how long it took over a request by its own clock; we know how long we waited. A clock that runs fast
//! shows at once: nothing can take longer inside than outside. A slow one looks like a late answer, and on a busy host
//! answers are late: so it is judged by the most punctual answer of the launch, which no clock can make better.

use plimsoll_protocol::SliceReport;

use crate::sample::{Cause, Failure};

/// Clocks may differ by this share of a request's time...
const SHARE_MAX: f64 = 0.02;
/// ...plus this: what a message takes on its way, and the coarsest clock of a guest.
const SECONDS_MAX: f64 = 0.02;
/// Answers that are needed before a late one means a slow clock.
const ANSWERS_MIN: u32 = 3;

/// What the answers of one launch said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Clocks {
    answers: u32,
    /// The smallest excess of outside over what is allowed, seconds.
    excess_min: Option<f64>,
}

impl Clocks {
    /// Takes one more answer; `outside` is the time from request to reply by our clock, seconds.
    ///
    /// # Errors
    /// [`Cause::Clock`] when the clocks cannot both be right.
    pub(super) fn compare(&mut self, report: &SliceReport, outside: f64) -> Result<(), Failure> {
        let (inside, handled) = (report.seconds, report.handled_seconds);
        let allowed = outside * SHARE_MAX + SECONDS_MAX;
        if inside > handled || handled > outside + allowed {
            return Err(disagree(inside, handled, outside));
        }
        let excess = outside - handled - allowed;
        self.answers += 1;
        let excess_min = self.excess_min.map_or(excess, |least| least.min(excess));
        self.excess_min = Some(excess_min);
        if self.answers >= ANSWERS_MIN && excess_min > 0.0 {
            return Err(disagree(inside, handled, outside));
        }
        Ok(())
    }
}

fn disagree(inside: f64, handled: f64, outside: f64) -> Failure {
    let message =
        format!("the clocks disagree: {handled:.3} s inside (of which {inside:.3} s timed), {outside:.3} s outside");
    Failure::new(Cause::Clock, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(handled_and_outside: &[(f64, f64)]) -> Result<(), Failure> {
        let mut clocks = Clocks::default();
        handled_and_outside.iter().try_for_each(|(handled, outside)| {
            let report = SliceReport { seconds: handled * 0.9, handled_seconds: *handled, ..SliceReport::default() };
            clocks.compare(&report, *outside)
        })
    }

    #[test]
    fn clocks_that_agree_are_accepted() {
        assert_eq!(answers(&[(0.220, 0.221); 20]), Ok(()));
    }

    #[test]
    fn a_clock_that_runs_fast_is_found_at_once() {
        assert_eq!(answers(&[(0.3, 0.2)]).unwrap_err().cause, Cause::Clock);
    }

    #[test]
    fn a_clock_that_runs_slow_is_found_by_its_best_answer() {
        assert_eq!(answers(&[(0.2, 0.3); 2]), Ok(()));
        assert_eq!(answers(&[(0.2, 0.3); 3]).unwrap_err().cause, Cause::Clock);
    }

    #[test]
    fn a_host_that_answers_late_is_no_slow_clock() {
        assert_eq!(answers(&[(0.2, 0.3), (0.2, 0.9), (0.2, 0.21), (0.2, 0.5)]), Ok(()));
    }

    #[test]
    fn a_timed_region_longer_than_the_request_is_refused() {
        let report = SliceReport { seconds: 0.3, handled_seconds: 0.2, ..SliceReport::default() };
        assert!(Clocks::default().compare(&report, 0.21).is_err());
    }
}
