//! What the calls on policy are given (spec 50 §17).

use super::{ascii, name, only_word_bytes};
use crate::failure::Exception;
use crate::untrusted::{Broken, Sanitise, sealed};

const fn refused(message: &'static str) -> Broken {
    Broken::new(Exception::PolicyAdminProtocolException, message)
}

name!(
    /// Name of a policy file without its ending: letters, digits, `_`, `-`.
    PolicyName
);

impl PolicyName {
    /// Most bytes: the ending and what stands around the name of a temporary file fit behind it.
    const MAX_LENGTH: usize = 240;

    /// Parses a name.
    ///
    /// # Errors
    /// `PolicyAdminInvalidFileNameException`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        const INVALID: Broken = Broken::new(
            Exception::PolicyAdminInvalidFileNameException,
            "A policy file's name is up to 240 letters, digits, _ and -",
        );
        let is_valid = text.len() <= Self::MAX_LENGTH && only_word_bytes(text, b"_-");
        if is_valid { Ok(Self(text.to_owned())) } else { Err(INVALID) }
    }
}

name!(
    /// Name of a qrexec service.
    ServiceName
);

impl ServiceName {
    /// Parses a name.
    ///
    /// # Errors
    /// `PolicyAdminProtocolException`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        if text.is_empty() {
            Err(refused("Service cannot be empty."))
        } else if only_word_bytes(text, b"-._") {
            Ok(Self(text.to_owned()))
        } else {
            Err(refused("Invalid characters in the service"))
        }
    }
}

/// `SERVICE[+ARG]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCall {
    /// The service.
    pub service: ServiceName,
    /// Its argument, with the plus sign.
    pub argument: String,
}

impl sealed::Sealed for ServiceCall {}

impl Sanitise for ServiceCall {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let text = ascii(bytes)?;
        let (service, argument) = text.split_once('+').unwrap_or((text, ""));
        if !argument.is_empty() && !only_word_bytes(argument, b"-._+") {
            return Err(refused("Invalid characters in the argument"));
        }
        Ok(Self { service: ServiceName::parse(service)?, argument: format!("+{argument}") })
    }
}

name!(
    /// An argument to be registered: up to 64 letters, digits, `-`, `.`, `_`.
    RegisteredArgument
);

impl RegisteredArgument {
    /// Parses an argument.
    ///
    /// # Errors
    /// `PolicyAdminProtocolException`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        if text.len() <= 64 && only_word_bytes(text, b"-._") {
            Ok(Self(text.to_owned()))
        } else {
            Err(refused("An argument is 1 to 64 letters, digits, -, . and _"))
        }
    }
}

/// What a policy file must be before it is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyToken {
    /// Whatever it is.
    Any,
    /// Not there.
    New,
    /// There with a content of this hash, the word `sha256:` before it.
    Hash(String),
}

impl PolicyToken {
    const PREFIX: &str = "sha256:";

    fn parse(text: &[u8]) -> Result<Self, Broken> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match std::str::from_utf8(text).unwrap_or_default() {
            "any" => Ok(Self::Any),
            "new" => Ok(Self::New),
            text => match text.strip_prefix(Self::PREFIX) {
                Some(digits) if digits.len() == 64 && digits.bytes().all(is_digit) => {
                    Ok(Self::Hash(text.to_owned()))
                }
                _ => Err(refused("Unrecognized token")),
            },
        }
    }

    /// The token of a content whose SHA-256 has these bytes.
    pub fn of_digest(digest: &[u8]) -> String {
        digest.iter().fold(Self::PREFIX.to_owned(), |token, byte| format!("{token}{byte:02x}"))
    }
}

impl sealed::Sealed for PolicyToken {}

impl Sanitise for PolicyToken {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        Self::parse(bytes)
    }
}

/// A line with a token, then what a policy file shall hold. That is read as policy is before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText {
    /// What the file must be before.
    pub token: PolicyToken,
    /// What it shall hold.
    pub content: Vec<u8>,
}

impl sealed::Sealed for PolicyText {}

impl Sanitise for PolicyText {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
        let (Some(token), Some(content)) = (lines.next(), lines.next()) else {
            return Err(refused("Payload needs to include first line with token"));
        };
        Ok(Self { token: PolicyToken::parse(token)?, content: content.to_vec() })
    }
}

/// Who would call whom: `SOURCE NUL TARGET`, and `NUL RELAY` where the source is a remote qube and another calls in its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The calling qube.
    pub source: String,
    /// What it asks for.
    pub target: String,
    /// Who calls in its name.
    pub relay: Option<String>,
}

impl sealed::Sealed for Endpoints {}

impl Sanitise for Endpoints {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        const MALFORMED: Broken = refused("Expected SOURCE NUL TARGET, or SOURCE NUL TARGET NUL RELAY");
        let words: Vec<&str> = ascii(bytes).map_err(|_| MALFORMED)?.split('\0').collect();
        let is_word = |word: &str, most: usize| word.len() <= most && only_word_bytes(word, b"-._@:");
        let word = |word: &str, most| is_word(word, most).then(|| word.to_owned()).ok_or(MALFORMED);
        // A source may be told by its UUID, which is longer than a name.
        const SOURCE_MAX: usize = "uuid:00000000-0000-0000-0000-000000000000".len();
        const TARGET_MAX: usize = 63;
        match words.as_slice() {
            [source, target] => {
                Ok(Self { source: word(source, SOURCE_MAX)?, target: word(target, TARGET_MAX)?, relay: None })
            }
            [source, target, relay] => Ok(Self {
                source: word(source, SOURCE_MAX)?,
                target: word(target, TARGET_MAX)?,
                relay: Some(word(relay, SOURCE_MAX)?),
            }),
            _ => Err(MALFORMED),
        }
    }
}
