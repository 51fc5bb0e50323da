//! `[overrides]`: properties of every environment, as flat text.

/// Reads `KEY=VALUE` texts. Blank ones, such as the last line of a variable, are ignored.
pub(super) fn pairs(texts: &[String], problems: &mut Vec<String>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for text in texts.iter().map(|text| text.trim_end_matches('\r')) {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                pairs.push((key.trim().to_owned(), value.replace("\\{", "{")));
            }
            _ if text.trim().is_empty() => {}
            // The text is not quoted, because it may be a secret whose key was forgotten.
            _ => problems.push("override: expected KEY=VALUE".to_owned()),
        }
    }
    pairs
}

/// Flattens `[overrides]`. Values become strings, and Spring's escapes are removed
/// (docs/protocol.md#14-composites-and-overrides).
pub(super) fn flatten(table: &toml::Table, problems: &mut Vec<String>) -> Vec<(String, String)> {
    fn collect(
        prefix: &str,
        value: &toml::Value,
        flat: &mut Vec<(String, String)>,
        problems: &mut Vec<String>,
    ) {
        let text = match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    collect(&format!("{prefix}.{key}"), value, flat, problems);
                }
                return;
            }
            toml::Value::Array(_) => {
                problems
                    .push(format!("overrides: {prefix} is a list. Write its items as {prefix}[0]"));
                return;
            }
            toml::Value::String(text) => text.replace("\\{", "{"),
            other => other.to_string(),
        };
        flat.push((prefix.to_owned(), text));
    }
    let mut flat = Vec::new();
    for (key, value) in table {
        collect(key, value, &mut flat, problems);
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::super::Flags;
    use super::super::file::SettingsFile;
    use super::super::lower::lower;
    use super::super::lower::tests::load;

    #[test]
    fn overrides_of_the_command_line_take_the_place_of_the_files() {
        let flags = Flags {
            overrides: vec!["a.b=x=y".to_owned(), "c=".to_owned(), String::new()],
            accept_empty: Some(false),
            ..Flags::default()
        };
        let settings = lower(flags, SettingsFile::default()).unwrap();
        assert_eq!(
            settings.overrides,
            [("a.b".to_owned(), "x=y".to_owned()), ("c".to_owned(), String::new())]
        );
        assert!(!settings.accept_empty);
        let flags = Flags { overrides: vec!["s3cret".to_owned()], ..Flags::default() };
        let error = lower(flags, SettingsFile::default()).unwrap_err().to_string();
        assert_eq!(error, "override: expected KEY=VALUE");
    }

    #[test]
    fn flags_win_over_the_file_and_overrides_are_flat_text() {
        let settings = load("[overrides]\na.b = 1\n\"c.d\" = \"\\\\${x}\"\n").unwrap();
        assert_eq!(
            settings.overrides,
            [("a.b".to_owned(), "1".to_owned()), ("c.d".to_owned(), "\\${x}".to_owned())]
        );
    }
}
