//! `[access]`: the policy that decides what each caller may do.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::SourceSettings;
use super::described::default;

/// The name of the table.
const TABLE: &str = "access";
/// The beginning of the address of a hosted repository.
const HOSTED: &str = "hosted:";

/// `[access]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// The file with the policy. Without one and without `policy`, the tokens decide.
    pub policy_file: Option<PathBuf>,
    /// The hosted repository with the policy, as `hosted:<name>`.
    pub policy: Option<String>,
    /// The path of the policy in that repository.
    pub policy_path: String,
    /// The directory whose files become the first commit of that repository.
    pub policy_seed: Option<PathBuf>,
    /// A proxy in front of this server speaks TLS with clients.
    pub behind_tls_proxy: bool,
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            policy_file: None,
            policy: None,
            policy_path: default(TABLE, "policy_path"),
            policy_seed: None,
            behind_tls_proxy: default(TABLE, "behind_tls_proxy"),
        }
    }
}

/// The settings that a policy excludes or needs.
pub(super) struct Surroundings<'a> {
    pub(super) sources: &'a [SourceSettings],
    pub(super) listen: SocketAddr,
    pub(super) has_tls: bool,
    pub(super) has_token: bool,
    pub(super) has_push_token: bool,
}

impl AccessSettings {
    /// Returns true if a policy decides in place of the tokens.
    pub fn has_policy(&self) -> bool {
        self.policy_file.is_some() || self.policy.is_some()
    }

    /// The name of the hosted repository with the policy.
    pub fn policy_repository(&self) -> Option<&str> {
        self.policy.as_deref()?.strip_prefix(HOSTED)
    }

    /// Reports settings that contradict a policy.
    pub(super) fn check(&self, around: &Surroundings<'_>, problems: &mut Vec<String>) {
        self.check_repository(around, problems);
        if !self.has_policy() {
            return;
        }
        let key = if self.policy.is_some() { "access.policy" } else { "access.policy_file" };
        if around.has_token {
            problems.push(format!(
                "{key} and token_file cannot be set together. Add the digest of the token to a \
                 principal of the policy, and remove token_file"
            ));
        }
        if around.has_push_token {
            problems.push(format!(
                "{key} and a push token cannot be set together. Add the digest of the token to a \
                 principal of the policy, and remove push.token_file and HEADWATER_PUSH_TOKEN"
            ));
        }
        let listen = around.listen;
        if !listen.ip().is_loopback() && !around.has_tls && !self.behind_tls_proxy {
            problems.push(format!(
                "listen: {listen} is not a loopback address, and credentials would cross the \
                 network in cleartext. Set tls_cert and tls_key, or set access.behind_tls_proxy = \
                 true if a proxy speaks TLS with clients"
            ));
        }
    }

    /// Reports settings about the hosted repository of the policy that cannot be used.
    fn check_repository(&self, around: &Surroundings<'_>, problems: &mut Vec<String>) {
        if self.policy.is_none() && self.policy_seed.is_some() {
            problems.push(
                "access.policy_seed has an effect only with access.policy. Set both, or remove it"
                    .to_owned(),
            );
        }
        let Some(policy) = &self.policy else { return };
        if self.policy_repository().is_none() {
            problems.push(format!(
                "access.policy: expected a hosted repository such as hosted:policy, got {policy:?}"
            ));
        }
        if self.policy_file.is_some() {
            problems.push(
                "access.policy and access.policy_file cannot be set together. Put the file into a \
                 directory, and name the directory in access.policy_seed"
                    .to_owned(),
            );
        }
        let path = &self.policy_path;
        if !is_relative(path) {
            problems.push(format!(
                "access.policy_path: expected a path in the repository such as policy.toml, got {path:?}"
            ));
        }
        if around.sources.iter().any(|source| source.uri == *policy) {
            problems.push(format!(
                "access.policy: {policy} is a source of configuration too, so that its readers \
                 would receive the policy. Use a repository of its own"
            ));
        }
    }
}

/// Returns true for a path without empty segments, `.` and `..`.
fn is_relative(path: &str) -> bool {
    path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use crate::settings::lower::tests::load;

    const POLICY: &str = "[access]\npolicy_file = \"policy.toml\"\n";

    #[track_caller]
    fn check(before: &str, after: &str, expected: Option<&str>) {
        match (load(&format!("{before}{POLICY}{after}")), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) if error.contains(part) => {}
            (loaded, _) => panic!("{before}{after}: {loaded:?}"),
        }
    }

    #[test]
    fn a_policy_excludes_tokens_and_needs_tls_beyond_loopback() {
        check("", "", None);
        check("token_file = \"t\"\n", "", Some("access.policy_file and token_file"));
        check("", "[push]\ntoken_file = \"t\"\n", Some("access.policy_file and a push token"));
        check("", "[secrets]\nkey_files = [\"k\"]\n", None);
        let listen = "listen = \"0.0.0.0:8888\"\n";
        check(listen, "", Some("listen: 0.0.0.0:8888 is not a loopback address"));
        check(listen, "behind_tls_proxy = true\n", None);
        let tls = format!("{listen}tls_cert = \"c\"\ntls_key = \"k\"\n");
        check(&tls, "", None);
        check("listen = \"[::1]:8888\"\n", "", None);
    }

    #[test]
    fn a_policy_in_a_repository_has_the_repository_for_itself() {
        let check = |more: &str, expected: Option<&str>| {
            let text = format!("[access]\npolicy = \"hosted:policy\"\n{more}");
            match (load(&text), expected) {
                (Ok(settings), None) => {
                    assert_eq!(settings.access.policy_repository(), Some("policy"));
                    assert_eq!(settings.access.policy_path, "policy.toml");
                }
                (Err(error), Some(part)) if error.contains(part) => {}
                (loaded, _) => panic!("{more}: {loaded:?}"),
            }
        };
        check("", None);
        check("policy_seed = \"seed\"\n", None);
        check("[[source]]\nuri = \"hosted:main\"\n", None);
        check("[[source]]\nuri = \"hosted:policy\"\n", Some("is a source of configuration too"));
        check("policy_file = \"p\"\n", Some("access.policy and access.policy_file cannot"));
        check("policy_path = \"../p\"\n", Some("access.policy_path: expected a path"));
        check("policy_path = \"/p\"\n", Some("access.policy_path: expected a path"));
        check("[push]\ntoken_file = \"t\"\n", Some("access.policy and a push token"));
        let error = load("[access]\npolicy = \"policy\"\n").unwrap_err();
        assert!(error.contains("expected a hosted repository such as hosted:policy"), "{error}");
        let error = load("[access]\npolicy_seed = \"s\"\n").unwrap_err();
        assert!(error.contains("only with access.policy"), "{error}");
    }

    #[test]
    fn without_a_policy_nothing_changes() {
        assert_eq!(load("").unwrap().access.policy_file, None);
        assert!(load("listen = \"0.0.0.0:8888\"\ntoken_file = \"t\"\n").is_ok());
    }
}
