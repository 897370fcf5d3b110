//! The text form of devices and assignments: words `key='value'` (spec 30 §3.1, §3.2).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use crate::failure::{Failure, Refusal};
use crate::quote::quote;

/// What is wrong with a device or an assignment. It repeats only printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDevice(Cow<'static, str>);

impl BadDevice {
    pub(super) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

impl From<BadDevice> for Refusal {
    #[track_caller]
    fn from(bad: BadDevice) -> Self {
        Self::protocol(bad.0)
    }
}

impl From<BadDevice> for Failure {
    #[track_caller]
    fn from(bad: BadDevice) -> Self {
        Refusal::from(bad).into()
    }
}

/// Between a key and its value.
const OPEN: &str = "='";
/// Between a value and the next key.
const CLOSE: &str = "' ";

/// Keys with values in order. What it prints reads back the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// Adds a pair; a key that is there already keeps its place and gets the new value.
    ///
    /// # Errors
    /// What cannot stand in a key or in a value.
    pub fn put(&mut self, key: &str, value: &str) -> Result<(), BadDevice> {
        check(key, is_of_key, "name")?;
        check(value, is_of_value, "value")?;
        if key.is_empty() {
            return Err(BadDevice::new("Empty property name"));
        }
        // It would read as the beginning of another value.
        if value.ends_with('=') {
            return Err(BadDevice::new("Invalid chars in property value: {'='}"));
        }
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// Adds what is known from elsewhere: signs that cannot be told become `_`.
    pub fn tell(&mut self, key: &str, value: &str) {
        let kept = |text: &str, keeps: fn(char) -> bool| -> String {
            text.chars().map(|sign| if keeps(sign) { sign } else { '_' }).collect()
        };
        let value = kept(value, is_of_value);
        // Both are of permitted signs by now; a key without any has nothing to tell.
        let _ = self.put(&kept(key, is_of_key), value.trim_end_matches('='));
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Reads a text as clients write it.
    ///
    /// # Errors
    /// The first sign that may not be there, or a value without an end.
    pub fn parse(text: &str) -> Result<Self, BadDevice> {
        let mut pairs = Self::default();
        let text = text.trim_ascii();
        let Some((key, mut rest)) = text.split_once(OPEN) else {
            return if text.is_empty() { Ok(pairs) } else { pairs.put(text, "").map(|()| pairs) };
        };
        let mut key = key.trim_ascii();
        while let Some((before, behind)) = rest.split_once(OPEN) {
            let (value, next) =
                before.rsplit_once(CLOSE).ok_or_else(|| BadDevice::new("A property value has no end"))?;
            pairs.put(key, &unescaped(value))?;
            (key, rest) = (next.trim_ascii(), behind);
        }
        let end = rest.char_indices().next_back().map_or(0, |(end, _)| end);
        pairs.put(key, &unescaped(rest.get(..end).unwrap_or_default()))?;
        Ok(pairs)
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (key, value)) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(out, "{space}{key}{OPEN}{}'", value.replace('\'', "\\'"))?;
        }
        Ok(())
    }
}

fn unescaped(value: &str) -> String {
    value.replace("\\'", "'")
}

fn is_of_key(sign: char) -> bool {
    sign.is_ascii_graphic() && !"\"'=`".contains(sign)
}

fn is_of_value(sign: char) -> bool {
    sign == ' ' || sign.is_ascii_graphic()
}

/// Refuses a text with the set of the signs in it that may not be there.
fn check(text: &str, is_fine: fn(char) -> bool, what: &str) -> Result<(), BadDevice> {
    let strange: BTreeSet<char> = text.chars().filter(|sign| !is_fine(*sign)).collect();
    if strange.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = strange.into_iter().map(|sign| quote(&sign.to_string())).collect();
    Err(BadDevice::new(format!("Invalid chars in property {what}: {{{}}}", shown.join(", "))))
}
