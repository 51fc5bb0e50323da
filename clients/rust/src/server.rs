//! One server: where it is, and what is said to it. URLs are taken apart here, so that nobody else sees a password.

use std::fmt;

use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::credentials::Credentials;
use crate::error::Error;

/// A server to ask, with the credentials that stood in its own URL.
#[derive(Clone)]
pub(crate) struct Server {
    base: Url,
    name: String,
    credentials: Option<HeaderValue>,
}

/// What is asked for; the same for all servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) application: String,
    /// Joined by commas.
    pub(crate) profiles: String,
    pub(crate) label: Option<String>,
}

impl Server {
    /// Reads a base URL. The error does not repeat the text, which may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Server, Error> {
        let unusable = |why: &str| Error::Settings(format!("a server url is not usable: {why}"));
        let mut base = Url::parse(text.trim()).map_err(|error| unusable(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(unusable("it must begin with http:// or https://"));
        }
        if cfg!(not(feature = "rustls")) && base.scheme() == "https" {
            return Err(unusable("https needs the feature `rustls`"));
        }
        let (user, password) =
            (base.username().to_owned(), base.password().unwrap_or_default().to_owned());
        let credentials = match user.is_empty() && password.is_empty() {
            true => None,
            false => Some(Credentials::percent_encoded(&user, &password).header()?),
        };
        let cleared = base.set_username("").and_then(|()| base.set_password(None));
        cleared.map_err(|()| unusable("its user information cannot be taken off"))?;
        base.set_query(None);
        base.set_fragment(None);
        let name = base.as_str().trim_end_matches('/').to_owned();
        Ok(Server { base, name, credentials })
    }

    /// Its URL without user information and final slash: its name in messages, and its identity.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn credentials(&self) -> Option<&HeaderValue> {
        self.credentials.as_ref()
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn is_https(&self) -> bool {
        self.base.scheme() == "https"
    }

    pub(crate) fn url(&self, query: &Query) -> Url {
        let (application, label) = (segment(&query.application), query.label.as_deref());
        let mut url = self.own_url(&[&application, &query.profiles]);
        let mut segments = url.path_segments_mut().expect("http urls have a path");
        segments.extend(label.map(segment));
        drop(segments);
        url
    }

    /// A path of the server below its base.
    pub(crate) fn own_url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        let mut segments = url.path_segments_mut().expect("http urls have a path");
        segments.pop_if_empty().extend(path);
        drop(segments);
        url
    }
}

/// Spring's way to write a slash inside a name.
fn segment(name: &str) -> String {
    name.replace('/', "(_)")
}

impl Query {
    /// Checks what the URL library would quietly leave out of a path.
    pub(crate) fn validated(self) -> Result<Query, Error> {
        let names = [
            ("application", Some(&self.application)),
            ("profiles", Some(&self.profiles)),
            ("label", self.label.as_ref()),
        ];
        for (what, name) in names {
            match name.map(String::as_str) {
                Some("") => return Err(Error::Settings(format!("the {what} is empty"))),
                Some(name @ ("." | "..")) => {
                    return Err(Error::Settings(format!("the {what} cannot be `{name}`")));
                }
                _ => {}
            }
        }
        if self.profiles.contains('/') {
            return Err(Error::Settings(format!(
                "the profiles `{}` contain a slash",
                self.profiles
            )));
        }
        Ok(self)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(application: &str, profiles: &str, label: Option<&str>) -> Query {
        Query {
            application: application.into(),
            profiles: profiles.into(),
            label: label.map(Into::into),
        }
    }

    #[track_caller]
    fn check(base: &str, label: Option<&str>, expected: &str) {
        let server = Server::parse(base).unwrap();
        assert_eq!(server.url(&query("product", "prod,eu", label)).as_str(), expected);
    }

    #[test]
    fn paths_are_spelled_as_spring_clients_spell_them() {
        check("http://h:1", None, "http://h:1/product/prod,eu");
        check("http://h:1/", Some("main"), "http://h:1/product/prod,eu/main");
        check(
            "http://h:1/config/",
            Some("feature/x"),
            "http://h:1/config/product/prod,eu/feature(_)x",
        );
        check("http://h:1", Some("a b%2f?#"), "http://h:1/product/prod,eu/a%20b%252f%3F%23");
    }

    #[test]
    fn user_information_is_used_and_never_shown() {
        let server = Server::parse("http://me:s%40crct@h:1/x/").unwrap();
        assert_eq!(
            (server.name(), format!("{server:?}").as_str()),
            ("http://h:1/x", "http://h:1/x")
        );
        assert_eq!(server.credentials().unwrap().to_str().unwrap(), "Basic bWU6c0BjcmN0");
        assert!(!format!("{:?}", server.credentials()).contains("Basic"));
        for bad in ["http://me:s3cret@h:port", "ftp://me:s3cret@h", "me:s3cret@h", ""] {
            let error = Server::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn names_that_would_vanish_from_the_path_are_refused() {
        for bad in [
            query("", "p", None),
            query("..", "p", None),
            query("a", ".", None),
            query("a", "p", Some("")),
            query("a", "p/q", None),
        ] {
            assert!(bad.clone().validated().is_err(), "{bad:?}");
        }
        assert!(query("a/b", "p", Some("x/..")).validated().is_ok());
    }
}
