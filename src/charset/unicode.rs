//! UTF-16 and UTF-32 with Java's rules for the byte order mark.

use super::Charset;

/// The order of the bytes of a code unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The most significant byte first.
    Big,
    /// The least significant byte first.
    Little,
}

/// The meaning of a byte order mark at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrderMark {
    /// The mark sets the byte order and is not part of the text.
    Decides,
    /// The mark is a character of the text.
    IsText,
}

/// Finds a charset by its name in lower case with dashes.
pub(super) fn named(name: &str) -> Option<Charset> {
    use ByteOrder::{Big, Little};
    use ByteOrderMark::{Decides, IsText};
    Some(match name {
        "us-ascii" | "ascii" | "iso646-us" | "646" | "us" | "iso-ir-6" | "ansi-x3.4-1968" => {
            Charset::Ascii
        }
        "ansi-x3.4-1986" | "ascii7" | "csascii" | "iso-646.irv:1991" | "iso-646.irv:1983" => {
            Charset::Ascii
        }
        "latin1" | "l1" | "iso-ir-100" | "csisolatin1" => Charset::Latin1,
        "utf-16" | "utf16" | "unicode" | "unicodebig" => Charset::Utf16(Big, Decides),
        "x-utf-16le-bom" | "unicodelittle" => Charset::Utf16(Little, Decides),
        "utf-16be" | "x-utf-16be" | "iso-10646-ucs-2" | "unicodebigunmarked" => {
            Charset::Utf16(Big, IsText)
        }
        "utf-16le" | "x-utf-16le" | "unicodelittleunmarked" => Charset::Utf16(Little, IsText),
        "utf-32" | "utf32" | "utf-32be" | "x-utf-32be" | "x-utf-32be-bom" | "utf-32be-bom" => {
            Charset::Utf32(Big, Decides)
        }
        "utf-32le" | "x-utf-32le" | "x-utf-32le-bom" | "utf-32le-bom" => {
            Charset::Utf32(Little, Decides)
        }
        "cspc850multilingual" => return super::numbered("850"),
        _ => return None,
    })
}

/// Decodes UTF-16. Half a surrogate pair, and half a code unit at the end, become U+FFFD.
pub(super) fn utf16(bytes: &[u8], order: ByteOrder, mark: ByteOrderMark) -> String {
    let (order, bytes) = match (bytes, mark) {
        ([0xfe, 0xff, rest @ ..], ByteOrderMark::Decides) => (ByteOrder::Big, rest),
        ([0xff, 0xfe, rest @ ..], ByteOrderMark::Decides) => (ByteOrder::Little, rest),
        _ => (order, bytes),
    };
    let encoding = match order {
        ByteOrder::Big => encoding_rs::UTF_16BE,
        ByteOrder::Little => encoding_rs::UTF_16LE,
    };
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

/// Decodes UTF-32. Invalid code points, and an incomplete one at the end, become U+FFFD.
pub(super) fn utf32(bytes: &[u8], order: ByteOrder, mark: ByteOrderMark) -> String {
    let (order, bytes) = match (bytes, mark) {
        ([0, 0, 0xfe, 0xff, rest @ ..], ByteOrderMark::Decides) => (ByteOrder::Big, rest),
        ([0xff, 0xfe, 0, 0, rest @ ..], ByteOrderMark::Decides) => (ByteOrder::Little, rest),
        _ => (order, bytes),
    };
    let (units, rest) = bytes.as_chunks::<4>();
    let character = |unit: &[u8; 4]| {
        let number = match order {
            ByteOrder::Big => u32::from_be_bytes(*unit),
            ByteOrder::Little => u32::from_le_bytes(*unit),
        };
        char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    let incomplete = (!rest.is_empty()).then_some(char::REPLACEMENT_CHARACTER);
    units.iter().map(character).chain(incomplete).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_order_mark_follows_java() {
        for (name, bytes, expected) in [
            ("utf-16", &b"\0a"[..], "a"),
            ("utf-16", b"\xfe\xff\0a", "a"),
            ("utf-16", b"\xff\xfea\0", "a"),
            ("utf-16be", b"\xfe\xff\0a", "\u{feff}a"),
            ("utf-16le", b"\xff\xfea\0", "\u{feff}a"),
            ("UnicodeLittle", b"a\0", "a"),
            ("utf_32", b"\0\0\0a", "a"),
            ("utf-32", b"\xff\xfe\0\0a\0\0\0", "a"),
            ("utf-32le", b"a\0\0\0", "a"),
        ] {
            assert_eq!(Charset::named(name).unwrap().decode(bytes), expected, "{name}");
        }
    }

    #[test]
    fn invalid_characters_are_replaced() {
        let decoded =
            |name: &str, bytes: &[u8]| Charset::named(name).unwrap().decode(bytes).into_owned();
        assert_eq!(decoded("utf-16", b"\0a\0"), "a\u{fffd}");
        assert_eq!(decoded("utf-32", b"\0\x11\0\0\0\0\0a\0"), "\u{fffd}a\u{fffd}");
    }
}
