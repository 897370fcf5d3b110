//! What a qube tells dom0 of itself, in its QubesDB and as a payload (spec 30 §17).

use super::{ascii, name, only_word_bytes, stripped};
use crate::failure::Exception;
use crate::untrusted::{Broken, Sanitise, sealed};

/// The refusal of a value, with the set that it is outside of.
macro_rules! outside {
    ($more:literal) => {
        Broken::new(
            Exception::ProtocolError,
            concat!(
                "Value outside safe set: abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
                $more
            ),
        )
    };
}

name!(
    /// Key of an entry in a qube's QubesDB: printable ASCII without spaces.
    GuestKey
);

impl GuestKey {
    /// Parses a key.
    ///
    /// # Errors
    /// `ProtocolError`.
    pub fn parse(text: &str) -> Result<Self, Broken> {
        const OUTSIDE: Broken = Broken::new(Exception::ProtocolError, "Name outside safe set");
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OUTSIDE)
        }
    }
}

/// Declares a value of a QubesDB; what is not even ASCII drops the connection.
macro_rules! value {
    ($(#[$doc:meta])* $name:ident, $more:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Parses a value.
            ///
            /// # Errors
            /// `ProtocolError`.
            pub fn parse(text: &str) -> Result<Self, Broken> {
                let is_safe = text.is_empty() || only_word_bytes(text, $more.as_bytes());
                if is_safe { Ok(Self(text.to_owned())) } else { Err(outside!($more)) }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl sealed::Sealed for $name {}

        impl Sanitise for $name {
            fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
                Self::parse(ascii(bytes).map_err(|_| Broken::dropped("a value that is not ASCII"))?)
            }
        }
    };
}

value!(
    /// Value that a qube wishes a feature to have: letters, digits, `-.,_= `, possibly empty.
    RequestedValue,
    "-.,_= "
);

value!(
    /// What a qube's tools say of themselves: letters and digits, possibly none.
    ToolsValue,
    ""
);

/// How many updates there are for a qube, of which only counts whether there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateCount {
    /// Whether there are any.
    pub is_any: bool,
}

impl sealed::Sealed for UpdateCount {}

impl Sanitise for UpdateCount {
    fn sanitise(bytes: &[u8]) -> Result<Self, Broken> {
        let digits = stripped(bytes);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Broken::new(Exception::ProtocolError, "Update count is not a digit"));
        }
        Ok(Self { is_any: digits.iter().any(|digit| *digit != b'0') })
    }
}
