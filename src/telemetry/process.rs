//! The figures of the process, as the system reports them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};

/// The unit of processor time in `/proc`, which is the same on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// The figures that every Prometheus client library reports, under the names that dashboards know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessFigures {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub open_file_count: u64,
    /// Zero where there is no limit.
    pub open_file_count_max: u64,
    pub thread_count: u64,
    /// Seconds since 1970.
    pub start_seconds: f64,
}

impl ProcessFigures {
    /// Reads the figures. Returns `None` where the system does not report them.
    pub fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
        let open_file_count = std::fs::read_dir("/proc/self/fd").ok()?.count();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let stat = Stat::parse(&stat)?;
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
        Some(Self {
            cpu_seconds: seconds(stat.processor_ticks),
            resident_bytes: resident_bytes(&status)?,
            open_file_count: u64::try_from(open_file_count).ok()?,
            open_file_count_max: getrlimit(Resource::Nofile).current.unwrap_or(0),
            thread_count: stat.thread_count,
            start_seconds: now.as_secs_f64() - uptime + seconds(stat.start_ticks),
        })
    }
}

/// The fields of `/proc/self/stat` that are of interest.
#[derive(Debug, PartialEq)]
struct Stat {
    processor_ticks: u64,
    thread_count: u64,
    /// Since the start of the system.
    start_ticks: u64,
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

impl Stat {
    /// The name of the process is in brackets and may contain blanks and brackets.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        // The first of these fields is the third one of proc_pid_stat(5).
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            processor_ticks: field(14)? + field(15)?,
            thread_count: field(20)?,
            start_ticks: field(22)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_process_may_be_anything() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 500 0 0 0 12 34 0 0 20 0 9 0 5000 100 77 0";
        let expected = Stat { processor_ticks: 46, thread_count: 9, start_ticks: 5000 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
        assert_eq!(resident_bytes("VmPeak:  9 kB\nVmRSS:\t   12 kB\n"), Some(12_288));
        assert_eq!(resident_bytes("VmRSS: x kB\n"), None);
    }

    #[test]
    fn this_process_has_figures() {
        let figures = ProcessFigures::read().expect("a system that reports them");
        assert!(figures.resident_bytes > 100_000, "{figures:?}");
        assert!(figures.open_file_count >= 3 && figures.thread_count >= 1, "{figures:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(figures.start_seconds <= now + 1.0 && figures.start_seconds > 1e9, "{figures:?}");
    }
}
