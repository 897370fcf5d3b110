//! Numbers and switches as payloads write them (spec 20 §0.3).

use crate::failure::Exception;
use crate::untrusted::{Broken, Sanitise, sealed};

/// How many decimal digits a number may have.
const MAX_DIGITS: usize = 19;

/// What is said of a number that breaks a rule.
struct Texts {
    not_digits: &'static str,
    too_big: &'static str,
    leading_zeros: &'static str,
}

/// Texts that begin with a number's name.
macro_rules! texts {
    ($name:literal) => {
        Texts {
            not_digits: concat!($name, " contains non ASCII digits"),
            too_big: concat!($name, " is bigger than 19 decimal digits"),
            leading_zeros: concat!($name, " contains spurious leading zeros"),
        }
    };
}

/// The digits of a number without its sign, checked in the order of the specification. The few numbers that have 19
/// digits and not 64 bits count as the largest.
fn magnitude(digits: &[u8], texts: &Texts) -> Result<i64, Broken> {
    let refused = |text| Err(Broken::new(Exception::ProtocolError, text));
    match digits {
        [] => refused(texts.not_digits),
        _ if !digits.iter().all(u8::is_ascii_digit) => refused(texts.not_digits),
        _ if digits.len() > MAX_DIGITS => refused(texts.too_big),
        [b'0', _, ..] => refused(texts.leading_zeros),
        _ => Ok(std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).unwrap_or(i64::MAX)),
    }
}

/// How many old states are kept: -1 disables snapshots. Lower numbers parse; each call refuses them in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevisionsToKeep(pub i64);

impl sealed::Sealed for RevisionsToKeep {}

impl Sanitise for RevisionsToKeep {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        const TEXTS: Texts = texts!("Revisions to keep");
        match bytes.strip_prefix(b"-") {
            Some(digits) => magnitude(digits, &TEXTS).map(|number| Self(number.saturating_neg())),
            None => magnitude(bytes, &TEXTS).map(Self),
        }
    }
}

/// Bytes a volume shall have. White space around the number is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeSize(pub u64);

impl sealed::Sealed for VolumeSize {}

impl Sanitise for VolumeSize {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        size(super::stripped(bytes), &texts!("Volume size")).map(Self)
    }
}

/// Bytes that an import brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataSize(pub u64);

impl sealed::Sealed for DataSize {}

impl Sanitise for DataSize {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        size(bytes, &texts!("Size of new data")).map(Self)
    }
}

fn size(digits: &[u8], texts: &Texts) -> Result<u64, Broken> {
    magnitude(digits, texts).map(i64::unsigned_abs)
}

/// A switch: `0 no false off` or `1 yes true on`, in any letter case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl Switch {
    /// The switch a text stands for.
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => Some(Self(true)),
            "0" | "no" | "false" | "off" => Some(Self(false)),
            _ => None,
        }
    }
}

impl sealed::Sealed for Switch {}

impl Sanitise for Switch {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let text = super::ascii(bytes).ok();
        let refused = Broken::new(Exception::ProtocolError, "Payload is not boolean ASCII");
        text.and_then(Self::parse).ok_or(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_checked_in_the_order_of_the_specification() {
        let parsed = |text: &str| RevisionsToKeep::sanitise(text.as_bytes()).map(|number| number.0);
        for (text, number) in
            [("0", 0), ("-0", 0), ("-1", -1), ("12", 12), ("-5", -5), ("9999999999999999999", i64::MAX)]
        {
            assert_eq!(parsed(text), Ok(number), "{text}");
        }
        for (text, said) in [
            ("", "Revisions to keep contains non ASCII digits"),
            ("-", "Revisions to keep contains non ASCII digits"),
            ("1\n", "Revisions to keep contains non ASCII digits"),
            ("--1", "Revisions to keep contains non ASCII digits"),
            ("+1", "Revisions to keep contains non ASCII digits"),
            ("00000000000000000000", "Revisions to keep is bigger than 19 decimal digits"),
            ("01", "Revisions to keep contains spurious leading zeros"),
            ("-00", "Revisions to keep contains spurious leading zeros"),
        ] {
            assert_eq!(parsed(text).unwrap_err().message, said, "{text}");
        }
        assert!(RevisionsToKeep::sanitise(b"\xff").is_err());
    }

    #[test]
    fn sizes_may_have_white_space_around_them_only_where_the_specification_says() {
        assert_eq!(VolumeSize::sanitise(b" 3221225472\n"), Ok(VolumeSize(3_221_225_472)));
        assert_eq!(DataSize::sanitise(b"0"), Ok(DataSize(0)));
        for bad in [&b"-1"[..], b"", b" ", b"1.5"] {
            let said = VolumeSize::sanitise(bad).unwrap_err().message;
            assert_eq!(said, "Volume size contains non ASCII digits");
        }
        let said = DataSize::sanitise(b" 1").unwrap_err().message;
        assert_eq!(said, "Size of new data contains non ASCII digits");
    }

    #[test]
    fn switches_are_words_in_any_letter_case() {
        for (text, is_on) in [("TRUE", true), ("on", true), ("1", true), ("No", false), ("0", false)] {
            assert_eq!(Switch::sanitise(text.as_bytes()), Ok(Switch(is_on)));
        }
        for text in [&b" 1"[..], b"maybe", b"", b"1\n", b"\xff"] {
            assert_eq!(Switch::sanitise(text).unwrap_err().message, "Payload is not boolean ASCII");
        }
    }
}
