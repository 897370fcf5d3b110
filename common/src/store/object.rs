//! One stored object: JSON with its format and generation, then a line with the checksum.

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Stamp, StoreError};

/// The checksum everyone knows as CRC-32.
const CHECKSUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// Version of the stored form. Objects of a newer one are refused, never guessed at.
pub const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Out<'a, T> {
    format: u32,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<&'a str>,
    object: &'a T,
}

#[derive(Deserialize)]
struct In<T> {
    generation: u64,
    object: T,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// The file's bytes for an object of the given generation.
///
/// # Errors
/// [`StoreError::Damaged`] if the object has no JSON form, which none of ours lacks.
pub fn encode<T: Serialize>(generation: u64, object: &T) -> Result<Vec<u8>, StoreError> {
    encode_stamped(generation, &Stamp::default(), object)
}

/// The same with who made its configuration what it is, as far as that is known.
pub(super) fn encode_stamped<T: Serialize>(
    generation: u64,
    stamp: &Stamp,
    object: &T,
) -> Result<Vec<u8>, StoreError> {
    let words = stamp.to_string();
    let changed = (stamp.change > 0).then_some(words.as_str());
    let mut bytes = serde_json::to_vec_pretty(&Out { format: FORMAT, generation, changed, object })
        .map_err(|_| StoreError::Damaged("(being written)".to_owned()))?;
    bytes.push(b'\n');
    let checksum = CHECKSUM.checksum(&bytes);
    bytes.extend_from_slice(format!("#{checksum:08x}\n").as_bytes());
    Ok(bytes)
}

/// Generation and object of a file's bytes. `file` names it in errors.
///
/// # Errors
/// [`StoreError::Damaged`] for a wrong checksum or text, [`StoreError::Newer`] for a newer format.
pub fn decode<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<(u64, T), StoreError> {
    let stored: In<T> = serde_json::from_slice(readable(file, bytes)?).map_err(|_| damaged(file))?;
    Ok((stored.generation, stored.object))
}

/// The JSON part of a file that is whole and of our format.
fn readable<'b>(file: &str, bytes: &'b [u8]) -> Result<&'b [u8], StoreError> {
    let json = verified(bytes).ok_or_else(|| damaged(file))?;
    if has_known_format(json) {
        Ok(json)
    } else if is_newer(json) {
        Err(StoreError::Newer(file.to_owned()))
    } else {
        Err(damaged(file))
    }
}

fn damaged(file: &str) -> StoreError {
    StoreError::Damaged(file.to_owned())
}

/// The JSON part, if the checksum line is there and right.
fn verified(bytes: &[u8]) -> Option<&[u8]> {
    const CHECKSUM_LINE: usize = "#00000000\n".len();
    let split = bytes.len().checked_sub(CHECKSUM_LINE)?;
    let (json, line) = bytes.split_at_checked(split)?;
    (line == format!("#{:08x}\n", CHECKSUM.checksum(json)).as_bytes()).then_some(json)
}

/// Our own writer puts the format first; anything else is looked at in full.
fn has_known_format(json: &[u8]) -> bool {
    json.starts_with(b"{\n  \"format\": 1,")
        || serde_json::from_slice::<Head>(json).is_ok_and(|head| head.format == FORMAT)
}

fn is_newer(json: &[u8]) -> bool {
    serde_json::from_slice::<Head>(json).is_ok_and(|head| head.format > FORMAT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_decodes_to_itself() {
        let bytes = encode(7, &vec!["a", "b"]).unwrap();
        assert_eq!(decode::<Vec<String>>("x", &bytes).unwrap(), (7, vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn truncation_and_any_flipped_bit_are_damage() {
        let bytes = encode(7, &"text").unwrap();
        for length in 0..bytes.len() {
            assert!(matches!(decode::<String>("x", &bytes[..length]), Err(StoreError::Damaged(_))));
        }
        for position in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1;
            assert!(decode::<String>("x", &flipped).is_err());
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let mut json = b"{\"format\": 2, \"generation\": 1, \"object\": {\"new\": true}}\n".to_vec();
        json.extend_from_slice(format!("#{:08x}\n", CHECKSUM.checksum(&json)).as_bytes());
        assert!(matches!(decode::<String>("x", &json), Err(StoreError::Newer(_))));
    }
}
