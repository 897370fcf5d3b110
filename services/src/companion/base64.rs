//! Base 64 (RFC 4648).

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The usual form, filled up to groups of four.
pub(super) fn padded(bytes: &[u8]) -> String {
    let mut text = digits(bytes);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// The form for names of files and addresses of pages, without padding.
pub(super) fn url_safe(bytes: &[u8]) -> String {
    digits(bytes).replace('+', "-").replace('/', "_")
}

fn digits(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let whole = group.iter().chain(&[0, 0]).take(3);
        let bits = whole.fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let numbers = [bits >> 18, bits >> 12, bits >> 6, bits].map(|number| number & 63);
        let count = group.len().saturating_add(1);
        let digit = |number: u32| usize::try_from(number).ok().and_then(|place| DIGITS.get(place));
        text.extend(numbers.into_iter().take(count).filter_map(digit).map(|digit| char::from(*digit)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_standard_come_out() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(padded(bytes.as_bytes()), text);
            assert_eq!(url_safe(bytes.as_bytes()), text.trim_end_matches('='));
        }
        assert_eq!(padded(&[0xfb, 0xff]), "+/8=");
        assert_eq!(url_safe(&[0xfb, 0xff]), "-_8");
    }
}
