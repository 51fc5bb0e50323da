//! What people write on the command line.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::file::Owner;
use super::prepare::{Target, Template};

/// The longest time that may be asked for.
const SECONDS_MAX: f64 = 366.0 * 24.0 * 3600.0;
/// The shortest pause that may be asked for.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Endings of templates that a server keeps.
const TEMPLATE_ENDINGS: [&str; 3] = [".j2", ".jinja", ".jinja2"];
const SIGNALS: [(&str, Signal); 9] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("WINCH", Signal::WINCH),
    ("ALRM", Signal::ALARM),
    ("CONT", Signal::CONT),
];

/// Permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u32);

/// `TEMPLATE:PATH`, cut at the last colon.
pub(super) fn target(text: &str) -> Result<Target, String> {
    let (template, path) = text.rsplit_once(':').ok_or("a colon is missing")?;
    if template.is_empty() || path.is_empty() {
        return Err("there is nothing on one side of the colon".to_owned());
    }
    let is_template = |name: &str| TEMPLATE_ENDINGS.iter().any(|ending| name.ends_with(ending));
    let template = match (template, template.strip_prefix("server:")) {
        (_, Some("")) => return Err("server: is followed by the name of a file".to_owned()),
        (_, Some(name)) if is_template(name) => Template::Remote(name.to_owned()),
        (_, Some(name)) => Template::Text(name.to_owned()),
        ("yaml", _) => Template::Yaml,
        ("properties", _) => Template::Properties,
        ("json", _) => Template::Json,
        ("env" | ".env", _) => Template::Env,
        (file, _) => Template::Local(PathBuf::from(file)),
    };
    Ok(Target { template, path: PathBuf::from(path) })
}

/// Seconds, with a fraction or not.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!("a number of seconds up to {SECONDS_MAX} is wanted")),
    }
}

/// Seconds between two of something: not none at all.
pub(super) fn pause(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        pause if pause >= PAUSE_MIN => Ok(pause),
        _ => Err(format!("at least {} s are wanted", PAUSE_MIN.as_secs_f64())),
    }
}

pub(super) fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = SIGNALS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, signal)| *signal)
        .ok_or_else(|| format!("one of {} is wanted", SIGNALS.map(|(name, _)| name).join(", ")))
}

pub(super) fn mode(text: &str) -> Result<Mode, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Mode(mode)),
        _ => Err("an octal number up to 0777 is wanted".to_owned()),
    }
}

pub(super) fn owner(text: &str) -> Result<Owner, String> {
    let number = |text: &str| text.parse::<u32>().map_err(|_| "numbers are wanted".to_owned());
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(number(group)?)),
        None => (text, None),
    };
    Ok(Owner { user: number(user)?, group })
}

/// The beginning of a name of a variable.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let is_name = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("letters, digits and underscores are wanted, not a digit first".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, template: Template, path: &str) {
        let found = target(text).unwrap();
        assert_eq!((found.template, found.path), (template, PathBuf::from(path)));
    }

    #[test]
    fn a_file_is_named_with_what_it_is_made_from() {
        check("yaml:/etc/a.yml", Template::Yaml, "/etc/a.yml");
        check("properties:a", Template::Properties, "a");
        check("json:a", Template::Json, "a");
        check("env:a", Template::Env, "a");
        check(".env:.env", Template::Env, ".env");
        check("./yaml:a", Template::Local("./yaml".into()), "a");
        check("C:/x.j2:a", Template::Local("C:/x.j2".into()), "a");
        check("server:gateway.cfg:/etc/h.cfg", Template::Text("gateway.cfg".into()), "/etc/h.cfg");
        check("server:d/g.cfg.j2:h", Template::Remote("d/g.cfg.j2".into()), "h");
        for bad in ["a", ":a", "a:", "server::a", ""] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for bad in ["-1", "x", "NaN", "inf", "1e9"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(pause("0.1"), Ok(PAUSE_MIN));
        assert!(pause("0").is_err());
        assert_eq!(signal("sighup"), Ok(Signal::HUP));
        assert_eq!(signal("USR2"), Ok(Signal::USR2));
        assert!(signal("KILL").is_err());
        assert_eq!(mode("0640"), Ok(Mode(0o640)));
        for bad in ["1000", "8", "-1", "+"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        assert_eq!(owner("1"), Ok(Owner { user: 1, group: None }));
        assert_eq!(owner("1:2"), Ok(Owner { user: 1, group: Some(2) }));
        assert!(owner("root").is_err());
        assert!(prefix("APP_1").is_ok() && prefix("").is_ok());
        assert!(prefix("1A").is_err() && prefix("A-").is_err());
    }
}
