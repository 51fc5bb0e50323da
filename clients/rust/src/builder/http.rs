//! How servers are going to be reached.

use crate::builder::Builder;
use crate::error::Error;
use crate::http::Http;
use crate::server::Server;
#[cfg(feature = "rustls")]
use crate::tls::{self, Tls};

impl Builder {
    #[cfg_attr(
        not(feature = "rustls"),
        expect(unused_variables, clippy::unnecessary_wraps, reason = "only tls depends on them")
    )]
    pub(super) fn http(&self, servers: &[Server]) -> Result<Http, Error> {
        #[cfg(feature = "rustls")]
        let own = self.roots.iter().map(|pem| tls::certificates(pem));
        #[cfg(feature = "rustls")]
        let own = own.collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Http {
            connect_timeout: self.connect_timeout,
            // The system's roots may be missing (a small image), and reading them takes its time.
            #[cfg(feature = "rustls")]
            tls: match servers.iter().any(Server::is_https) {
                true => Some(Tls::new(own, self.system)?),
                false => None,
            },
        })
    }
}
