//! The places to which lines go: a file, standard output, or both.

use std::io::{self, Write};

use headwater_access::audit::Head;

use super::AuditOptions;
use super::file::{AuditFile, AuditFileError, OpenedTrail};

/// The destinations of the lines. At least one exists.
pub(super) struct Destination {
    file: Option<AuditFile>,
    stdout: Option<Stdout>,
}

/// Standard output, with the part of a batch that it has taken already.
#[derive(Default)]
struct Stdout {
    sent_bytes: usize,
}

/// The result of writing a batch.
pub(super) struct Written {
    /// True if the file was rotated.
    pub(super) has_rotated: bool,
    /// The failure of a destination whose lines are in the file nevertheless.
    pub(super) copy_failure: Option<io::Error>,
}

impl Destination {
    pub(super) fn open(options: &AuditOptions) -> Result<(Self, OpenedTrail), AuditFileError> {
        let stdout = options.stdout.then(Stdout::default);
        let Some(path) = &options.file else {
            // Standard output cannot be read back, so that each start begins a trail.
            return Ok((Self { file: None, stdout }, OpenedTrail::EMPTY));
        };
        let (file, opened) = AuditFile::open(path, options.rotate_bytes, options.keep_count)?;
        Ok((Self { file: Some(file), stdout }, opened))
    }

    /// Writes whole lines and makes them durable. `head` is the head after them. After an error the same lines have to be
    /// written again.
    pub(super) fn write(&mut self, lines: &[u8], head: Head) -> io::Result<Written> {
        let Some(file) = &mut self.file else {
            if let Some(stdout) = &mut self.stdout {
                stdout.write(lines)?;
            }
            return Ok(Written { has_rotated: false, copy_failure: None });
        };
        file.append(lines)?;
        let has_rotated = file.rotate_if_due(head);
        // The lines are durable. What a reader of standard output lacks is in the file.
        let copied = self.stdout.as_mut().map_or(Ok(()), |stdout| stdout.write(lines));
        if copied.is_err() {
            self.stdout = Some(Stdout::default());
        }
        Ok(Written { has_rotated, copy_failure: copied.err() })
    }
}

impl Stdout {
    /// Writes the rest of a batch. After an error, the next call continues at the same byte.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        while self.sent_bytes < lines.len() {
            match out.write(&lines[self.sent_bytes..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent_bytes += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        out.flush()?;
        self.sent_bytes = 0;
        Ok(())
    }
}
