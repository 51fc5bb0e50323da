//! The options of a push (`git push -o`), from the hook's text to typed values.
//!
//! Invariant: an option that the server does not know or cannot honour rejects the push. No option is ignored silently.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use headwater_rollout::open::Options;

use super::rejection::rejected;
use crate::terminal;

/// The most options of one push.
pub(super) const OPTION_COUNT_MAX: usize = 16;
/// The longest option, in bytes.
pub(super) const OPTION_BYTES_MAX: usize = 512;
/// The longest reason, in bytes. The audit trail keeps it whole.
const REASON_BYTES_MAX: usize = 240;
/// The longest name of a plan, in bytes.
const PLAN_BYTES_MAX: usize = 64;
/// The time that a push waits for instances if the pusher names none.
const TIMEOUT_DEFAULT: Duration = Duration::from_mins(5);
/// The longest time that a push waits for instances, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 840;
/// The number of characters of an option that are repeated to the pusher.
const SHOWN_MAX: usize = 40;
/// The most differences between an unknown option and the known one that is suggested.
const DISTANCE_MAX: usize = 2;

/// A known option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptionName {
    Wait,
    Timeout,
    DryRun,
    Reason,
    Override,
    Now,
    Blast,
    Plan,
}

/// The known options, with the form in which a pusher writes each.
const KNOWN: [(OptionName, &str, &str); 8] = [
    (OptionName::Wait, "wait", "wait[=<share>]"),
    (OptionName::Timeout, "timeout", "timeout=<seconds>"),
    (OptionName::DryRun, "dry-run", "dry-run"),
    (OptionName::Reason, "reason", "reason=<text>"),
    (OptionName::Override, "override", "override=contract"),
    (OptionName::Now, "now", "now"),
    (OptionName::Blast, "blast", "blast"),
    (OptionName::Plan, "plan", "plan=<name>"),
];

/// The typed options of one push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PushOptions {
    /// The wait for instances after the push is published.
    pub(super) wait: Option<Wait>,
    /// True if the push is checked and moves nothing.
    pub(super) is_dry_run: bool,
    /// The rules that the push overrides.
    overrides: BTreeSet<Override>,
    /// The reason of the pusher, for the audit trail.
    reason: Option<String>,
    /// The name of the plan for the stages of the change.
    plan: Option<String>,
    /// The time of `timeout`.
    timeout: Option<Duration>,
}

/// The wait of a push for the instances that it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// The share of the instances, from 1 to 100 percent.
    pub(super) percent: usize,
    pub(super) timeout: Duration,
}

/// A rule that a pusher can override. Each use is recorded in the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Override {
    /// The contracts of services: `override=contract`.
    Contracts,
    /// The stages of a change: `now`.
    Stages,
    /// The limits on changes without stages: `blast`.
    Limits,
}

/// The reason why the options reject a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OptionError {
    TooMany(usize),
    TooLong(usize),
    /// The option with this number contains a character that cannot be printed.
    Unprintable(usize),
    /// The name of the option, and the known option that resembles it.
    Unknown(String, Option<&'static str>),
    /// The form of an option that needs rollouts, which the repository does not have.
    NeedsRollouts(&'static str),
    NeedsReason(&'static str),
    /// The form of the option, and what the value should have been.
    Invalid(&'static str, &'static str),
}

impl PushOptions {
    /// Parses options. `count` is their number, of which the hook hands over only the first ones. If an option is given
    /// several times, the last one counts.
    ///
    /// # Errors
    /// When an option is unknown, cannot be honoured or is malformed.
    pub(super) fn parse(count: usize, options: &[&str]) -> Result<Self, OptionError> {
        if count > OPTION_COUNT_MAX {
            return Err(OptionError::TooMany(count));
        }
        let mut parsed = Self::default();
        let mut percent = None;
        for (index, option) in options.iter().enumerate() {
            if option.len() > OPTION_BYTES_MAX {
                return Err(OptionError::TooLong(index + 1));
            }
            if option.chars().any(is_unprintable) {
                return Err(OptionError::Unprintable(index + 1));
            }
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (*option, None),
            };
            match known(name)? {
                OptionName::Wait => percent = Some(share(value)?),
                name => parsed.set(name, value)?,
            }
        }
        let timeout = parsed.timeout.unwrap_or(TIMEOUT_DEFAULT);
        parsed.wait = percent.map(|percent| Wait { percent, timeout });
        if parsed.ignores_contracts() && parsed.reason.is_none() {
            return Err(OptionError::NeedsReason("override=contract"));
        }
        Ok(parsed)
    }

    fn set(&mut self, name: OptionName, value: Option<&str>) -> Result<(), OptionError> {
        match name {
            OptionName::Wait => {}
            OptionName::Timeout => self.timeout = Some(seconds(value)?),
            OptionName::Reason => self.reason = Some(reason(value)?),
            OptionName::Plan => self.plan = Some(plan(value)?),
            OptionName::DryRun => {
                check_plain(name, value)?;
                self.is_dry_run = true;
            }
            OptionName::Override => {
                if value != Some("contract") {
                    return Err(OptionError::Invalid(form(name), "contract"));
                }
                self.overrides.insert(Override::Contracts);
            }
            OptionName::Now => {
                check_plain(name, value)?;
                self.overrides.insert(Override::Stages);
            }
            OptionName::Blast => {
                check_plain(name, value)?;
                self.overrides.insert(Override::Limits);
            }
        }
        Ok(())
    }

    /// The options as far as they concern rollouts. Whether they are permitted is decided where a rollout is opened.
    pub(super) fn for_rollout(&self) -> Options {
        Options {
            is_now: self.overrides.contains(&Override::Stages),
            plan: self.plan.as_deref().map(Into::into),
            is_blast: self.overrides.contains(&Override::Limits),
            reason: self.reason.as_deref().map(Into::into),
        }
    }

    /// The line on options that have no effect at a repository without rollouts.
    ///
    /// # Errors
    /// When an option asks for stages.
    pub(super) fn without_rollouts(&self) -> Result<Option<String>, OptionError> {
        if self.plan.is_some() {
            return Err(OptionError::NeedsRollouts(form(OptionName::Plan)));
        }
        let is_idle = |it: &&Override| matches!(it, Override::Stages | Override::Limits);
        let names: Vec<String> =
            self.overrides.iter().filter(is_idle).map(Override::to_string).collect();
        Ok((!names.is_empty()).then(|| {
            format!(
                "option {}: no effect, because this repository has no rollouts. Every change goes to all instances at \
                 once",
                names.join(", ")
            )
        }))
    }

    /// Returns true if the review reports what a contract rejects as a warning.
    pub(super) fn ignores_contracts(&self) -> bool {
        self.overrides.contains(&Override::Contracts)
    }

    /// Returns true if the push overrides a rule.
    pub(super) fn has_overrides(&self) -> bool {
        !self.overrides.is_empty()
    }

    /// The lines for the pusher on options without an effect.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.timeout.is_some() && self.wait.is_none() {
            lines.push("option timeout: it has no effect without wait".to_owned());
        }
        lines
    }

    /// The options as facts for the audit trail and the log, each in the form in which a pusher writes it.
    pub(super) fn facts(&self) -> Vec<String> {
        let mut facts = Vec::new();
        if self.is_dry_run {
            facts.push("dry-run".to_owned());
        }
        facts.extend(self.overrides.iter().map(Override::to_string));
        if let Some(Wait { percent, .. }) = self.wait {
            facts.push(format!("wait={percent}%"));
        }
        facts.extend(self.plan.iter().map(|plan| format!("plan={plan}")));
        facts.extend(self.reason.iter().map(|reason| format!("reason={reason}")));
        facts
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contracts => "override=contract",
            Self::Stages => "now",
            Self::Limits => "blast",
        })
    }
}

impl OptionError {
    /// The line for the pusher.
    pub(super) fn rejection(&self) -> String {
        rejected(&match self {
            Self::TooMany(count) => format!(
                "it has {count} options, and at most {OPTION_COUNT_MAX} are read. Push with fewer options (git push -o)"
            ),
            Self::TooLong(number) => format!(
                "option {number} has more than {OPTION_BYTES_MAX} bytes. Push with a shorter option (git push -o)"
            ),
            Self::Unprintable(number) => format!(
                "option {number} contains a character that cannot be printed. Push with a plain option (git push -o)"
            ),
            Self::Unknown(name, near) => {
                let hint = near.map(|near| format!("Did you mean {near}? ")).unwrap_or_default();
                format!("option {name} is unknown. {hint}Known options: {}", forms())
            }
            Self::NeedsRollouts(form) => format!(
                "option {form}: this repository has no rollouts, every change goes to all instances at once. Push \
                 without the option"
            ),
            Self::NeedsReason(form) => {
                format!("option {form} needs a reason. Push again with -o reason=<text>")
            }
            Self::Invalid(form, expected) => format!("option {form}: expected {expected}"),
        })
    }
}

/// The options of this server, for messages.
fn forms() -> String {
    KNOWN.iter().map(|(_, _, form)| *form).collect::<Vec<_>>().join(", ")
}

fn form(name: OptionName) -> &'static str {
    KNOWN.iter().find(|(known, ..)| *known == name).map_or("", |(_, _, form)| form)
}

fn known(name: &str) -> Result<OptionName, OptionError> {
    if let Some((found, ..)) = KNOWN.iter().find(|(_, known, _)| *known == name) {
        return Ok(*found);
    }
    let shown: String = name.chars().take(SHOWN_MAX).collect();
    let distances =
        KNOWN.iter().map(|(_, known, _)| (distance(&shown.to_lowercase(), known), *known));
    // A short name resembles every other short name.
    let is_near = |(distance, known): &(usize, &str)| {
        *distance <= DISTANCE_MAX && *distance < known.len().div_ceil(2)
    };
    let nearest = distances.min().filter(is_near).map(|(_, known)| known);
    Err(OptionError::Unknown(shown, nearest))
}

/// The number of inserted, removed, replaced and exchanged characters between two short texts.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

/// Returns true for a character that could steer a terminal, and for the one that stands for bytes that are no text.
fn is_unprintable(character: char) -> bool {
    terminal::is_escaped(character) || character == char::REPLACEMENT_CHARACTER
}

fn share(value: Option<&str>) -> Result<usize, OptionError> {
    let Some(value) = value else { return Ok(100) };
    number(value.strip_suffix('%').unwrap_or(value), 100)
        .and_then(|percent| usize::try_from(percent).ok())
        .ok_or(OptionError::Invalid(form(OptionName::Wait), "a share from 1% to 100%"))
}

fn seconds(value: Option<&str>) -> Result<Duration, OptionError> {
    let expected = "a number of seconds from 1 to 840";
    value
        .and_then(|value| number(value, TIMEOUT_SECONDS_MAX))
        .map(Duration::from_secs)
        .ok_or(OptionError::Invalid(form(OptionName::Timeout), expected))
}

/// A number from 1 to `max`.
fn number(text: &str, max: u64) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && (1..=max).contains(number))
}

fn reason(value: Option<&str>) -> Result<String, OptionError> {
    let reason = value.map(str::trim).unwrap_or_default();
    if (1..=REASON_BYTES_MAX).contains(&reason.len()) {
        return Ok(reason.to_owned());
    }
    Err(OptionError::Invalid(form(OptionName::Reason), "a text of 1 to 240 bytes"))
}

fn plan(value: Option<&str>) -> Result<String, OptionError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name = value.unwrap_or_default();
    if (1..=PLAN_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(name.to_owned());
    }
    Err(OptionError::Invalid(form(OptionName::Plan), "the name of a plan"))
}

fn check_plain(name: OptionName, value: Option<&str>) -> Result<(), OptionError> {
    match value {
        None => Ok(()),
        Some(_) => Err(OptionError::Invalid(form(name), "no value")),
    }
}

#[cfg(test)]
mod tests;
