//! Serves HTTP on an accepted connection, with or without TLS, and runs connections that leave HTTP.

use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request};
use actix_server::GracefulShutdownSignal;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service,
    map_config,
};
use actix_web::dev::AppConfig;
use actix_web::web;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{HEADERS_MAX, KEEP_ALIVE};
use crate::http::{self, Hot, Http, Io, Socket, WatcherGroups};

/// The time limit of a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// The time limit for a client to acknowledge the end of its connection.
const DISCONNECT_MAX: Duration = Duration::from_secs(1);

/// Makes the service of one worker. Everything outside `http` belongs to this worker alone.
pub(super) fn service(
    http: web::Data<Http>,
    tls: Option<Arc<rustls::ServerConfig>>,
    closing: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
{
    let (lists, reads) = (WatcherGroups::new(&http), http::opened_reads(&http));
    let app = http::app(http.clone(), lists, reads.clone());
    let app = IntoServiceFactory::<_, Request>::into_factory(app);
    let requests = HttpService::build()
        .graceful_shutdown_signal(move || {
            let closing = closing.clone();
            async move { closing.notified().await }
        })
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEADERS_MAX)
        .client_disconnect_timeout(DISCONNECT_MAX)
        .h1_allow_half_closed(false)
        .on_connect_ext(|socket: &Socket, extensions| {
            extensions.insert(socket.handle());
        })
        .finish(map_config(Hot::new(app, http, reads), |()| AppConfig::default()));
    let connections = apply_fn_factory(requests, |(socket, peer): (Socket, _), requests| {
        let connection = socket.handle();
        // Boxed, so that a connection that leaves HTTP frees the memory of this future.
        let speaking = Box::pin(requests.call((socket, Protocol::Http1, peer)));
        async move {
            speaking.await?;
            if let Some(detached) = connection.take_detached() {
                detached.await;
            }
            Ok(())
        }
    });
    fn_service(move |io: TcpStream| {
        let tls = tls.clone();
        async move {
            let peer = io.peer_addr().ok();
            let io = match tls {
                Some(tls) => secured(tls, io).await?,
                None => Io::Plain(io),
            };
            Ok((Socket::new(io), peer))
        }
    })
    .and_then(connections)
}

async fn secured(tls: Arc<rustls::ServerConfig>, io: TcpStream) -> Result<Io, DispatchError> {
    let secured = timeout(HANDSHAKE_MAX, TlsAcceptor::from(tls).accept(io)).await;
    let secured = secured.map_err(|_| DispatchError::SlowRequestTimeout)??;
    Ok(Io::Tls(Box::new(secured)))
}
