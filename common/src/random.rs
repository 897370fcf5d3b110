//! Random numbers from the kernel's generator.

use std::io::{self, Read};

use crate::files;

/// A number from 0 up to and without `limit`; 0 for an empty range.
pub fn below(limit: u64) -> u64 {
    // The low 62 bits of a random UUID are random.
    let bits = uuid::Uuid::new_v4().as_u64_pair().1 & (u64::MAX >> 2);
    bits.checked_rem(limit).unwrap_or_default()
}

/// Random bytes, once the kernel has enough to make them from.
///
/// # Errors
/// What the system says.
pub fn bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    files::open("/dev/random".as_ref())?.read_exact(&mut bytes)?;
    Ok(bytes)
}
