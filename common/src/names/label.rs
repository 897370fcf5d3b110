//! Names and colours of labels (spec 10 §4.1).

use super::{name, only_word_bytes};
use crate::failure::Exception;
use crate::untrusted::{Broken, Sanitise, sealed};

name!(
    /// Name of a label, as looked up.
    LabelName
);

impl LabelName {
    /// Parses a label name.
    ///
    /// # Errors
    /// `QubesInvalidLabelError`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        const SAFE: &str = "Label must be in safe set: \
            abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
        if text.is_empty() {
            Err(Broken::new(Exception::QubesInvalidLabelError, "Label name must be set"))
        } else if only_word_bytes(text, b"_.-") {
            Ok(Self(text.to_owned()))
        } else {
            Err(Broken::new(Exception::QubesInvalidLabelError, SAFE))
        }
    }
}

/// Name of a label where digits alone are refused: a new label, and the label of a new qube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLabelName(pub LabelName);

impl NewLabelName {
    /// Parses the name of a new label.
    ///
    /// # Errors
    /// `QubesInvalidLabelError`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Broken::new(Exception::QubesInvalidLabelError, "Label must not be a digit"));
        }
        LabelName::parse(text).map(Self)
    }
}

impl sealed::Sealed for NewLabelName {}

impl Sanitise for NewLabelName {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        Self::parse(super::ascii(bytes)?)
    }
}

/// Colour of a label as given: `0x` and six hexadecimal digits, letter case kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Color(String);

impl Color {
    /// The text, trimmed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const HEX: &str =
            "Label value must only contain hexadecimal digits after prefix: 0123456789abcdefABCDEF";
        let text =
            text.trim_matches(|character: char| character.is_ascii_whitespace() || character == '\x0b');
        if text.len() != 8 {
            return Err("Label value must have length of 8");
        }
        let digits = text.strip_prefix("0x").ok_or("Label value must start with: 0x")?;
        if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) { Ok(Self(text.to_owned())) } else { Err(HEX) }
    }
}

impl sealed::Sealed for Color {}

impl Sanitise for Color {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let refused = |message| Broken::new(Exception::QubesInvalidLabelValueError, message);
        if bytes.is_empty() {
            return Err(refused("Label value must be set"));
        }
        let text = super::ascii(bytes).map_err(|_| refused("Label value must be encoded in ASCII"))?;
        Self::parse(text).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_checked_in_the_order_of_the_table() {
        let refused = |bytes: &[u8]| Color::sanitise(bytes).unwrap_err().message;
        assert_eq!(refused(b""), "Label value must be set");
        assert_eq!(refused(b"\xff0x00ff"), "Label value must be encoded in ASCII");
        assert_eq!(refused(b"0x00fff"), "Label value must have length of 8");
        assert_eq!(refused(b"0X00ffff"), "Label value must start with: 0x");
        assert!(refused(b"0x00fffg").starts_with("Label value must only contain"));
        assert_eq!(Color::sanitise(b" 0x00FFff\n").unwrap().as_str(), "0x00FFff");
    }
}
