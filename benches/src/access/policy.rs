//! The policy of the figures: services with a token and a rule each, and an operator with two rules.

use std::fmt::Write;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use headwater_access::Sha256;

use crate::repository;

/// The principals of the policy, with the operator.
pub(super) const PRINCIPAL_COUNT: usize = 1_000;
/// The principal that may do everything.
pub(super) const OPERATOR: &str = "operator";
/// The issuer that the policy names.
pub(super) const ISSUER: &str = "https://issuer.example.org";
/// The audience of its JWTs.
pub(super) const AUDIENCE: &str = "headwater";
/// The file with its keys, beside the policy.
pub(super) const KEYS_FILE: &str = "issuer-keys.json";

/// The text of a policy. Each service may read and open its own environment, and proves itself by a token or a JWT.
pub(super) fn text(principal_count: usize, has_issuer: bool) -> String {
    let mut text = "version = 1\n".to_owned();
    if has_issuer {
        let _ = write!(
            text,
            "[[issuer]]\nname = \"bench\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{KEYS_FILE}\"\n"
        );
    }
    for service in 0..principal_count - 1 {
        let name = repository::name(service);
        text += &principal(&name, "service", &token(&name));
        if has_issuer {
            let _ = writeln!(text, "jwt = [{{ issuer = \"bench\", sub = \"{name}\" }}]");
        }
        let own = "may = [\"read\", \"open\"]\napplication = [\"{principal}\"]\nprofile = [\"*\"]";
        text += &rule(&name, own);
    }
    let all =
        "may = [\"read\", \"open\"]\napplication = [\"*\"]\nprofile = [\"*\"]\nlabel = [\"*\"]";
    text += &principal(OPERATOR, "operator", &token(OPERATOR));
    text += &rule(OPERATOR, all);
    // A policy needs an administrator, whose right no name limits.
    text += &rule(OPERATOR, "may = [\"admin\"]");
    text
}

/// The declaration of a principal with a token.
pub(super) fn principal(name: &str, kind: &str, token: &str) -> String {
    let digest = Sha256::of(token.as_bytes());
    format!(
        "[[principal]]\nname = \"{name}\"\nkind = \"{kind}\"\ntokens = [{{ sha256 = \"{digest}\" }}]\n"
    )
}

/// A rule of a principal.
pub(super) fn rule(name: &str, rest: &str) -> String {
    format!("[[allow]]\nwho = [\"{name}\"]\n{rest}\n")
}

/// The token of a principal.
pub(super) fn token(principal: &str) -> String {
    format!("hw_{principal}_0123456789abcdef0123456789abcdef")
}

/// The header with the token of a principal.
pub(super) fn header(principal: &str) -> String {
    format!("Authorization: Bearer {}", token(principal))
}

/// Writes a policy, or another file that only its owner may read.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(())
}

/// Writes the policy of [`PRINCIPAL_COUNT`] principals without an issuer.
pub(super) fn write(work: &Path) -> anyhow::Result<PathBuf> {
    let path = work.join("policy.toml");
    write_private(&path, &text(PRINCIPAL_COUNT, false))?;
    Ok(path)
}

/// The settings of a server. `tables` has tables of settings other than `[access]`.
pub(super) fn settings(
    address: SocketAddr,
    repository: &Path,
    search_path: &str,
    policy: Option<&Path>,
    tables: &str,
) -> String {
    let access = policy.map(|policy| format!("[access]\npolicy_file = {policy:?}\n\n"));
    format!(
        "listen = \"{address}\"\n\n{}{tables}\n[[source]]\nuri = {repository:?}\n\
         search_paths = [{search_path:?}]\ndefault_label = \"main\"\n",
        access.unwrap_or_default()
    )
}
