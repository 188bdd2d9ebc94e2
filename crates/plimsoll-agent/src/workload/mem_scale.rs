//! `mem.scale`: b = s * c, STREAM's second kernel. 16 bytes for each element.

use super::About;
use super::stream::{SCALAR, Stream, about};

static ABOUT: About =
    about("mem.scale", "memory bandwidth: STREAM's scale over arrays of four times the last-level cache");

/// The workload `mem.scale`.
pub(super) const SCALE: Stream = Stream { about: &ABOUT, sources: 1, kernel: scale, element: |c, _| SCALAR * c };

/// The compiler must believe that somebody reads the result.
#[inline(never)]
fn scale(b: &mut [f64], c: &[f64], _: &[f64]) {
    for (b, c) in b.iter_mut().zip(c) {
        *b = SCALAR * c;
    }
    std::hint::black_box(b);
}
