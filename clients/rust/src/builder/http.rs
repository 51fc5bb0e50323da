//! The HTTP client underneath, and what it must not do.

use crate::builder::Builder;
use crate::error::Error;
use crate::server::Server;

impl Builder {
    /// Credentials must not follow a redirect, and a configuration server is not behind the proxy to the outside.
    #[cfg_attr(
        not(feature = "rustls"),
        expect(unused_variables, reason = "only tls depends on them")
    )]
    pub(super) fn http(&self, servers: &[Server]) -> Result<reqwest::Client, Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("headwater-client/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(self.connect_timeout);
        #[cfg(feature = "rustls")]
        let http = match servers.iter().any(Server::is_https) {
            true => http.tls_certs_merge(self.certificates()?),
            // The system's roots may be missing (a small image), and reading them takes its time.
            false => http.tls_certs_only(self.certificates()?),
        };
        http.build()
            .map_err(|_| Error::Settings("https has no usable certificate authorities".into()))
    }

    #[cfg(feature = "rustls")]
    fn certificates(&self) -> Result<Vec<reqwest::Certificate>, Error> {
        let mut certificates = Vec::new();
        for pem in &self.roots {
            match reqwest::Certificate::from_pem_bundle(pem) {
                Ok(bundle) if !bundle.is_empty() => certificates.extend(bundle),
                _ => return Err(Error::Settings("a root certificate is not pem".into())),
            }
        }
        Ok(certificates)
    }
}
