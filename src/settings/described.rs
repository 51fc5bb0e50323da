//! The one description of each setting: its text, its default, and its flag. The printed settings file, the help of the
//! flags, the reference page and the defaults themselves come from here.

mod tables;

use std::fmt::Write;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::tables::{FLAGS_ONLY, SOURCES, TABLES};

/// The width of a comment line in the printed file, in characters.
const LINE_LENGTH: usize = 116;

/// A table of the file.
struct SettingsTable {
    /// Empty for the settings before the first table.
    name: &'static str,
    about: &'static str,
    settings: &'static [Setting],
}

/// One setting.
struct Setting {
    name: &'static str,
    /// One or two sentences, without a full stop at the end.
    summary: &'static str,
    /// More sentences, for the file only.
    details: &'static str,
    value: PrintedValue,
    /// The default in words, where a value cannot say it.
    default: &'static str,
    /// The long name of the flag, without dashes. Empty for a setting of the file only.
    flag: &'static str,
    /// A sentence for the flag only.
    flag_note: &'static str,
}

/// The value in the printed file, in TOML.
enum PrintedValue {
    /// The default.
    Default(&'static str),
    /// An example, printed as a comment, of a setting that has no value by default.
    Example(&'static str),
}

impl Setting {
    /// The default in words. Empty for a setting without one.
    fn default_text(&self) -> &str {
        match self.value {
            PrintedValue::Default(text) if self.default.is_empty() => text.trim_matches('"'),
            _ => self.default,
        }
    }

    /// The comment above the setting in the file.
    fn comment(&self) -> String {
        let mut text = format!("{}.", self.summary);
        if !self.details.is_empty() {
            let _ = write!(text, " {}", self.details);
        }
        if !self.default.is_empty() {
            let _ = write!(text, " Default: {}.", self.default);
        }
        text
    }
}

/// The help of a flag.
///
/// # Panics
/// If no setting describes the flag.
pub(super) fn help(flag: &str) -> String {
    if let Some((_, help)) = FLAGS_ONLY.iter().find(|(name, _)| *name == flag) {
        return (*help).to_owned();
    }
    let mut settings = TABLES.iter().flat_map(|table| table.settings);
    let setting = settings.find(|setting| setting.flag == flag).expect("a described flag");
    let note = match setting.flag_note {
        "" => String::new(),
        note => format!(". {note}"),
    };
    let default = match setting.default_text() {
        "" => String::new(),
        text => format!(" [default: {text}]"),
    };
    format!("{}{note}{default}", setting.summary)
}

/// The default of a setting.
///
/// # Panics
/// If the setting has no default of this type.
pub(super) fn default<T: DeserializeOwned>(table: &str, name: &str) -> T {
    #[derive(Deserialize)]
    struct Assignment<T> {
        value: T,
    }
    let settings = TABLES.iter().filter(|it| it.name == table).flat_map(|it| it.settings);
    let text = settings.filter(|it| it.name == name).find_map(|setting| match setting.value {
        PrintedValue::Default(text) => Some(text),
        PrintedValue::Example(_) => None,
    });
    let assignment = format!("value = {}", text.expect("a setting with a default"));
    toml::from_str::<Assignment<T>>(&assignment).expect("a default of the setting's type").value
}

/// The settings file with every setting, its default and its meaning.
pub fn default_file() -> String {
    let mut text = String::new();
    for SettingsTable { name, about, settings } in &TABLES {
        if !name.is_empty() {
            text.push('\n');
            write_comment(&mut text, about);
            text.push_str(&match *name {
                SOURCES => format!("[[{name}]]\n"),
                name => format!("[{name}]\n"),
            });
        }
        for (index, setting) in settings.iter().enumerate() {
            if name.is_empty() && index > 0 {
                text.push('\n');
            }
            write_comment(&mut text, &setting.comment());
            let (mark, value) = match setting.value {
                PrintedValue::Default(value) => ("", value),
                PrintedValue::Example(value) => ("# ", value),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{mark}{} = {value}", setting.name);
        }
    }
    text
}

/// Writes comment lines of a bounded width.
fn write_comment(text: &mut String, comment: &str) {
    let mut line = "#".to_owned();
    for word in comment.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > LINE_LENGTH {
            text.push_str(&line);
            text.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Args;

    use super::*;
    use crate::settings::Flags;

    #[test]
    fn each_flag_has_a_description_and_each_description_a_flag() {
        let command = Flags::augment_args(clap::Command::new("test"));
        let flags: BTreeSet<&str> =
            command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        let settings = TABLES.iter().flat_map(|table| table.settings);
        let described = settings.map(|setting| setting.flag).filter(|flag| !flag.is_empty());
        let described: BTreeSet<&str> =
            described.chain(FLAGS_ONLY.iter().map(|(flag, _)| *flag)).collect();
        assert_eq!(flags, described);
    }

    #[test]
    fn comments_have_a_bounded_width() {
        let file = default_file();
        assert!(file.lines().all(|line| line.chars().count() <= LINE_LENGTH), "{file}");
        assert!(file.starts_with("# Address and port to listen on."), "{file}");
    }

    #[test]
    fn a_flag_shows_its_default() {
        assert_eq!(
            help("workers"),
            "Threads that answer requests [default: one for each processor]"
        );
        assert!(help("listen").ends_with("[default: 127.0.0.1:8888]"));
        assert!(!help("prefix").contains("default"));
    }
}
