//! The body of a request of git: decoded, limited in size, and passed on as fast as git reads it.

use std::io::Write;
use std::time::{Duration, Instant};

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, web};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::http::error::HttpError;
use crate::http::git_error::GitHttpError;
use crate::push::{Input, PUSH_STALL_MAX, Service, StallBudget};

/// The time in which the request of a clone or fetch must arrive. It is short, and any client may send one.
const FETCH_REQUEST_MAX: Duration = Duration::from_secs(5);
/// The largest part of a compressed request that is decoded at a time, in bytes. Its size grows at most a thousandfold.
const COMPRESSED_BYTES: usize = 1024;

/// The body of a request of git.
pub(super) struct GitRequestBody {
    payload: web::Payload,
    decoder: Decoder,
    /// The time by which the body must have arrived. `None` for a push.
    until: Option<Instant>,
    stall_budget: StallBudget,
}

impl GitRequestBody {
    pub(super) fn new(
        request: &HttpRequest,
        payload: web::Payload,
        service: Service,
        bytes_max: u64,
    ) -> Result<Self, HttpError> {
        let headers = request.headers();
        let expected = format!("application/x-git-{}-request", service.name());
        let is_expected = headers.get(header::CONTENT_TYPE).is_some_and(|it| *it == *expected);
        let is_compressed = is_compressed(headers).filter(|_| is_expected);
        let is_compressed = is_compressed.ok_or(HttpError::Git(GitHttpError::MediaType))?;
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > bytes_max) {
            return Err(HttpError::Git(GitHttpError::TooLarge));
        }
        let bounded = BoundedBuffer { bytes: Vec::new(), left: bytes_max };
        let decoder = if is_compressed {
            Decoder::Gzip(Box::new(GzDecoder::new(bounded)))
        } else {
            Decoder::Plain(bytes_max)
        };
        let is_fetch = service == Service::UploadPack;
        let until = is_fetch.then(|| Instant::now() + FETCH_REQUEST_MAX);
        Ok(Self { payload, decoder, until, stall_budget: StallBudget::new(PUSH_STALL_MAX) })
    }

    /// Receives the next piece, or fails if the client does not send it in time.
    async fn next(&mut self) -> Result<Option<Bytes>, GitHttpError> {
        let next = match self.until {
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                timeout(left, self.payload.next()).await.ok()
            }
            None => self.stall_budget.wait(self.payload.next()).await,
        };
        let piece =
            next.ok_or(GitHttpError::TooSlow)?.transpose().map_err(|_| GitHttpError::Broken)?;
        self.stall_budget.refill(piece.as_ref().map_or(0, Bytes::len));
        Ok(piece)
    }

    /// Passes the whole body to git, no faster than git reads it.
    pub(super) async fn send(mut self, input: mpsc::Sender<Input>) -> Result<(), GitHttpError> {
        while let Some(mut piece) = self.next().await? {
            while let Some(decoded) = self.decoder.next(&mut piece)? {
                if input.send(Input::Piece(decoded)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if let Some(rest) = self.decoder.finish()? {
            // The receiver is gone if git has ended. Git's output then has the reason.
            let _ = input.send(Input::Piece(rest)).await;
        }
        let _ = input.send(Input::End).await;
        Ok(())
    }
}

/// Returns whether the body is compressed, or `None` for an encoding that git does not use.
fn is_compressed(headers: &HeaderMap) -> Option<bool> {
    match headers.get(header::CONTENT_ENCODING).map(header::HeaderValue::as_bytes) {
        None | Some(b"identity") => Some(false),
        Some(b"gzip" | b"x-gzip") => Some(true),
        Some(_) => None,
    }
}

/// The decoder of a body, with the number of bytes that its output may still grow by.
enum Decoder {
    Plain(u64),
    Gzip(Box<GzDecoder<BoundedBuffer>>),
}

impl Decoder {
    /// Decodes the beginning of a piece and removes it from the piece. Returns `None` once the piece is empty.
    fn next(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, GitHttpError> {
        while !piece.is_empty() {
            match self {
                Self::Plain(left) => {
                    *left = left.checked_sub(piece.len() as u64).ok_or(GitHttpError::TooLarge)?;
                    return Ok(Some(std::mem::take(piece)));
                }
                Self::Gzip(decoder) => {
                    let compressed = piece.split_to(piece.len().min(COMPRESSED_BYTES));
                    let decoded = decoder.write_all(&compressed).and_then(|()| decoder.flush());
                    if decoded.is_err() {
                        return Err(decoder.get_ref().error());
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

    /// Returns the rest of the output at the end of the body, or fails if the body is incomplete.
    fn finish(self) -> Result<Option<Bytes>, GitHttpError> {
        match self {
            Self::Plain(_) => Ok(None),
            Self::Gzip(mut decoder) => match decoder.try_finish() {
                Ok(()) => Ok(Some(std::mem::take(&mut decoder.get_mut().bytes).into())),
                Err(_) => Err(decoder.get_ref().error()),
            },
        }
    }
}

/// A buffer that fails once more bytes are written than it allows.
struct BoundedBuffer {
    bytes: Vec<u8>,
    left: u64,
}

impl BoundedBuffer {
    /// Tells an oversized body from a malformed one after a failed write.
    fn error(&self) -> GitHttpError {
        match self.left {
            0 => GitHttpError::TooLarge,
            _ => GitHttpError::Broken,
        }
    }
}

impl Write for BoundedBuffer {
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

    fn decoded(compressed: &[u8], left: u64, piece: usize) -> Result<Vec<u8>, GitHttpError> {
        let bounded = BoundedBuffer { bytes: Vec::new(), left };
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
    fn compressed_bodies_are_decoded_completely_or_rejected() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|number| number.to_le_bytes()).collect();
        let compressed = gzip(&text);
        for piece in [1, 7, 1_000, 100_000] {
            assert_eq!(decoded(&compressed, 1 << 20, piece), Ok(text.clone()));
        }
        assert_eq!(
            decoded(&compressed[..compressed.len() - 5], 1 << 20, 999),
            Err(GitHttpError::Broken)
        );
        assert_eq!(decoded(b"no gzip at all", 1 << 20, 999), Err(GitHttpError::Broken));
        let trailed = [&compressed[..], b"trailing"].concat();
        assert_eq!(decoded(&trailed, 1 << 20, 999), Err(GitHttpError::Broken));
    }

    #[test]
    fn a_decompression_bomb_is_cut_off_at_the_limit() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decoded(&bomb, 4 << 20, 10_000), Err(GitHttpError::TooLarge));
    }
}
