//! `tls_client_…`: the certificates that clients show.

use std::path::PathBuf;

use serde::Deserialize;

use super::Settings;
use super::described::default;

/// The certificates that clients show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientCertificateSettings {
    /// The certificate authorities that issue them.
    pub ca: Option<PathBuf>,
    pub auth: ClientAuth,
    /// The revocation lists of these authorities.
    pub crl: Option<PathBuf>,
}

/// The treatment of clients with and without a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// The server requests no certificate.
    #[default]
    Off,
    /// A client may show a certificate. One that cannot be verified ends the connection.
    Offered,
    /// A client without a certificate cannot connect.
    Required,
}

impl ClientCertificateSettings {
    pub(super) fn new(
        (ca, crl): (Option<PathBuf>, Option<PathBuf>),
        auth: Option<ClientAuth>,
    ) -> Self {
        Self { ca, auth: auth.unwrap_or_else(|| default("", "tls_client_auth")), crl }
    }

    /// Reports settings that contradict each other.
    pub(super) fn check(&self, settings: &Settings, problems: &mut Vec<String>) {
        if self.auth == ClientAuth::Off {
            if self.ca.is_some() || self.crl.is_some() {
                problems.push(
                    "tls_client_ca and tls_client_crl have no effect with tls_client_auth = \
                     \"off\". Set it to \"offered\" or \"required\", or remove them"
                        .to_owned(),
                );
            }
            return;
        }
        if settings.tls.is_none() {
            problems.push(
                "tls_client_auth: client certificates need TLS. Set tls_cert and tls_key"
                    .to_owned(),
            );
        }
        if self.ca.is_none() {
            problems.push(
                "tls_client_auth: set tls_client_ca to the certificate authorities of the clients"
                    .to_owned(),
            );
        }
        if self.auth == ClientAuth::Offered && !settings.access.has_policy() {
            problems.push(
                "tls_client_auth: \"offered\" has an effect only with a policy \
                 (access.policy_file or access.policy), which names the principals of \
                 certificates. Set one, or \"required\""
                    .to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::lower::tests::load;

    #[test]
    fn settings_that_belong_together_are_required_together() {
        const TLS: &str = "tls_cert = \"c\"\ntls_key = \"k\"\n";
        const CA: &str = "tls_client_ca = \"a\"\n";
        const POLICY: &str = "[access]\npolicy_file = \"p\"\n";
        let auth = |text: &str| format!("tls_client_auth = \"{text}\"\n");
        for (text, expected) in [
            (format!("{TLS}{CA}"), Some("have no effect with tls_client_auth")),
            (format!("{CA}{}", auth("required")), Some("client certificates need TLS")),
            (format!("{TLS}{}", auth("required")), Some("set tls_client_ca")),
            (
                format!("{TLS}{CA}{}", auth("offered")),
                Some("only with a policy (access.policy_file"),
            ),
            (format!("{TLS}{CA}{}", auth("required")), None),
            (format!("{TLS}{CA}{}{POLICY}", auth("offered")), None),
            (format!("{TLS}{}", auth("off")), None),
        ] {
            match (load(&text), expected) {
                (Ok(_), None) => {}
                (Err(error), Some(part)) if error.contains(part) => {}
                (loaded, _) => panic!("{text}: {loaded:?}"),
            }
        }
    }
}
