//! `mem.triad`: a = b + s * c, STREAM's fourth kernel. 24 bytes for each element.

use super::About;
use super::stream::{SCALAR, Stream, about};

static ABOUT: About =
    about("mem.triad", "memory bandwidth: STREAM's triad over arrays of four times the last-level cache");

/// The workload `mem.triad`.
pub(super) const TRIAD: Stream = Stream { about: &ABOUT, sources: 2, kernel: triad, element: |b, c| b + SCALAR * c };

/// The compiler must believe that somebody reads the result.
#[inline(never)]
fn triad(a: &mut [f64], b: &[f64], c: &[f64]) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = b + SCALAR * c;
    }
    std::hint::black_box(a);
}
