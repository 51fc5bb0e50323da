//! Serves HTTP on an accepted connection, with or without TLS, and runs connections that leave HTTP.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
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

use super::tls::{ClientCertificate, TlsTermsInForce};
use super::{HEADERS_MAX, KEEP_ALIVE};
use crate::http::{self, ConnectionHandle, Hot, Http, Io, SharedIdentities, Socket, WatcherGroups};

/// The time limit of a TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// The time limit for a client to acknowledge the end of its connection.
const DISCONNECT_MAX: Duration = Duration::from_secs(1);

/// Makes the service of one worker. Everything outside `http` belongs to this worker alone.
pub(super) fn service(
    http: web::Data<Http>,
    tls: Option<TlsTermsInForce>,
    closing: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
{
    let (lists, reads) = (WatcherGroups::new(&http), http::opened_reads(&http));
    let identities = Rc::new(SharedIdentities::default());
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
    let connections = apply_fn_factory(requests, |accepted: Accepted, requests| {
        let Accepted { socket, peer, certificate } = accepted;
        let connection = socket.handle();
        // Boxed, so that a connection that leaves HTTP frees the memory of this future.
        let speaking = Box::pin(requests.call((socket, Protocol::Http1, peer)));
        serve(speaking, connection, certificate)
    });
    fn_service(move |io: TcpStream| {
        let (tls, identities) = (tls.clone(), Rc::clone(&identities));
        async move {
            let peer = io.peer_addr().ok();
            let (io, certificate) = match tls {
                Some(tls) => secured(tls, io).await?,
                None => (Io::Plain(io), None),
            };
            let names = certificate.as_ref().map(ClientCertificate::names);
            Ok(Accepted { socket: Socket::new(io, names, identities), peer, certificate })
        }
    })
    .and_then(connections)
}

/// An accepted connection, with TLS if that is configured.
struct Accepted {
    socket: Socket,
    peer: Option<SocketAddr>,
    /// The certificate that the client has shown.
    certificate: Option<ClientCertificate>,
}

/// Serves a connection, over HTTP first and then as the task that takes its socket over.
async fn serve(
    speaking: impl Future<Output = Result<(), DispatchError>>,
    connection: ConnectionHandle,
    certificate: Option<ClientCertificate>,
) -> Result<(), DispatchError> {
    let served = async {
        speaking.await?;
        if let Some(detached) = connection.take_detached() {
            detached.await;
        }
        Ok(())
    };
    match certificate {
        None => served.await,
        Some(certificate) => Box::pin(serve_while_valid(served, certificate, &connection)).await,
    }
}

/// Serves a connection until it ends or its certificate is no longer accepted.
///
/// Cancellation: the requests and the stream of the connection are dropped, as after a client that disconnects.
async fn serve_while_valid(
    served: impl Future<Output = Result<(), DispatchError>>,
    certificate: ClientCertificate,
    connection: &ConnectionHandle,
) -> Result<(), DispatchError> {
    tokio::select! {
        served = served => served,
        () = certificate.rejected() => {
            connection.close();
            Ok(())
        }
    }
}

/// Performs the handshake. The terms are read before it, so that a later change is examined afterwards.
async fn secured(
    mut terms: TlsTermsInForce,
    io: TcpStream,
) -> Result<(Io, Option<ClientCertificate>), DispatchError> {
    let config = Arc::clone(&terms.borrow_and_update().config);
    let secured = timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(io)).await;
    let secured = secured.map_err(|_| DispatchError::SlowRequestTimeout)??;
    let chain = secured.get_ref().1.peer_certificates();
    let certificate = chain.and_then(|chain| ClientCertificate::new(chain, terms));
    Ok((Io::Tls(Box::new(secured)), certificate))
}
