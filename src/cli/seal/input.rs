//! Reads the value to seal. It is never an argument, because other users of the machine see arguments.

use std::io::{self, IsTerminal, Read};

use anyhow::{Context, bail};
use console::Term;
use headwater_secrets::SecretText;

use crate::cli::output::one_line;

/// The longest value, in bytes.
const VALUE_BYTES_MAX: u64 = 256 * 1024;

/// Reads the value from the terminal without showing it, or else from standard input without its last line break.
pub(super) fn read(key: &str) -> anyhow::Result<SecretText> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprint!("Value of {}: ", one_line(key));
        let line = Term::stderr().read_secure_line().context("cannot read from the terminal")?;
        return Ok(SecretText::new(line));
    }
    let mut text = String::new();
    stdin
        .lock()
        .take(VALUE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .context("cannot read the value from standard input as UTF-8")?;
    if text.len() as u64 > VALUE_BYTES_MAX {
        bail!("the value is longer than {VALUE_BYTES_MAX} bytes");
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(SecretText::new(text))
}
