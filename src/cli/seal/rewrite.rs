//! Replaces the sealed texts in the bytes of a file. All other bytes stay the same.
//!
//! The place of each text is that of its value. A text that is not there as it is, such as one with escapes, is found only if
//! it occurs once. The result is parsed and compared before it is used.

use headwater_secrets::sealed::{Place, SealKeyring};
use headwater_secrets::{CIPHER_MARKER, Keyring, SecretText};

use crate::format::{self, Format};
use crate::model::{Document, Position, Property, Value};

/// The quotes that may precede a text at its place.
const QUOTES: [u8; 2] = [b'"', b'\''];

/// The replacement of `{cipher}` values in one file.
pub(super) struct Rewrite<'a> {
    pub(super) format: Format,
    pub(super) area: &'a str,
    pub(super) cipher: &'a Keyring,
    pub(super) bound: &'a SealKeyring,
}

/// The result for one file.
pub(super) struct Rewritten {
    pub(super) bytes: Vec<u8>,
    /// The number of replaced values.
    pub(super) count: usize,
    /// The values that stay as they are: line, column, key and reason.
    pub(super) problems: Vec<String>,
}

/// The replacement of one `{cipher}` value by its sealed form.
struct TextEdit {
    start: usize,
    old_length: usize,
    new: String,
    key: String,
    text: SecretText,
}

impl Rewrite<'_> {
    /// Replaces all values that can be replaced.
    pub(super) fn apply(&self, bytes: &[u8]) -> Rewritten {
        let unchanged = |problems| Rewritten { bytes: bytes.to_vec(), count: 0, problems };
        let documents = match format::parse(self.format, bytes) {
            Ok(documents) => documents,
            Err(error) => return unchanged(vec![format!(" {error}")]),
        };
        let (mut replacements, mut problems) = (Vec::new(), Vec::new());
        for property in ciphers(&documents) {
            match self.replacement(bytes, &documents, property) {
                Ok(replacement) => replacements.push(replacement),
                Err(reason) => {
                    let Property { key, position: Position { line, column }, .. } = property;
                    problems.push(format!("{line}:{column}: {key}: {reason}"));
                }
            }
        }
        replacements.sort_by_key(|it| it.start);
        let mut new = Vec::with_capacity(bytes.len());
        let mut copied = 0;
        for TextEdit { start, old_length, new: text, .. } in &replacements {
            new.extend_from_slice(&bytes[copied..*start]);
            new.extend_from_slice(text.as_bytes());
            copied = start + old_length;
        }
        new.extend_from_slice(&bytes[copied..]);
        if !self.is_equal(&documents, &new, &replacements) {
            problems.push(
                " the result would not have the same values. The file is unchanged".to_owned(),
            );
            return unchanged(problems);
        }
        Rewritten { bytes: new, count: replacements.len(), problems }
    }

    fn replacement(
        &self,
        bytes: &[u8],
        documents: &[Document],
        property: &Property,
    ) -> Result<TextEdit, &'static str> {
        if documents.iter().any(|document| document.sops.is_some()) {
            return Err("is in a SOPS file: change it with sops");
        }
        if self.format == Format::Xml {
            return Err("is in XML: seal it with headwater seal");
        }
        let old = property.value.text();
        let sharing = ciphers(documents).filter(|other| other.position == property.position);
        if sharing.count() > 1 {
            return Err(
                "is in an alias or a merge, and a sealed value belongs to one key: write it out",
            );
        }
        let start = at_position(bytes, property.position, self.format, old.as_bytes());
        let same = ciphers(documents).filter(|other| other.value.text() == old).count();
        let start = start.or_else(|| only_place(bytes, old.as_bytes()).filter(|_| same == 1));
        let start = start.ok_or("is written with escapes: seal it with headwater seal")?;
        let text = self.cipher.open(old).map_err(|_| "no key of the settings opens the value")?;
        let place = Place { area: self.area, key: &property.key };
        let new =
            self.bound.seal(text.expose(), &place).map_err(|_| "the value cannot be sealed")?;
        Ok(TextEdit { start, old_length: old.len(), new, key: property.key.to_string(), text })
    }

    /// Returns true if the new bytes have the same keys and values, apart from values that open to the same text as before.
    fn is_equal(&self, before: &[Document], new: &[u8], replacements: &[TextEdit]) -> bool {
        let Ok(after) = format::parse(self.format, new) else { return false };
        let is_equal = |(before, after): (&Property, &Property)| {
            if before.key != after.key || before.position.line != after.position.line {
                return false;
            }
            if before.value == after.value {
                return true;
            }
            let place = Place { area: self.area, key: &after.key };
            let opened = self.bound.open(after.value.text(), &place);
            let replaced = replacements.iter().find(|it| it.new == after.value.text());
            replaced
                .zip(opened.ok())
                .is_some_and(|(it, text)| it.key == *after.key && it.text == text)
        };
        before.len() == after.len()
            && before.iter().zip(&after).all(|(before, after)| {
                let (before, after) = (&before.properties, &after.properties);
                before.len() == after.len() && before.iter().zip(after).all(is_equal)
            })
    }
}

fn ciphers(documents: &[Document]) -> impl Iterator<Item = &Property> {
    let properties = documents.iter().flat_map(|document| &document.properties);
    properties.filter(|property| {
        matches!(&property.value, Value::Sealed(text) if text.starts_with(CIPHER_MARKER))
    })
}

/// The offset of a text that is written at a position, with or without a quote before it.
fn at_position(bytes: &[u8], position: Position, format: Format, text: &[u8]) -> Option<usize> {
    let start = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let line = usize::try_from(position.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(position.column).ok()?.checked_sub(1)?;
    let lines = bytes[start..].split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(line).map(<[u8]>::len).sum();
    let rest = &bytes[start + before..];
    // A character of a .properties file has one byte.
    let is_first = |byte: u8| format == Format::Properties || byte & 0xc0 != 0x80;
    let in_line = rest.iter().enumerate().filter(|(_, byte)| is_first(**byte)).nth(column)?.0;
    let at = &rest[in_line..];
    let quote = usize::from(at.first().is_some_and(|byte| QUOTES.contains(byte)));
    at[quote..].starts_with(text).then_some(start + before + in_line + quote)
}

/// The offset of a text that occurs exactly once.
fn only_place(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let mut places = bytes.windows(text.len()).enumerate().filter(|(_, it)| *it == text);
    let (at, _) = places.next()?;
    places.next().is_none().then_some(at)
}

#[cfg(test)]
mod tests {
    use headwater_secrets::SpringKey;
    use headwater_secrets::sealed::SealKey;

    use super::*;

    struct Keys {
        cipher: Keyring,
        bound: SealKeyring,
    }

    impl Keys {
        fn new() -> Self {
            let key = SpringKey::from_passphrase(&SecretText::new("k"), "deadbeef").unwrap();
            let bound = SealKeyring::new(vec![SealKey::generate("new").unwrap()]).unwrap();
            Self { cipher: Keyring::new(vec![key]), bound }
        }

        fn seal(&self, text: &str) -> String {
            format!("{CIPHER_MARKER}{}", self.cipher.seal_prefixed(text).unwrap())
        }

        fn rewrite(&self, format: Format, text: &str) -> Rewritten {
            let (cipher, bound) = (&self.cipher, &self.bound);
            Rewrite { format, area: "orders", cipher, bound }.apply(text.as_bytes())
        }
    }

    /// The text between the sealed values, with a mark for each of these.
    fn outline(text: &str, marker: &str) -> String {
        let mut parts = text.split(marker);
        let mut outline = parts.next().unwrap().to_owned();
        let is_digit = |c: char| c.is_ascii_alphanumeric() || "+/=._-".contains(c);
        for part in parts {
            outline += "*";
            outline += part.trim_start_matches(is_digit);
        }
        outline
    }

    #[test]
    fn only_sealed_texts_change() {
        let keys = Keys::new();
        let [a, b] = ["first", "second"].map(|text| keys.seal(text));
        for (format, text) in [
            (
                Format::Yaml,
                format!(
                    "# {a}\r\nü: {{'é': '{a}' , x: 1}}\r\nlist:\n- \"{b}\"  # {b}\n--- \nc: '{a}'\n"
                ),
            ),
            (Format::Yaml, format!("\u{feff}a: |-\n  {a}\nb: '{b}'")),
            (Format::Properties, format!("a={a}\n#---\nb : {b}\r\nc=plain {a}\n")),
            (Format::Json, format!("{{\"ü\": [\"{a}\", {{\"b\":\"{b}\"}}], \"c\": \"x\"}}")),
            (Format::Toml, format!("a = '{a}' # {a}\n[t]\nb = \"{b}\"\n")),
        ] {
            let rewritten = keys.rewrite(format, &text);
            assert_eq!(rewritten.problems, [""; 0], "{text}");
            let new = String::from_utf8(rewritten.bytes).unwrap();
            assert_ne!(new, text);
            let left = new.matches(CIPHER_MARKER).count();
            assert_eq!(left + rewritten.count, text.matches(CIPHER_MARKER).count(), "{new}");
            let same = new.replace("{sealed}", CIPHER_MARKER);
            assert_eq!(outline(&same, CIPHER_MARKER), outline(&text, CIPHER_MARKER));
        }
    }

    #[test]
    fn a_value_that_cannot_be_replaced_is_named_and_stays() {
        let keys = Keys::new();
        let (own, other) = (keys.seal("x"), "{cipher}00");
        for (format, text, reason) in [
            (Format::Yaml, format!("a: '{other}'\n"), "1:4: a: no key"),
            (Format::Yaml, format!("a: &a '{own}'\nb: *a\n"), "alias"),
            (Format::Json, format!("{{\"a\": \"\\u007b{}\"}}", &own[1..]), "escapes"),
            (Format::Yaml, "a: [\n".to_owned(), " "),
        ] {
            let rewritten = keys.rewrite(format, &text);
            assert_eq!(
                (rewritten.count, rewritten.bytes),
                (0, text.clone().into_bytes()),
                "{text}"
            );
            assert!(rewritten.problems[0].contains(reason), "{:?}", rewritten.problems);
            assert!(!rewritten.problems.concat().contains(&own[8..]));
        }
    }
}
