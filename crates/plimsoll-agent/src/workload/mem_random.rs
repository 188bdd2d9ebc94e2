//! `mem.random`: updates of words at random places, by the rules of HPCC RandomAccess (its "GUPS").
//!
//! `table[r & mask] ^= r` for numbers r of HPCC's stream: x to the n over GF(2), modulo a primitive polynomial of degree
//! 64. 128 streams advance together, so that 128 updates may be under way; HPCC's rules allow 1024. With several threads
//! each has a table of its own, as in HPCC's StarRandomAccess, and no update is lost to another thread.

use plimsoll_protocol::Parameters;

use super::region::Region;
use super::team::{Member, THREADS_MAX, Team, all_cpus_and_one};
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, mib,
};

/// The polynomial without its leading term.
const POLY: u64 = 7;
/// After so many numbers the stream repeats.
const PERIOD: u64 = 1_317_624_576_693_539_401;
const STREAMS: usize = 128;
const WORD_BYTES: u64 = 8;
/// Updates of each stream in one unit: 32 768 in all, a few milliseconds.
const ROUNDS_PER_UNIT: u64 = 256;
/// Words whose content is computed a second time.
const CHECKED_WORDS: usize = 1 << 14;
/// Smallest table of a thread.
const TABLE_BYTES_MIN: u64 = 4096;
const TABLE_BYTES_MAX: u64 = 1 << 40;

/// The workload `mem.random`.
#[derive(Debug)]
pub(super) struct Random;

static ABOUT: About = About {
    name: "mem.random",
    summary: "random updates of a table in memory, by the rules of HPCC RandomAccess",
    work: "update",
    metrics: &[Metric { name: "throughput", unit: "1/s", kind: MetricKind::Rate, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 4, tolerance: 0.10 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout {
            name: "table_bytes",
            meaning: "size of the table, a power of two; threads share it out in powers of two",
            range: Some((TABLE_BYTES_MIN, TABLE_BYTES_MAX)),
        },
        ParameterAbout {
            name: "threads",
            meaning: "threads, each with its own table",
            range: Some((1, THREADS_MAX as u64)),
        },
    ],
    uses_disk: false,
};

impl Workload for Random {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let largest = power_of_two_within(room.memory_bytes / 2).min(TABLE_BYTES_MAX);
        let derived = Parameters::default().with("table_bytes", largest.max(TABLE_BYTES_MIN)).with("threads", 1);
        let parameters = ABOUT.merged(derived, written)?;
        let table_bytes = ABOUT.number(&parameters, "table_bytes").map_err(|error| error.to_string())?;
        let threads = ABOUT.number(&parameters, "threads").map_err(|error| error.to_string())?;
        if table_bytes > largest {
            return Err(format!(
                "mem.random needs its table of {} MiB in half of the memory, and the limit is {} MiB: set --memory to {} \
                 MiB or more, or `table_bytes` in the plan to at most {largest}",
                mib(table_bytes),
                mib(room.memory_bytes),
                mib(table_bytes.saturating_mul(2)),
            ));
        }
        share_bytes(table_bytes, threads)?;
        Ok(parameters)
    }

    fn points(&self, room: &Room) -> Vec<Parameters> {
        let mut points = all_cpus_and_one(room);
        points.reverse();
        points
    }

    fn prepare(&self, parameters: &Parameters, _scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let threads = ABOUT.number(parameters, "threads")?;
        let share_bytes =
            share_bytes(ABOUT.number(parameters, "table_bytes")?, threads).map_err(WorkloadError::Wrong)?;
        let words = usize::try_from(share_bytes / WORD_BYTES).map_err(|_| WorkloadError::no_memory("the table"))?;
        let make = move |index: usize| Table::new(words, index as u64, threads);
        let mut updates = Updates { team: Team::assemble(threads as usize, make)? };
        // The first updates show that the arithmetic is right.
        updates.team.all(Task::Update)?;
        updates.verify()?;
        Ok(Box::new(updates))
    }
}

/// The table of one thread, a power of two.
fn share_bytes(table_bytes: u64, threads: u64) -> Result<u64, String> {
    if !table_bytes.is_power_of_two() {
        let (below, above) = (power_of_two_within(table_bytes), table_bytes.next_power_of_two());
        return Err(format!("mem.random: `table_bytes` is {table_bytes} and no power of two: take {below} or {above}"));
    }
    let share = power_of_two_within(table_bytes / threads);
    if share < TABLE_BYTES_MIN {
        return Err(format!(
            "mem.random: a table of {table_bytes} bytes leaves less than {TABLE_BYTES_MIN} to each of {threads} threads: \
             set `table_bytes` in the plan to {} or more, or fewer `threads`",
            (threads * TABLE_BYTES_MIN).next_power_of_two(),
        ));
    }
    Ok(share)
}

/// The largest power of two that is not larger; 0 for 0.
fn power_of_two_within(number: u64) -> u64 {
    number.checked_ilog2().map_or(0, |log| 1 << log)
}

struct Updates {
    team: Team<Table>,
}

impl Prepared for Updates {
    fn unit(&mut self, _recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        Ok(self.team.all(Task::Update)? as f64)
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        self.team.all(Task::Check).map(drop)
    }

    fn clean_up(&mut self) -> Result<(), WorkloadError> {
        self.verify()?;
        self.team.all(Task::CheckAll).map(drop)
    }
}

#[derive(Debug, Clone, Copy)]
enum Task {
    /// The updates of one unit.
    Update,
    /// Computes the updates since the last check again, for some words of the table.
    Check,
    /// After a check: looks at every word.
    CheckAll,
}

/// The table of one thread, and what is known of it otherwise.
///
/// HPCC checks by undoing all updates at the end, which takes as long as they did. Here the streams alone are replayed
/// after a slice, which touches no table: words at equal distances are computed anew and compared exactly, and the
/// xor of all numbers is kept. At the end the xor of the whole table must be just that, since its first content, 0 to
/// n - 1, has none.
struct Table {
    table: Region<u64>,
    streams: [u64; STREAMS],
    /// Rounds since the last check.
    rounds: u64,
    /// The streams at the last check.
    checked_streams: [u64; STREAMS],
    /// What every `stride`-th word should be, as of the last check.
    checked_words: Vec<u64>,
    stride: usize,
    /// The xor of all numbers, as of the last check.
    sum: u64,
}

impl Table {
    fn new(words: usize, index: u64, threads: u64) -> Result<Self, WorkloadError> {
        let mut table = Region::new(words)?;
        for (word, number) in table.iter_mut().zip(0..) {
            *word = number;
        }
        let stride = (words / CHECKED_WORDS).max(1);
        let checked_words = (0..words as u64).step_by(stride).collect();
        // HPCC takes them as far apart as it makes updates. Ours have no end: as far as the period allows.
        let apart = PERIOD / (threads * STREAMS as u64);
        let streams = std::array::from_fn(|stream| number_at((index * STREAMS as u64 + stream as u64) * apart));
        Ok(Self { table, streams, rounds: 0, checked_streams: streams, checked_words, stride, sum: 0 })
    }

    fn check(&mut self) -> Result<(), WorkloadError> {
        let (mask, between) = (self.table.len() - 1, self.stride - 1);
        for _ in 0..std::mem::take(&mut self.rounds) {
            for number in &mut self.checked_streams {
                *number = following(*number);
                self.sum ^= *number;
                let place = *number as usize & mask;
                if place & between == 0 {
                    self.checked_words[place / self.stride] ^= *number;
                }
            }
        }
        let found = self.table.iter().step_by(self.stride);
        let wrong = found.zip(&self.checked_words).filter(|(found, expected)| found != expected).count();
        if wrong > 0 || self.streams != self.checked_streams {
            let checked = self.checked_words.len();
            return Err(WorkloadError::Wrong(format!(
                "mem.random: {wrong} of {checked} words are not what they should be"
            )));
        }
        Ok(())
    }

    fn check_all(&self) -> Result<(), WorkloadError> {
        let sum = self.table.iter().fold(0, |sum, word| sum ^ word);
        if sum != self.sum {
            return Err(WorkloadError::Wrong("mem.random: the table is not the sum of all updates".to_owned()));
        }
        Ok(())
    }
}

impl Member for Table {
    type Task = Task;

    fn perform(&mut self, task: Task) -> Result<u64, WorkloadError> {
        match task {
            Task::Update => {
                update(&mut self.table, &mut self.streams, ROUNDS_PER_UNIT);
                self.rounds += ROUNDS_PER_UNIT;
                return Ok(ROUNDS_PER_UNIT * STREAMS as u64);
            }
            Task::Check => self.check()?,
            Task::CheckAll => self.check_all()?,
        }
        Ok(0)
    }
}

/// The loop that is measured.
#[inline(never)]
fn update(table: &mut [u64], streams: &mut [u64; STREAMS], rounds: u64) {
    let mask = table.len() - 1;
    for _ in 0..rounds {
        for number in streams.iter_mut() {
            *number = following(*number);
            table[*number as usize & mask] ^= *number;
        }
    }
}

/// The number after this one: times x.
#[inline]
fn following(number: u64) -> u64 {
    (number << 1) ^ (if (number as i64) < 0 { POLY } else { 0 })
}

/// The number at this position of the stream, `HPCC_starts`: x to the n, by squaring.
fn number_at(position: u64) -> u64 {
    let position = position % PERIOD;
    // Squaring is linear over GF(2): the square of a sum of powers of x is the sum of their squares.
    let mut squares = [0_u64; 64];
    let mut square = 1;
    for slot in &mut squares {
        *slot = square;
        square = following(following(square));
    }
    let squared = |number: u64| (0..64).filter(|bit| number >> bit & 1 == 1).fold(0, |sum, bit| sum ^ squares[bit]);
    let bits = (0..u64::BITS - position.leading_zeros()).rev();
    bits.fold(1, |number, bit| if position >> bit & 1 == 1 { following(squared(number)) } else { squared(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::run_slice;
    use plimsoll_protocol::SliceOrder;

    fn room(memory_bytes: u64) -> Room {
        Room { cpus: 2, memory_bytes, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 36 << 20 }
    }

    fn table_bytes(memory_bytes: u64, written: &Parameters) -> Result<u64, String> {
        Ok(Random.size(&room(memory_bytes), written)?.integer("table_bytes", 0, u64::MAX).unwrap())
    }

    #[test]
    fn the_table_is_the_largest_power_of_two_in_half_of_the_memory() {
        let derived = |memory_bytes| table_bytes(memory_bytes, &Parameters::default());
        assert_eq!(derived(1 << 30), Ok(512 << 20));
        assert_eq!(derived((1 << 30) - 1), Ok(256 << 20));
        assert_eq!(derived(u64::MAX), Ok(TABLE_BYTES_MAX));
        assert_eq!(derived(8192), Ok(4096));
        for absurd in [0, 1, 8191] {
            assert!(derived(absurd).unwrap_err().contains("set --memory"), "{absurd}");
        }
    }

    #[test]
    fn tables_that_do_not_fit_are_refused_with_advice_that_can_be_followed() {
        let written = |bytes: u64| table_bytes(1 << 30, &Parameters::default().with("table_bytes", bytes));
        assert_eq!(written(1 << 20), Ok(1 << 20));
        let refusal = written(1 << 30).unwrap_err();
        assert!(refusal.contains("2048 MiB or more") && refusal.contains("at most 536870912"), "{refusal}");
        assert!(written(5000).unwrap_err().contains("take 4096 or 8192"));
        let threads = |bytes: u64, threads: u64| {
            table_bytes(1 << 30, &Parameters::default().with("table_bytes", bytes).with("threads", threads))
        };
        let refusal = threads(16384, 5).unwrap_err();
        assert!(refusal.contains("to 32768 or more"), "{refusal}");
        assert_eq!(threads(32768, 5), Ok(32768));
        assert_eq!(share_bytes(32768, 5), Ok(4096));
    }

    #[test]
    fn one_thread_comes_first() {
        let points = Random.points(&room(1 << 30));
        assert_eq!(points, [Parameters::default().with("threads", 1), Parameters::default().with("threads", 2)]);
        assert_eq!(Random.points(&Room { cpus: 1, ..room(1 << 30) }).len(), 1);
    }

    /// The positions are those that HPCC's own loop reaches, one number after another.
    #[test]
    fn a_jump_reaches_what_steps_reach() {
        let mut number = 1;
        for position in 0..2000 {
            assert_eq!(number_at(position), number, "{position}");
            number = following(number);
        }
        for position in [1 << 20, PERIOD / 128, PERIOD / 3, PERIOD - 1] {
            let stepped = (0..1000).fold(number_at(position), |number, _| following(number));
            assert_eq!(number_at(position + 1000), stepped, "{position}");
        }
        assert_eq!(number_at(PERIOD), 1);
        assert_eq!((number_at(63), number_at(64), number_at(128)), (1 << 63, 7, 0b10101));
    }

    #[test]
    fn updates_are_those_of_the_definition() {
        let mut table = Table::new(1 << 12, 1, 3).unwrap();
        for _ in 0..2 {
            table.perform(Task::Update).unwrap();
        }
        let mut expected: Vec<u64> = (0..1 << 12).collect();
        for stream in 0..128 {
            let mut number = number_at((128 + stream) * (PERIOD / 384));
            for _ in 0..512 {
                number = following(number);
                expected[number as usize % (1 << 12)] ^= number;
            }
        }
        assert!(table.table[..] == expected[..]);
        table.perform(Task::Check).unwrap();
        table.perform(Task::CheckAll).unwrap();
    }

    fn checked_after(change: impl FnOnce(&mut Table)) -> (bool, bool) {
        let mut table = Table::new(1 << 16, 0, 1).unwrap();
        table.perform(Task::Update).unwrap();
        change(&mut table);
        (table.perform(Task::Check).is_ok(), table.perform(Task::CheckAll).is_ok())
    }

    #[test]
    fn lost_and_doubled_updates_and_changed_words_are_found() {
        assert_eq!(checked_after(|_| {}), (true, true));
        assert_eq!(checked_after(|table| table.table[4 * 77] ^= 1), (false, false), "a word that is computed anew");
        assert_eq!(checked_after(|table| table.table[4 * 77 + 1] ^= 1), (true, false), "one that is not");
        let fewer = |table: &mut Table| {
            let mut first = Table::new(1 << 16, 0, 1).unwrap();
            update(&mut first.table, &mut first.streams, ROUNDS_PER_UNIT - 1);
            table.table.copy_from_slice(&first.table);
        };
        assert_eq!(checked_after(fewer), (false, false), "the last round was not done");
        let streams = |table: &mut Table| table.streams[127] = 1;
        assert!(!checked_after(streams).0, "a stream that stands elsewhere");
    }

    #[test]
    fn every_point_is_measured_and_checked_to_the_end() {
        let scene = Scene { data_dir: std::path::Path::new("."), seed: 1 };
        let order = SliceOrder { lead_in_ns: 1_000_000, slice_ns_min: 5_000_000 };
        let written = Parameters::default().with("table_bytes", 1 << 20);
        let points = Random.points(&room(1 << 30)).into_iter().chain([Parameters::default().with("threads", 5)]);
        for point in points {
            let parameters =
                Random.size(&room(1 << 30), &Parameters([written.clone().0, point.0].into_iter().flatten().collect()));
            let parameters = parameters.unwrap();
            let mut prepared = Random.prepare(&parameters, &scene).unwrap();
            let report = run_slice(prepared.as_mut(), &mut Recorder::default(), &order).unwrap();
            let threads = parameters.integer("threads", 1, 5).unwrap();
            assert_eq!(report.work, (report.units * threads * 32_768) as f64);
            prepared.clean_up().unwrap();
        }
    }
}
