//! The errors of requests for repositories: the status and the text of each.

use actix_web::http::StatusCode;

/// The reason why a request for a repository gets an error response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GitHttpError {
    /// The server hosts no repository of this name.
    NoRepository,
    /// The request names neither of the two services. Without a service it is one of the dumb protocol.
    NoService,
    /// The push comes from another machine, and the server has no push token.
    RemotePush,
    /// The media type or the encoding is not git's.
    MediaType,
    /// The body is too large.
    TooLarge,
    /// The client sends too slowly.
    TooSlow,
    /// The body is incomplete or cannot be decoded.
    Broken,
    /// No permit became free in time.
    Busy,
    /// This replica has not loaded the repository from etcd yet.
    NotLoaded,
    /// The last change of the repository is not durable yet.
    Unwritable,
    /// Git failed.
    Failed,
}

impl GitHttpError {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoRepository => StatusCode::NOT_FOUND,
            Self::NoService | Self::RemotePush => StatusCode::FORBIDDEN,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Busy | Self::NotLoaded | Self::Unwritable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the text that git shows to its user.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::NoRepository => "this server hosts no repository of this name",
            Self::NoService => {
                "service: expected git-upload-pack or git-receive-pack; this server speaks git's smart HTTP protocol only"
            }
            Self::RemotePush => {
                "a push from another machine needs a push token: set HEADWATER_PUSH_TOKEN or push.token_file on the server"
            }
            Self::MediaType => "the Content-Type or Content-Encoding is not one that git sends",
            Self::TooLarge => "the request is larger than the server accepts",
            Self::TooSlow => {
                "the client sent the request too slowly; retry over a faster connection"
            }
            Self::Broken => "the body of the request is incomplete or cannot be decoded; retry",
            Self::Busy => {
                "the server is serving as many clones, fetches and pushes as it can; retry in a few seconds"
            }
            Self::NotLoaded => {
                "this replica has not loaded the repository from etcd yet; retry in a few seconds"
            }
            Self::Unwritable => {
                "the data directory of the repository cannot be written; the server's log has the reason; retry later"
            }
            Self::Failed => "git failed on this server; the server's log has the reason",
        }
    }
}
