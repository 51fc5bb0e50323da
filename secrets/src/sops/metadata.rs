//! The `sops` map: the sealed data key, the MAC and how to compute it.

use super::SopsError;
use super::value::Value;

/// Kinds of recipients that only the `sops` program can use.
const OTHER_KINDS: [&str; 5] = ["pgp", "kms", "gcp_kms", "azure_kv", "hc_vault"];
/// The most age recipients of one file.
const RECIPIENT_COUNT_MAX: usize = 256;

pub(super) struct Metadata {
    age: Vec<String>,
    pub(super) mac: String,
    /// RFC 3339, as in the file. It is the associated data of the MAC.
    pub(super) last_modified: String,
    /// `mac_only_encrypted`.
    pub(super) covers_encrypted_only: bool,
}

impl Metadata {
    /// Reads the map of a YAML or JSON file.
    pub(super) fn from_value(sops: &Value) -> Result<Self, SopsError> {
        let text = |key: &str| {
            sops.get(key)
                .and_then(Value::scalar_text)
                .map(|text| text.into_owned())
                .unwrap_or_default()
        };
        let group = match sops.get("key_groups") {
            Some(Value::List(groups)) if !groups.is_empty() => {
                let [group] = &groups[..] else { return Err(SopsError::KeyGroups) };
                group
            }
            _ => sops,
        };
        let items = |kind| match group.get(kind) {
            Some(Value::List(items)) => &items[..],
            _ => &[],
        };
        let age = items("age").iter().filter_map(|item| item.get("enc")?.scalar_text());
        let age = age.map(|text| text.into_owned()).take(RECIPIENT_COUNT_MAX).collect();
        let others = OTHER_KINDS.into_iter().filter(|kind| !items(kind).is_empty()).collect();
        Self::new(age, others, text("mac"), text("lastmodified"), &text("mac_only_encrypted"))
    }

    /// Reads the flat keys of a dotenv or ini file, without their prefix: `age__list_0__map_enc`.
    pub(super) fn from_flat(entries: &[(String, String)]) -> Result<Self, SopsError> {
        if entries.is_empty() {
            return Err(SopsError::NoMetadata);
        }
        if entries.iter().any(|(key, _)| key.starts_with("key_groups__list_")) {
            return Err(SopsError::KeyGroups);
        }
        let text = |name: &str| {
            let entry = entries.iter().find(|(key, _)| key == name);
            entry.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let is_age_file = |key: &str| key.starts_with("age__list_") && key.ends_with("__map_enc");
        let age = entries.iter().filter(|(key, _)| is_age_file(key));
        let age = age.map(|(_, value)| value.clone()).take(RECIPIENT_COUNT_MAX).collect();
        let has_kind =
            |kind: &&str| entries.iter().any(|(key, _)| key.starts_with(&format!("{kind}__list_")));
        let others = OTHER_KINDS.into_iter().filter(has_kind).collect();
        Self::new(age, others, text("mac"), text("lastmodified"), &text("mac_only_encrypted"))
    }

    fn new(
        age: Vec<String>,
        others: Vec<&str>,
        mac: String,
        last_modified: String,
        mac_only_encrypted: &str,
    ) -> Result<Self, SopsError> {
        if age.is_empty() {
            let kinds = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
            return Err(SopsError::NoAgeRecipient { kinds });
        }
        let covers_encrypted_only = mac_only_encrypted == "true";
        Ok(Self { age, mac, last_modified, covers_encrypted_only })
    }

    /// The armoured age files, one for each recipient.
    pub(super) fn age_files(&self) -> impl Iterator<Item = &str> {
        self.age.iter().map(String::as_str)
    }
}
