//! Decoders for the charsets of Java, by Java's names.
//!
//! Decoding never fails: undefined bytes become U+FFFD, as in Java. The known names are those of the WHATWG encodings, Java's
//! aliases for them, and the DOS code pages. EBCDIC and the rare Asian charsets of IBM are unknown.

mod unicode;

use std::borrow::Cow;

use encoding_rs::Encoding;
use oem_cp::code_table::DECODING_TABLE_CP_MAP;

use self::unicode::{ByteOrder, ByteOrderMark};

/// A character encoding.
#[derive(Debug, Clone, Copy)]
pub enum Charset {
    /// US-ASCII: bytes from 0x80 are undefined.
    Ascii,
    /// ISO-8859-1 proper. WHATWG reads the name as windows-1252.
    Latin1,
    /// UTF-16 with the byte order for texts without a byte order mark.
    Utf16(ByteOrder, ByteOrderMark),
    /// UTF-32 with the byte order for texts without a byte order mark.
    Utf32(ByteOrder, ByteOrderMark),
    /// A DOS code page, by its number.
    CodePage(u16),
    /// A WHATWG encoding, and its mapping of the bytes 0x80 to 0x9F.
    Web(&'static Encoding, C1Mapping),
}

/// The mapping of the bytes 0x80 to 0x9F (C1) in a single-byte charset that has no characters for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum C1Mapping {
    /// The mapping of WHATWG.
    AsWeb,
    /// All are control characters, as in the ISO-8859 family.
    Kept,
    /// The control characters of WHATWG are undefined, as in the Windows family.
    Undefined,
}

impl Charset {
    /// UTF-8, the default charset.
    pub const UTF_8: Self = Self::Web(encoding_rs::UTF_8, C1Mapping::AsWeb);

    /// Finds a charset by its name, in any letter case.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let dashed = name.replace('_', "-");
        unicode::named(&dashed)
            .or_else(|| numbered(&dashed))
            .or_else(|| web(alias(&dashed)))
            .or_else(|| web(&name))
    }

    pub fn is_utf_8(self) -> bool {
        matches!(self, Self::Web(encoding, _) if encoding == encoding_rs::UTF_8)
    }

    /// Decodes bytes. A byte order mark is kept where Java keeps it.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        let text: String = match self {
            Self::Ascii => bytes.iter().map(|byte| ascii(*byte)).collect(),
            Self::Latin1 => bytes.iter().copied().map(char::from).collect(),
            Self::Utf16(order, mark) => unicode::utf16(bytes, order, mark),
            Self::Utf32(order, mark) => unicode::utf32(bytes, order, mark),
            Self::CodePage(number) => code_page(number, bytes),
            Self::Web(encoding, C1Mapping::AsWeb) => {
                return encoding.decode_without_bom_handling(bytes).0;
            }
            Self::Web(encoding, controls) => single_bytes(encoding, controls, bytes),
        };
        text.into()
    }

    /// As [`Charset::decode`]. Valid UTF-8 is not copied.
    pub fn decode_owned(self, bytes: Vec<u8>) -> String {
        let decoded = match self.decode(&bytes) {
            Cow::Owned(text) => Some(text),
            Cow::Borrowed(_) => None,
        };
        decoded.unwrap_or_else(|| String::from_utf8(bytes).unwrap_or_default())
    }
}

fn code_page(number: u16, bytes: &[u8]) -> String {
    let table = DECODING_TABLE_CP_MAP.get(&number);
    table.map(|table| table.decode_string_lossy(bytes)).unwrap_or_default()
}

fn ascii(byte: u8) -> char {
    if byte.is_ascii() { char::from(byte) } else { char::REPLACEMENT_CHARACTER }
}

/// Decodes a text with one character for each byte.
fn single_bytes(encoding: &'static Encoding, controls: C1Mapping, bytes: &[u8]) -> String {
    let text = encoding.decode_without_bom_handling(bytes).0;
    let characters = text.chars().zip(bytes).map(|(character, byte)| match (controls, byte) {
        (C1Mapping::Kept, 0x80..=0x9f) => char::from(*byte),
        _ if matches!(character, '\u{80}'..='\u{9f}') => char::REPLACEMENT_CHARACTER,
        _ => character,
    });
    characters.collect()
}

/// Finds a charset by its number at IBM or Microsoft: `ibm850`, `cp850`, `850`.
fn numbered(name: &str) -> Option<Charset> {
    let name = name.strip_prefix("x-").unwrap_or(name);
    let prefixes = ["ibm-", "ibm", "csibm", "cspc", "cscp", "cp-", "cp", "windows-", "ccsid"];
    let digits = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let number: u16 = digits.parse().ok()?;
    match number {
        367 => Some(Charset::Ascii),
        819 => Some(Charset::Latin1),
        813 => web("iso-8859-7"),
        866 => web("ibm866"),
        912..=916 => web(&format!("iso-8859-{}", [2, 3, 4, 5, 8][usize::from(number - 912)])),
        920 => web("iso-8859-9"),
        923 => web("iso-8859-15"),
        1089 => web("iso-8859-6"),
        1250..=1258 => web(&format!("windows-{number}")),
        // WHATWG has Microsoft's charsets of these numbers, which differ from IBM's.
        932 | 936 if !name.starts_with("ibm") => {
            web(if number == 932 { "shift_jis" } else { "gbk" })
        }
        // Code page 874 of IBM is Thai too, but differs from Microsoft's.
        874 => web("windows-874").filter(|_| name.starts_with("windows")),
        _ => DECODING_TABLE_CP_MAP.contains_key(&number).then_some(Charset::CodePage(number)),
    }
}

/// The WHATWG name for a charset that has another name in Java.
fn alias(name: &str) -> &str {
    match name {
        "latin0" | "latin9" | "latin-9" | "l9" | "iso8859-15-fdis" => "iso-8859-15",
        "iso-ir-226" | "latin10" | "l10" => "iso-8859-16",
        "ms932" | "pck" | "x-pck" | "windows-31j" => "shift_jis",
        "ms936" | "ms-936" | "x-mswin-936" => "gbk",
        "ms949" | "ms-949" | "x-windows-949" => "euc-kr",
        "ms950" | "x-windows-950" | "windows-950" => "big5",
        "ms874" | "ms-874" | "x-windows-874" => "windows-874",
        "eucjis" | "eucjp" | "x-eucjp" => "euc-jp",
        "jis" | "jis-encoding" | "iso2022jp" => "iso-2022-jp",
        "euckr" | "5601" | "ksc-5601" | "ksc5601-1987" => "euc-kr",
        "euc-cn" | "euccn" | "x-euc-cn" | "gb2312-80" | "gb2312-1980" => "gb2312",
        "big5hk" | "big5hkscs" => "big5-hkscs",
        "gb18030-2022" => "gb18030",
        "tis620" | "tis620.2533" => "tis-620",
        "x-macroman" => "macintosh",
        "x-maccyrillic" | "x-macukraine" => "x-mac-cyrillic",
        other => other,
    }
}

/// Finds an encoding by its WHATWG name, with Java's mapping.
fn web(name: &str) -> Option<Charset> {
    let name = iso8859(name).map_or_else(|| name.to_owned(), |part| format!("iso-8859-{part}"));
    if name == "iso-8859-1" {
        return Some(Charset::Latin1);
    }
    let encoding = Encoding::for_label(name.as_bytes())?;
    let is_unknown_to_java =
        encoding == encoding_rs::REPLACEMENT || encoding == encoding_rs::X_USER_DEFINED;
    let controls = match name.as_str() {
        "iso-8859-9" | "latin5" | "l5" | "csisolatin5" | "iso-ir-148" | "iso-8859-11" => {
            C1Mapping::Kept
        }
        _ if encoding.name().starts_with("windows-") => C1Mapping::Undefined,
        _ => C1Mapping::AsWeb,
    };
    (!is_unknown_to_java).then_some(Charset::Web(encoding, controls))
}

/// The part number of an ISO 8859 name such as `iso8859_2`, `8859_2` or `iso_8859-2:1987`.
fn iso8859(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("iso").map_or(name, |rest| rest.trim_start_matches(['-', '_']));
    let part = rest.strip_prefix("8859")?.strip_prefix(['-', '_'])?;
    let part = part.split(':').next()?;
    part.parse::<u8>().is_ok_and(|part| (1..=16).contains(&part)).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, bytes: &[u8], expected: &str) {
        let charset = Charset::named(name).unwrap_or_else(|| panic!("{name} is not known"));
        assert_eq!(charset.decode(bytes), expected, "{name}");
    }

    #[test]
    fn java_names_select_java_charsets() {
        for name in ["us-ascii", "ASCII", "iso646-us", "646", "cp367"] {
            check(name, b"a\xe4", "a\u{fffd}");
        }
        for name in ["iso-8859-1", "ISO_8859-1:1987", "8859_1", "l1", "ibm819", "cp819"] {
            check(name, b"\x80\xe4", "\u{80}\u{e4}");
        }
        for name in ["ibm850", "IBM-850", "cp850", "850", "cspc850multilingual"] {
            check(name, b"\x84", "\u{e4}");
        }
        check("ibm00858", b"\xd5", "\u{20ac}");
        check("x-ibm737", b"\x80", "\u{391}");
        check("iso8859_5", b"\xa1", "\u{401}");
        check("windows-1252", b"\x80\x81", "\u{20ac}\u{fffd}");
        check("iso-8859-9", b"\x80\xd0", "\u{80}\u{11e}");
        check("ms932", b"\x97\xce", "\u{7dd1}");
        check("utf8", "\u{20ac}".as_bytes(), "\u{20ac}");
    }

    #[test]
    fn unsupported_names_are_unknown() {
        for name in
            ["", "nope", "ibm037", "ibm1047", "iso-2022-kr", "x-user-defined", "ibm943", "8859_17"]
        {
            assert!(Charset::named(name).is_none(), "{name}");
        }
    }
}
