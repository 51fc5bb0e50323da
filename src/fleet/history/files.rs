//! The files of the history: one for each day in UTC, as JSON lines. Closed days are compressed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use headwater_wire::{FleetChange, FleetRecord};
use jiff::Timestamp;

/// The most bytes of all files together. The oldest files are removed first.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The most bytes of the file of the present day, which is a part of them.
const DAY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// The most records in one answer about an instance.
const RECORD_COUNT_MAX: usize = 10_000;
/// The most days that one request reads.
const DAY_COUNT_MAX: usize = 366;

const PLAIN: &str = ".jsonl";
const COMPRESSED: &str = ".jsonl.gz";

/// The directory of the files.
#[derive(Debug, Clone)]
pub(super) struct DayFiles {
    directory: PathBuf,
    /// The number of days that are kept.
    days: u16,
}

/// A day in UTC, as `2026-11-20`.
pub(super) type Day = String;

/// Returns the day of a time.
pub(super) fn day(time: Timestamp) -> Day {
    time.to_string().chars().take_while(|character| *character != 'T').collect()
}

impl DayFiles {
    pub(super) fn new(directory: PathBuf, days: u16) -> Self {
        Self { directory, days }
    }

    /// Opens the file of a day for appending, and ends a line that a crash has torn. Returns its length.
    pub(super) fn open(&self, day: &Day) -> io::Result<(File, u64)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        self.reopen(day)?;
        let path = self.path(day, PLAIN);
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        if length > 0 {
            let mut last = [0];
            io::Seek::seek(&mut file, io::SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok((file, length))
    }

    /// Compresses the files of days that are over, and removes those beyond the limits.
    pub(super) fn tidy(&self, today: &Day) -> io::Result<()> {
        for day in self.days(PLAIN)?.into_iter().filter(|day| day < today) {
            self.compress(&day)?;
        }
        let mut days = self.days(COMPRESSED)?;
        let too_many = days.len().saturating_sub(self.days.into());
        let mut bytes = DAY_BYTES_MAX;
        let mut kept = BTreeSet::new();
        for day in days.iter().skip(too_many).rev() {
            bytes += fs::metadata(self.path(day, COMPRESSED))?.len();
            if bytes > BYTES_MAX {
                break;
            }
            kept.insert(day.clone());
        }
        days.retain(|day| !kept.contains(day));
        days.iter().try_for_each(|day| fs::remove_file(self.path(day, COMPRESSED)))
    }

    /// True if a file of this length may grow.
    pub(super) fn has_room(length: u64) -> bool {
        length < DAY_BYTES_MAX
    }

    fn compress(&self, day: &Day) -> io::Result<()> {
        let (temporary, target) = self.temporary(day)?;
        let mut encoder = GzEncoder::new(target, Compression::default());
        io::copy(&mut File::open(self.path(day, PLAIN))?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&temporary, self.path(day, COMPRESSED))?;
        fs::remove_file(self.path(day, PLAIN))
    }

    /// Makes a compressed day plain again. The clock has returned to it. The plain file of a day always has every line of
    /// the compressed one.
    fn reopen(&self, day: &Day) -> io::Result<()> {
        let (compressed, plain) = (self.path(day, COMPRESSED), self.path(day, PLAIN));
        if plain.try_exists()? || !compressed.try_exists()? {
            return Ok(());
        }
        let (temporary, mut target) = self.temporary(day)?;
        io::copy(&mut GzDecoder::new(File::open(&compressed)?), &mut target)?;
        target.sync_all()?;
        fs::rename(&temporary, plain)?;
        fs::remove_file(compressed)
    }

    fn temporary(&self, day: &Day) -> io::Result<(PathBuf, File)> {
        let path = self.directory.join(format!(".{day}.tmp"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok((path, file))
    }

    /// The days that have a file with this ending, the oldest first.
    fn days(&self, ending: &str) -> io::Result<BTreeSet<Day>> {
        let mut days = BTreeSet::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(days),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let day = name.to_str().and_then(|name| name.strip_suffix(ending));
            days.extend(day.filter(|day| is_day(day)).map(str::to_owned));
        }
        Ok(days)
    }

    fn path(&self, day: &Day, ending: &str) -> PathBuf {
        self.directory.join(format!("{day}{ending}"))
    }

    /// Returns the last record of each instance that was present at a time, in the order of lists. `None` if the history
    /// does not reach back to it.
    pub(super) fn at(&self, time: Timestamp) -> io::Result<Option<Vec<FleetRecord>>> {
        self.at_in(&day(time), time)
    }

    /// As [`DayFiles::at`], by the file of a day.
    pub(super) fn at_in(&self, day: &Day, time: Timestamp) -> io::Result<Option<Vec<FleetRecord>>> {
        let mut state = BTreeMap::new();
        let mut is_known = false;
        self.read(day, |record| {
            if record.at.parse::<Timestamp>().is_ok_and(|at| at <= time) {
                is_known = true;
                apply(&mut state, record);
            }
        })?;
        Ok(is_known.then(|| state.into_values().collect()))
    }

    /// Returns the records of the instances with a name, and the number of further ones.
    pub(super) fn of_instance(
        &self,
        name: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> io::Result<(Vec<FleetRecord>, u64)> {
        if from > until {
            return Ok((Vec::new(), 0));
        }
        let (first, last) = (day(from), day(until));
        let days: BTreeSet<Day> =
            self.days(PLAIN)?.union(&self.days(COMPRESSED)?).cloned().collect();
        let (mut records, mut left_out) = (Vec::new(), 0);
        for day in days.range(first..=last).take(DAY_COUNT_MAX) {
            self.read(day, |record| {
                let at = record.at.parse::<Timestamp>();
                let is_wanted = record.instance == name
                    && record.change != FleetChange::State
                    && at.is_ok_and(|at| (from..=until).contains(&at));
                if is_wanted && records.len() < RECORD_COUNT_MAX {
                    records.push(record);
                } else if is_wanted {
                    left_out += 1;
                }
            })?;
        }
        Ok((records, left_out))
    }

    /// Reads the records of a day. A line that is no record is left out, such as one that a crash has torn.
    fn read(&self, day: &Day, mut use_record: impl FnMut(FleetRecord)) -> io::Result<()> {
        let Some(reader) = self.reader(day)? else { return Ok(()) };
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if let Ok(record) = serde_json::from_slice(&line) {
                use_record(record);
            }
        }
    }

    fn reader(&self, day: &Day) -> io::Result<Option<Box<dyn Read>>> {
        let open = |ending| match File::open(self.path(day, ending)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        };
        // A day is compressed before its plain file is removed, so that one of them is there.
        if let Some(plain) = open(PLAIN)? {
            return Ok(Some(Box::new(plain)));
        }
        Ok(open(COMPRESSED)?.map(|file| Box::new(GzDecoder::new(file)) as Box<dyn Read>))
    }
}

/// Applies a record to the state of all instances.
fn apply(state: &mut BTreeMap<String, FleetRecord>, record: FleetRecord) {
    let FleetRecord { application, profiles, label, instance, incarnation, .. } = &record;
    let (label, incarnation) = (label.as_deref(), incarnation.as_deref());
    let (label, incarnation) = (label.unwrap_or_default(), incarnation.unwrap_or_default());
    let key = format!("{application}\0{profiles}\0{label}\0{instance}\0{incarnation}");
    match record.change {
        FleetChange::Started => state.clear(),
        FleetChange::Gone => drop(state.remove(&key)),
        _ => drop(state.insert(key, record)),
    }
}

/// True for `2026-11-20`.
fn is_day(text: &str) -> bool {
    let is_expected = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 10 && text.bytes().enumerate().all(is_expected)
}

/// The beginning of a day.
pub(super) fn begin(day: &Day) -> String {
    format!("{day}T00:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: &str, change: FleetChange, name: &str) -> FleetRecord {
        serde_json::from_value(serde_json::json!({
            "at": at, "change": change, "instance": name, "application": "product", "profiles": "prod",
        }))
        .unwrap()
    }

    fn write(files: &DayFiles, day: &str, records: &[FleetRecord]) {
        let (mut file, _) = files.open(&day.to_owned()).unwrap();
        for record in records {
            writeln!(file, "{}", serde_json::to_string(record).unwrap()).unwrap();
        }
    }

    fn names(files: &DayFiles, time: &str) -> Option<Vec<String>> {
        let records = files.at(time.parse().unwrap()).unwrap()?;
        Some(records.into_iter().map(|record| record.instance).collect())
    }

    #[test]
    fn a_closed_day_is_compressed_and_reads_as_before() {
        let place = tempfile::tempdir().unwrap();
        let files = DayFiles::new(place.path().join("history"), 30);
        let begin = "2026-11-20T00:00:00Z";
        write(
            &files,
            "2026-11-20",
            &[
                record(begin, FleetChange::State, "a"),
                record("2026-11-20T10:00:00Z", FleetChange::Arrived, "b"),
                record("2026-11-20T11:00:00Z", FleetChange::Gone, "a"),
                record("2026-11-20T12:00:00Z", FleetChange::Started, ""),
                record("2026-11-20T12:00:01Z", FleetChange::Arrived, "c"),
            ],
        );
        let expected = [
            (begin, vec!["a"]),
            ("2026-11-20T10:30:00Z", vec!["a", "b"]),
            ("2026-11-20T11:30:00Z", vec!["b"]),
            ("2026-11-20T12:00:00Z", vec![]),
            ("2026-11-20T23:00:00Z", vec!["c"]),
        ];
        for is_compressed in [false, true] {
            if is_compressed {
                files.tidy(&"2026-11-21".to_owned()).unwrap();
                assert_eq!(files.days(PLAIN).unwrap(), BTreeSet::new());
            }
            for (time, present) in &expected {
                let present = present.iter().map(|name| (*name).to_owned()).collect();
                assert_eq!(names(&files, time), Some(present), "{time}");
            }
            let until = "2026-11-21T00:00:00Z".parse().unwrap();
            let (records, left_out) = files.of_instance("a", Timestamp::MIN, until).unwrap();
            let changes: Vec<_> = records.iter().map(|record| record.change).collect();
            assert_eq!((changes, left_out), (vec![FleetChange::Gone], 0));
        }
        assert_eq!(names(&files, "2026-11-19T12:00:00Z"), None);
    }

    #[test]
    fn a_torn_line_is_left_out_and_the_next_one_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let files = DayFiles::new(place.path().to_owned(), 30);
        let day = "2026-11-20";
        write(&files, day, &[record("2026-11-20T10:00:00Z", FleetChange::Arrived, "a")]);
        let (mut file, _) = files.open(&day.to_owned()).unwrap();
        file.write_all(b"{\"at\":\"2026-11-20T10:00:01Z\",\"cha").unwrap();
        write(&files, day, &[record("2026-11-20T10:00:02Z", FleetChange::Arrived, "b")]);
        assert_eq!(names(&files, "2026-11-20T11:00:00Z").unwrap(), ["a", "b"]);
        // Neither a file of another name nor a very long line is a record.
        fs::write(place.path().join("2026-11-20.jsonl.bak"), "x").unwrap();
        let (mut file, _) = files.open(&day.to_owned()).unwrap();
        file.write_all(&vec![b'x'; 3 * usize::try_from(LINE_BYTES_MAX).unwrap()]).unwrap();
        assert_eq!(names(&files, "2026-11-20T11:00:00Z").unwrap(), ["a", "b"]);
    }

    #[test]
    fn the_oldest_days_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let files = DayFiles::new(place.path().to_owned(), 3);
        for number in 1..=9 {
            let day = format!("2026-11-0{number}");
            write(&files, &day, &[record(&begin(&day), FleetChange::State, "a")]);
        }
        files.tidy(&"2026-11-09".to_owned()).unwrap();
        let kept = ["2026-11-06", "2026-11-07", "2026-11-08"].map(str::to_owned);
        assert_eq!(files.days(COMPRESSED).unwrap(), BTreeSet::from(kept));
        assert_eq!(files.days(PLAIN).unwrap(), BTreeSet::from(["2026-11-09".to_owned()]));
    }
}
