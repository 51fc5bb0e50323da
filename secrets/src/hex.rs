//! Hexadecimal text.

use zeroize::Zeroizing;

/// Decodes an even number of digits, in either case. `None` for other text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// Encodes in lower case.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        for half in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(half), 16).expect("half a byte is one digit"));
        }
    }
    text
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_decoded_in_either_case() {
        assert_eq!(decode("00fFA9"), Some(vec![0, 0xff, 0xa9]));
        assert_eq!(decode(""), Some(Vec::new()));
        assert_eq!(*encode(&[0, 0xff, 0xa9]), "00ffa9");
    }

    #[test]
    fn other_text_is_rejected() {
        for text in ["0", "0g", "0x", " 00", "00 ", "0\u{e4}", "\u{ff10}0"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
