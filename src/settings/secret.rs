//! Secrets, and the variables that hold them.

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A user name with its password or token, from the environment. It serves sources that have no file of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSettings {
    pub username: String,
    pub password: Secret,
}

/// Reads a variable. A blank one counts as missing.
pub(super) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
}

pub(super) fn secret_variable(name: &str) -> Option<Secret> {
    variable(name).map(Secret)
}

/// Reads a user name and a password from two variables.
pub(super) fn login(names: [&str; 2], problems: &mut Vec<String>) -> Option<LoginSettings> {
    match names.map(variable) {
        [Some(username), Some(password)] => {
            Some(LoginSettings { username, password: Secret(password) })
        }
        [None, None] => None,
        _ => {
            problems.push(format!("{} must be set together", names.join(" and ")));
            None
        }
    }
}
