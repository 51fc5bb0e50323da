//! Numbers as hexadecimal digits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number in hexadecimal digits, because many JSON readers lose digits of large numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hex<T>(pub(super) T);

macro_rules! hex {
    ($number:ty) => {
        impl Serialize for Hex<$number> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                const WIDTH: usize = <$number>::BITS as usize / 4;
                serializer.collect_str(&format_args!("{:0WIDTH$x}", self.0))
            }
        }

        impl<'de> Deserialize<'de> for Hex<$number> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let number = <$number>::from_str_radix(&text, 16);
                let number = number.ok().filter(|_| text.len() == <$number>::BITS as usize / 4);
                let expected = || serde::de::Error::custom(HexError(<$number>::BITS / 4));
                number.map(Self).ok_or_else(expected)
            }
        }
    };
}

hex!(u64);
hex!(u128);

struct HexError(u32);

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} hexadecimal digits", self.0)
    }
}
