//! Names of properties in Spring's relaxed binding (`ConfigurationPropertyName`).
//!
//! A key is a list of elements. Letter case and all characters other than ASCII letters and digits are ignored in an element,
//! and an element without letters or digits is dropped. `SPRING.config..on_profile` has the elements `spring`, `config` and
//! `onprofile`. A text in brackets is an element that is compared literally.

/// One element of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// The text as written, without brackets.
    pub(super) text: &'a str,
    /// True if the element is in brackets.
    pub(super) is_indexed: bool,
}

impl Element<'_> {
    /// Returns true if this element is a spelling of `name`, which is in lower case.
    fn is(&self, name: &str) -> bool {
        if self.is_indexed {
            return self.text.chars().eq(alphanumeric(name));
        }
        alphanumeric(self.text).eq(alphanumeric(name))
    }

    /// The index of an element such as `[3]`.
    pub(super) fn index(&self) -> Option<usize> {
        let is_number = self.is_indexed && self.text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { self.text.parse().ok() } else { None }
    }
}

/// The elements behind `name` in a key, or `None` if the key does not begin with it.
pub(super) fn strip<'a>(key: &'a str, name: &str) -> Option<Vec<Element<'a>>> {
    if !may_begin_with(key, name) {
        return None;
    }
    let elements = elements(key);
    let wanted: Vec<&str> = name.split('.').collect();
    let begins = elements.len() >= wanted.len()
        && elements.iter().zip(&wanted).all(|(element, name)| element.is(name));
    begins.then(|| elements[wanted.len()..].to_vec())
}

/// A cheap test that most keys fail: compares the letters of the first element with the name.
fn may_begin_with(key: &str, name: &str) -> bool {
    let mut letters = alphanumeric(key);
    name.chars().take_while(|c| *c != '.').all(|c| letters.next() == Some(c))
}

fn elements(key: &str) -> Vec<Element<'_>> {
    let mut elements = Vec::new();
    let (mut start, mut open_count) = (0, 0_usize);
    for (at, c) in key.char_indices() {
        let ends = match c {
            '.' | '[' => open_count == 0,
            ']' => open_count == 1,
            _ => continue,
        };
        if ends {
            add(&mut elements, &key[start..at], c == ']');
            start = at + 1;
        }
        match c {
            '[' => open_count += 1,
            ']' => open_count = open_count.saturating_sub(1),
            _ => {}
        }
    }
    add(&mut elements, &key[start..], false);
    elements
}

fn add<'a>(elements: &mut Vec<Element<'a>>, text: &'a str, is_indexed: bool) {
    let is_element =
        if is_indexed { !text.is_empty() } else { alphanumeric(text).next().is_some() };
    if is_element {
        elements.push(Element { text, is_indexed });
    }
}

/// The ASCII letters and digits of a text, in lower case.
fn alphanumeric(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, name: &str, expected: Option<&[&str]>) {
        let rest = strip(key, name);
        let rest = rest.as_ref().map(|rest| rest.iter().map(|e| e.text).collect::<Vec<_>>());
        assert_eq!(rest.as_deref(), expected, "{key:?} {name:?}");
    }

    #[test]
    fn a_name_has_many_spellings() {
        let name = "spring.config.activate.on-profile";
        for key in [
            "spring.config.activate.on-profile",
            "spring.config.activate.on_profile",
            "spring.config.activate.onProfile",
            "spring.config.activate.ON-PROFILE",
            "SPRING.CONFIG.ACTIVATE.ON_PROFILE",
            "spring.con-fig.activate.on profile",
            "spring.config.activate.-on/profile-",
            "spring.config..activate._.on-profile.",
            "spring.config.activate[onprofile]",
            "spring[config][activate].on-profile",
            "spring.config.activate.on-p\u{f6}rofile",
        ] {
            check(key, name, Some(&[]));
        }
    }

    #[test]
    fn other_names_do_not_match() {
        let name = "spring.config.activate.on-profile";
        for key in [
            "spring.config.activate.on.profile",
            "spring.config.activate[on-profile]",
            "spring.config.activate[onProfile]",
            "spring_config_activate_on_profile",
            "spring.config.activate.on-profiles",
            "spring.config.activate.on-profil",
            "spring.config.activate",
            "my.spring.config.activate.on-profile",
            "spring.config.activate.on-profile".trim_start_matches('s'),
            "",
            "...",
        ] {
            check(key, name, None);
        }
    }

    #[test]
    fn the_rest_behind_a_name_is_kept_as_written() {
        check("spring.config.import[0]", "spring.config.import", Some(&["0"]));
        check("spring.config.import[0].x", "spring.config.import", Some(&["0", "x"]));
        check("spring.profiles.group.dev_Y", "spring.profiles.group", Some(&["dev_Y"]));
        check("spring.profiles.group[a.b][0]", "spring.profiles.group", Some(&["a.b", "0"]));
        check("a[[x, y]]", "a", Some(&["[x, y]"]));
        check("a[x", "a", Some(&["x"]));
    }

    #[test]
    fn indices_are_numbers_in_brackets() {
        let index = |key| strip(key, "a").unwrap()[0].index();
        assert_eq!(index("a[12]"), Some(12));
        assert_eq!(index("a.12"), None);
        assert_eq!(index("a[x]"), None);
        assert_eq!(index("a[99999999999999999999999]"), None);
    }
}
