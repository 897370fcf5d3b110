//! What calls on volumes are told besides numbers: old states, tokens, how an import went.

use super::only_word_bytes;
use crate::failure::Exception;
use crate::random;
use crate::untrusted::{Broken, Sanitise, sealed};

const fn refused(message: &'static str) -> Broken {
    Broken::new(Exception::ProtocolError, message)
}

/// Name of an old state of a volume: letters, digits, `:`, `-`, `_`, `.` (spec 20 §4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionId(String);

impl RevisionId {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl sealed::Sealed for RevisionId {}

impl Sanitise for RevisionId {
    /// White space around it is cut off. Other errors than non-ASCII ones name the safe set.
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        const SAFE: &str = "Revision name must be in safe set: \
            abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.";
        let text = super::ascii(super::stripped(bytes))?;
        let is_safe = text.is_empty() || only_word_bytes(text, b":-_.");
        if is_safe { Ok(Self(text.to_owned())) } else { Err(refused(SAFE)) }
    }
}

/// Identifier of a volume in its pool: letters, digits, `-`, `_`, `.`, `/`, `:`, `@` (spec 20 §3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeId(String);

impl VolumeId {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl sealed::Sealed for VolumeId {}

impl Sanitise for VolumeId {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        const SAFE: &str = "Volume ID must be in safe set: \
            abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@";
        let text = super::ascii(bytes).map_err(|_| refused(SAFE))?;
        if only_word_bytes(text, b"-_./:@") { Ok(Self(text.to_owned())) } else { Err(refused(SAFE)) }
    }
}

/// What is said of a token that nobody was given or that was used. The quotes are the class's own (spec 20 §0.3).
pub const TOKEN_NOT_FOUND: &str = "'Token to clone volume of qube was not found'";
/// Letters and digits of a token.
const TOKEN_LENGTH: usize = 32;

/// What stands for a volume to be cloned, good for one use: 32 letters and digits (spec 20 §4.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneToken(String);

impl CloneToken {
    /// The text itself, safe as one path component.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new one, which nobody can guess.
    pub fn random() -> Self {
        const SET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let pick = |_| {
            let at = usize::try_from(random::below(62)).unwrap_or_default();
            char::from(SET.get(at).copied().unwrap_or(b'A'))
        };
        Self((0..TOKEN_LENGTH).map(pick).collect())
    }
}

impl sealed::Sealed for CloneToken {}

impl Sanitise for CloneToken {
    /// White space around it is cut off. A text that cannot be a token is one that nobody was given.
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let text = super::ascii(super::stripped(bytes))
            .map_err(|_| refused("Token contains non-ASCII characters"))?;
        if text.len() == TOKEN_LENGTH && only_word_bytes(text, b"") {
            return Ok(Self(text.to_owned()));
        }
        Err(Broken::new(Exception::QubesVolumeCopyTokenNotFoundError, TOKEN_NOT_FOUND))
    }
}

/// How an import went: `ok`, or anything else with a reason after its first LF (spec 20 §5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// All bytes are there.
    Complete,
    /// Something went wrong, for this reason.
    Failed(String),
}

impl sealed::Sealed for ImportOutcome {}

impl Sanitise for ImportOutcome {
    /// Reasons are printable ASCII and LF.
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let text = super::ascii(bytes)?;
        if text == "ok" {
            return Ok(Self::Complete);
        }
        let reason = text.split_once('\n').map_or("", |(_, reason)| reason);
        if reason.bytes().all(|byte| byte == b'\n' || (0x20..=0x7e).contains(&byte)) {
            Ok(Self::Failed(reason.to_owned()))
        } else {
            Err(refused("Reason contains illegal characters"))
        }
    }
}
