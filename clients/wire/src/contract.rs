//! Contracts: the keys that one build of a service reads, with the machine types that it requests.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest JSON text of a contract, in bytes.
pub const CONTRACT_BYTES_MAX: usize = 64 * 1024;
/// The most keys and the most open prefixes of a contract, each.
pub const CONTRACT_KEYS_MAX: usize = 4_096;
/// The longest name of an application, in bytes.
const APPLICATION_BYTES_MAX: usize = 256;
/// The longest version, in bytes.
const VERSION_BYTES_MAX: usize = 64;
/// The longest key or prefix, in bytes.
const KEY_BYTES_MAX: usize = 512;

/// The keys that one build of a service reads. It contains no value.
///
/// A client sends it as `PUT /-/contracts/{application}/{digest}`. Two builds that read the same keys in the same way have
/// the same digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The application that the service requests.
    pub application: String,
    /// The version of the build, if the service has one.
    #[serde(default)]
    pub version: Option<String>,
    /// The keys, sorted and each once.
    pub keys: Vec<ContractKey>,
    /// Prefixes below which the service may read any key, such as `gateway.headers.`. The empty prefix stands for all keys.
    #[serde(default)]
    pub open: Vec<String>,
    /// The SHA-256 of the other members, in lower-case hexadecimal.
    pub digest: String,
}

/// One key that a service reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractKey {
    /// The key in any relaxed spelling. `[]` stands for every index of a list.
    pub key: String,
    /// The type that the service requests.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// Set when the service cannot start without the key.
    pub required: bool,
}

/// A machine type, as a service requests it from its deserializer. It never contains a choice of the service, such as a
/// range or a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ValueType {
    /// A boolean.
    Bool,
    /// An integer from -128 to 127.
    I8,
    /// An integer from -32768 to 32767.
    I16,
    /// An integer from -2147483648 to 2147483647.
    I32,
    /// An integer of 64 bits.
    I64,
    /// An integer of 128 bits.
    I128,
    /// An integer from 0 to 255.
    U8,
    /// An integer from 0 to 65535.
    U16,
    /// An integer from 0 to 4294967295.
    U32,
    /// An integer of 64 bits without a sign.
    U64,
    /// An integer of 128 bits without a sign.
    U128,
    /// A floating point number.
    Float,
    /// Any single value.
    Text,
    /// A list.
    List,
    /// A group of keys.
    Map,
    /// Any content, or a type that is not known.
    Any,
}

impl ValueType {
    /// Describes the type for a message: `an integer from 0 to 65535`.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            ValueType::Bool => "a boolean",
            ValueType::I8 => "an integer from -128 to 127",
            ValueType::I16 => "an integer from -32768 to 32767",
            ValueType::I32 => "an integer from -2147483648 to 2147483647",
            ValueType::I64 => "an integer from -9223372036854775808 to 9223372036854775807",
            ValueType::I128 => "an integer of 128 bits",
            ValueType::U8 => "an integer from 0 to 255",
            ValueType::U16 => "an integer from 0 to 65535",
            ValueType::U32 => "an integer from 0 to 4294967295",
            ValueType::U64 => "an integer from 0 to 18446744073709551615",
            ValueType::U128 => "an integer of 128 bits without a sign",
            ValueType::Float => "a number",
            ValueType::Text => "a single value",
            ValueType::List => "a list",
            ValueType::Map => "a group of keys",
            ValueType::Any => "any content",
        }
    }
}

/// The reason for which a text is not a contract. It quotes at most a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContractError {
    /// The text is longer than [`CONTRACT_BYTES_MAX`].
    TooLong,
    /// The text is not JSON of this shape.
    Malformed(String),
    /// A member is not valid.
    Invalid(&'static str),
    /// The contract has too many keys or open prefixes.
    TooManyKeys,
    /// The digest is not that of the content.
    WrongDigest,
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContractError::TooLong => {
                write!(f, "the contract is longer than {CONTRACT_BYTES_MAX} bytes")
            }
            ContractError::Malformed(reason) => write!(f, "the contract is malformed: {reason}"),
            ContractError::Invalid(reason) => f.write_str(reason),
            ContractError::TooManyKeys => {
                write!(f, "the contract has more than {CONTRACT_KEYS_MAX} keys or open prefixes")
            }
            ContractError::WrongDigest => {
                f.write_str("the digest is not the SHA-256 of the contract")
            }
        }
    }
}

impl std::error::Error for ContractError {}

impl Contract {
    /// Creates a contract in its canonical form: sorted, and with its digest.
    ///
    /// # Errors
    /// When a member is not valid or exceeds a limit.
    pub fn new(
        application: String,
        version: Option<String>,
        mut keys: Vec<ContractKey>,
        mut open: Vec<String>,
    ) -> Result<Contract, ContractError> {
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        open.sort();
        let mut contract = Contract { application, version, keys, open, digest: String::new() };
        contract.check()?;
        contract.digest = contract.computed_digest();
        if contract.to_json().len() > CONTRACT_BYTES_MAX {
            return Err(ContractError::TooLong);
        }
        Ok(contract)
    }

    /// Reads a contract and verifies its digest. The order of keys does not matter.
    ///
    /// # Errors
    /// When the text is not a valid contract.
    pub fn parse(text: &[u8]) -> Result<Contract, ContractError> {
        if text.len() > CONTRACT_BYTES_MAX {
            return Err(ContractError::TooLong);
        }
        let Contract { application, version, keys, open, digest } = serde_json::from_slice(text)
            .map_err(|error| ContractError::Malformed(error.to_string()))?;
        let contract = Contract::new(application, version, keys, open)?;
        if contract.digest == digest { Ok(contract) } else { Err(ContractError::WrongDigest) }
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and booleans can be written as JSON")
    }

    fn computed_digest(&self) -> String {
        #[derive(Serialize)]
        struct Content<'a> {
            application: &'a str,
            version: Option<&'a str>,
            keys: &'a [ContractKey],
            open: &'a [String],
        }
        let content = Content {
            application: &self.application,
            version: self.version.as_deref(),
            keys: &self.keys,
            open: &self.open,
        };
        let text = serde_json::to_vec(&content).expect("strings can be written as JSON");
        hmac_sha256::Hash::hash(&text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn check(&self) -> Result<(), ContractError> {
        let Contract { application, version, keys, open, .. } = self;
        if !(1..=APPLICATION_BYTES_MAX).contains(&application.len()) || !is_plain(application) {
            return Err(ContractError::Invalid("the application has 1 to 256 bytes"));
        }
        if version.as_deref().is_some_and(|version| !is_version(version)) {
            return Err(ContractError::Invalid(
                "the version has 1 to 64 letters, digits and `.`, `_`, `+`, `-`",
            ));
        }
        if keys.len() > CONTRACT_KEYS_MAX || open.len() > CONTRACT_KEYS_MAX {
            return Err(ContractError::TooManyKeys);
        }
        let is_key = |key: &str| (1..=KEY_BYTES_MAX).contains(&key.len()) && is_plain(key);
        if !keys.iter().all(|key| is_key(&key.key)) {
            return Err(ContractError::Invalid(
                "a key has 1 to 512 bytes without control characters",
            ));
        }
        if !open.iter().all(|open| open.is_empty() || is_key(open) && open.ends_with('.')) {
            return Err(ContractError::Invalid("an open prefix is empty or ends with a dot"));
        }
        let mut known = HashSet::new();
        if !keys.iter().all(|key| known.insert(&key.key)) {
            return Err(ContractError::Invalid("a key is listed twice"));
        }
        Ok(())
    }
}

/// Returns whether a text is a valid version of a contract.
#[must_use]
pub fn is_version(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// The answer to `GET /-/contracts` and `GET /-/contracts/{application}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractList {
    /// The contracts, ordered by application, version and digest.
    pub contracts: Vec<ContractStatus>,
}

/// One registered contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContractStatus {
    /// The application.
    pub application: String,
    /// The version of the build, if the service has one.
    pub version: Option<String>,
    /// The digest, under which `GET /-/contracts/{application}/{digest}` returns the contract.
    pub digest: String,
    /// The number of keys.
    pub key_count: usize,
    /// The number of connected instances that name the contract.
    pub instances: usize,
    /// Set when an instance with this contract has accepted a configuration. Only then the contract protects keys.
    pub accepted: bool,
    /// The time at which an instance last named the contract, as an RFC 3339 timestamp.
    pub last_seen: String,
}

/// The answer to `GET /-/contracts/{application}/keys`: the keys of an application and their readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyList {
    /// The application.
    pub application: String,
    /// The number of connected instances of the application.
    pub instances: usize,
    /// The number of those whose contract is registered. Only when both numbers are equal, a key without a reader is unread.
    pub reporting: usize,
    /// The keys, sorted.
    pub keys: Vec<KeyReaders>,
}

/// One key of the effective environments of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReaders {
    /// The key as it is written.
    pub key: String,
    /// The places of the values, as `file:line:column`.
    pub origins: Vec<String>,
    /// The builds that read the key.
    pub readers: Vec<KeyReader>,
    /// `true` when no instance reads the key, `false` when one does, and `None` when this is unknown.
    pub unread: Option<bool>,
}

/// A build that reads a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReader {
    /// The application of the build.
    pub application: String,
    /// The version of the build, if the service has one.
    pub version: Option<String>,
    /// The number of connected instances.
    pub instances: usize,
    /// The requested type. `None` when an open prefix covers the key.
    #[serde(rename = "type")]
    pub value_type: Option<ValueType>,
    /// Set when the build cannot start without the key.
    pub required: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, value_type: ValueType, required: bool) -> ContractKey {
        ContractKey { key: key.to_owned(), value_type, required }
    }

    fn contract() -> Contract {
        let keys = vec![key("b.c", ValueType::Text, false), key("a", ValueType::U16, true)];
        Contract::new("product".into(), Some("1.4".into()), keys, vec!["x.".into()]).unwrap()
    }

    #[test]
    fn the_json_is_canonical_and_its_digest_is_fixed() {
        let contract = contract();
        let expected = concat!(
            r#"{"application":"product","version":"1.4","keys":[{"key":"a","type":"u16","required":true},"#,
            r#"{"key":"b.c","type":"text","required":false}],"open":["x."],"digest":""#
        );
        let content = format!("{}}}", expected.strip_suffix(r#","digest":""#).unwrap());
        let digest = hmac_sha256::Hash::hash(content.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(contract.to_json(), format!("{expected}{digest}\"}}"));
        assert_eq!(Contract::parse(contract.to_json().as_bytes()), Ok(contract));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let mut other = contract();
        other.keys.reverse();
        assert_eq!(Contract::parse(other.to_json().as_bytes()), Ok(contract()));
    }

    #[test]
    fn texts_that_are_no_contract_are_rejected() {
        let good = contract().to_json();
        let parse = |text: &str| Contract::parse(text.as_bytes()).unwrap_err();
        assert_eq!(parse(&good.replace("1.4", "1.5")), ContractError::WrongDigest);
        for (from, to) in [
            ("u16", "u17"),
            ("\"required\":true", "\"required\":true,\"min\":5"),
            ("\"keys\"", "\"more\":1,\"keys\""),
            ("{\"application\"", "[\"application\""),
        ] {
            let error = parse(&good.replace(from, to));
            assert!(matches!(error, ContractError::Malformed(_)), "{from}: {error:?}");
        }
        for (from, to) in [
            ("\"product\"", "\"\""),
            ("\"1.4\"", "\"1 4\""),
            ("\"b.c\"", "\"a\""),
            ("\"b.c\"", "\"\\u0000\""),
            ("\"x.\"", "\"x\""),
        ] {
            let error = parse(&good.replace(from, to));
            assert!(matches!(error, ContractError::Invalid(_)), "{from}: {error:?}");
        }
    }

    #[test]
    fn limits_are_exact() {
        let keys = |count: usize| {
            (0..count).map(|number| key(&number.to_string(), ValueType::Any, false)).collect()
        };
        let of = |keys| Contract::new("a".into(), None, keys, vec![]).map(|it| it.keys.len());
        assert_eq!(of(keys(1_000)), Ok(1_000));
        assert_eq!(of(keys(CONTRACT_KEYS_MAX)), Err(ContractError::TooLong));
        assert_eq!(of(keys(CONTRACT_KEYS_MAX + 1)), Err(ContractError::TooManyKeys));
        let long = Contract::parse(&vec![b' '; CONTRACT_BYTES_MAX + 1]);
        assert_eq!(long, Err(ContractError::TooLong));
        assert!(matches!(
            Contract::parse(&vec![b' '; CONTRACT_BYTES_MAX]),
            Err(ContractError::Malformed(_))
        ));
    }
}
