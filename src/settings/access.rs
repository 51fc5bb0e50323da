//! `[access]`: the policy that decides what each caller may do.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::described::default;

/// The name of the table.
const TABLE: &str = "access";

/// `[access]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// The file with the policy. Without one, the tokens decide.
    pub policy_file: Option<PathBuf>,
    /// A proxy in front of this server speaks TLS with clients.
    pub behind_tls_proxy: bool,
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self { policy_file: None, behind_tls_proxy: default(TABLE, "behind_tls_proxy") }
    }
}

/// The settings that a policy excludes or needs.
pub(super) struct Surroundings {
    pub(super) listen: SocketAddr,
    pub(super) has_tls: bool,
    pub(super) has_token: bool,
    pub(super) has_push_token: bool,
}

impl AccessSettings {
    /// Reports settings that contradict a policy.
    pub(super) fn check(&self, around: &Surroundings, problems: &mut Vec<String>) {
        if self.policy_file.is_none() {
            return;
        }
        if around.has_token {
            problems.push(
                "access.policy_file and token_file cannot be set together. Add the digest of the \
                 token to a principal of the policy, and remove token_file"
                    .to_owned(),
            );
        }
        if around.has_push_token {
            problems.push(
                "access.policy_file and a push token cannot be set together. Add the digest of \
                 the token to a principal of the policy, and remove push.token_file and \
                 HEADWATER_PUSH_TOKEN"
                    .to_owned(),
            );
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
    fn without_a_policy_nothing_changes() {
        assert_eq!(load("").unwrap().access.policy_file, None);
        assert!(load("listen = \"0.0.0.0:8888\"\ntoken_file = \"t\"\n").is_ok());
    }
}
