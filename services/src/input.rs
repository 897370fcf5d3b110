//! Sanitising steps that several families share.

use common::call::Received;
use common::failure::Refusal;
use common::names::Ascii;
use common::untrusted::Sanitise;

/// The argument as a type.
///
/// # Errors
/// The type's own.
pub fn argument<T: Sanitise>(received: &Received) -> Result<T, Refusal> {
    Ok(received.argument.sanitise()?)
}

/// An argument that may be left out.
///
/// # Errors
/// None in practice: arguments are ASCII when they get here.
pub fn optional_argument(received: &Received) -> Result<Option<Ascii>, Refusal> {
    if received.argument.is_empty() { Ok(None) } else { argument(received).map(Some) }
}
