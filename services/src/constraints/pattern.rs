//! A text, the beginning of texts, or a range of numbers, as constraints name values.

/// One of the three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// This text.
    Exact(String),
    /// Every text that begins so: `text*`.
    Prefix(String),
    /// Every whole number from one to another: `1..9`, `1..`, `..9`.
    Range(i64, i64),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        match text.strip_suffix('*') {
            Some(prefix) if prefix.contains('*') => Err("a star that is not at the end"),
            Some(prefix) => Ok(Self::Prefix(prefix.to_owned())),
            None if text.contains('*') => Err("a star that is not at the end"),
            None => Ok(range(text).unwrap_or_else(|| Self::Exact(text.to_owned()))),
        }
    }

    /// Whether a value is what the pattern stands for.
    pub(super) fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == text,
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Range(least, most) => {
                value.parse().is_ok_and(|value: i64| (*least..=*most).contains(&value))
            }
        }
    }

    /// How much of a name it tells, where several match: all, or so many characters.
    pub(super) fn precision(&self) -> usize {
        match self {
            Self::Prefix(prefix) => prefix.len(),
            _ => usize::MAX,
        }
    }
}

fn range(text: &str) -> Option<Pattern> {
    let (least, most) = text.split_once("..")?;
    let end = |text: &str, missing| if text.is_empty() { Some(missing) } else { text.parse().ok() };
    let is_one = !(least.is_empty() && most.is_empty());
    Some(Pattern::Range(end(least, i64::MIN)?, end(most, i64::MAX)?)).filter(|_| is_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_beginnings_and_ranges() {
        for (pattern, yes, no) in [
            ("sys-net", "sys-net", "sys-net2"),
            ("sys-*", "sys-net", "work"),
            ("*", "", "\u{0}never"),
            ("200..4000", "200", "4001"),
            ("..4000", "-5", "many"),
            ("1..", "9223372036854775807", "0"),
            ("", "", "x"),
            ("..", "..", "1"),
            ("a..b", "a..b", "a"),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert!(parsed.matches(yes), "{pattern} {yes}");
            assert!(pattern == "*" || !parsed.matches(no), "{pattern} {no}");
        }
        for bad in ["*a", "a*b", "**"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
