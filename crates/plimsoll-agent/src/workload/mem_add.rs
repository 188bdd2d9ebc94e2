//! `mem.add`: c = a + b, STREAM's third kernel. 24 bytes for each element.

use super::About;
use super::stream::{Stream, about};

static ABOUT: About = about("mem.add", "memory bandwidth: STREAM's add over arrays of four times the last-level cache");

/// The workload `mem.add`.
pub(super) const ADD: Stream = Stream { about: &ABOUT, sources: 2, kernel: add, element: |a, b| a + b };

/// The compiler must believe that somebody reads the result.
#[inline(never)]
fn add(c: &mut [f64], a: &[f64], b: &[f64]) {
    for ((c, a), b) in c.iter_mut().zip(a).zip(b) {
        *c = a + b;
    }
    std::hint::black_box(c);
}
