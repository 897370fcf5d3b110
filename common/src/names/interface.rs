//! Interface codes: what a device can do, in seven signs (spec 30 §3.5).

use super::name;
use crate::failure::Exception;
use crate::untrusted::Broken;

name!(
    /// A class letter and six lower-case hexadecimal digits, each of which `*` may stand for.
    Interface
);

/// Length of a code.
const LENGTH: usize = 7;

/// What kinds of interfaces are called, in this order.
const CATEGORIES: [(&str, &[&str]); 20] = [
    ("Network", &["u02****", "p0703**", "p02****", "ue0****"]),
    ("Keyboard", &["u03**01", "p0900**"]),
    ("Mouse", &["u03**02", "p0902**"]),
    ("Input", &["u03****", "p09****"]),
    ("Printer", &["u07****"]),
    ("Camera", &["p0903**", "u06****", "u0e****"]),
    ("Microphone", &["m******"]),
    ("Audio", &["p0403**", "p0401**", "p0408**", "u01****", "m******"]),
    ("Multimedia", &["u10****", "p03****", "p04****"]),
    ("USB Storage", &["u08****"]),
    ("Block Storage", &["b******"]),
    ("Storage", &["b******", "u08****", "p01****"]),
    ("Bluetooth", &["ue00101", "p0d11**"]),
    ("Smart Card Readers", &["u0b****"]),
    ("Display", &["p0300**", "p0380**"]),
    ("Memory", &["p05****"]),
    ("PCI Bridge", &["p06****"]),
    ("Docking Station", &["p0a****"]),
    ("Processor", &["p0b****", "p40****"]),
    ("PCI Serial Bus", &["p0c****"]),
];
/// A more particular kind of the last one.
const PCI_USB: (&str, &[&str]) = ("PCI USB", &["p0c03**"]);

impl Interface {
    /// Parses a code.
    ///
    /// # Errors
    /// `ProtocolError`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'*');
        let is_class = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'?' | b'*');
        let is_code = text.len() == LENGTH
            && text.bytes().next().is_some_and(is_class)
            && text.bytes().skip(1).all(is_digit);
        let strange = Broken::new(Exception::ProtocolError, "Invalid characters in interface encoding");
        if is_code { Ok(Self(text.to_owned())) } else { Err(strange) }
    }

    /// The code of a class's device with the digits that are known, `*` in the place of others.
    pub fn of(class: char, digits: &str) -> Option<Self> {
        Self::parse(&format!("{class}{digits:*<6}").to_ascii_lowercase()).ok()
    }

    /// The codes in a text without separators; the last may be short.
    pub fn all_in(text: &str) -> Vec<&str> {
        let mut codes = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.char_indices().nth(LENGTH).map_or(rest.len(), |(end, _)| end);
            let (code, behind) = rest.split_at(end);
            codes.push(code);
            rest = behind;
        }
        codes
    }

    /// Whether a pattern, which has the form of a code, is about it.
    pub fn matches(&self, pattern: &str) -> bool {
        self.0.len() == pattern.len()
            && self.0.bytes().zip(pattern.bytes()).all(|(own, wanted)| wanted == b'*' || own == wanted)
    }

    /// What its kind is called: by the pattern that says most, the first of those.
    pub fn category(&self) -> &'static str {
        let mut best = ("Other", 0);
        for (name, patterns) in CATEGORIES.into_iter().chain([PCI_USB]) {
            for pattern in patterns.iter().filter(|pattern| self.matches(pattern)) {
                let said = pattern.bytes().filter(|byte| *byte != b'*').count();
                if said > best.1 {
                    best = (name, said);
                }
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_the_most_particular_pattern() {
        for (code, name) in [
            ("p0c0330", "PCI USB"),
            ("p0c0500", "PCI Serial Bus"),
            ("u030101", "Keyboard"),
            ("u080650", "USB Storage"),
            ("b******", "Block Storage"),
            ("m000000", "Microphone"),
            ("ue00101", "Bluetooth"),
            ("?******", "Other"),
        ] {
            assert_eq!(Interface::parse(code).unwrap().category(), name, "{code}");
        }
    }

    #[test]
    fn codes_are_cut_out_of_a_text_by_seven() {
        assert_eq!(Interface::all_in("u08****b******"), ["u08****", "b******"]);
        assert_eq!(Interface::all_in("u08****b"), ["u08****", "b"]);
        assert_eq!(Interface::of('p', "0C0330").unwrap().as_str(), "p0c0330");
        assert_eq!(Interface::of('b', "").unwrap().as_str(), "b******");
        for bad in ["", "u08***", "u08*****", "u08***g", "U08****", "u08***é"] {
            assert!(Interface::parse(bad).is_err(), "{bad}");
        }
    }
}
