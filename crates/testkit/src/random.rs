//! A small generator for faults: one seed, one run.

/// `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>). Never for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Draws from this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`; 0 where the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The lower numbers come up more often by one part in 2^64 / bound: no test can tell.
        if bound == 0 { 0 } else { self.bits() % bound }
    }

    /// A place in something of this length.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// Whether one of `among` cases has come.
    pub fn once_in(&mut self, among: u64) -> bool {
        self.below(among) == 0
    }
}
