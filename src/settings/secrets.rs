//! `[secrets]`: the keys for sealed values.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Secret;
use super::described::default;
use super::secret::secret_variable;

/// The name of the table.
const TABLE: &str = "secrets";

/// `[secrets]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretsSettings {
    /// Files with a passphrase or a PEM each, newest first.
    pub key_files: Vec<PathBuf>,
    /// The salt of passphrases, hexadecimal.
    pub salt: String,
    /// A keystore in JKS or PKCS#12.
    pub keystore: Option<PathBuf>,
    /// The file with the password of the keystore.
    pub keystore_password_file: Option<PathBuf>,
    /// The entry of the keystore that opens values without `{key:}`.
    pub alias: Option<String>,
    /// The file with the password of that entry. `None` if it is the password of the keystore.
    pub key_password_file: Option<PathBuf>,
    /// The use of RSA with the keystore.
    pub rsa: RsaSettings,
    /// Files with a seal key each, newest first.
    pub seal_key_files: Vec<PathBuf>,
    /// A file with age identities, for SOPS files.
    pub age_identity_file: Option<PathBuf>,
    /// The directory of the files that `{file}` refers to.
    pub directory: Option<PathBuf>,
    /// The Vaults that `{vault}` refers to.
    pub vault: Vec<VaultSettings>,
    /// The treatment of an environment with a value that does not open.
    pub on_failure: OnFailure,
    /// Answer `/decrypt`.
    pub decrypt_endpoint: bool,
    /// A key from the environment.
    #[serde(skip)]
    pub key: Option<Secret>,
}

impl Default for SecretsSettings {
    fn default() -> Self {
        Self {
            key_files: default(TABLE, "key_files"),
            salt: default(TABLE, "salt"),
            keystore: None,
            keystore_password_file: None,
            alias: None,
            key_password_file: None,
            rsa: default(TABLE, "rsa"),
            seal_key_files: default(TABLE, "seal_key_files"),
            age_identity_file: None,
            directory: None,
            vault: Vec::new(),
            on_failure: default(TABLE, "on_failure"),
            decrypt_endpoint: default(TABLE, "decrypt_endpoint"),
            key: None,
        }
    }
}

/// One `[[secrets.vault]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    /// The name in `{vault:NAME}`. Empty for `{vault}`.
    #[serde(default)]
    pub name: String,
    pub uri: String,
    /// The mount of the key-value engine.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The version of the key-value engine.
    #[serde(default = "default_version")]
    pub kv_version: u8,
    pub namespace: Option<String>,
    /// The certificate authorities of an https address, in PEM.
    pub ca_file: Option<PathBuf>,
    pub auth: VaultLoginSettings,
    /// The interval between two reads of a path.
    #[serde(default = "default_poll_seconds")]
    pub poll_seconds: u64,
}

/// The way to log in to a Vault.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum VaultLoginSettings {
    /// A file with a token.
    TokenFile(PathBuf),
    #[serde(rename = "approle")]
    AppRole(AppRoleSettings),
    /// A service account of Kubernetes.
    Kubernetes(VaultRoleSettings),
    Jwt(VaultRoleSettings),
}

/// A login by AppRole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRoleSettings {
    pub role_id_file: PathBuf,
    pub secret_id_file: PathBuf,
    pub mount: Option<String>,
}

/// A login by a JSON Web Token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultRoleSettings {
    pub role: String,
    pub token_file: Option<PathBuf>,
    pub mount: Option<String>,
}

fn default_mount() -> String {
    "secret".to_owned()
}

fn default_version() -> u8 {
    2
}

fn default_poll_seconds() -> u64 {
    60
}

impl VaultSettings {
    fn check(&self, problems: &mut Vec<String>) {
        let mut problem = |text: String| problems.push(format!("secrets.vault: {text}"));
        if self.name.contains(['}', '{', ':', '#']) {
            problem(format!(
                "name: expected a text without braces, colons and #, got {:?}",
                self.name
            ));
        }
        if !matches!(self.kv_version, 1 | 2) {
            problem(format!("kv_version: expected 1 or 2, got {}", self.kv_version));
        }
        if self.poll_seconds == 0 {
            problem("poll_seconds: expected at least 1, got 0".to_owned());
        }
        if self.uri.starts_with("https:") && self.ca_file.is_none() {
            problem("an https address needs a ca_file".to_owned());
        }
        if let VaultLoginSettings::Jwt(VaultRoleSettings { token_file: None, .. }) = &self.auth {
            problem("auth.jwt needs a token_file".to_owned());
        }
    }
}

/// The treatment of an environment with a value that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The key becomes `invalid.<key>`, as in the original.
    Spring,
    /// The environment stays at its last good revision.
    Hold,
}

/// The use of RSA with a keystore.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RsaSettings {
    #[serde(default)]
    pub algorithm: RsaAlgorithm,
    /// GCM instead of CBC.
    #[serde(default)]
    pub strong: bool,
    #[serde(default = "default_salt")]
    pub salt: String,
}

/// The padding of RSA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RsaAlgorithm {
    /// PKCS#1 v1.5.
    #[default]
    Default,
    /// OAEP with SHA-1.
    Oaep,
}

/// The salt of RSA where the table does not set it. It is the same as that of passphrases.
fn default_salt() -> String {
    default(TABLE, "salt")
}

impl SecretsSettings {
    /// Adds what variables set, and checks that the settings belong together.
    pub(super) fn with(mut self, problems: &mut Vec<String>) -> Self {
        self.key = secret_variable("HEADWATER_ENCRYPT_KEY");
        if self.key.is_some() && !self.key_files.is_empty() {
            problems.push("secrets: set key_files or HEADWATER_ENCRYPT_KEY, not both".to_owned());
        }
        let together =
            [self.keystore.is_some(), self.keystore_password_file.is_some(), self.alias.is_some()];
        if together.contains(&true) && together.contains(&false) {
            problems.push(
                "secrets: keystore, keystore_password_file and alias must be set together"
                    .to_owned(),
            );
        }
        if self.key_password_file.is_some() && self.keystore.is_none() {
            problems.push("secrets: key_password_file needs a keystore".to_owned());
        }
        self.vault.iter().for_each(|vault| vault.check(problems));
        let names: HashSet<&str> = self.vault.iter().map(|vault| &*vault.name).collect();
        if names.len() < self.vault.len() {
            problems.push("secrets.vault: two entries have the same name".to_owned());
        }
        if self.decrypt_endpoint && !self.has_cipher_keys() {
            problems.push(
                "secrets: decrypt_endpoint needs key_files, HEADWATER_ENCRYPT_KEY or a keystore"
                    .to_owned(),
            );
        }
        self
    }

    /// All files with keys and passwords.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let single = [
            &self.keystore,
            &self.keystore_password_file,
            &self.key_password_file,
            &self.age_identity_file,
        ];
        let lists = self.key_files.iter().chain(&self.seal_key_files);
        lists.chain(single.into_iter().flatten()).map(PathBuf::as_path)
    }

    fn has_cipher_keys(&self) -> bool {
        self.key.is_some() || !self.key_files.is_empty() || self.keystore.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lower::tests::load;
    use super::*;

    #[test]
    fn settings_that_belong_together_are_required_together() {
        for (text, expected) in [
            ("keystore = \"a\"", "keystore, keystore_password_file and alias must be set together"),
            ("alias = \"a\"", "keystore, keystore_password_file and alias must be set together"),
            ("key_password_file = \"a\"", "secrets: key_password_file needs a keystore"),
            ("decrypt_endpoint = true", "secrets: decrypt_endpoint needs key_files"),
            (
                "[[secrets.vault]]\nuri = \"https://v\"\nkv_version = 3\npoll_seconds = 0\nauth = { token_file = \"t\" }",
                "kv_version: expected 1 or 2, got 3\nsecrets.vault: poll_seconds: expected at least 1, got 0\nsecrets.vault: an https address needs a ca_file",
            ),
            (
                "[[secrets.vault]]\nuri = \"http://v\"\nauth = { jwt = { role = \"r\" } }",
                "auth.jwt needs a token_file",
            ),
        ] {
            let error = load(&format!("[secrets]\n{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_part_of_the_rsa_table_leaves_the_rest_at_its_default() {
        let secrets = load("[secrets]\nrsa = { algorithm = \"oaep\" }\n").unwrap().secrets;
        let rsa = SecretsSettings::default().rsa;
        assert_eq!(secrets.rsa, RsaSettings { algorithm: RsaAlgorithm::Oaep, ..rsa });
    }

    #[test]
    fn a_vault_has_defaults() {
        let text = "[[secrets.vault]]\nuri = \"http://v:8200\"\n\
                    auth = { kubernetes = { role = \"headwater\" } }\n";
        let secrets = load(text).unwrap().secrets;
        let [vault] = &secrets.vault[..] else { panic!("{:?}", secrets.vault) };
        assert_eq!((&*vault.mount, vault.kv_version, vault.poll_seconds), ("secret", 2, 60));
        assert!(
            matches!(&vault.auth, VaultLoginSettings::Kubernetes(role) if role.role == "headwater")
        );
    }
}
