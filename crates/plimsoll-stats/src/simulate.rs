//! Made-up runs with a known truth, to check that intervals and tests keep their promises.
//!
//! A simulated run follows the design of a real one: in each block every environment is launched afresh, native twice,
//! and slices visit all of them in random order, over and over. A model says how the host misbehaves meanwhile. No
//! model claims to be a real host; each isolates one thing that real hosts do.

use crate::random::Random;
use crate::summary::{finite, mean};

/// How the simulated host and environments misbehave, beside the launch and slice noise of [`Shape`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Not at all: normal launches, normal slices.
    Quiet,
    /// The host's speed wanders: an AR(1) over slices with a stationary sd of 4 % and a correlation of 0.95 from one
    /// slice to the next, whoever's it is.
    Drift,
    /// In 8 % of all launches, one slice takes 50 % longer.
    Spikes,
    /// From one moment on, at random in the run, everything takes 10 % longer.
    LevelShift,
    /// Launches follow Student's t with 3 degrees of freedom, scaled to the same sd.
    HeavyTail,
    /// One launch in ten of the first compared environment takes 30 % longer. The one model that is not symmetric: no
    /// method can cover what it may not have seen.
    RareSlowLaunch,
}

impl Model {
    /// The models in which a comparison with no effect is symmetric, so that a nominal 95 % must be kept.
    pub const SYMMETRIC: [Self; 5] = [Self::Quiet, Self::Drift, Self::Spikes, Self::LevelShift, Self::HeavyTail];

    /// The true mean, in log units, of what an environment's launches take beyond its stated effect.
    fn expected_extra(self, comparison: usize) -> f64 {
        match self {
            Self::RareSlowLaunch if comparison == 0 => SLOW_LAUNCH_SHARE * SLOW_LAUNCH.ln(),
            _ => 0.0,
        }
    }
}

const DRIFT_SD: f64 = 0.04;
const DRIFT_CORRELATION: f64 = 0.95;
const SPIKED_LAUNCH_SHARE: f64 = 0.08;
const SPIKE: f64 = 1.5;
const LEVEL_SHIFT: f64 = 1.1;
const SLOW_LAUNCH_SHARE: f64 = 0.1;
const SLOW_LAUNCH: f64 = 1.3;

/// The most slices, over the whole run, that [`simulate`] is willing to make up.
pub const SIMULATED_SLICES_MAX: usize = 10_000_000;

/// The places that the two native launches of a block have in [`SimulatedRun::slices`]; comparisons follow.
const NATIVES: usize = 2;

/// The size, the noise and the truth of a simulated run.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Blocks, at least 1.
    pub blocks: usize,
    /// Slices per launch, at least 1.
    pub slices: usize,
    /// Standard deviation between launches of one environment, in log units.
    pub launch_sd: f64,
    /// Standard deviation between slices of one launch, in log units.
    pub slice_sd: f64,
    /// The true log effect of each environment compared with native.
    pub effects: Vec<f64>,
}

impl Shape {
    fn is_possible(&self) -> bool {
        let is_sd = |sd: f64| sd.is_finite() && sd >= 0.0;
        let count_fits = self.slices_total().is_some_and(|total| (1..=SIMULATED_SLICES_MAX).contains(&total));
        count_fits
            && is_sd(self.launch_sd)
            && is_sd(self.slice_sd)
            && self.effects.iter().all(|effect| effect.is_finite())
    }

    fn slices_total(&self) -> Option<usize> {
        self.blocks.checked_mul(self.slices)?.checked_mul(self.launches_per_block())
    }

    fn launches_per_block(&self) -> usize {
        NATIVES + self.effects.len()
    }
}

/// A run that never happened.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedRun {
    /// `slices[block][launch][slice]`: natural log of the seconds per unit of work. Launches 0 and 1 of a block are
    /// native, launch 2 + k belongs to comparison k.
    pub slices: Vec<Vec<Vec<f64>>>,
    /// The true mean of [`SimulatedRun::differences`], per comparison: the stated effect and what the model adds.
    pub truth: Vec<f64>,
}

impl SimulatedRun {
    /// One log ratio per block: the comparison's launch against the mean of the block's two natives. Every slice counts
    /// as the same amount of work. `None` for a comparison that the run does not have, or numbers beyond `f64`.
    pub fn differences(&self, comparison: usize) -> Option<Vec<f64>> {
        self.per_block(|block| {
            let native = launch_value(&block[0])?.midpoint(launch_value(&block[1])?);
            finite(launch_value(block.get(NATIVES + comparison)?)? - native)
        })
    }

    /// One log ratio per block: the second native against the first. Its truth is zero in every model.
    pub fn control(&self) -> Option<Vec<f64>> {
        self.per_block(|block| finite(launch_value(&block[1])? - launch_value(&block[0])?))
    }

    fn per_block(&self, value: impl Fn(&Vec<Vec<f64>>) -> Option<f64>) -> Option<Vec<f64>> {
        self.slices.iter().map(value).collect()
    }
}

/// ln(sum of seconds / sum of work) over a launch's slices.
fn launch_value(log_times: &[f64]) -> Option<f64> {
    let times: Vec<f64> = log_times.iter().map(|log_time| log_time.exp()).collect();
    finite(mean(&times)?.ln())
}

/// Makes up a run; the same seed gives the same run. `None` if the shape is impossible: no block or no slice,
/// more than [`SIMULATED_SLICES_MAX`] slices in all, a negative sd, a number that is none.
pub fn simulate(model: Model, shape: &Shape, seed: u64) -> Option<SimulatedRun> {
    if !shape.is_possible() {
        return None;
    }
    let mut host = Host::new(model, shape, shape.slices_total()?, seed);
    let slices = (0..shape.blocks).map(|_| host.block()).collect();
    let truth = shape.effects.iter().enumerate().map(|(k, effect)| effect + model.expected_extra(k)).collect();
    Some(SimulatedRun { slices, truth })
}

/// The simulated host, which remembers from slice to slice what is common to all environments.
struct Host<'a> {
    model: Model,
    shape: &'a Shape,
    random: Random,
    drift: f64,
    slices_until_shift: usize,
}

impl<'a> Host<'a> {
    fn new(model: Model, shape: &'a Shape, slices_total: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let drift = DRIFT_SD * random.normal();
        let slices_until_shift = random.below(slices_total);
        Self { model, shape, random, drift, slices_until_shift }
    }

    /// `[launch][slice]`: rounds over all launches, each round in an order of its own.
    fn block(&mut self) -> Vec<Vec<f64>> {
        let launches: Vec<Launch> = (0..self.shape.launches_per_block()).map(|place| self.launch(place)).collect();
        let mut order: Vec<usize> = (0..launches.len()).collect();
        let mut slices = vec![Vec::with_capacity(self.shape.slices); launches.len()];
        for round in 0..self.shape.slices {
            self.random.shuffle(&mut order);
            for &place in &order {
                slices[place].push(self.slice(&launches[place], round));
            }
        }
        slices
    }

    fn launch(&mut self, place: usize) -> Launch {
        let comparison = place.checked_sub(NATIVES);
        let effect = comparison.map_or(0.0, |k| self.shape.effects[k]);
        let level = effect + self.shape.launch_sd * self.launch_noise();
        let mut launch = Launch { level, spiked_round: None };
        match self.model {
            Model::Spikes if self.random.uniform() < SPIKED_LAUNCH_SHARE => {
                launch.spiked_round = Some(self.random.below(self.shape.slices));
            }
            Model::RareSlowLaunch if comparison == Some(0) && self.random.uniform() < SLOW_LAUNCH_SHARE => {
                launch.level += SLOW_LAUNCH.ln();
            }
            _ => {}
        }
        launch
    }

    /// Mean 0, sd 1.
    fn launch_noise(&mut self) -> f64 {
        let normal = self.random.normal();
        if self.model != Model::HeavyTail {
            return normal;
        }
        let chi_square_3: f64 = (0..3).map(|_| self.random.normal().powi(2)).sum();
        // t = normal / sqrt(chi_square / 3), whose variance is 3.
        normal / chi_square_3.sqrt()
    }

    fn slice(&mut self, launch: &Launch, round: usize) -> f64 {
        let mut log_time = launch.level + self.shape.slice_sd * self.random.normal();
        if launch.spiked_round == Some(round) {
            log_time += SPIKE.ln();
        }
        log_time + self.host_wide()
    }

    /// What the host does to whoever's slice is next.
    fn host_wide(&mut self) -> f64 {
        match self.model {
            Model::Drift => {
                let fresh = DRIFT_SD * (1.0 - DRIFT_CORRELATION * DRIFT_CORRELATION).sqrt();
                self.drift = DRIFT_CORRELATION * self.drift + fresh * self.random.normal();
                self.drift
            }
            Model::LevelShift if self.slices_until_shift == 0 => LEVEL_SHIFT.ln(),
            Model::LevelShift => {
                self.slices_until_shift -= 1;
                0.0
            }
            _ => 0.0,
        }
    }
}

struct Launch {
    /// What every slice of the launch takes, in log units, before noise.
    level: f64,
    spiked_round: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Model; 6] =
        [Model::Quiet, Model::Drift, Model::Spikes, Model::LevelShift, Model::HeavyTail, Model::RareSlowLaunch];

    fn shape() -> Shape {
        Shape { blocks: 3, slices: 4, launch_sd: 0.02, slice_sd: 0.03, effects: vec![0.0, 1.0] }
    }

    #[test]
    fn a_run_has_two_natives_and_every_environment_in_every_block() {
        for model in ALL {
            let run = simulate(model, &shape(), 1).unwrap();
            assert_eq!(run.slices.len(), 3);
            assert!(run.slices.iter().all(|block| block.len() == 4));
            assert!(run.slices.iter().flatten().all(|slices| slices.len() == 4));
        }
    }

    #[test]
    fn the_seed_decides_everything() {
        for model in ALL {
            assert_eq!(simulate(model, &shape(), 5), simulate(model, &shape(), 5));
            assert_ne!(simulate(model, &shape(), 5), simulate(model, &shape(), 6));
        }
    }

    #[test]
    fn the_differences_scatter_around_the_truth() {
        let shape = Shape { blocks: 2_000, ..shape() };
        for model in ALL {
            let run = simulate(model, &shape, 9).unwrap();
            for (comparison, truth) in run.truth.iter().enumerate() {
                let got = mean(&run.differences(comparison).unwrap()).unwrap();
                assert!((got - truth).abs() < 0.01, "{model:?} {comparison}: {got} {truth}");
            }
            assert!(mean(&run.control().unwrap()).unwrap().abs() < 0.01);
        }
    }

    #[test]
    fn a_run_without_noise_returns_its_effects() {
        let shape = Shape { launch_sd: 0.0, slice_sd: 0.0, ..shape() };
        let run = simulate(Model::Quiet, &shape, 1).unwrap();
        assert_eq!(run.differences(1).unwrap(), [1.0; 3]);
        assert_eq!(run.control().unwrap(), [0.0; 3]);
        assert_eq!(run.differences(2), None);
    }

    #[test]
    fn an_impossible_shape_is_refused() {
        let spoil: [fn(&mut Shape); 6] = [
            |shape| shape.blocks = 0,
            |shape| shape.slices = 0,
            |shape| shape.blocks = usize::MAX,
            |shape| shape.launch_sd = -1.0,
            |shape| shape.slice_sd = f64::INFINITY,
            |shape| shape.effects[0] = f64::NAN,
        ];
        for spoil in spoil {
            let mut shape = shape();
            spoil(&mut shape);
            assert_eq!(simulate(Model::Quiet, &shape, 1), None, "{shape:?}");
        }
    }
}
