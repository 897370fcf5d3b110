//! The quoted rendering `q(s)` of texts inside messages (spec 10 §0).

/// Renders `text` in quotes, with everything that is not plainly printable escaped.
pub fn quote(text: &str) -> String {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push(mark);
    for character in text.chars() {
        push_escaped(&mut quoted, character, mark);
    }
    quoted.push(mark);
    quoted
}

fn push_escaped(out: &mut String, character: char, mark: char) {
    match character {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x00'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
        _ if character == mark => {
            out.push('\\');
            out.push(character);
        }
        _ => out.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn follows_the_rendering_of_the_specification() {
        assert_eq!(quote("work"), "'work'");
        assert_eq!(quote("it's"), "\"it's\"");
        assert_eq!(quote("it's \"x\""), "'it\\'s \"x\"'");
        assert_eq!(quote("a\\b\n\r\t\x01\x7f"), "'a\\\\b\\n\\r\\t\\x01\\x7f'");
        assert_eq!(quote(""), "''");
    }
}
