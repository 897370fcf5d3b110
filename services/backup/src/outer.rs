//! The archives that a backup is a series of: each has one member, and is padded as `tar` does.

use std::io::{self, Write};

use crate::block::{About, BLOCK, entry, padding};

/// What `tar` writes at once, and so what the length of its archives is a multiple of.
pub(crate) const RECORD: u64 = 20 * BLOCK;

/// So many zeros end a backup, whatever follows: on a device there may be anything.
pub(crate) const DEVICE_END: u64 = 1 << 20;

/// Tells readers of a device that the backup ends here, as far as there is room.
///
/// # Errors
/// What the system says.
pub(crate) fn end_on_device(out: &mut dyn Write) -> io::Result<()> {
    match io::copy(&mut io::Read::take(io::repeat(0), DEVICE_END), out) {
        Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
        _ => Ok(()),
    }
}

/// Begins an archive with one member of this length.
///
/// # Errors
/// What the system says.
pub(crate) fn begin(out: &mut dyn Write, name: &str, length: u64, time: u64) -> io::Result<u64> {
    let header = entry(name.as_bytes(), &About::file(length, time), &[]);
    out.write_all(&header)?;
    Ok(header.len() as u64)
}

/// Ends an archive of which this much is written.
///
/// # Errors
/// What the system says.
pub(crate) fn end(out: &mut dyn Write, written: u64) -> io::Result<()> {
    let least = written.saturating_add(padding(written, BLOCK)).saturating_add(2 * BLOCK);
    let whole = least.saturating_add(padding(least, RECORD));
    io::copy(&mut io::Read::take(io::repeat(0), whole.saturating_sub(written)), out).map(drop)
}

/// A whole archive.
///
/// # Errors
/// What the system says.
pub(crate) fn whole(out: &mut dyn Write, name: &str, content: &[u8], time: u64) -> io::Result<()> {
    let header = begin(out, name, content.len() as u64, time)?;
    out.write_all(content)?;
    end(out, header.saturating_add(content.len() as u64))
}
