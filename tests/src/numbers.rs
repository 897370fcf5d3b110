//! A small generator of repeatable numbers.

/// Numbers that follow from a seed (xorshift).
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of a seed.
    pub fn of(seed: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ (seed + 1))
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "without end")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.next() % of.len() as u64).unwrap()]
    }
}
