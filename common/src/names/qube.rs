//! Names and UUIDs of qubes.

use super::name;
use crate::failure::Exception;
use crate::untrusted::{Broken, Sanitise, sealed};

name!(
    /// Name of a qube: 1 to 31 characters, safe as one path component (spec 10 §1.9).
    QubeName
);

const MAX_LENGTH: usize = 31;
const RESERVED: [&str; 2] = ["none", "default"];

impl QubeName {
    /// Parses a name; the first violated rule of the table in spec 10 §1.9 gives the text.
    ///
    /// # Errors
    /// `QubesValueError` with that text.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        match Self::violation(text) {
            Some(message) => Err(Broken::new(Exception::QubesValueError, message)),
            None => Ok(Self(text.to_owned())),
        }
    }

    fn violation(text: &str) -> Option<&'static str> {
        let first = text.bytes().next();
        if text.chars().count() > MAX_LENGTH {
            Some("VM name must be shorter than 32 characters")
        } else if first.is_some_and(|byte| byte.is_ascii_digit() || b"_.-".contains(&byte))
            && !text.contains('\n')
        {
            Some("VM name cannot start with hyphen, underscore, dot or numbers")
        } else if !first.is_some_and(|byte| byte.is_ascii_alphabetic())
            || !super::only_word_bytes(text, b"_.-")
        {
            Some("VM name contains illegal characters")
        } else if text == "Domain-0" {
            Some("VM name cannot be 'Domain-0'")
        } else if RESERVED.contains(&text) {
            Some("VM name cannot be 'none' nor 'default'")
        } else if text.ends_with("-dm") {
            Some("VM name cannot end with -dm")
        } else {
            None
        }
    }

    /// The name of the control domain.
    pub fn dom0() -> Self {
        Self("dom0".to_owned())
    }

    /// Whether this is the control domain.
    pub fn is_dom0(&self) -> bool {
        self.0 == "dom0"
    }
}

/// UUID of a qube, in canonical lower-case text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct QubeUuid(uuid::Uuid);

impl QubeUuid {
    /// Parses the canonical lower-case form only.
    ///
    /// # Errors
    /// `QubesVMInvalidUUIDError`; the caller adds the text.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        const INVALID: Broken = Broken::new(Exception::QubesVMInvalidUUIDError, "VM UUID is not valid");
        let canonical = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match uuid::Uuid::try_parse(text) {
            Ok(uuid) if canonical => Ok(Self(uuid)),
            _ => Err(INVALID),
        }
    }

    /// Parses any of the usual spellings, for values in property calls and imported stores.
    pub fn parse_lenient(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(Self)
    }

    /// A fresh random UUID.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// The control domain's UUID: all zeros.
    pub const fn dom0() -> Self {
        Self(uuid::Uuid::nil())
    }
}

impl std::fmt::Display for QubeUuid {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

impl sealed::Sealed for QubeUuid {}

impl Sanitise for QubeUuid {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        Self::parse(super::ascii(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> &'static str {
        QubeName::parse(text).unwrap_err().message
    }

    #[test]
    fn the_first_violated_rule_speaks() {
        assert!(QubeName::parse(&"a".repeat(31)).is_ok());
        assert_eq!(refused(&"a".repeat(32)), "VM name must be shorter than 32 characters");
        for text in ["1a", "-dm", ".x", "_x", "-"] {
            assert_eq!(refused(text), "VM name cannot start with hyphen, underscore, dot or numbers");
        }
        for text in ["", "a b", "a/b", "..\n/x", "é", "a\n"] {
            assert_eq!(refused(text), "VM name contains illegal characters");
        }
        assert_eq!(refused("../x"), "VM name cannot start with hyphen, underscore, dot or numbers");
        assert_eq!(refused("Domain-0"), "VM name cannot be 'Domain-0'");
        assert_eq!(refused("none"), "VM name cannot be 'none' nor 'default'");
        assert_eq!(refused("x-dm"), "VM name cannot end with -dm");
    }

    #[test]
    fn uuids_are_canonical_lower_case() {
        assert!(QubeUuid::parse("67e92c87-65a9-4c7f-b2d3-35c459de9eb5").is_ok());
        assert!(QubeUuid::parse("67E92C87-65a9-4c7f-b2d3-35c459de9eb5").is_err());
        assert!(QubeUuid::parse("67e92c8765a94c7fb2d335c459de9eb5").is_err());
        assert!(QubeUuid::parse("67e92c87-65a9-4c7f-b2d3-35c459de9ebx").is_err());
    }
}
