//! The arithmetic of Plimsoll: intervals, tests and effect sizes from block values.
//!
//! Numbers in, numbers out. This crate reads no file, no clock and no environment, knows nothing of launches as
//! processes, and prints nothing; the words "cost", "gain" and "unresolved" are chosen elsewhere, from what is
//! returned here. The same input always gives the same output: where chance is needed, the caller brings the seed.
//!
//! The sample that everything starts from is one number per block: `d = y_environment - mean(y_native1, y_native2)`,
//! where `y` is the natural logarithm of the seconds that a unit of work took. Everything that happens below the
//! block (slices, launches, the host's mood) is thereby inside the spread of `d`, and no variance model is needed.
//!
//! | question | item |
//! |---|---|
//! | how large is the effect, and how sure are we? | [`t_interval`], beside it [`hodges_lehmann()`] |
//! | is there an effect at all? | [`t_test_p`], then [`holm()`] over the family, or [`westfall_young()`] in a metric |
//! | is it too small to matter? | [`equivalent`] |
//! | what could this run not have seen, and what would it take? | [`minimum_detectable_effect`], [`blocks_needed`] |
//! | do neighbouring blocks resemble each other? | [`lag1`], [`inflation`] |
//! | how many slices should a launch have? | [`variance_split`], [`slices_per_launch`] |
//! | does all this keep its promises? | [`mod@simulate`] |
//!
//! Refusals: a function that cannot answer returns `None`: too few values, a NaN or an infinity among them, an
//! argument out of its stated range, or a result too large for `f64`. Nothing here panics on numbers.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod autocorrelation;
mod equivalence;
mod hodges_lehmann;
mod holm;
mod power;
mod random;
pub mod simulate;
mod student;
mod summary;
mod variance;
mod westfall_young;

pub use autocorrelation::{INFLATION_BLOCKS_MIN, INFLATION_LAG1_MIN, inflation, lag1};
pub use equivalence::{EQUIVALENCE_CONFIDENCE, equivalent, within_margin};
pub use hodges_lehmann::{HL_SAMPLE_MAX, HL_SAMPLE_MIN, HodgesLehmann, SIGNED_RANK_EXACT_MAX, hodges_lehmann};
pub use holm::holm;
pub use power::{BLOCKS_MAX, BlocksNeeded, POWER, SD_CONFIDENCE, blocks_needed, minimum_detectable_effect};
pub use student::{DF_MAX, Interval, t_interval, t_interval_from, t_quantile, t_test_p, t_test_p_from};
pub use summary::{geometric_mean, mean, median, sample_sd};
pub use variance::{SLICES_MAX, VarianceSplit, slices_per_launch, variance_split};
pub use westfall_young::{
    SIGN_FLIP_BLOCKS_MAX, SIGN_FLIP_BLOCKS_MIN, SIGN_FLIP_COMPARISONS_MAX, SIGN_FLIP_EXACT_MAX,
    SIGN_FLIP_PATTERNS_DRAWN, westfall_young,
};
