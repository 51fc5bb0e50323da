//! Reading the trail of a running server, in pages.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use headwater_access::audit::{AuditQueryError, query};
use serde::Serialize;

use super::file::rotated_files;
use super::{AuditLine, Filter};
use crate::regular_file;

/// The longest reading of one page. A page that is not full by then ends early.
const PAGE_MAX: Duration = Duration::from_secs(2);
/// The most bytes of the lines of one page.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The part of a file that is read from its beginning rather than searched.
const SEARCHED_BYTES_MIN: u64 = 64 * 1024;

/// A part of the trail.
#[derive(Debug, Serialize)]
pub struct AuditPage {
    pub lines: Vec<AuditLine>,
    /// The number of the last line that was examined, if there can be further ones.
    pub next: Option<u64>,
}

/// A reading of one page.
pub(super) struct Reading<'a> {
    pub(super) filter: &'a Filter,
    /// Only lines with a higher number are examined.
    pub(super) after: u64,
    pub(super) count_max: usize,
}

impl Reading<'_> {
    /// Reads a page of the trail at a path. Blocking.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn page(&self, path: &Path) -> io::Result<AuditPage> {
        let until = Instant::now() + PAGE_MAX;
        let mut page = AuditPage { lines: Vec::new(), next: None };
        let (mut examined, mut byte_count) = (self.after, 0);
        for file in self.files(path)? {
            let Some(reader) = self.open(&file, examined)? else { continue };
            for line in query(reader, &Filter::default()) {
                let line = match line {
                    Ok(line) => line,
                    Err(AuditQueryError::Read(error)) => return Err(error),
                    // The last line of the present file may be half written. Verification reports others.
                    Err(AuditQueryError::NotALine { .. }) => continue,
                };
                if line.seq <= examined {
                    continue;
                }
                // A file that was renamed since the files were listed would be left out.
                let is_gap = examined > self.after && line.seq != examined + 1;
                let is_full = page.lines.len() == self.count_max || byte_count > PAGE_BYTES_MAX;
                if is_gap || is_full || Instant::now() > until {
                    page.next = Some(examined);
                    return Ok(page);
                }
                examined = line.seq;
                if self.filter.matches(&line) {
                    byte_count += line.to_text().map_or(0, |text| text.len());
                    page.lines.push(line);
                }
            }
        }
        Ok(page)
    }

    /// The files that can have further lines, oldest first. The name of a renamed file has the number of its last line.
    fn files(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let last_of = |file: &Path| -> Option<u64> { file.extension()?.to_str()?.parse().ok() };
        let mut files = rotated_files(path)?;
        files.retain(|file| last_of(file).is_none_or(|last| last > self.after));
        files.push(path.to_owned());
        Ok(files)
    }

    /// Opens a file near its first line with a higher number. `None` if the file was removed.
    fn open(&self, path: &Path, after: u64) -> io::Result<Option<BufReader<File>>> {
        let file = match regular_file::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let mut reader = BufReader::new(file);
        let (mut low, mut high) = (0, length);
        while high - low > SEARCHED_BYTES_MIN {
            let middle = low + (high - low) / 2;
            match first_after(&mut reader, middle)? {
                Some((at, seq)) if seq <= after && at < high => low = at,
                _ => high = middle,
            }
        }
        reader.seek(SeekFrom::Start(low))?;
        Ok(Some(reader))
    }
}

/// The beginning and the number of the first whole line after a byte.
fn first_after(reader: &mut BufReader<File>, byte: u64) -> io::Result<Option<(u64, u64)>> {
    reader.seek(SeekFrom::Start(byte))?;
    let mut line = Vec::new();
    let skipped = reader.read_until(b'\n', &mut line)?;
    line.clear();
    reader.read_until(b'\n', &mut line)?;
    let line: Option<AuditLine> = serde_json::from_slice(&line).ok();
    Ok(line.map(|line| (byte + skipped as u64, line.seq)))
}

#[cfg(test)]
mod tests {
    use headwater_access::audit::{AuditEvent, Chain, Entry, Head, Trail};
    use jiff::Timestamp;

    use super::*;

    /// A trail of two renamed files and a present one, with a number of lines each.
    fn trail(counts: [u64; 3]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut trail = Trail::new(Chain::new(Head::EMPTY, "one", "boot"), 16 * 1024 * 1024);
        for (index, count) in counts.into_iter().enumerate() {
            for number in 0..count {
                let principal = if number % 10 == 0 { "rare" } else { "common" };
                let principal = Some(principal.to_owned());
                let reason = Some("x".repeat(100));
                let entry = Entry { principal, reason, ..Entry::new(AuditEvent::Denied) };
                trail.record(&entry, Timestamp::from_second(1_764_547_200).unwrap()).unwrap();
            }
            let mut bytes = Vec::new();
            trail.flush(&mut bytes).unwrap();
            let last = trail.head().seq;
            let name = if index == 2 {
                "audit.jsonl".to_owned()
            } else {
                format!("audit.jsonl.{last:012}")
            };
            std::fs::write(directory.path().join(name), bytes).unwrap();
        }
        directory
    }

    fn page(
        directory: &tempfile::TempDir,
        filter: &Filter,
        after: u64,
        count_max: usize,
    ) -> (Vec<u64>, Option<u64>) {
        let reading = Reading { filter, after, count_max };
        let page = reading.page(&directory.path().join("audit.jsonl")).unwrap();
        (page.lines.iter().map(|line| line.seq).collect(), page.next)
    }

    #[test]
    fn pages_continue_across_files() {
        let trail = trail([500, 700, 900]);
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let (lines, next) = page(&trail, &Filter::default(), after, 130);
            assert!(lines.len() <= 130);
            found.extend(lines);
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(found, (1..=2100).collect::<Vec<_>>());
        let rare = Filter { principal: Some("rare".to_owned()), ..Filter::default() };
        assert_eq!(page(&trail, &rare, 0, 1000).0.len(), 210);
        assert_eq!(page(&trail, &rare, 495, 2), (vec![501, 511], Some(511)));
    }

    #[test]
    fn each_line_is_found_after_the_one_before_it() {
        let trail = trail([1, 1, 3000]);
        for after in [0, 1, 2, 3, 500, 1499, 2500, 3000, 3001] {
            assert_eq!(page(&trail, &Filter::default(), after, 1).0, [after + 1], "{after}");
        }
        assert_eq!(page(&trail, &Filter::default(), 3002, 1), (vec![], None));
        assert_eq!(page(&trail, &Filter::default(), u64::MAX, 1), (vec![], None));
    }

    #[test]
    fn a_half_written_line_and_a_removed_file_end_no_reading() {
        let trail = trail([10, 10, 10]);
        let present = trail.path().join("audit.jsonl");
        let whole = std::fs::read(&present).unwrap();
        std::fs::write(&present, &whole[..whole.len() - 20]).unwrap();
        assert_eq!(page(&trail, &Filter::default(), 25, 100), ((26..=29).collect(), None));
        std::fs::remove_file(trail.path().join("audit.jsonl.000000000020")).unwrap();
        let (first, next) = page(&trail, &Filter::default(), 0, 100);
        assert_eq!((first, next), ((1..=10).collect(), Some(10)));
        assert_eq!(page(&trail, &Filter::default(), 10, 100).0, (21..=29).collect::<Vec<_>>());
        assert_eq!(page(&tempfile::tempdir().unwrap(), &Filter::default(), 0, 1), (vec![], None));
    }
}
