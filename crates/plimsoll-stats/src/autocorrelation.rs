//! Whether neighbouring blocks resemble each other, and what that does to an interval.
//!
//! Blocks are launched afresh and compared within themselves, so their values should be independent. If they are not
//! (a host that warms up over an hour), n blocks hold less than n blocks' worth of information, and an interval that
//! does not know is too narrow.

use crate::summary::{finite, mean};

/// A lag-1 correlation up to this is left alone: at 20 blocks, chance alone reaches it now and then.
pub const INFLATION_LAG1_MIN: f64 = 0.3;

/// Under this many blocks the correlation is not known well enough to act on.
pub const INFLATION_BLOCKS_MIN: usize = 20;

/// The lag-1 autocorrelation of the values in the order they were measured, in (-1, 1):
/// `sum (x_i - m)(x_{i+1} - m) / sum (x_i - m)^2`. `None` under three values or without any spread.
pub fn lag1(sample: &[f64]) -> Option<f64> {
    let mean = mean(sample)?;
    if sample.len() < 3 {
        return None;
    }
    let products: f64 = sample.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let squares: f64 = sample.iter().map(|x| (x - mean).powi(2)).sum();
    finite(products / squares)
}

/// The factor to multiply the standard deviation by: `sqrt((1 + r) / (1 - r))` for a lag-1 correlation r over
/// [`INFLATION_LAG1_MIN`] from at least [`INFLATION_BLOCKS_MIN`] blocks; otherwise 1.
///
/// Positive correlation only: a negative one would narrow the interval on weak evidence. `None` as for [`lag1`],
/// except that a constant sample gives 1.
pub fn inflation(sample: &[f64]) -> Option<f64> {
    mean(sample)?;
    let is_constant = sample.windows(2).all(|pair| pair[0] == pair[1]);
    if sample.len() >= 3 && is_constant {
        return Some(1.0);
    }
    let r = lag1(sample)?;
    if sample.len() < INFLATION_BLOCKS_MIN || r <= INFLATION_LAG1_MIN {
        return Some(1.0);
    }
    Some(((1.0 + r) / (1.0 - r)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow_wave(blocks: usize) -> Vec<f64> {
        (0..blocks).map(|block| (block as f64 / 4.0).sin()).collect()
    }

    #[test]
    fn a_slow_wave_over_twenty_blocks_inflates() {
        let r = lag1(&slow_wave(24)).unwrap();
        assert!(r > 0.8, "{r}");
        assert_eq!(inflation(&slow_wave(24)), Some(((1.0 + r) / (1.0 - r)).sqrt()));
    }

    #[test]
    fn fewer_than_twenty_blocks_are_left_alone() {
        assert_eq!(inflation(&slow_wave(19)), Some(1.0));
        assert!(inflation(&slow_wave(20)).unwrap() > 1.0);
    }

    #[test]
    fn alternating_blocks_never_narrow_an_interval() {
        let alternating: Vec<f64> = (0..30).map(|block| f64::from(block % 2)).collect();
        assert!(lag1(&alternating).unwrap() < -0.9);
        assert_eq!(inflation(&alternating), Some(1.0));
    }

    #[test]
    fn a_constant_has_no_correlation_and_needs_no_inflation() {
        assert_eq!(lag1(&[2.0; 25]), None);
        assert_eq!(inflation(&[2.0; 25]), Some(1.0));
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for sample in [&[][..], &[1.0, 2.0], &[1.0, 2.0, f64::NAN]] {
            assert_eq!(lag1(sample), None);
            assert_eq!(inflation(sample), None);
        }
    }
}
