//! How a revision's image is named.

use crate::storage::number;

/// Number and time in `.<number>@<time>Z`.
pub fn parse(suffix: &str) -> Option<(u64, &str)> {
    const TIME: &str = "dddd-dd-ddTdd:dd:dd";
    let (id, time) = suffix.strip_prefix('.')?.strip_suffix('Z')?.split_once('@')?;
    let fits = |(byte, form)| if form == b'd' { u8::is_ascii_digit(&byte) } else { byte == form };
    let is_time = time.len() == TIME.len() && time.bytes().zip(TIME.bytes()).all(fits);
    Some((number(id)?, time)).filter(|_| is_time)
}
