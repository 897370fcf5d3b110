//! Stage 1 of Set: the payload by kind (spec 10 §3.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use common::failure::Refusal;
use common::model::Value;
use common::names::{Ascii, QubeName, QubeUuid, Switch};
use common::quote::quote;
use common::untrusted::Untrusted;

use super::row::Kind;

/// Parses a payload for a property of the given kind. A qube's name stays unresolved.
///
/// # Errors
/// `QubesValueError` with the kind's text.
pub fn parse(kind: Kind, payload: &Untrusted) -> Result<Value, Refusal> {
    let is_qube = matches!(kind, Kind::Qube { .. });
    let non_ascii = if is_qube { "" } else { "Non-ASCII bytes in property value" };
    let text = payload.sanitise::<Ascii>().map_err(|_| Refusal::value(non_ascii))?;
    let text = text.as_str();
    let failed = |kind: &str| Refusal::value(format!("Failed to parse property value as {kind}"));
    match kind {
        Kind::Text | Kind::Label | Kind::Pool => printable(text),
        Kind::Int => integer(text).map(Value::Int).ok_or_else(|| failed("int")),
        Kind::Bool => Switch::parse(text)
            .map(|switch| Value::Bool(switch.0))
            .ok_or_else(|| Refusal::value(format!("Invalid literal for boolean property: {}", quote(text)))),
        Kind::Ip4 => text.parse::<Ipv4Addr>().map(canonical).map_err(|_| failed("IPv4Address")),
        Kind::Ip6 => text.parse::<Ipv6Addr>().map(canonical).map_err(|_| failed("IPv6Address")),
        Kind::Uuid => QubeUuid::parse_lenient(text).map(canonical).ok_or_else(|| failed("UUID")),
        Kind::Qube { .. } if text.is_empty() => Ok(Value::None),
        Kind::Qube { .. } => Ok(canonical(QubeName::parse(text)?)),
    }
}

fn canonical(value: impl std::fmt::Display) -> Value {
    Value::Text(value.to_string())
}

/// Printable ASCII with TAB and LF; VT, FF and CR are refused too, as no stored form carries them.
fn printable(text: &str) -> Result<Value, Refusal> {
    if text.bytes().all(|byte| matches!(byte, 0x20..=0x7e | b'\t' | b'\n')) {
        Ok(Value::Text(text.to_owned()))
    } else {
        Err(Refusal::value("Invalid characters in property value"))
    }
}

/// Decimal with optional sign and single `_` between digits, surrounding white space allowed, within 64 bits.
pub(super) fn integer(text: &str) -> Option<i64> {
    let text = text.trim_matches(|character: char| character.is_ascii_whitespace() || character == '\x0b');
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let bytes = digits.as_bytes();
    let well_formed = bytes.first().is_some_and(u8::is_ascii_digit)
        && bytes.last().is_some_and(u8::is_ascii_digit)
        && bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b'_')
        && !digits.contains("__");
    if well_formed { text.replace('_', "").parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_clients_write_them() {
        for (text, number) in
            [("5", 5), (" +5\n", 5), ("-0_1", -1), ("007", 7), ("9223372036854775807", i64::MAX)]
        {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in ["", "+", "_1", "1_", "1__0", "0x1", "1.0", "9223372036854775808", "1 2", "--1"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }
}
