//! The prolog of an XML file: its encoding and the name of its root element. Nothing behind that name is read.

use std::borrow::Cow;

use crate::charset::Charset;

/// The number of bytes that are searched for an encoding declaration.
const DECLARATION_BYTES_MAX: usize = 200;

/// Decodes a file in the encoding of its byte order mark, else in its declared encoding, else in UTF-8. `None` if the
/// encoding is unknown or the bytes are not valid in it.
pub(super) fn decode(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let charset = match bytes {
        [0xef, 0xbb, 0xbf, ..] => Charset::UTF_8,
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => Charset::named("utf-16")?,
        _ => match declared(bytes) {
            Some(name) => Charset::named(name)?,
            None => Charset::UTF_8,
        },
    };
    if charset.is_utf_8() {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        return std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
    }
    Some(charset.decode(bytes)).filter(|text| !text.contains('\u{fffd}'))
}

/// The encoding in `<?xml … encoding="…"?>`.
fn declared(bytes: &[u8]) -> Option<&str> {
    let start = &bytes[..bytes.len().min(DECLARATION_BYTES_MAX)];
    let ascii = start.iter().position(|byte| !byte.is_ascii()).unwrap_or(start.len());
    let start = std::str::from_utf8(&start[..ascii]).ok()?;
    let (declaration, _) = start.strip_prefix("<?xml")?.split_once("?>")?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    value[1..].split_once(quote).map(|(name, _)| name)
}

/// The name of the root element with its prefix, or `None` without a root element.
pub(super) fn root(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        rest = if let Some(after) = rest.strip_prefix("<?") {
            after.split_once("?>")?.1
        } else if let Some(after) = rest.strip_prefix("<!--") {
            after.split_once("-->")?.1
        } else if let Some(after) = rest.strip_prefix("<!DOCTYPE") {
            after_doctype(after)?
        } else {
            break;
        };
    }
    let name = rest.strip_prefix('<')?;
    let end = name.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/'))?;
    let (name, _) = name.split_at(end);
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == ':');
    is_name.then_some(name)
}

/// The text behind a document type declaration, whose internal subset and quoted addresses can contain brackets.
fn after_doctype(text: &str) -> Option<&str> {
    let (mut quote, mut depth) = (None, 0_usize);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => depth = depth.saturating_sub(1),
            (None, '>') if depth == 0 => return Some(&text[at + 1..]),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_root(text: &str, expected: Option<&str>) {
        assert_eq!(root(text), expected, "{text}");
    }

    #[test]
    fn the_root_is_found_behind_the_prolog() {
        check_root("<properties/>", Some("properties"));
        check_root("\n <a b='<properties>'>", Some("a"));
        check_root(
            "<?xml version=\"1.0\"?><!-- <properties> --><?p <q>?>\n<project>",
            Some("project"),
        );
        check_root(
            "<!DOCTYPE p [<!ENTITY e \"]>\"> <!-- > -->]><p:properties>",
            Some("p:properties"),
        );
        check_root("<!DOCTYPE properties SYSTEM \"a>b\"><properties\n>", Some("properties"));
        for text in ["", "text", "<", "<a", "<!-- <a>", "{{ if }}<a>", "< a>", "<1>", "<!DOCTYPE a"]
        {
            check_root(text, None);
        }
    }

    #[test]
    fn the_byte_order_mark_or_the_declaration_sets_the_encoding() {
        let utf16: Vec<u8> =
            "\u{feff}<a>\u{e4}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decode(&utf16).as_deref(), Some("<a>\u{e4}"));
        assert_eq!(decode("\u{feff}<a>\u{e4}".as_bytes()).as_deref(), Some("<a>\u{e4}"));
        let latin1 = b"<?xml version='1.0' encoding = 'ISO-8859-1'?><a>\xe4";
        assert!(decode(latin1).is_some_and(|text| text.ends_with("<a>\u{e4}")));
        assert_eq!(decode(b"<a>\xe4"), None);
        assert_eq!(decode(b"<?xml encoding='nope'?><a>"), None);
    }
}
