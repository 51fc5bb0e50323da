//! Git over smart HTTP: which repository, which service, who asks; then bytes both ways. What they mean is git's business.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures_util::future::LocalBoxFuture;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::Fault;
use super::route::Git;
use super::{Http, parameter};
use crate::access::{Action, Caller, Target};
use crate::push::{Cut, Exchange, Host, Input, PushError, Service};

/// How long the next piece of a push may take: whoever pushes packs while it sends, and has proven that it may.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long the request for a clone or a fetch may take to arrive: it is short, and comes from anybody.
const FETCH_REQUEST_MAX: Duration = Duration::from_secs(5);
/// The largest request for a clone or a fetch, decoded, in bytes.
const FETCH_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What the request of a push may have beyond its pack, in bytes.
const COMMANDS_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How much of a compressed request is decoded at a time: it becomes at most a thousand times as much.
const COMPRESSED_BYTES: usize = 1024;

/// A request for git that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no such repository here.
    NoRepository,
    /// It is not one of the two services, or none: the dumb protocol.
    NoService,
    /// A push from another machine, where no push token is set.
    Elsewhere,
    /// It is not of the type, or the encoding, that git sends.
    MediaType,
    /// It is larger than it may be.
    TooLarge,
    /// The next piece does not come.
    TooSlow,
    /// It breaks off, or cannot be decoded.
    Broken,
    /// Too many are at it.
    Busy,
    /// What is in the repository is not known here yet.
    Unheard,
    /// What was moved last is not durable yet.
    Unwritable,
    /// Git does not do it.
    Failed,
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoRepository => StatusCode::NOT_FOUND,
            Self::NoService | Self::Elsewhere => StatusCode::FORBIDDEN,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Unheard | Self::Unwritable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Git shows it to whoever runs it.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::NoRepository => "there is no such repository here",
            Self::NoService => "only git over smart HTTP is spoken here",
            Self::Elsewhere => {
                "a push from another machine needs a push token: set HEADWATER_PUSH_TOKEN or push.token_file on the server"
            }
            Self::MediaType => "this is not what git sends",
            Self::TooLarge => "the request is too large",
            Self::TooSlow => "the request takes too long",
            Self::Broken => "the request cannot be read",
            Self::Busy => "too many clones, fetches and pushes at a time: try again",
            Self::Unheard => "what is in the repository was not heard from etcd yet: try again",
            Self::Unwritable => "the repository cannot be written just now: try again",
            Self::Failed => "git does not work on this server",
        }
    }
}

impl From<PushError> for Fault {
    fn from(error: PushError) -> Self {
        Self::Git(match error {
            PushError::Busy => Refused::Busy,
            PushError::Unheard => Refused::Unheard,
            PushError::Unwritable => Refused::Unwritable,
            PushError::BrokenOff => Refused::Broken,
            PushError::Git(_) => {
                tracing::error!(%error, "a request for a repository failed");
                Refused::Failed
            }
        })
    }
}

impl Http {
    /// Who asks for a repository. Without a push token, whoever asks from this machine may push.
    pub(super) fn git_caller(&self, request: &HttpRequest) -> Caller {
        let headers = request.headers();
        if let Some(token) = &self.push_token {
            return match token.is_in(headers) {
                true => Caller::Pusher,
                false => self.caller(headers),
            };
        }
        match self.caller(headers) {
            Caller::Anonymous if self.token.is_some() => Caller::Anonymous,
            _ if is_from_here(request) => Caller::Pusher,
            caller => caller,
        }
    }

    /// Why this caller may not do it: it gave no token or a wrong one, or none would do.
    pub(super) fn git_refusal(&self, caller: &Caller) -> Fault {
        let may_read = self.store.may(caller, Action::ReadRepository, Target::Server);
        match may_read && self.push_token.is_none() {
            true => Fault::Git(Refused::Elsewhere),
            false => Fault::Unauthorized,
        }
    }
}

/// Whether a request comes from this machine, and not through a proxy on it, nor out of a page in a browser.
fn is_from_here(request: &HttpRequest) -> bool {
    const HANDED_ON: [&str; 6] =
        ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via", "origin"];
    let is_loopback =
        request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    is_loopback && !HANDED_ON.iter().any(|name| request.headers().contains_key(*name))
}

pub(super) async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    http: &Http,
    caller: &Caller,
    repository: &str,
    asked: Git,
) -> Result<HttpResponse, Fault> {
    let service = match asked {
        Git::Refs => service(request)?,
        Git::UploadPack => Service::UploadPack,
        Git::ReceivePack => Service::ReceivePack,
    };
    // Who would push is told at the first request, before anything is sent.
    if service == Service::ReceivePack && !http.store.may(caller, Action::Push, Target::Server) {
        return Err(http.git_refusal(caller));
    }
    let host = http.hosts.as_ref().and_then(|hosts| hosts.get(repository));
    let host = host.ok_or(Fault::Git(Refused::NoRepository))?;
    match asked {
        Git::Refs => advertise(host, service).await,
        Git::UploadPack => {
            let body = Body::new(request, payload, service, FETCH_BYTES_MAX)?;
            exchange(body, service, host.upload_pack().await?).await
        }
        Git::ReceivePack => {
            let bytes_max = host.pack_bytes_max().saturating_add(COMMANDS_BYTES_MAX);
            let body = Body::new(request, payload, service, bytes_max)?;
            let who = http.push_token.as_ref().and_then(|token| token.name_in(request.headers()));
            exchange(body, service, host.receive_pack(who).await?).await
        }
    }
}

/// One of the two, from a fixed list.
fn service(request: &HttpRequest) -> Result<Service, Fault> {
    match parameter(request, "service") {
        Some("git-upload-pack") => Ok(Service::UploadPack),
        Some("git-receive-pack") => Ok(Service::ReceivePack),
        _ => Err(Fault::Git(Refused::NoService)),
    }
}

/// In the first version of the protocol, whatever the client would like: all of them speak it, and the second one gives
/// away what no branch leads to any more to whoever knows its id.
async fn advertise(host: &std::sync::Arc<Host>, service: Service) -> Result<HttpResponse, Fault> {
    let advertised = host.advertise(service).await?;
    let mut body = Vec::with_capacity(advertised.len() + 64);
    let line = format!("# service=git-{}\n", service.name());
    body.extend_from_slice(format!("{:04x}{line}0000", line.len() + 4).as_bytes());
    body.extend_from_slice(&advertised);
    Ok(HttpResponse::Ok()
        .content_type(format!("application/x-git-{}-advertisement", service.name()))
        .insert_header(header::CacheControl(vec![header::CacheDirective::NoCache]))
        .body(body))
}

/// Sends the request to git and its answer to the client. The answer begins when git does, or when the request is over.
async fn exchange(body: Body, service: Service, exchange: Exchange) -> Result<HttpResponse, Fault> {
    let Exchange { input, mut output } = exchange;
    let mut sending: LocalBoxFuture<'static, _> = Box::pin(body.send(input));
    let (first, sending) = tokio::select! {
        biased;
        sent = &mut sending => {
            sent.map_err(Fault::Git)?;
            (None, None)
        }
        piece = output.recv() => (piece, Some(sending)),
    };
    let answer = Answer { first, sending, output };
    Ok(HttpResponse::Ok()
        .content_type(format!("application/x-git-{}-result", service.name()))
        .insert_header(header::CacheControl(vec![header::CacheDirective::NoCache]))
        .streaming(answer))
}

/// Git's answer, while the rest of the request still goes to it.
struct Answer {
    first: Option<Result<Bytes, Cut>>,
    sending: Option<LocalBoxFuture<'static, Result<(), Refused>>>,
    output: mpsc::Receiver<Result<Bytes, Cut>>,
}

impl Stream for Answer {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(sent) = sending.as_mut().poll(context)
        {
            self.sending = None;
            if sent.is_err() {
                return Poll::Ready(Some(Err(Cut)));
            }
        }
        self.output.poll_recv(context)
    }
}

/// The body of a request.
struct Body {
    payload: web::Payload,
    decoder: Decoder,
    /// When it has to be there, if it has to be soon.
    until: Option<Instant>,
}

impl Body {
    fn new(
        request: &HttpRequest,
        payload: web::Payload,
        service: Service,
        bytes_max: u64,
    ) -> Result<Self, Fault> {
        let headers = request.headers();
        let expected = format!("application/x-git-{}-request", service.name());
        let is_gits = headers.get(header::CONTENT_TYPE).is_some_and(|it| *it == *expected);
        let is_compressed = is_compressed(headers).filter(|_| is_gits);
        let is_compressed = is_compressed.ok_or(Fault::Git(Refused::MediaType))?;
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > bytes_max) {
            return Err(Fault::Git(Refused::TooLarge));
        }
        let bounded = Bounded { bytes: Vec::new(), left: bytes_max };
        let decoder = match is_compressed {
            true => Decoder::Gzip(Box::new(GzDecoder::new(bounded))),
            false => Decoder::Plain(bytes_max),
        };
        let is_fetch = service == Service::UploadPack;
        let until = is_fetch.then(|| Instant::now() + FETCH_REQUEST_MAX);
        Ok(Self { payload, decoder, until })
    }

    /// Sends all of it to git, in order and no faster than git takes it.
    async fn send(mut self, input: mpsc::Sender<Input>) -> Result<(), Refused> {
        loop {
            let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
            let next = timeout(left.unwrap_or(IDLE_MAX), self.payload.next()).await;
            let next = next.map_err(|_| Refused::TooSlow)?;
            let Some(piece) = next else { break };
            let mut piece = piece.map_err(|_| Refused::Broken)?;
            while let Some(decoded) = self.decoder.next(&mut piece)? {
                if input.send(Input::Piece(decoded)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if let Some(rest) = self.decoder.finish()? {
            // Git that has ended already has said why.
            let _ = input.send(Input::Piece(rest)).await;
        }
        let _ = input.send(Input::End).await;
        Ok(())
    }
}

/// Whether the body is compressed; nothing for an encoding that git does not use.
fn is_compressed(headers: &HeaderMap) -> Option<bool> {
    match headers.get(header::CONTENT_ENCODING).map(header::HeaderValue::as_bytes) {
        None | Some(b"identity") => Some(false),
        Some(b"gzip" | b"x-gzip") => Some(true),
        Some(_) => None,
    }
}

/// How a body is decoded, with the number of bytes that it may still become.
enum Decoder {
    Plain(u64),
    Gzip(Box<GzDecoder<Bounded>>),
}

impl Decoder {
    /// Decodes the beginning of a piece; nothing once there is no more of it.
    fn next(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, Refused> {
        while !piece.is_empty() {
            match self {
                Self::Plain(left) => {
                    *left = left.checked_sub(piece.len() as u64).ok_or(Refused::TooLarge)?;
                    return Ok(Some(std::mem::take(piece)));
                }
                Self::Gzip(decoder) => {
                    let compressed = piece.split_to(piece.len().min(COMPRESSED_BYTES));
                    let decoded = decoder.write_all(&compressed).and_then(|()| decoder.flush());
                    if decoded.is_err() {
                        return Err(decoder.get_ref().refusal());
                    }
                    let decoded = std::mem::take(&mut decoder.get_mut().bytes);
                    if !decoded.is_empty() {
                        return Ok(Some(decoded.into()));
                    }
                }
            }
        }
        Ok(None)
    }

    /// What is left when there is no more; a body that is not whole is none.
    fn finish(self) -> Result<Option<Bytes>, Refused> {
        match self {
            Self::Plain(_) => Ok(None),
            Self::Gzip(mut decoder) => match decoder.try_finish() {
                Ok(()) => Ok(Some(std::mem::take(&mut decoder.get_mut().bytes).into())),
                Err(_) => Err(decoder.get_ref().refusal()),
            },
        }
    }
}

/// Bytes, up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    left: u64,
}

impl Bounded {
    /// What an error while decoding means.
    fn refusal(&self) -> Refused {
        match self.left {
            0 => Refused::TooLarge,
            _ => Refused::Broken,
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            self.left = 0;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        };
        self.left = left;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(compressed: &[u8], left: u64, piece: usize) -> Result<Vec<u8>, Refused> {
        let bounded = Bounded { bytes: Vec::new(), left };
        let mut decoder = Decoder::Gzip(Box::new(GzDecoder::new(bounded)));
        let mut all = Vec::new();
        for piece in compressed.chunks(piece) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(decoded) = decoder.next(&mut piece)? {
                assert!(decoded.len() <= 2 * 1024 * 1024, "{}", decoded.len());
                all.extend_from_slice(&decoded);
            }
        }
        all.extend(decoder.finish()?.unwrap_or_default());
        Ok(all)
    }

    #[test]
    fn compressed_bodies_come_out_whole_or_not_at_all() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|number| number.to_le_bytes()).collect();
        let compressed = gzip(&text);
        for piece in [1, 7, 1_000, 100_000] {
            assert_eq!(decoded(&compressed, 1 << 20, piece), Ok(text.clone()));
        }
        assert_eq!(
            decoded(&compressed[..compressed.len() - 5], 1 << 20, 999),
            Err(Refused::Broken)
        );
        assert_eq!(decoded(b"no gzip at all", 1 << 20, 999), Err(Refused::Broken));
        let trailed = [&compressed[..], b"trailing"].concat();
        assert_eq!(decoded(&trailed, 1 << 20, 999), Err(Refused::Broken));
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decoded(&bomb, 4 << 20, 10_000), Err(Refused::TooLarge));
    }
}
