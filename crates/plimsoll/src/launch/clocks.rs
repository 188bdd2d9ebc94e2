//! The agent's clock against ours: a guest whose clock runs fast or slow would measure nonsense and never know.
//!
//! The agent says how long it took over a request by its own clock; we know how long we waited. A clock that runs fast
//! shows soon: nothing can take longer inside than outside, and over a launch the little that it gains adds up. A slow
//! one looks like a late answer, and on a busy host answers are late: so it is judged by the most punctual answer of the
//! launch, which no clock can make better.
//!
//! A clock that only jumps, as one may that was corrected after its environment was stopped, spoils the slice in which it
//! did; one that does so again and again is no clock.

use plimsoll_protocol::SliceReport;

use crate::sample::{Cause, Failure};

/// One answer may claim this share more than the time that we waited...
const ANSWER_SHARE_MAX: f64 = 0.02;
/// ...plus this: the coarsest clock of a guest.
const ANSWER_SECONDS_MAX: f64 = 0.02;
/// So many answers of a launch may do so; each spoils its slice.
const JUMPS_MAX: u32 = 3;
/// All answers of a launch together may claim this share more...
const LAUNCH_SHARE_MAX: f64 = 0.005;
/// ...plus this: roundings of a coarse clock cancel out.
const LAUNCH_SECONDS_MAX: f64 = 0.01;
/// The most punctual answer of a launch may lack this share of the time that we waited...
const LATE_SHARE_MAX: f64 = 0.01;
/// ...plus this: what a message takes on its way.
const LATE_SECONDS_MAX: f64 = 0.005;
/// Requests that are shorter inside do not tell a slow clock from a slow message, seconds. By the time outside the late ones
/// alone would be picked.
const JUDGED_SECONDS_MIN: f64 = 0.1;
/// Answers that are needed before a late one means a slow clock.
const ANSWERS_MIN: u32 = 6;

/// What the answers of one launch said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Clocks {
    /// Sums over all answers but those with a jump, seconds.
    handled: f64,
    outside: f64,
    /// Answers that took longer inside than outside.
    jumps: u32,
    /// Answers to requests that were long enough to judge by.
    answers: u32,
    /// The smallest share of the time outside that is missing inside.
    late_share_min: Option<f64>,
}

impl Clocks {
    /// Takes one more answer; `outside` is the time from request to reply by our clock, seconds. Says why its slice is
    /// spoiled, if it is.
    ///
    /// # Errors
    /// [`Cause::Clock`] when the clocks cannot both be right.
    pub(super) fn compare(&mut self, report: &SliceReport, outside: f64) -> Result<Option<String>, Failure> {
        let (inside, handled) = (report.seconds, report.handled_seconds);
        let failed = || Err(Failure::new(Cause::Clock, disagree(inside, handled, outside)));
        if inside > handled {
            return failed();
        }
        if handled > outside * (1.0 + ANSWER_SHARE_MAX) + ANSWER_SECONDS_MAX {
            self.jumps += 1;
            return if self.jumps > JUMPS_MAX { failed() } else { Ok(Some(disagree(inside, handled, outside))) };
        }
        self.handled += handled;
        self.outside += outside;
        if self.is_fast() || self.is_slow(handled, outside) { failed() } else { Ok(None) }
    }

    fn is_fast(&self) -> bool {
        self.handled > self.outside * (1.0 + LAUNCH_SHARE_MAX) + LAUNCH_SECONDS_MAX
    }

    fn is_slow(&mut self, handled: f64, outside: f64) -> bool {
        if handled < JUDGED_SECONDS_MIN {
            return false;
        }
        let late_share = (outside - handled - LATE_SECONDS_MAX) / outside;
        let late_share_min = self.late_share_min.map_or(late_share, |least| least.min(late_share));
        self.late_share_min = Some(late_share_min);
        self.answers += 1;
        self.answers >= ANSWERS_MIN && late_share_min > LATE_SHARE_MAX
    }
}

fn disagree(inside: f64, handled: f64, outside: f64) -> String {
    format!("the clocks disagree: {handled:.3} s inside (of which {inside:.3} s timed), {outside:.3} s outside")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(handled_and_outside: &[(f64, f64)]) -> Result<(), Failure> {
        let mut clocks = Clocks::default();
        handled_and_outside.iter().try_for_each(|(handled, outside)| {
            let report = SliceReport { seconds: handled * 0.9, handled_seconds: *handled, ..SliceReport::default() };
            clocks.compare(&report, *outside).map(drop)
        })
    }

    #[test]
    fn clocks_that_agree_are_accepted() {
        assert_eq!(answers(&[(0.220, 0.221); 20]), Ok(()));
    }

    #[test]
    fn a_clock_that_jumps_spoils_its_slice_and_one_that_always_does_is_none() {
        let mut clocks = Clocks::default();
        let mut compare = |handled: f64, outside: f64| {
            let report = SliceReport { seconds: handled * 0.9, handled_seconds: handled, ..SliceReport::default() };
            clocks.compare(&report, outside)
        };
        for _ in 0..3 {
            let spoiled = compare(0.3, 0.2).unwrap().unwrap();
            assert!(spoiled.contains("0.300 s inside (of which 0.270 s timed), 0.200 s outside"), "{spoiled}");
            assert_eq!(compare(0.220, 0.221), Ok(None), "what it gained then is not held against it now");
        }
        assert_eq!(compare(0.3, 0.2).unwrap_err().cause, Cause::Clock);
    }

    #[test]
    fn a_clock_that_runs_slow_is_found_by_its_best_answer() {
        assert_eq!(answers(&[(0.2, 0.3); 5]), Ok(()));
        assert_eq!(answers(&[(0.2, 0.3); 6]).unwrap_err().cause, Cause::Clock);
    }

    #[test]
    fn a_host_that_answers_late_is_no_slow_clock() {
        assert_eq!(answers(&[(0.2, 0.3), (0.2, 0.9), (0.2, 0.205), (0.2, 0.5), (0.2, 0.4), (0.2, 0.3)]), Ok(()));
    }

    #[test]
    fn three_percent_of_short_requests_are_found_either_way() {
        assert_eq!(answers(&[(0.220 * 1.03, 0.221); 8]).unwrap_err().cause, Cause::Clock, "fast");
        assert_eq!(answers(&[(0.220 * 0.97, 0.221); 8]).unwrap_err().cause, Cause::Clock, "slow");
    }

    #[test]
    fn requests_too_short_to_judge_by_mean_no_slow_clock() {
        assert_eq!(answers(&[(0.010, 0.018); 20]), Ok(()));
        // Being late does not make a request long.
        assert_eq!(answers(&[(0.083, 0.103); 20]), Ok(()));
    }

    #[test]
    fn a_timed_region_longer_than_the_request_is_refused() {
        let report = SliceReport { seconds: 0.3, handled_seconds: 0.2, ..SliceReport::default() };
        assert!(Clocks::default().compare(&report, 0.21).is_err());
    }
}
