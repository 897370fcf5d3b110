//! Plain ASCII text and the short names with a byte set of their own.

use super::{name, only_word_bytes};
use crate::failure::Exception;
use crate::untrusted::{Broken, Sanitise, sealed};

name!(
    /// Any ASCII text. Safe to compare and parse on; inside a message only where the specification echoes it.
    Ascii
);

impl Ascii {
    /// Accepts ASCII.
    ///
    /// # Errors
    /// `ProtocolError` for anything else.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        super::ascii(text.as_bytes()).map(|text| Self(text.to_owned()))
    }
}

/// What a guest wrote about itself: what is not ASCII is left out, what does not print is `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestText(String);

impl GuestText {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl sealed::Sealed for GuestText {}

impl Sanitise for GuestText {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let shown = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '_' };
        Ok(Self(bytes.iter().filter(|byte| byte.is_ascii()).map(shown).collect()))
    }
}

name!(
    /// Name of a feature. Reading calls accept any ASCII; see [`FeatureName::is_settable`].
    FeatureName
);

impl FeatureName {
    /// Accepts ASCII.
    ///
    /// # Errors
    /// `ProtocolError` for anything else.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        super::ascii(text.as_bytes()).map(|text| Self(text.to_owned()))
    }

    /// Whether a feature of this name may be made: one or more of letters, digits, `_`, `.`, `-`.
    pub fn is_settable(&self) -> bool {
        only_word_bytes(&self.0, b"_.-")
    }
}

name!(
    /// Value of a feature: printable ASCII, possibly empty. Empty means false.
    FeatureValue
);

impl FeatureValue {
    /// Accepts bytes 0x20 to 0x7E.
    ///
    /// # Errors
    /// `ProtocolError`; the call names the feature in its text.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        if text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Broken::new(Exception::ProtocolError, "value contains illegal characters"))
        }
    }
}

name!(
    /// A tag: one or more of letters, digits, `_`, `-` (spec 10 §5.2).
    TagName
);

impl TagName {
    /// Parses a tag.
    ///
    /// # Errors
    /// `QubesInvalidTagError`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        if text.is_empty() {
            Err(Broken::new(Exception::QubesInvalidTagError, "tag cannot be empty"))
        } else if only_word_bytes(text, b"_-") {
            Ok(Self(text.to_owned()))
        } else {
            Err(Broken::new(Exception::QubesInvalidTagError, "disallowed characters"))
        }
    }
}

name!(
    /// Name of a property as asked for: any ASCII, meaning only what the property table gives it.
    PropertyName
);

impl PropertyName {
    /// Accepts ASCII.
    ///
    /// # Errors
    /// `ProtocolError` for anything else.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        super::ascii(text.as_bytes()).map(|text| Self(text.to_owned()))
    }
}

name!(
    /// Name of a storage pool: letters, digits, `-`, `_`, `.` (spec 20 §2.5).
    PoolName
);

impl PoolName {
    /// Parses a pool name.
    ///
    /// # Errors
    /// `ProtocolError`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        const SAFE: &str = "Pool name must be in safe set: \
            abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
        if only_word_bytes(text, b"-_.") {
            Ok(Self(text.to_owned()))
        } else {
            Err(Broken::new(Exception::ProtocolError, SAFE))
        }
    }
}

name!(
    /// Name of a volume inside its qube: `root`, `private`, `volatile`, `kernel` or an extra one.
    VolumeName
);

impl VolumeName {
    /// Most bytes: drivers make names of files and of logical volumes from it, with something before and after.
    const MAX_LENGTH: usize = 64;

    /// Parses a volume name.
    ///
    /// # Errors
    /// `ProtocolError`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        if text.len() <= Self::MAX_LENGTH && only_word_bytes(text, b"-_.") && !text.starts_with('.') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Broken::new(Exception::ProtocolError, "Volume name contains illegal characters"))
        }
    }
}

name!(
    /// Name of a backup's profile, which is a file's: any ASCII but `/` (spec 40 §11).
    BackupProfile
);

impl BackupProfile {
    /// Parses a profile's name.
    ///
    /// # Errors
    /// `ProtocolError`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        const SLASH: &str = "Backup profile ID must not contain forward slash character";
        let text = super::ascii(text.as_bytes())?;
        if text.contains('/') {
            return Err(Broken::new(Exception::ProtocolError, SLASH));
        }
        Ok(Self(text.to_owned()))
    }
}
