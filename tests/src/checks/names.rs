//! Every type of `common::names`, and quoting: what is accepted prints, comes back, and is as safe as promised.

use std::fmt::Debug;

use common::model::Labels;
use common::names::{
    Ascii, Color, FeatureName, FeatureValue, GuestKey, LabelName, NewLabelName, Notes, PoolName,
    PropertyName, QubeName, QubeUuid, RequestedValue, TagName, ToolsValue, UpdateCount, VolumeName,
};
use common::quote::quote;
use common::untrusted::{Sanitise, Untrusted};

pub(super) fn check(bytes: &[u8]) {
    for component in
        [accepted(bytes, QubeName::as_str), accepted(bytes, VolumeName::as_str)].into_iter().flatten()
    {
        assert!(is_path_component(&component), "{component:?}");
    }
    for word in [
        accepted(bytes, LabelName::as_str),
        accepted(bytes, |name: &NewLabelName| name.0.as_str()),
        accepted(bytes, PoolName::as_str),
        accepted(bytes, TagName::as_str),
        accepted(bytes, Color::as_str),
    ] {
        assert!(word.is_none_or(|word| is_word(&word)));
    }
    accepted(bytes, Ascii::as_str);
    accepted(bytes, PropertyName::as_str);
    let feature = accepted(bytes, FeatureName::as_str).and_then(|name| FeatureName::parse(&name).ok());
    assert!(feature.is_none_or(|name| !name.is_settable() || is_word(name.as_str())));
    let value = accepted(bytes, FeatureValue::as_str);
    assert!(value.is_none_or(|value| value.chars().all(|character| matches!(character, ' '..='~'))));
    check_guest(bytes);
    check_uuid(bytes);
    check_notes(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_quote(text);
        Labels::built_in().find(text);
    }
}

/// The text of what was accepted, if it was: printed and read again, it is the same.
pub(super) fn accepted<T: Sanitise + Debug + PartialEq>(
    bytes: &[u8],
    print: fn(&T) -> &str,
) -> Option<String> {
    let value = Untrusted::new(bytes.to_vec()).sanitise::<T>().ok()?;
    let text = print(&value).to_owned();
    assert_eq!(Untrusted::new(text.clone().into_bytes()).sanitise::<T>(), Ok(value));
    Some(text)
}

pub(super) fn is_path_component(text: &str) -> bool {
    is_word(text) && text.len() <= 255 && !matches!(text, "." | "..")
}

/// Letters, digits and the marks of all grammars: nothing that separates, quotes or hides.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// What the clients' language takes for space around a number.
const PYTHONS_SPACE: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];

/// What a guest says of itself can be stored and shown; a count is digits.
fn check_guest(bytes: &[u8]) {
    let key = accepted(bytes, GuestKey::as_str);
    assert!(key.is_none_or(|key| key.bytes().all(|byte| byte.is_ascii_graphic())));
    for value in [accepted(bytes, RequestedValue::as_str), accepted(bytes, ToolsValue::as_str)] {
        assert!(value.is_none_or(|value| FeatureValue::parse(&value).is_ok()));
    }
    if let Ok(UpdateCount { is_any }) = Untrusted::new(bytes.to_vec()).sanitise() {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(text.trim_matches(PYTHONS_SPACE).bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(is_any, text.contains(|character| matches!(character, '1'..='9')));
    }
}

fn check_uuid(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(uuid) = QubeUuid::parse_lenient(text) {
        assert_eq!(QubeUuid::parse(&uuid.to_string()), Ok(uuid));
    }
    if let Ok(uuid) = QubeUuid::parse(text) {
        assert_eq!(uuid.to_string(), text);
    }
}

fn check_notes(bytes: &[u8]) {
    let notes = Untrusted::new(bytes.to_vec()).sanitise::<Notes>().unwrap();
    match notes.text() {
        Ok(text) => {
            let hidden = |character: char| character.is_control() && !matches!(character, '\t' | '\n');
            assert!(!text.contains(hidden));
            assert_eq!(text.chars().count(), std::str::from_utf8(bytes).unwrap().chars().count());
            let again = Untrusted::new(text.as_bytes().to_vec()).sanitise::<Notes>().unwrap();
            assert_eq!(again.text(), Ok(text));
        }
        Err(problem) => {
            assert!(std::str::from_utf8(bytes).is_err());
            assert!(problem.starts_with("'utf-8' codec can't decode byte") && problem.is_ascii());
        }
    }
}

/// Quoting loses nothing and leaves no control character.
fn check_quote(text: &str) {
    let quoted = quote(text);
    assert!(!quoted.contains(|character: char| character.is_ascii_control()));
    let mark = quoted.chars().next().unwrap();
    let inside = quoted.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark)).unwrap();
    assert_eq!(unquoted(inside, mark), text);
}

fn unquoted(inside: &str, mark: char) -> String {
    let mut characters = inside.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        assert_ne!(character, mark, "the mark stands unescaped inside");
        text.push(match (character, character == '\\') {
            (plain, false) => plain,
            _ => match characters.next().unwrap() {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'x' => {
                    let digits: String = characters.by_ref().take(2).collect();
                    char::from(u8::from_str_radix(&digits, 16).unwrap())
                }
                itself => itself,
            },
        });
    }
    text
}
