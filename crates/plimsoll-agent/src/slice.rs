//! One slice: whole units, untimed until caches are warm again, then timed until the asked time is over.
//!
//! ```text
//! lead-in units | getrusage | clock | units ... | clock | getrusage | verify
//! ```
//! A workload whose pace is an amount has one unit there, and perhaps no lead-in.
//!
//! It knows no workload and computes no statistic: work, seconds and raw histograms go to the host.

use std::time::{Duration, Instant};

use hdrhistogram::serialization::{Serializer, V2Serializer};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use plimsoll_protocol::{Evidence, Histogram, SliceOrder, SliceReport};

use crate::workload::{Pace, Prepared, Recorder, WorkloadError};

/// The longest lead-in and the longest slice that anyone may ask for.
pub const SLICE_NS_MAX: u64 = 600_000_000_000;

/// Runs one slice of a prepared workload: at least one whole unit and at least the asked time, or one unit if its pace is
/// an amount.
///
/// # Errors
/// [`WorkloadError`] when a unit fails, does no work, or turns out wrong; when it is too short for the clock; or when more
/// than [`SLICE_NS_MAX`] is asked.
pub fn run_slice(
    prepared: &mut dyn Prepared,
    recorder: &mut Recorder,
    order: &SliceOrder,
) -> Result<SliceReport, WorkloadError> {
    let handling = Instant::now();
    if order.lead_in_ns.max(order.slice_ns_min) > SLICE_NS_MAX {
        return Err(WorkloadError::Wrong(format!("a slice is at most {} s long", SLICE_NS_MAX / 1_000_000_000)));
    }
    let [lead_in, slice] = [order.lead_in_ns, order.slice_ns_min].map(|ns| Length::Time(Duration::from_nanos(ns)));
    let led_in = if order.lead_in_ns > 0 { run(prepared, recorder, Part::LeadIn, lead_in)?.work } else { 0.0 };
    let slice = if prepared.pace() == Pace::Time { slice } else { Length::OneUnit };
    recorder.reset();
    let before = getrusage(UsageWho::RUSAGE_SELF).ok();
    let timed = run(prepared, recorder, Part::Timed, slice)?;
    let after = getrusage(UsageWho::RUSAGE_SELF).ok();
    prepared.verify()?;
    if !(timed.work.is_finite() && timed.work > 0.0) {
        return Err(WorkloadError::Wrong(format!("{} units did {} of work", timed.units, timed.work)));
    }
    let mut evidence = recorder.evidence.clone();
    evidence.extend(before.zip(after).into_iter().flat_map(|(before, after)| usage_between(&before, &after)));
    evidence.push(work_with_lead_in(timed.work + led_in));
    let seconds = timed.elapsed.as_secs_f64();
    let histograms = encoded(recorder)?;
    let handled_seconds = handling.elapsed().as_secs_f64();
    Ok(SliceReport { work: timed.work, seconds, handled_seconds, units: timed.units, histograms, evidence })
}

/// When enough units have been run.
#[derive(Debug, Clone, Copy)]
enum Length {
    /// After this time.
    Time(Duration),
    /// After one.
    OneUnit,
}

/// Of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    LeadIn,
    Timed,
}

struct Timed {
    work: f64,
    units: u64,
    elapsed: Duration,
}

/// Whole units, at least one, until there are enough; what a unit needs anew is made between them, untimed.
/// `Instant` is CLOCK_MONOTONIC here.
fn run(
    prepared: &mut dyn Prepared,
    recorder: &mut Recorder,
    part: Part,
    length: Length,
) -> Result<Timed, WorkloadError> {
    let mut timed = Timed { work: 0.0, units: 0, elapsed: Duration::ZERO };
    let mut start = Instant::now();
    loop {
        if prepared.renew()? {
            start = Instant::now();
        }
        timed.work += match part {
            Part::LeadIn => prepared.rehearse(recorder)?,
            Part::Timed => prepared.unit(recorder)?,
        };
        // One look at the clock ends a unit and begins the next: short units would feel a second one.
        let end = Instant::now();
        timed.elapsed += end - start;
        timed.units += 1;
        start = end;
        // A clock too coarse to see one unit would report zero seconds.
        match length {
            Length::Time(time) if timed.elapsed >= time && !timed.elapsed.is_zero() => return Ok(timed),
            Length::OneUnit if timed.elapsed.is_zero() => {
                return Err(WorkloadError::Wrong("a unit is too short for this clock: set a larger one".to_owned()));
            }
            Length::OneUnit => return Ok(timed),
            Length::Time(_) => {}
        }
    }
}

fn encoded(recorder: &Recorder) -> Result<Vec<Histogram>, WorkloadError> {
    let encode = |(name, histogram): &(&'static str, hdrhistogram::Histogram<u64>)| {
        let mut v2 = Vec::new();
        let written = V2Serializer::new().serialize(histogram, &mut v2);
        written.map_err(|error| WorkloadError::Wrong(format!("histogram `{name}` cannot be encoded: {error}")))?;
        Ok(Histogram { name: (*name).to_owned(), v2 })
    };
    recorder.histograms.iter().map(encode).collect()
}

fn work_with_lead_in(work: f64) -> Evidence {
    let (source, name) = ("slice".to_owned(), Evidence::WORK_WITH_LEAD_IN.to_owned());
    Evidence { source, name, unit: "1".to_owned(), value: work }
}

/// What the whole process used between two readings, all threads together.
fn usage_between(before: &Usage, after: &Usage) -> Vec<Evidence> {
    let seconds = |before: TimeVal, after: TimeVal| (after - before).num_microseconds() as f64 / 1e6;
    let count = |before: i64, after: i64| (after - before) as f64;
    let rows = [
        ("user", "s", seconds(before.user_time(), after.user_time())),
        ("system", "s", seconds(before.system_time(), after.system_time())),
        ("voluntary_switches", "1", count(before.voluntary_context_switches(), after.voluntary_context_switches())),
        (
            "involuntary_switches",
            "1",
            count(before.involuntary_context_switches(), after.involuntary_context_switches()),
        ),
        ("minor_faults", "1", count(before.minor_page_faults(), after.minor_page_faults())),
        ("major_faults", "1", count(before.major_page_faults(), after.major_page_faults())),
    ];
    rows.map(|(name, unit, value)| Evidence {
        source: "getrusage".to_owned(),
        name: name.to_owned(),
        unit: unit.to_owned(),
        value,
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use std::thread;

    /// Takes 2 ms per unit, records each, and remembers in which order it was called.
    #[derive(Default)]
    struct Sleeper {
        calls: String,
        work: f64,
        bad: bool,
        renewal: Duration,
        amount: Option<Pace>,
        rehearses: bool,
    }

    impl Prepared for Sleeper {
        fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
            self.calls.push('u');
            thread::sleep(Duration::from_millis(2));
            recorder.record("latency", Duration::from_millis(2));
            recorder.note("kind", "1", 3.0);
            Ok(self.work)
        }

        fn rehearse(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
            if !self.rehearses {
                return self.unit(recorder);
            }
            self.calls.push('l');
            thread::sleep(Duration::from_millis(2));
            Ok(0.0)
        }

        fn pace(&self) -> Pace {
            self.amount.unwrap_or(Pace::Time)
        }

        fn renew(&mut self) -> Result<bool, WorkloadError> {
            self.calls.push('r');
            thread::sleep(self.renewal);
            Ok(!self.renewal.is_zero())
        }

        fn verify(&mut self) -> Result<(), WorkloadError> {
            self.calls.push('v');
            if self.bad { Err(WorkloadError::Wrong("bad".into())) } else { Ok(()) }
        }
    }

    fn order(lead_in_ms: u64, slice_ms: u64) -> SliceOrder {
        SliceOrder { lead_in_ns: lead_in_ms * 1_000_000, slice_ns_min: slice_ms * 1_000_000 }
    }

    fn slice(sleeper: &mut Sleeper, order: SliceOrder) -> Result<SliceReport, WorkloadError> {
        run_slice(sleeper, &mut Recorder::with(&["latency"]), &order)
    }

    #[test]
    fn a_slice_is_whole_units_for_at_least_the_asked_time() {
        let mut sleeper = Sleeper { work: 5.0, ..Sleeper::default() };
        let report = slice(&mut sleeper, order(0, 20)).unwrap();
        assert!(report.seconds >= 0.020, "{}", report.seconds);
        assert!((2..=10).contains(&report.units), "{}", report.units);
        assert_eq!(report.work, 5.0 * report.units as f64);
        assert_eq!(sleeper.calls.len() as u64, 2 * report.units + 1);
        assert!(sleeper.calls.ends_with('v'));
    }

    #[test]
    fn what_is_made_anew_before_each_unit_is_not_timed() {
        let mut sleeper = Sleeper { work: 1.0, renewal: Duration::from_millis(20), ..Sleeper::default() };
        let report = slice(&mut sleeper, order(0, 6)).unwrap();
        assert!(sleeper.calls.starts_with("ruru"), "{}", sleeper.calls);
        assert!(report.handled_seconds > 0.020 * report.units as f64, "{report:?}");
        assert!(report.seconds < report.handled_seconds / 2.0, "{report:?}");
    }

    #[test]
    fn a_slice_of_no_time_is_one_unit() {
        let report = slice(&mut Sleeper { work: 1.0, ..Sleeper::default() }, order(0, 0)).unwrap();
        assert_eq!(report.units, 1);
        assert!(report.seconds >= 0.002, "{}", report.seconds);
    }

    #[test]
    fn the_lead_in_is_run_and_not_reported() {
        let mut sleeper = Sleeper { work: 1.0, ..Sleeper::default() };
        let report = slice(&mut sleeper, order(20, 6)).unwrap();
        let run = sleeper.calls.matches('u').count() as u64;
        assert!(run > report.units, "{run} units run, {} reported", report.units);
        assert!(report.seconds < 0.020 + 0.006, "{}", report.seconds);
        let histogram = &report.histograms[0];
        let decoded: hdrhistogram::Histogram<u64> =
            Deserializer::new().deserialize(&mut histogram.v2.as_slice()).unwrap();
        assert_eq!((histogram.name.as_str(), decoded.len()), ("latency", report.units));
        assert!(decoded.max().abs_diff(2_000_000) < 2_000, "{}", decoded.max());
    }

    #[test]
    fn a_slice_by_amount_is_one_unit_and_its_lead_in_may_spare_units() {
        let calls = |rehearses| {
            let amount = Some(Pace::Amount);
            let mut sleeper = Sleeper { work: 1.0, amount, rehearses, ..Sleeper::default() };
            let report = slice(&mut sleeper, order(3, 1000)).unwrap();
            assert_eq!((report.units, report.work), (1, 1.0));
            let both = report.evidence.iter().find(|row| row.name == Evidence::WORK_WITH_LEAD_IN).unwrap().value;
            (sleeper.calls, both)
        };
        let (spared, both) = calls(true);
        assert!(spared.starts_with("rlrl") && spared.ends_with("ruv"), "{spared}");
        assert_eq!((spared.matches('u').count(), both), (1, 1.0));
        let (used, both) = calls(false);
        assert!(used.starts_with("ruru") && both >= 2.0, "{used}");
    }

    #[test]
    fn evidence_holds_what_the_process_used_and_what_the_workload_noted_once() {
        let report = slice(&mut Sleeper { work: 1.0, ..Sleeper::default() }, order(0, 10)).unwrap();
        let value = |source: &str, name: &str| {
            let rows = report.evidence.iter().filter(|row| row.source == source && row.name == name);
            rows.map(|row| row.value).collect::<Vec<_>>()
        };
        assert_eq!(value("workload", "kind"), [3.0]);
        assert!(value("getrusage", "voluntary_switches")[0] >= report.units as f64);
        for name in ["user", "system", "involuntary_switches", "minor_faults", "major_faults"] {
            assert!(value("getrusage", name)[0] >= 0.0, "{name}");
        }
    }

    #[test]
    fn wrong_work_and_no_work_and_endless_slices_are_errors() {
        let wrong = slice(&mut Sleeper { work: 1.0, bad: true, ..Sleeper::default() }, order(0, 0));
        assert_eq!(wrong.unwrap_err().to_string(), "bad");
        let idle = slice(&mut Sleeper::default(), order(0, 0));
        assert_eq!(idle.unwrap_err().to_string(), "1 units did 0 of work");
        assert!(slice(&mut Sleeper { work: 1.0, ..Sleeper::default() }, order(0, 600_001)).is_err());
    }
}
