//! Parts of the addresses of sources.

use std::path::PathBuf;

use super::OpenError;
use crate::percent;

/// The reason for which an address with placeholders is rejected.
pub(super) const PLACEHOLDERS: &str =
    "placeholders in the address of a source are not supported: use them in its search paths";

/// The stable base of names: the address without the slashes at its end. The root stays `/`.
pub fn base_of(uri: &str) -> &str {
    match uri.trim_end_matches('/') {
        "" => uri,
        base => base,
    }
}

/// Returns whether an address contains placeholders, with which a request would choose the source that is opened.
pub(super) fn has_placeholder(uri: &str) -> bool {
    ["{application}", "{profile}", "{label}"].iter().any(|placeholder| uri.contains(placeholder))
}

/// The path of a `file:` URI: `file:relative`, `file:/absolute` or `file:///absolute`.
pub(super) fn file_path(rest: &str) -> Result<PathBuf, OpenError> {
    let path = match rest.strip_prefix("//") {
        Some(after) => {
            let host_end = after.find('/').ok_or(malformed("a file: URI needs a path"))?;
            if !matches!(&after[..host_end], "" | "localhost") {
                return Err(malformed("a file: URI cannot name another host"));
            }
            &after[host_end..]
        }
        None => rest,
    };
    if path.is_empty() {
        return Err(malformed("a file: URI needs a path"));
    }
    percent::decode(path)
        .filter(|path| !path.contains('\0'))
        .map(PathBuf::from)
        .ok_or(malformed("a file: URI contains an invalid percent-encoding"))
}

pub(super) fn malformed(reason: &'static str) -> OpenError {
    OpenError::Malformed { reason }
}
