//! Systems without Unix permissions have no copy, because its author could not be verified.

use std::path::Path;

use crate::error::LastKnownGoodError;

pub(super) fn replace(
    directory: &Path,
    _name: &str,
    _bytes: &[u8],
) -> Result<(), LastKnownGoodError> {
    Err(unsupported(directory))
}

pub(super) fn read(
    directory: &Path,
    _name: &str,
    _length_max: usize,
) -> Result<Vec<u8>, LastKnownGoodError> {
    Err(unsupported(directory))
}

fn unsupported(directory: &Path) -> LastKnownGoodError {
    let problem = "this system has no Unix permissions".to_owned();
    LastKnownGoodError::Untrusted { path: directory.to_owned(), problem }
}
