//! Percent-decoding of text, strict where the `percent-encoding` crate is lenient.

use percent_encoding::percent_decode_str;

/// Decodes text in which `%` and two hexadecimal digits stand for a byte. Returns `None` for an incomplete or malformed
/// sequence, and for bytes that are not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let is_complete = text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    is_complete.then_some(())?;
    percent_decode_str(text).decode_utf8().ok().map(|decoded| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_become_bytes_and_the_rest_stays() {
        for (text, decoded) in [
            ("", ""),
            ("plain+text", "plain+text"),
            ("my%20config", "my config"),
            ("gr%C3%B6%c3%9fe", "größe"),
            ("%2525", "%25"),
            ("größe%2F", "größe/"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(decoded), "{text}");
        }
    }

    #[test]
    fn broken_sequences_and_broken_text_are_rejected() {
        for text in ["%", "a%2", "%zz", "%+1", "%2%30", "%é", "%FF", "%C3"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
