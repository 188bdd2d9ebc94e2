//! `mem.latency`: loads of which each gives the address of the next, as lmbench's `lat_mem_rd` with its random order.
//!
//! The working set is one cycle over all of its cache lines in random order, so that neither prefetching nor
//! out-of-order execution helps. It comes in 4 KiB pages and in huge ones: what a load costs beyond the caches is half
//! the memory and half the walk through the page tables.

use plimsoll_protocol::{ParameterError, Parameters};

use super::region::{Pages, Region};
use super::words::chosen;
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, mib,
};
use crate::seeded::Seeded;

const LINE_BYTES: u64 = 64;
const LINE_WORDS: usize = 8;
const BYTES_MIN: u64 = 4096;
/// Lines are numbered in 32 bits.
const BYTES_MAX: u64 = 1 << 38;
/// The largest working set is at least this many times the last-level cache.
const CACHES: u64 = 4;
/// No cache is believed to be larger, and for hosts that do not tell theirs it is no smaller.
const CACHE_BYTES: (u64, u64) = (4 << 20, 1 << 33);
/// From a page on, each working set is this many times the one before, until the largest.
const STEP: u64 = 4;
/// Working sets up to this size stay close to the CPU, and a unit takes more loads of them.
const CLOSE_BYTES: u64 = 1 << 20;
const LOADS_CLOSE: u64 = 1 << 18;
const LOADS_FAR: u64 = 1 << 15;

/// Smaller working sets do not need a huge page.
const HUGE_PAGE_BYTES: u64 = Pages::Huge.bytes().get() as u64;

/// The workload `mem.latency`.
#[derive(Debug)]
pub(super) struct Latency;

static ABOUT: About = About {
    name: "mem.latency",
    summary: "latency of dependent loads, from the first cache to beyond the last, in small and huge pages",
    work: "load",
    metrics: &[Metric { name: "latency", unit: "s", kind: MetricKind::Time, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.10 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout {
            name: "bytes",
            meaning: "the working set, in whole cache lines of 64 bytes",
            range: Some((BYTES_MIN, BYTES_MAX)),
        },
        ParameterAbout { name: "pages", meaning: "`4k`, or `huge` for 2 MiB", range: None },
    ],
    uses_disk: false,
};

impl Workload for Latency {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let derived = Parameters::default().with("bytes", largest_bytes(room)).with("pages", "4k");
        let parameters = ABOUT.merged(derived, written)?;
        let (bytes, _) = working_set(&parameters).map_err(|error| error.to_string())?;
        let needed = bytes.saturating_mul(2);
        if needed > room.memory_bytes {
            return Err(format!(
                "mem.latency needs its working set of {} MiB (without `bytes` in the plan: four times the last-level \
                 cache) in half of the memory, and the limit is {} MiB: set --memory to {} MiB or \
                 more, or `bytes` in the plan to {} or less",
                mib(bytes),
                mib(room.memory_bytes),
                mib(needed),
                room.memory_bytes / 2 / LINE_BYTES * LINE_BYTES,
            ));
        }
        Ok(parameters)
    }

    fn points(&self, room: &Room) -> Vec<Parameters> {
        let largest = largest_bytes(room);
        let smaller = std::iter::successors(Some(BYTES_MIN), |bytes| Some(bytes * STEP));
        let mut sizes: Vec<_> = smaller.take_while(|bytes| *bytes < largest).chain([largest]).collect();
        sizes.reverse();
        let mut points = Vec::new();
        for bytes in sizes {
            points.push(Parameters::default().with("bytes", bytes).with("pages", "4k"));
            if bytes >= HUGE_PAGE_BYTES {
                points.push(Parameters::default().with("bytes", bytes).with("pages", "huge"));
            }
        }
        points
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let (bytes, pages) = working_set(parameters)?;
        let lines = u32::try_from(bytes / LINE_BYTES - 1).map_err(|_| WorkloadError::no_memory("the working set"))?;
        let order = shuffled(lines, scene.seed)?;
        let mut words = Region::paged(order.len() * LINE_WORDS, pages)?;
        link(&mut words, &order)?;
        let loads = if bytes <= CLOSE_BYTES { LOADS_CLOSE } else { LOADS_FAR };
        let mut chase = Chase { at: first_word(&order, 0), words, order, done: 0, loads };
        chase.unit(&mut Recorder::default())?;
        chase.verify()?;
        Ok(Box::new(chase))
    }
}

/// Four times the last-level cache, in whole huge pages.
fn largest_bytes(room: &Room) -> u64 {
    let (least, most) = CACHE_BYTES;
    (room.cache_bytes.clamp(least, most) * CACHES).next_multiple_of(HUGE_PAGE_BYTES)
}

fn working_set(parameters: &Parameters) -> Result<(u64, Pages), WorkloadError> {
    let bytes = ABOUT.number(parameters, "bytes")?;
    let pages = chosen(parameters, "pages", Pages::WORDS)?;
    if bytes % LINE_BYTES > 0 {
        return Err(WorkloadError::Wrong(format!(
            "mem.latency: `bytes` is {bytes}, which is no multiple of {LINE_BYTES}"
        )));
    }
    if pages == Pages::Huge && bytes < HUGE_PAGE_BYTES {
        let (low, high) = (HUGE_PAGE_BYTES, BYTES_MAX);
        return Err(ParameterError::Range { name: "bytes".to_owned(), value: bytes, low, high }.into());
    }
    Ok((bytes, pages))
}

/// The numbers of all lines up to the last, in random order (Fisher and Yates). Followed around they are one cycle, and
/// any cycle is as likely as another, as with Sattolo's algorithm; but here it is known where each step leads.
fn shuffled(last: u32, seed: u64) -> Result<Region<u32>, WorkloadError> {
    let mut order = Region::new(last as usize + 1)?;
    for (line, number) in order.iter_mut().zip(0..=last) {
        *line = number;
    }
    let mut seeded = Seeded::new(seed);
    for index in (1..order.len()).rev() {
        order.swap(index, seeded.below(index as u64 + 1) as usize);
    }
    Ok(order)
}

/// Writes into each line where the next one begins. The lines are written in their order in memory: in random order this
/// would take as long as many units.
fn link(words: &mut [u64], order: &[u32]) -> Result<(), WorkloadError> {
    let mut next = Region::<u32>::new(order.len())?;
    for (index, line) in order.iter().enumerate() {
        next[*line as usize] = order[(index + 1) % order.len()];
    }
    for (words, next) in words.chunks_exact_mut(LINE_WORDS).zip(next.iter()) {
        words[0] = u64::from(*next) * LINE_WORDS as u64;
    }
    Ok(())
}

/// Where the line begins to which so many steps lead.
fn first_word(order: &[u32], steps: u64) -> usize {
    order[(steps % order.len() as u64) as usize] as usize * LINE_WORDS
}

/// A walk around the cycle.
struct Chase {
    words: Region<u64>,
    /// The lines in the order in which they are met; read outside of units only.
    order: Region<u32>,
    /// The word that the next load reads.
    at: usize,
    /// Loads since the start.
    done: u64,
    /// Loads in a unit.
    loads: u64,
}

impl Prepared for Chase {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.at = chase(&self.words, self.at, self.loads);
        self.done += self.loads;
        Ok(self.loads as f64)
    }

    /// The walk is where so many steps lead.
    fn verify(&mut self) -> Result<(), WorkloadError> {
        let expected = first_word(&self.order, self.done);
        if self.at != expected {
            let (at, done) = (self.at, self.done);
            return Err(WorkloadError::Wrong(format!("mem.latency: {done} loads led to word {at}, not {expected}")));
        }
        Ok(())
    }
}

/// The loop that is measured. The check of the index is no part of the chain: it is predicted and waits for nobody.
#[inline(never)]
fn chase(words: &[u64], from: usize, loads: u64) -> usize {
    let mut at = from;
    for _ in 0..loads {
        at = words[at] as usize;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::run_slice;
    use plimsoll_protocol::SliceOrder;

    fn room(memory_bytes: u64) -> Room {
        Room { cpus: 2, memory_bytes, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 36 << 20 }
    }

    fn written(bytes: u64, pages: &str) -> Parameters {
        Parameters::default().with("bytes", bytes).with("pages", pages)
    }

    #[test]
    fn the_points_go_from_beyond_the_last_cache_to_one_page() {
        let points = Latency.points(&room(1 << 30));
        let shown = points.iter().map(|point| {
            format!("{}{}", point.integer("bytes", 0, u64::MAX).unwrap() >> 10, &point.text("pages").unwrap()[..1])
        });
        let expected = "1474564 147456h 655364 65536h 163844 16384h 40964 4096h 10244 2564 644 164 44";
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected);
        for point in &points {
            assert_eq!(Latency.size(&room(1 << 30), point).as_ref(), Ok(point));
        }
        let first = Latency.size(&room(1 << 30), &Parameters::default()).unwrap();
        assert_eq!(first, points[0]);
        for cache_bytes in [0, 1, u64::MAX] {
            let points = Latency.points(&Room { cache_bytes, ..room(u64::MAX) });
            assert!((9..30).contains(&points.len()), "{}", points.len());
        }
    }

    #[test]
    fn what_cannot_be_held_is_refused_with_advice_that_can_be_followed() {
        let refusal = Latency.size(&room(287 << 20), &Parameters::default()).unwrap_err();
        assert!(refusal.contains("set --memory to 288 MiB"), "{refusal}");
        let largest: u64 = refusal.split(" to ").last().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(Latency.size(&room(287 << 20), &written(largest, "4k")).is_ok());
        let refused = |bytes, pages| Latency.size(&room(1 << 30), &written(bytes, pages)).unwrap_err();
        assert!(refused(1 << 20, "huge").contains("outside 2097152"));
        assert!(refused(5000, "4k").contains("no multiple of 64"));
        assert!(refused(8192, "big").contains("`4k` or `huge`"));
        for absurd in [0, 1, 4096] {
            assert!(Latency.size(&room(absurd), &Parameters::default()).is_err());
        }
    }

    #[test]
    fn the_walk_meets_every_line_once_and_returns() {
        for lines in [64_u32, 65, 1000, 1 << 16] {
            let order = shuffled(lines - 1, 7).unwrap();
            let mut words = vec![0; lines as usize * LINE_WORDS];
            link(&mut words, &order).unwrap();
            let mut met = vec![false; lines as usize];
            let start = first_word(&order, 0);
            let mut at = start;
            for step in 1..=u64::from(lines) {
                at = chase(&words, at, 1);
                assert_eq!(at, first_word(&order, step));
                assert!(!std::mem::replace(&mut met[at / LINE_WORDS], true), "line {at} was met before");
            }
            assert_eq!(at, start);
        }
    }

    #[test]
    fn the_order_depends_on_the_seed_and_neighbours_are_far_apart() {
        let (one, other) = (shuffled(65_535, 1).unwrap(), shuffled(65_535, 2).unwrap());
        assert!(one[..] != other[..]);
        let close = one.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 64).count();
        assert!(close < 65_536 / 64, "{close} steps stay within a page");
    }

    #[test]
    fn a_walk_with_a_load_too_few_or_a_changed_line_is_found() {
        let make = || {
            let order = shuffled(999, 1).unwrap();
            let mut words = Region::paged(1000 * LINE_WORDS, Pages::Small).unwrap();
            link(&mut words, &order).unwrap();
            Chase { at: first_word(&order, 0), words, order, done: 0, loads: 5000 - 1 }
        };
        let mut chase = make();
        chase.unit(&mut Recorder::default()).unwrap();
        chase.verify().unwrap();
        chase.done += 1;
        assert!(chase.verify().is_err());
        let mut chase = make();
        let line = first_word(&chase.order, 321);
        chase.words[line] = 0;
        chase.unit(&mut Recorder::default()).unwrap();
        assert!(chase.verify().is_err());
    }

    /// `None`, with a printed reason, where huge pages are off.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says why")]
    fn prepared(parameters: &Parameters) -> Option<Box<dyn Prepared>> {
        match Latency.prepare(parameters, &Scene { data_dir: std::path::Path::new("."), seed: 7 }) {
            Err(WorkloadError::Missing(message)) => {
                let required = std::env::var("PLIMSOLL_REQUIRE").unwrap_or_default();
                assert!(!required.split(',').any(|name| name == "huge_pages"), "{message}");
                assert_eq!(parameters.text("pages"), Ok("huge"), "{message}");
                eprintln!("skipped: {message}");
                None
            }
            prepared => Some(prepared.unwrap()),
        }
    }

    #[test]
    fn every_point_is_measured_and_checked() {
        let order = SliceOrder { lead_in_ns: 0, slice_ns_min: 0 };
        let small = Room { cache_bytes: 4 << 20, ..room(1 << 30) };
        for point in Latency.points(&small) {
            let Some(mut prepared) = prepared(&point) else { continue };
            let report = run_slice(prepared.as_mut(), &mut Recorder::default(), &order).unwrap();
            let close = point.integer("bytes", 0, u64::MAX).unwrap() <= CLOSE_BYTES;
            assert_eq!(report.work, if close { 262_144.0 } else { 32_768.0 });
            prepared.clean_up().unwrap();
        }
    }
}
