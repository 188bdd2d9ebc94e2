//! From log ratios to an estimate: mean, intervals, p, and whether the numbers behave. In log units throughout.

use plimsoll_stats::{
    EQUIVALENCE_CONFIDENCE, HodgesLehmann, Interval, blocks_needed, hodges_lehmann, inflation, mean,
    minimum_detectable_effect, sample_sd, t_interval_from, t_test_p_from,
};

/// Fewer blocks give values without verdicts.
pub(super) const VERDICT_BLOCKS_MIN: usize = 3;
/// Confidence of the intervals that are shown.
const CONFIDENCE: f64 = 0.95;
/// The half-width, relative, that `blocks_for_one_percent` speaks of.
const ONE_PERCENT: f64 = 0.01;

/// What the blocks say together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Estimate {
    pub(super) blocks: usize,
    pub(super) mean: f64,
    /// Standard deviation of the log ratios, widened where neighbouring blocks resemble each other; `None` under 2.
    pub(super) sd: Option<f64>,
    /// Whether it was widened.
    pub(super) autocorrelated: bool,
    /// 95 % interval of the mean.
    pub(super) ci95: Option<Interval>,
    /// The interval that equivalence is judged by.
    pub(super) ci90: Option<Interval>,
    /// Two-sided p of "no effect", unadjusted; `None` under 3 blocks.
    pub(super) p: Option<f64>,
    /// The typical effect, where 6 blocks or more know one.
    pub(super) typical: Option<HodgesLehmann>,
}

impl Estimate {
    /// `None` without any block.
    pub(super) fn of(differences: &[f64]) -> Option<Self> {
        let (blocks, mean) = (differences.len(), mean(differences)?);
        let factor = inflation(differences).unwrap_or(1.0);
        let sd = sample_sd(differences).map(|sd| sd * factor);
        let interval = |confidence| t_interval_from(mean, sd?, blocks, confidence);
        let p = || t_test_p_from(mean, sd?, blocks);
        Some(Self {
            blocks,
            mean,
            sd,
            autocorrelated: factor > 1.0,
            ci95: interval(CONFIDENCE),
            ci90: interval(EQUIVALENCE_CONFIDENCE),
            p: (blocks >= VERDICT_BLOCKS_MIN).then(p).flatten(),
            typical: hodges_lehmann(differences, CONFIDENCE),
        })
    }

    /// Whether the typical effect and the average one differ by more than a half-width of the 95 % interval.
    pub(super) fn has_heavy_tail(&self) -> bool {
        let (Some(typical), Some(ci95)) = (self.typical, self.ci95) else { return false };
        (typical.estimate - self.mean).abs() > ci95.half_width()
    }

    /// The smallest effect that such a run finds four times in five, at this two-sided level.
    pub(super) fn minimum_detectable(&self, alpha: f64) -> Option<f64> {
        minimum_detectable_effect(self.sd?, self.blocks, alpha)
    }

    /// Blocks that would bring the 95 % half-width to 1 %, low and high; never fewer than a verdict needs.
    pub(super) fn blocks_for_one_percent(&self) -> Option<[u32; 2]> {
        let needed = blocks_needed(self.sd?, self.blocks, ONE_PERCENT.ln_1p(), CONFIDENCE)?;
        Some([needed.low, needed.high].map(|blocks| blocks.max(VERDICT_BLOCKS_MIN) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_two_blocks_have_no_p_and_only_two_have_an_interval() {
        let one = Estimate::of(&[0.1]).unwrap();
        assert_eq!((one.sd, one.ci95, one.p), (None, None, None));
        let two = Estimate::of(&[0.1, 0.2]).unwrap();
        assert!(two.ci95.is_some() && two.p.is_none());
        assert!(Estimate::of(&[0.1, 0.2, 0.3]).unwrap().p.is_some());
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn one_block_in_nine_that_is_far_out_is_a_heavy_tail_only_when_it_moves_the_mean_beyond_the_interval() {
        let calm: Vec<f64> = (0..24).map(|block| 0.01 * f64::from(block % 3)).collect();
        assert!(!Estimate::of(&calm).unwrap().has_heavy_tail());
        // Many rare stalls: the mean is between them and the typical block, and well known.
        let stalls: Vec<f64> =
            (0..60).map(|block| if block % 5 == 0 { 1.0 } else { 0.001 * f64::from(block % 3) }).collect();
        assert!(Estimate::of(&stalls).unwrap().has_heavy_tail());
    }

    #[test]
    fn blocks_that_resemble_their_neighbours_widen_everything() {
        let wave: Vec<f64> = (0..24).map(|block| 0.1 + (f64::from(block) / 4.0).sin()).collect();
        let shuffled: Vec<f64> = (0..24).map(|block| wave[block * 7 % 24]).collect();
        let (wave, shuffled) = (Estimate::of(&wave).unwrap(), Estimate::of(&shuffled).unwrap());
        assert!(wave.autocorrelated && !shuffled.autocorrelated);
        assert!(wave.ci95.unwrap().half_width() > 2.0 * shuffled.ci95.unwrap().half_width());
        assert!(wave.p > shuffled.p);
    }
}
