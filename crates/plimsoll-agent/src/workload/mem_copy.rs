//! `mem.copy`: c = a, STREAM's first kernel. 16 bytes for each element.

use super::About;
use super::stream::{Stream, about};

static ABOUT: About =
    about("mem.copy", "memory bandwidth: STREAM's copy over arrays of four times the last-level cache");

/// The workload `mem.copy`.
pub(super) const COPY: Stream = Stream { about: &ABOUT, sources: 1, kernel: copy, element: |a, _| a };

/// A plain copy would become a call of memcpy, which chooses other instructions on other CPUs: with these bits that the
/// compiler cannot know to be none, it is a loop like the other three.
#[inline(never)]
fn copy(c: &mut [f64], a: &[f64], _: &[f64]) {
    let none = std::hint::black_box(0_u64);
    for (c, a) in c.iter_mut().zip(a) {
        *c = f64::from_bits(a.to_bits() ^ none);
    }
    std::hint::black_box(c);
}
