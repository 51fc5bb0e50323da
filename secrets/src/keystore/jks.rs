//! JKS, the older format of Java: big-endian fields, and a SHA-1 over the password and the file at its end.
//!
//! A private key is protected by a key stream of repeated SHA-1, without rounds. The file ends in its own check, which
//! the password of the store opens.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use zeroize::Zeroizing;

use super::{EntryContent, utf16_be};
use crate::der::{DerReader, OCTET_STRING, SEQUENCE};
use crate::error::KeyError;
use crate::secret::SecretText;

const SHA1_BYTES: usize = 20;
/// Java's fixed text in the check at the end of the file.
const WHITENER: &[u8] = b"Mighty Aphrodite";
const PRIVATE_KEY: u32 = 1;
const TRUSTED_CERTIFICATE: u32 = 2;

/// Reads all entries with their aliases.
pub(super) fn entries(
    bytes: &[u8],
    password: &SecretText,
) -> Result<Vec<(String, EntryContent)>, KeyError> {
    let (content, check) =
        bytes.split_last_chunk::<SHA1_BYTES>().ok_or(KeyError::Damaged("it is cut off"))?;
    let password = utf16_be(password.expose());
    verify_slices_are_equal(&sha1(&[&password, WHITENER, content]), check)
        .map_err(|_| KeyError::StorePassword)?;
    let mut fields = JksFields { rest: content };
    parsed(&mut fields).ok_or(KeyError::Damaged("a field of the JKS format cannot be read"))
}

fn parsed(fields: &mut JksFields<'_>) -> Option<Vec<(String, EntryContent)>> {
    let (_magic, version, count) = (fields.number()?, fields.number()?, fields.number()?);
    if !(1..=2).contains(&version) {
        return None;
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let kind = fields.number()?;
        let alias = fields.text()?;
        let _created = fields.bytes(8)?;
        let content = match kind {
            PRIVATE_KEY => {
                let key = fields.sized()?.to_vec();
                for _ in 0..fields.number()? {
                    fields.certificate(version)?;
                }
                EntryContent::JksKey(key)
            }
            TRUSTED_CERTIFICATE => EntryContent::Certificate(fields.certificate(version)?.to_vec()),
            _ => return None,
        };
        entries.push((alias, content));
    }
    fields.rest.is_empty().then_some(entries)
}

/// Opens the private key of an entry and returns it as PKCS#8. `None` if the password is wrong.
pub(super) fn open_key(sealed: &[u8], secret: &SecretText) -> Option<Zeroizing<Vec<u8>>> {
    let mut info = DerReader::new(sealed).inside(SEQUENCE)?;
    info.content(SEQUENCE)?;
    let protected = info.content(OCTET_STRING)?;
    let (salt, rest) = protected.split_first_chunk::<SHA1_BYTES>()?;
    let (body, check) = rest.split_last_chunk::<SHA1_BYTES>()?;
    let password = utf16_be(secret.expose());
    let mut key = Zeroizing::new(body.to_vec());
    let mut stream = Zeroizing::new(*salt);
    for chunk in key.chunks_mut(SHA1_BYTES) {
        *stream = sha1(&[&password, &stream[..]]);
        chunk.iter_mut().zip(stream.iter()).for_each(|(byte, mask)| *byte ^= mask);
    }
    verify_slices_are_equal(&sha1(&[&password, &key]), check).ok()?;
    Some(key)
}

fn sha1(parts: &[&[u8]]) -> [u8; SHA1_BYTES] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("SHA-1 has 20 bytes")
}

/// The fields of a file that were not read yet.
struct JksFields<'a> {
    rest: &'a [u8],
}

impl<'a> JksFields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u32> {
        self.bytes(4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
    }

    /// Reads a length and as many bytes.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.bytes(length)
    }

    /// Reads Java's modified UTF-8: a zero has two bytes, and a character beyond 16 bits is a surrogate pair.
    fn text(&mut self) -> Option<String> {
        let length: [u8; 2] = self.bytes(2)?.try_into().ok()?;
        let mut bytes = self.bytes(usize::from(u16::from_be_bytes(length)))?;
        let mut units = Vec::with_capacity(bytes.len());
        loop {
            let (unit, rest) = match bytes {
                [] => break,
                [a @ 1..=0x7f, rest @ ..] => (u16::from(*a), rest),
                [a @ 0xc0..=0xdf, b @ 0x80..=0xbf, rest @ ..] => {
                    (u16::from(a & 0x1f) << 6 | u16::from(b & 0x3f), rest)
                }
                [a @ 0xe0..=0xef, b @ 0x80..=0xbf, c @ 0x80..=0xbf, rest @ ..] => {
                    let high = u16::from(a & 0xf) << 12 | u16::from(b & 0x3f) << 6;
                    (high | u16::from(c & 0x3f), rest)
                }
                _ => return None,
            };
            units.push(unit);
            bytes = rest;
        }
        String::from_utf16(&units).ok()
    }

    fn certificate(&mut self, version: u32) -> Option<&'a [u8]> {
        if version == 2 {
            self.text()?;
        }
        self.sized()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keystore::KeyStore;

    /// A file with the content and the check that belongs to it.
    fn checked(content: &[u8]) -> Vec<u8> {
        [content, &sha1(&[&utf16_be("p"), WHITENER, content])].concat()
    }

    fn read(content: &[u8]) -> Result<Vec<(String, EntryContent)>, KeyError> {
        entries(&checked(content), &SecretText::new("p"))
    }

    #[test]
    fn modified_utf8_is_read() {
        let text = |bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            JksFields { rest: &[&length, bytes].concat() }.text()
        };
        assert_eq!(text(b"main").as_deref(), Some("main"));
        assert_eq!(text(&[0xc3, 0xbc, 0xe2, 0x82, 0xac]).as_deref(), Some("\u{fc}\u{20ac}"));
        assert_eq!(text(&[0xc0, 0x80]).as_deref(), Some("\0"));
        let pair = [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80];
        assert_eq!(text(&pair).as_deref(), Some("\u{1f600}"));
        for broken in [&[0][..], &[0x80], &[0xc3], &[0xe2, 0x82], &[0xf0, 0x9f], &pair[..3]] {
            assert_eq!(text(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn counts_and_lengths_beyond_the_end_are_rejected() {
        let magic = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
        assert!(read(&[&magic[..], &[0; 4]].concat()).unwrap().is_empty());
        let huge = [0xff; 4];
        let entry = [&[0, 0, 0, 1, 0, 1, b'a'][..], &[0; 8]].concat();
        for content in [
            [&magic[..], &huge].concat(),
            [&magic[..], &[0, 0, 0, 1], &entry, &huge].concat(),
            [&magic[..], &[0, 0, 0, 1], &entry, &[0; 4], &huge].concat(),
            [&magic[..], &[0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff]].concat(),
            [&magic[..], &[0, 0, 0, 1, 0, 0, 0, 9], &entry[4..]].concat(),
            [&magic[..], &[0; 5]].concat(),
            [&magic[..7], &[3], &[0; 4]].concat(),
            magic[..4].to_vec(),
        ] {
            let error = read(&content).err().unwrap();
            assert!(matches!(error, KeyError::Damaged(_)), "{content:?}");
        }
    }

    #[test]
    fn entries_are_limited() {
        let store = |count: u32| {
            let start = [&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 1][..], &count.to_be_bytes()].concat();
            let entries = (0..count).flat_map(|number| {
                let alias = format!("{number:05}");
                [&[0, 0, 0, 2, 0, 5], alias.as_bytes(), &[0; 12]].concat()
            });
            let content: Vec<u8> = start.into_iter().chain(entries).collect();
            KeyStore::read(&checked(&content), &SecretText::new("p"))
        };
        assert_eq!(store(10_000).unwrap().aliases().count(), 10_000);
        let error = store(10_001).unwrap_err();
        assert_eq!(error, KeyError::Damaged("it has more than 10,000 entries"));
    }

    proptest! {
        #[test]
        fn arbitrary_fields_do_not_panic(fields in prop::collection::vec(any::<u8>(), 0..300)) {
            let start = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b'a'];
            let _ = read(&[&start[..], &fields].concat());
            prop_assert!(open_key(&fields, &SecretText::new("p")).is_none());
        }
    }
}
