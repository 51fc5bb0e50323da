//! The HTTP transport of a client, as its settings want it.

use crate::builder::Builder;
use crate::error::Error;
use crate::http::Http;
use crate::server::Server;
#[cfg(feature = "rustls")]
use crate::tls::{self, Tls};

impl Builder {
    #[cfg_attr(
        not(feature = "rustls"),
        expect(
            unused_variables,
            clippy::unnecessary_wraps,
            reason = "only TLS uses the settings and can fail"
        )
    )]
    pub(super) fn http(&self, servers: &[Server]) -> Result<Http, Error> {
        #[cfg(feature = "rustls")]
        let own = self.roots.iter().map(|pem| tls::certificates(pem));
        #[cfg(feature = "rustls")]
        let own = own.collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Http {
            connect_timeout: self.connect_timeout,
            // Without an https server the system's certificates are not read: that takes time, and a small image may
            // lack them.
            #[cfg(feature = "rustls")]
            tls: if servers.iter().any(Server::is_https) {
                Some(Tls::new(own, self.system)?)
            } else {
                None
            },
        })
    }
}
