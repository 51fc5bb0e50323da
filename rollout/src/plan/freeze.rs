//! Freezes: times in which no rollout begins.

use std::fmt;

use crate::Name;

/// Seconds since 1970-01-01T00:00:00Z. Only freezes and the age of earlier revisions use the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WallTime(pub i64);

const MINUTES_PER_DAY: i64 = 24 * 60;
const MINUTES_PER_WEEK: i64 = 7 * MINUTES_PER_DAY;
/// 1970-01-01 was a Thursday. This is its place in a week that begins on Monday, in minutes.
const EPOCH_MINUTE: i64 = 3 * MINUTES_PER_DAY;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// One `[[freeze]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    pub(super) window: Window,
    /// The reason in messages, as the file has it.
    pub(super) because: Option<Name>,
    /// The window in messages, as the file has it.
    pub(super) text: Name,
}

/// When a freeze is in force. The end does not belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// Minutes of a week in a time zone with a fixed offset. A window may cross the end of the week.
    Weekly {
        from: i64,
        until: i64,
        offset_minutes: i64,
    },
    Once {
        from: WallTime,
        until: WallTime,
    },
}

impl Freeze {
    /// Returns true if no rollout begins at this time.
    pub fn contains(&self, now: WallTime) -> bool {
        match self.window {
            Window::Once { from, until } => (from..until).contains(&now),
            Window::Weekly { from, until, offset_minutes } => {
                let minute = now.0.div_euclid(60) + offset_minutes + EPOCH_MINUTE;
                let minute = minute.rem_euclid(MINUTES_PER_WEEK);
                if from <= until {
                    (from..until).contains(&minute)
                } else {
                    minute >= from || minute < until
                }
            }
        }
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.because {
            Some(because) => write!(f, " ({because})"),
            None => Ok(()),
        }
    }
}

/// Parses a day and a time such as `Fri 16:00`, as minutes since Monday 00:00.
pub(super) fn parse_weekly(text: &str) -> Result<i64, String> {
    let expected = || format!("expected a day and a time such as \"Fri 16:00\", got {text:?}");
    let (day, time) = text.split_once(' ').ok_or_else(expected)?;
    let day = DAYS
        .iter()
        .position(|own| *own == day)
        .ok_or_else(|| format!("unknown day in {text:?}. The days are {}", DAYS.join(", ")))?;
    let minute = parse_clock(time).filter(|minute| *minute < MINUTES_PER_DAY);
    Ok(day as i64 * MINUTES_PER_DAY + minute.ok_or_else(expected)?)
}

/// Parses an offset such as `+01:00` or `Z`, in minutes.
pub(super) fn parse_offset(text: &str) -> Result<i64, String> {
    let expected = || format!("expected an offset such as \"+01:00\", got {text:?}");
    if text == "Z" {
        return Ok(0);
    }
    let (sign, time) = match text.split_at_checked(1) {
        Some(("+", time)) => (1, time),
        Some(("-", time)) => (-1, time),
        _ => return Err(expected()),
    };
    let minutes = parse_clock(time).filter(|minutes| *minutes <= 14 * 60);
    Ok(sign * minutes.ok_or_else(expected)?)
}

/// Parses `16:00`, in minutes.
fn parse_clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str, limit: i64| {
        let is_number = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten().filter(|own: &i64| *own < limit)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}

/// Translates a date, or a date and time, of the file to a wall time. A value without an offset has the given one.
pub(super) fn instant(value: &toml::value::Datetime, offset_minutes: i64) -> Option<WallTime> {
    let date = value.date?;
    let number = |number: u8| i8::try_from(number).ok();
    let year = i16::try_from(date.year).ok()?;
    let date = jiff::civil::Date::new(year, number(date.month)?, number(date.day)?).ok()?;
    let days = date.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days();
    let time = match value.time {
        Some(time) => {
            let seconds = i64::from(time.second.unwrap_or(0));
            i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + seconds
        }
        None => 0,
    };
    let offset = match value.offset {
        Some(toml::value::Offset::Z) => 0,
        Some(toml::value::Offset::Custom { minutes }) => i64::from(minutes),
        None => offset_minutes,
    };
    Some(WallTime(i64::from(days) * 86_400 + time - offset * 60))
}
