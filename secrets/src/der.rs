//! A reader of DER: elements with definite lengths. Nothing recurses, and nothing is allocated.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_ID: u8 = 0x06;
pub(crate) const BMP_STRING: u8 = 0x1e;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;
/// `[0]`, implicit and primitive.
pub(crate) const CONTEXT_0_PRIMITIVE: u8 = 0x80;

/// The elements of a constructed element that were not read yet.
#[derive(Clone, Copy)]
pub(crate) struct DerReader<'a> {
    rest: &'a [u8],
}

/// One element.
#[derive(Clone, Copy)]
pub(crate) struct DerElement<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// Tag, length and content.
    pub(crate) whole: &'a [u8],
}

impl<'a> DerReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads the next element. `None` at the end and for malformed bytes.
    pub(crate) fn element(&mut self) -> Option<DerElement<'a>> {
        let (&tag, behind_tag) = self.rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, mut rest) = behind_tag.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (digits, behind) = rest.split_at_checked(count)?;
            length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            rest = behind;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Some(DerElement { tag, content, whole })
    }

    /// Reads the next element, which must have the tag.
    pub(crate) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element().filter(|element| element.tag == tag).map(|element| element.content)
    }

    /// Reads the next element if it has the tag. Leaves it unread otherwise.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let content = ahead.content(tag)?;
        *self = ahead;
        Some(content)
    }

    /// Reads the next element, which must be constructed and have the tag.
    pub(crate) fn inside(&mut self, tag: u8) -> Option<Self> {
        self.content(tag).map(Self::new)
    }

    /// Reads an integer from 0 to the largest `u32`.
    pub(crate) fn number(&mut self) -> Option<u32> {
        let mut digits = self.content(INTEGER)?;
        if digits.is_empty() || digits[0] >= 0x80 {
            return None;
        }
        while let [0, rest @ ..] = digits {
            digits = rest;
        }
        if digits.len() > 4 {
            return Some(u32::MAX);
        }
        Some(digits.iter().fold(0, |number, digit| number << 8 | u32::from(*digit)))
    }
}

/// Appends an element with the tag.
pub(crate) fn write(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    let length = u32::try_from(content.len()).expect("keys are shorter than 4 GiB");
    if let Ok(short @ ..0x80) = u8::try_from(length) {
        out.push(short);
    } else {
        let digits = length.to_be_bytes();
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let digits = &digits[zeros..];
        out.push(0x80 | u8::try_from(digits.len()).expect("at most 4"));
        out.extend_from_slice(digits);
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_elements_are_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let mut bytes = Vec::new();
            write(OCTET_STRING, &content, &mut bytes);
            let mut reader = DerReader::new(&bytes);
            let element = reader.element().unwrap();
            assert_eq!((element.tag, element.content), (OCTET_STRING, &content[..]));
            assert_eq!(element.whole, bytes);
            assert!(reader.is_at_end());
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_rejected() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x01],
            &[0x30, 0x80],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x30, 0x82, 0x01],
            &[0x1f, 0x00],
        ] {
            assert!(DerReader::new(bytes).element().is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn numbers_beyond_32_bits_become_the_largest() {
        let number = |bytes: &[u8]| DerReader::new(bytes).number();
        assert_eq!(number(&[2, 1, 0]), Some(0));
        assert_eq!(number(&[2, 2, 0x27, 0x10]), Some(10_000));
        assert_eq!(number(&[2, 5, 0, 0xff, 0xff, 0xff, 0xff]), Some(u32::MAX));
        assert_eq!(number(&[2, 6, 1, 0, 0, 0, 0, 0]), Some(u32::MAX));
        assert_eq!(number(&[2, 1, 0x80]), None);
        assert_eq!(number(&[2, 0]), None);
    }

    #[test]
    fn an_optional_element_stays_unread() {
        let mut reader = DerReader::new(&[2, 1, 5]);
        assert!(reader.optional(SEQUENCE).is_none());
        assert_eq!(reader.optional(INTEGER), Some(&[5][..]));
    }
}
