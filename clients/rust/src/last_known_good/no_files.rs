//! Where there are no Unix permissions, there is no copy: nobody could say who wrote it.

use std::path::Path;

use super::LastKnownGoodProblem as Problem;

pub(super) fn replace(directory: &Path, _name: &str, _bytes: &[u8]) -> Result<(), Problem> {
    Err(unsupported(directory))
}

pub(super) fn read(directory: &Path, _name: &str, _length_max: usize) -> Result<Vec<u8>, Problem> {
    Err(unsupported(directory))
}

fn unsupported(directory: &Path) -> Problem {
    let problem = "this system has no unix permissions".to_owned();
    Problem::Untrusted { path: directory.to_owned(), problem }
}
