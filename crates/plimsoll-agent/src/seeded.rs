//! Seeded randomness: the same numbers from the same seed on every machine.

/// SplitMix64 (Steele, Lea, Flood 2014). Fast, with any seed as good as any other; no cryptography.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for the `index`-th thing made from `seed`.
    pub(crate) fn stream(seed: u64, index: u64) -> Self {
        Self(Self(seed ^ index.wrapping_mul(0xd1b5_4a32_d192_ed03)).next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `bound`. Its bias is under `bound` in 2^64.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of the authors' C code for seed 1234567.
    #[test]
    fn it_gives_the_published_numbers() {
        let mut seeded = Seeded::new(1_234_567);
        let got = [seeded.next(), seeded.next(), seeded.next()];
        assert_eq!(got, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn numbers_stay_under_their_bound_and_reach_both_ends() {
        let mut seeded = Seeded::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| seeded.below(7)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&0), Some(&6)));
    }
}
