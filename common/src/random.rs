//! Random numbers from the kernel's generator.

/// A number from 0 up to and without `limit`; 0 for an empty range.
pub fn below(limit: u64) -> u64 {
    // The low 62 bits of a random UUID are random.
    let bits = uuid::Uuid::new_v4().as_u64_pair().1 & (u64::MAX >> 2);
    bits.checked_rem(limit).unwrap_or_default()
}
