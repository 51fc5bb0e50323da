//! Parses arguments of `headwater run`.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::file::Owner;
use super::prepare::{FileTarget, TemplateSource};

/// The longest time that an argument can name.
const SECONDS_MAX: f64 = 366.0 * 24.0 * 3600.0;
/// The shortest pause that an argument can name.
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

/// Parses `TEMPLATE:PATH`, cut at the last colon.
pub(super) fn target(text: &str) -> Result<FileTarget, String> {
    let (template, path) = text.rsplit_once(':').ok_or("expected TEMPLATE:PATH, with a colon")?;
    if template.is_empty() || path.is_empty() {
        return Err("expected TEMPLATE:PATH, one side of the colon is empty".to_owned());
    }
    let is_template = |name: &str| TEMPLATE_ENDINGS.iter().any(|ending| name.ends_with(ending));
    let template = match (template, template.strip_prefix("server:")) {
        (_, Some("")) => return Err("expected the name of a file after server:".to_owned()),
        (_, Some(name)) if is_template(name) => TemplateSource::Remote(name.to_owned()),
        (_, Some(name)) => TemplateSource::Text(name.to_owned()),
        ("yaml", _) => TemplateSource::Yaml,
        ("properties", _) => TemplateSource::Properties,
        ("json", _) => TemplateSource::Json,
        ("env" | ".env", _) => TemplateSource::Env,
        (file, _) => TemplateSource::Local(PathBuf::from(file)),
    };
    Ok(FileTarget { template, path: PathBuf::from(path) })
}

/// Parses seconds, with or without a fraction.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!("expected a number of seconds up to {SECONDS_MAX}")),
    }
}

/// Parses a pause between two events, which must not be zero.
pub(super) fn pause(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        pause if pause >= PAUSE_MIN => Ok(pause),
        _ => Err(format!("expected at least {} s", PAUSE_MIN.as_secs_f64())),
    }
}

pub(super) fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = SIGNALS.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, signal)| *signal)
        .ok_or_else(|| format!("expected one of {}", SIGNALS.map(|(name, _)| name).join(", ")))
}

pub(super) fn mode(text: &str) -> Result<Mode, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Mode(mode)),
        _ => Err("expected an octal number up to 0777".to_owned()),
    }
}

pub(super) fn owner(text: &str) -> Result<Owner, String> {
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| "expected numeric ids, as UID or UID:GID".to_owned())
    };
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
        return Err(
            "expected letters, digits and underscores, without a digit at the start".to_owned()
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, template: TemplateSource, path: &str) {
        let found = target(text).unwrap();
        assert_eq!((found.template, found.path), (template, PathBuf::from(path)));
    }

    #[test]
    fn a_file_is_named_with_its_template() {
        check("yaml:/etc/a.yml", TemplateSource::Yaml, "/etc/a.yml");
        check("properties:a", TemplateSource::Properties, "a");
        check("json:a", TemplateSource::Json, "a");
        check("env:a", TemplateSource::Env, "a");
        check(".env:.env", TemplateSource::Env, ".env");
        check("./yaml:a", TemplateSource::Local("./yaml".into()), "a");
        check("C:/x.j2:a", TemplateSource::Local("C:/x.j2".into()), "a");
        check(
            "server:gateway.cfg:/etc/h.cfg",
            TemplateSource::Text("gateway.cfg".into()),
            "/etc/h.cfg",
        );
        check("server:d/g.cfg.j2:h", TemplateSource::Remote("d/g.cfg.j2".into()), "h");
        for bad in ["a", ":a", "a:", "server::a", ""] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn impossible_arguments_are_rejected() {
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
