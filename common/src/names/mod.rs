//! Names and values with a grammar: one type each, made only by parsing (spec 10 §1.9).

mod device;
mod guest;
mod interface;
mod label;
mod notes;
mod number;
mod pairs;
mod policy;
mod qube;
mod rule;
mod text;
mod volume;

pub use device::{
    ANY, AssignedMode, Decoded, DeviceName, Mode, PortName, RequiredSwitch, UNKNOWN_IDENTITY, Wish,
};
pub use guest::{GuestKey, RequestedValue, ToolsValue, UpdateCount};
pub use interface::Interface;
pub use label::{Color, LabelName, NewLabelName};
pub use notes::{NOTES_MAX, Notes};
pub use number::{DataSize, RevisionsToKeep, Switch, VolumeSize};
pub use pairs::{BadDevice, Pairs};
pub use policy::{
    Endpoints, PolicyName, PolicyText, PolicyToken, RegisteredArgument, ServiceCall, ServiceName,
};
pub use qube::{QubeName, QubeUuid};
pub use rule::{BadRule, Family, Rule};
pub use text::{
    Ascii, BackupProfile, FeatureName, FeatureValue, GuestText, PoolName, PropertyName, TagName, VolumeName,
};
pub use volume::{CloneToken, ImportOutcome, RevisionId, TOKEN_NOT_FOUND, VolumeId};

/// Declares a newtype over text whose only constructor is `parse`.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text).map_err(|broken| broken.message)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl crate::untrusted::sealed::Sealed for $name {}

        impl crate::untrusted::Sanitise for $name {
            fn sanitise(bytes: &[u8]) -> Result<Self, crate::untrusted::Broken> {
                Self::parse(crate::names::ascii(bytes)?)
            }
        }
    };
}
use name;

use crate::failure::Exception;
use crate::untrusted::Broken;

/// The bytes as text, if they are ASCII.
pub(crate) fn ascii(bytes: &[u8]) -> Result<&str, Broken> {
    const NOT_ASCII: Broken = Broken::new(Exception::ProtocolError, "non-ASCII characters");
    let text = std::str::from_utf8(bytes).map_err(|_| NOT_ASCII)?;
    if text.is_ascii() { Ok(text) } else { Err(NOT_ASCII) }
}

/// Whether `text` has at least one byte and all of them are letters, digits or in `extra`.
fn only_word_bytes(text: &str, extra: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

/// The bytes without ASCII white space around them.
fn stripped(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = bytes.iter().take_while(|byte| is_space(byte)).count();
    let rest = bytes.get(start..).unwrap_or_default();
    let end = rest.iter().rev().take_while(|byte| is_space(byte)).count();
    rest.get(..rest.len().saturating_sub(end)).unwrap_or_default()
}
