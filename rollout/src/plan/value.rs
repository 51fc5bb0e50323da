//! Values of the plan file: numbers and shares of instances, and durations.

use std::fmt;
use std::time::Duration;

/// The longest accepted duration.
const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A share of instances, in millionths. It is more than none and less than all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// One whole, in millionths.
    const WHOLE: u32 = 1_000_000;

    /// A share of 1 to 99 percent. Other values become the nearest of these.
    pub fn percent(percent: u32) -> Self {
        Self(percent.clamp(1, 99) * 10_000)
    }

    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (1..Self::WHOLE).contains(&millionths).then_some(Self(millionths))
    }

    pub fn millionths(self) -> u32 {
        self.0
    }

    /// The share of a number, rounded up.
    pub fn of(self, count: u64) -> u64 {
        (u128::from(count) * u128::from(self.0)).div_ceil(u128::from(Self::WHOLE)) as u64
    }

    /// The share multiplied by a whole number. `None` if that is everything.
    pub(super) fn times(self, factor: u32) -> Option<Self> {
        self.0.checked_mul(factor).and_then(Self::from_millionths)
    }

    /// Returns true if the share is more than a half.
    pub fn is_majority(self) -> bool {
        self.0 > Self::WHOLE / 2
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let rest = format!("{rest:04}");
        write!(f, "{whole}.{}%", rest.trim_end_matches('0'))
    }
}

/// A number or a share of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Size {
    /// At least 1.
    Count(u32),
    Share(Share),
}

impl Size {
    /// The number of instances out of `count`. At least one, also of none.
    pub fn of(self, count: u64) -> u64 {
        match self {
            Self::Count(own) => u64::from(own),
            Self::Share(share) => share.of(count).max(1),
        }
    }

    /// Parses a number such as `3` or a share such as `5%` or `0.5%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected a number such as \"3\" or a share such as \"5%\", got {text:?}");
        let Some(percent) = text.strip_suffix('%') else {
            let count: u32 = text.parse().map_err(|_| expected())?;
            let none = "a stage has at least one instance. Write \"1\"";
            return (count > 0).then_some(Self::Count(count)).ok_or(none.into());
        };
        let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
        let is_number = |digits: &str, most: usize| {
            (1..=most).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
        };
        if !is_number(whole, 3) || !is_number(fraction, 4) {
            return Err(expected());
        }
        let whole: u32 = whole.parse().map_err(|_| expected())?;
        let fraction: u32 = format!("{fraction:0<4}").parse().map_err(|_| expected())?;
        match Share::from_millionths(whole * 10_000 + fraction) {
            Some(share) => Ok(Self::Share(share)),
            None if whole == 0 => Err("a share is more than 0%. Write \"1\" for one".into()),
            None => Err("a share is less than 100%. Write \"all\" for every instance".into()),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Share(share) => write!(f, "{share}"),
        }
    }
}

/// Parses a duration such as `90s`, `5m` or `2h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a time such as \"90s\", \"5m\" or \"2h\", got {text:?}");
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        _ => return Err(expected()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(expected());
    }
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    let duration = seconds.map(Duration::from_secs).filter(|own| *own <= DURATION_MAX);
    duration.ok_or_else(|| format!("a time is at most 168h (7 days), got {text:?}"))
}
