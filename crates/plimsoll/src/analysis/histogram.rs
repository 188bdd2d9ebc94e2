//! Histograms as agents encode them (HdrHistogram V2), added up bin by bin without unpacking each into one of its own:
//! a launch has a hundred of them, and nearly all of their bins are empty.
//!
//! They come from an agent, so they are read with suspicion. No percentile is taken here.

use std::slice;

use hdrhistogram::Histogram;

/// Significant digits of the sum.
const DIGITS: u8 = 3;
/// The most digits that the encoding knows.
const DIGITS_MAX: u32 = 5;
/// More samples than any launch has: a claim beyond it is not believed.
const SAMPLES_MAX: u64 = 1_000_000_000_000;
/// Longer than any latency that a slice can see, nanoseconds (11 days).
const LATENCY_NS_MAX: u64 = 1_000_000_000_000_000;
/// First bytes of the V2 encoding without compression.
const V2_COOKIE: [u8; 4] = [0x1c, 0x84, 0x93, 0x13];

/// The sum of some histograms.
pub(super) struct Sum {
    whole: Histogram<u64>,
    /// Of `bins`.
    layout: Layout,
    /// Samples that are not in `whole` yet, by bin.
    bins: Vec<u64>,
    samples: u64,
}

impl Sum {
    /// Of none.
    pub(super) fn new() -> Option<Self> {
        let layout = Layout::new(u32::from(DIGITS), 1)?;
        Some(Self { whole: Histogram::new(DIGITS).ok()?, layout, bins: Vec::new(), samples: 0 })
    }

    /// Adds an encoded histogram. `None` where it cannot be read or claims what no launch can hold; the sum is then of
    /// no use.
    pub(super) fn add(&mut self, v2: &[u8]) -> Option<()> {
        let encoded = Encoded::read(v2)?;
        if encoded.layout != self.layout {
            self.settle()?;
            self.layout = encoded.layout;
        }
        let reach = self.layout.bins(encoded.highest.min(LATENCY_NS_MAX));
        if self.bins.len() < reach {
            self.bins.resize(reach, 0);
        }
        let samples = add_counts(&mut self.bins[..reach], encoded.counts)?;
        self.samples = self.samples.saturating_add(samples);
        (self.samples <= SAMPLES_MAX).then_some(())
    }

    /// The sum; `None` where it holds what no launch can hold.
    pub(super) fn whole(mut self) -> Option<Histogram<u64>> {
        self.settle()?;
        Some(self.whole)
    }

    fn settle(&mut self) -> Option<()> {
        for (bin, samples) in self.bins.drain(..).enumerate().filter(|(_, samples)| *samples > 0) {
            let (lowest, highest) = self.layout.values(bin);
            if highest > LATENCY_NS_MAX {
                return None;
            }
            self.whole.record_n(lowest, samples).ok()?;
        }
        Some(())
    }
}

/// Which values share a bin. The first two rows of `2^row_bits` bins are `2^unit_bits` wide, those of each row that
/// follows twice as wide as those of the row before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    row_bits: u32,
    unit_bits: u32,
}

impl Layout {
    fn new(digits: u32, lowest: u64) -> Option<Self> {
        if digits > DIGITS_MAX {
            return None;
        }
        // Two rows hold every number up to twice this many digits apart from its neighbours.
        let row_bits = (2 * 10_u32.pow(digits)).next_power_of_two().ilog2() - 1;
        let unit_bits = lowest.checked_ilog2()?;
        (row_bits + unit_bits < u64::BITS - 1).then_some(Self { row_bits, unit_bits })
    }

    /// How many bins it takes to hold a value and all below it.
    fn bins(self, value: u64) -> usize {
        let bits = u64::BITS - value.leading_zeros();
        (bits.saturating_sub(self.row_bits + 1 + self.unit_bits) as usize + 2) << self.row_bits
    }

    /// The lowest and the highest value of a bin.
    fn values(self, bin: usize) -> (u64, u64) {
        let doublings = (bin >> self.row_bits).saturating_sub(1);
        let width = 1 << (self.unit_bits as usize + doublings);
        let lowest = (bin - (doublings << self.row_bits)) as u64 * width;
        (lowest, lowest + (width - 1))
    }
}

/// An encoded histogram with its header read.
struct Encoded<'a> {
    layout: Layout,
    /// The value up to which it has bins.
    highest: u64,
    /// Numbers of variable length. Even: twice the samples of the next bin. Odd, n: (n + 1) / 2 empty bins follow.
    counts: &'a [u8],
}

impl<'a> Encoded<'a> {
    fn read(v2: &'a [u8]) -> Option<Self> {
        let mut rest = v2;
        let cookie = take::<4>(&mut rest)?;
        let counts_bytes = u32::from_be_bytes(take(&mut rest)?) as usize;
        let offset = u32::from_be_bytes(take(&mut rest)?);
        let digits = u32::from_be_bytes(take(&mut rest)?);
        let lowest = u64::from_be_bytes(take(&mut rest)?);
        let highest = u64::from_be_bytes(take(&mut rest)?);
        let scale = f64::from_be_bytes(take(&mut rest)?);
        let is_plain = cookie == V2_COOKIE && offset == 0 && scale == 1.0 && highest / 2 >= lowest;
        let layout = Layout::new(digits, lowest).filter(|_| is_plain)?;
        Some(Self { layout, highest, counts: rest.get(..counts_bytes)? })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// Adds encoded counts to bins and returns how many samples they were; `None` where they are cut off or leave the bins.
fn add_counts(bins: &mut [u64], counts: &[u8]) -> Option<u64> {
    let mut counts = counts.iter();
    let (mut bin, mut samples) = (0_usize, 0_u64);
    while let Some(first) = counts.next() {
        // Nearly all numbers are one byte.
        let zigzag = if *first < 0x80 { u64::from(*first) } else { longer(*first, &mut counts)? };
        let size = zigzag >> 1;
        if zigzag & 1 == 1 {
            bin = bin.checked_add(usize::try_from(size).ok()? + 1)?;
            continue;
        }
        if size > 0 {
            let sum = bins.get_mut(bin)?;
            *sum = sum.saturating_add(size);
            samples = samples.saturating_add(size);
        }
        bin = bin.checked_add(1)?;
    }
    Some(samples)
}

/// A number of several bytes: seven bits of each, the lowest first, until a byte below 128; a ninth counts whole.
fn longer(first: u8, rest: &mut slice::Iter<'_, u8>) -> Option<u64> {
    let mut number = u64::from(first & 0x7f);
    for shift in (7..56).step_by(7) {
        let byte = *rest.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    Some(number | u64::from(*rest.next()?) << 56)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::simulated::encoded;
    use hdrhistogram::serialization::Deserializer;
    use proptest::prelude::*;

    /// What the library makes of the same bytes, each unpacked and added.
    fn by_the_library(parts: &[Vec<u8>]) -> Option<Histogram<u64>> {
        let mut whole = Histogram::new(DIGITS).unwrap();
        for v2 in parts {
            if v2.get(..4)? != V2_COOKIE || u32::from_be_bytes(*v2[4..].first_chunk()?) as usize > v2.len() {
                return None;
            }
            let part: Histogram<u64> = Deserializer::new().deserialize(&mut v2.as_slice()).ok()?;
            if part.len() > SAMPLES_MAX || part.max() > LATENCY_NS_MAX {
                return None;
            }
            whole.add(&part).ok()?;
        }
        (whole.len() <= SAMPLES_MAX).then_some(whole)
    }

    fn summed(parts: &[Vec<u8>]) -> Option<Histogram<u64>> {
        let mut sum = Sum::new().unwrap();
        for v2 in parts {
            sum.add(v2)?;
        }
        sum.whole()
    }

    fn same(parts: &[Vec<u8>]) -> Result<(), TestCaseError> {
        let (ours, theirs) = (summed(parts), by_the_library(parts));
        prop_assert_eq!(&ours, &theirs);
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            prop_assert_eq!((ours.len(), ours.min(), ours.max()), (theirs.len(), theirs.min(), theirs.max()));
            for p in [0.01, 0.5, 0.99, 1.0] {
                prop_assert_eq!(ours.value_at_quantile(p), theirs.value_at_quantile(p));
            }
        }
        Ok(())
    }

    /// A histogram of any layout with some samples of any size, encoded.
    fn any_histogram() -> impl Strategy<Value = Vec<u8>> {
        let agents = Just((1, 60_000_000_000, 3));
        let other =
            (0_u32..22, 1_u32..42, 0_u8..=5).prop_map(|(low, more, digits)| (1 << low, 2 << (low + more), digits));
        let samples = prop::collection::vec((0_u32..51, any::<u64>(), 1_u64..100_000), 0..40);
        (prop_oneof![agents, other], samples).prop_map(|((low, high, digits), samples)| {
            let mut histogram: Histogram<u64> = Histogram::new_with_bounds(low, high, digits).unwrap();
            for (bits, value, count) in samples {
                histogram.saturating_record_n(value & ((1 << bits) - 1), count);
            }
            encoded(&histogram)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_sum_is_what_the_library_makes_of_its_parts(parts in prop::collection::vec(any_histogram(), 0..4)) {
            same(&parts)?;
        }

        #[test]
        fn what_is_damaged_is_refused_where_the_library_refuses_it(
            mut v2 in any_histogram(), at: prop::sample::Index, byte: u8, cut in 0_usize..3,
        ) {
            let at = at.index(v2.len());
            // A highest value of 2^56 makes the library reserve gigabytes at five digits.
            prop_assume!(!(24..26).contains(&at));
            v2[at] = byte;
            v2.truncate(v2.len() - cut);
            same(&[v2])?;
        }
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_is_not_believed() {
        let mut histogram: Histogram<u64> = Histogram::new(3).unwrap();
        histogram.record(1_000).unwrap();
        let mut v2 = encoded(&histogram);
        assert!(summed(&[v2.clone()]).is_some());
        v2[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(summed(&[v2]).is_none());
    }

    #[test]
    fn claims_beyond_any_launch_are_not_believed() {
        let of = |value: u64, count: u64| {
            let mut histogram: Histogram<u64> = Histogram::new_with_bounds(1, u64::MAX, 3).unwrap();
            histogram.record_n(value, count).unwrap();
            encoded(&histogram)
        };
        assert!(summed(&[of(1_000, SAMPLES_MAX)]).is_some());
        assert!(summed(&[of(1_000, SAMPLES_MAX), of(1, 1)]).is_none());
        assert!(summed(&[of(1_000, i64::MAX as u64), of(1_000, i64::MAX as u64), of(1_000, 3)]).is_none());
        assert!(summed(&[of(LATENCY_NS_MAX / 2, 1)]).is_some());
        assert!(summed(&[of(LATENCY_NS_MAX + LATENCY_NS_MAX / 100, 1)]).is_none());
        assert!(summed(&[of(u64::MAX / 2, 1)]).is_none());
    }
}
