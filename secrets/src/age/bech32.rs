//! Bech32, the text form of age identities. Its checksum detects typing errors.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM_SYMBOLS: usize = 6;
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];

/// Decodes a text with the prefix, in one case. `None` for other text and for a wrong checksum.
pub(super) fn decode(text: &str, prefix: &str) -> Option<Zeroizing<Vec<u8>>> {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let is_one_case = *lower == text || text.to_ascii_uppercase() == text;
    let symbols = lower.strip_prefix(prefix)?.strip_prefix('1')?;
    if !is_one_case || symbols.len() < CHECKSUM_SYMBOLS {
        return None;
    }
    let symbols: Option<Vec<u8>> = symbols.bytes().map(symbol).collect();
    let symbols = Zeroizing::new(symbols?);
    if checksum(prefix, &symbols) != 1 {
        return None;
    }
    bytes(&symbols[..symbols.len() - CHECKSUM_SYMBOLS])
}

/// The value of a character, from 0 to 31.
fn symbol(character: u8) -> Option<u8> {
    ALPHABET.iter().zip(0..).find(|(known, _)| **known == character).map(|(_, value)| value)
}

fn checksum(prefix: &str, symbols: &[u8]) -> u32 {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let all = high.chain([0]).chain(low).chain(symbols.iter().copied());
    all.fold(1, |sum, value| {
        let carry = sum >> 25;
        let shifted = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        let applied = GENERATOR.iter().zip(0..).filter(|(_, bit)| carry >> bit & 1 == 1);
        applied.fold(shifted, |sum, (term, _)| sum ^ term)
    })
}

/// Regroups symbols of five bits into bytes. The bits that remain must be zero.
fn bytes(symbols: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(symbols.len() * 5 / 8));
    let (mut pending, mut count) = (0_u32, 0);
    for symbol in symbols {
        pending = pending << 5 | u32::from(*symbol);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((pending >> count).to_be_bytes()[3]);
            pending &= (1 << count) - 1;
        }
    }
    (count < 5 && pending == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    const IDENTITY: &str =
        "AGE-SECRET-KEY-15CE900Q0SE67S09XD7FFFLV2S2ECAY6XLGSSYSMKCEA7UAQXFMLS87MLT0";
    const PREFIX: &str = "age-secret-key-";

    #[test]
    fn an_identity_has_32_bytes_in_either_case() {
        let upper = decode(IDENTITY, PREFIX).unwrap();
        assert_eq!(upper.len(), 32);
        assert_eq!(decode(&IDENTITY.to_lowercase(), PREFIX), Some(upper));
    }

    #[test]
    fn every_changed_character_is_detected() {
        for at in PREFIX.len() + 1..IDENTITY.len() {
            let mut changed = IDENTITY.to_owned();
            let other = if &changed[at..=at] == "Q" { "P" } else { "Q" };
            changed.replace_range(at..=at, other);
            assert_eq!(decode(&changed, PREFIX), None, "{changed}");
        }
    }

    #[test]
    fn other_text_is_rejected() {
        let mixed = IDENTITY.replace("AGE", "age");
        for text in ["", "1", "AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1QQQQQ", "\u{e4}1qqqqqq", &mixed]
        {
            assert_eq!(decode(text, PREFIX), None, "{text}");
        }
        assert_eq!(decode(IDENTITY, "age"), None);
    }
}
