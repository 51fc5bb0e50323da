//! The URL of a server, and the paths of requests to it. Only this module sees the passwords in URLs.

use std::fmt;

use hyper::Uri;
use hyper::header::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::credentials::Credentials;
use crate::error::{AttemptError, Error};

/// A configured server, with the credentials from its URL.
#[derive(Clone)]
pub(crate) struct Server {
    base: Url,
    name: String,
    credentials: Option<HeaderValue>,
}

/// The requested environment. It is the same for all servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) application: String,
    /// The profiles, joined by commas.
    pub(crate) profiles: String,
    pub(crate) label: Option<String>,
}

impl Server {
    /// Parses a base URL. The error does not quote the text, which may contain a password.
    pub(crate) fn parse(text: &str) -> Result<Server, Error> {
        let invalid = |reason: &str| Error::Settings(format!("a server URL is invalid: {reason}"));
        let uri: Uri = text.trim().parse().map_err(|_| invalid("it cannot be parsed"))?;
        let scheme = uri.scheme_str().filter(|it| matches!(*it, "http" | "https"));
        let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else {
            return Err(invalid("it must begin with http:// or https://"));
        };
        if cfg!(not(feature = "rustls")) && scheme == "https" {
            return Err(invalid("https requires the feature `rustls`"));
        }
        let (user_information, place) =
            authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
        let (host, port) = (authority.host(), authority.port_u16());
        if host.is_empty() || (port.is_none() && place != host) {
            return Err(invalid("its host or port is not valid"));
        }
        let (user, password) = user_information.split_once(':').unwrap_or((user_information, ""));
        let credentials = if user.is_empty() && password.is_empty() {
            None
        } else {
            Some(Credentials::percent_encoded(user, password).header()?)
        };
        let default_port = Url::default_port(scheme == "https");
        let port = port.unwrap_or(default_port);
        let host = host.to_ascii_lowercase();
        let base = Url {
            is_https: scheme == "https",
            authority: if port == default_port { host.clone() } else { format!("{host}:{port}") },
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            path: uri.path().trim_end_matches('/').to_owned(),
        };
        Ok(Server { name: base.to_string(), base, credentials })
    }

    /// Returns the URL without user information and without a trailing slash. It identifies the server in messages and in
    /// the last-known-good copy.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn credentials(&self) -> Option<&HeaderValue> {
        self.credentials.as_ref()
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn is_https(&self) -> bool {
        self.base.is_https
    }

    /// Returns the URL of an environment. Text files are below it.
    pub(crate) fn url(&self, query: &Query) -> Url {
        let url = self.url_below_base(&[&segment(&query.application), &query.profiles]);
        query.label.iter().fold(url, |url, label| url.join(&segment(label)))
    }

    /// Returns the URL of a contract.
    pub(crate) fn url_of_contract(&self, application: &str, digest: &str) -> Url {
        self.url_below_base(&["-", "contracts", &segment(application), digest])
    }

    /// Returns the URL with these path segments below the base URL.
    pub(crate) fn url_below_base(&self, path: &[&str]) -> Url {
        path.iter().fold(self.base.clone(), |url, segment| url.join(segment))
    }
}

/// A URL without user information.
#[derive(Debug, Clone)]
pub(crate) struct Url {
    is_https: bool,
    /// A name or an address. An IPv6 address has no brackets here.
    host: String,
    port: u16,
    /// The value of the `Host` header.
    authority: String,
    /// The path and the query. Empty for the root.
    path: String,
}

/// The characters that are percent-encoded in a path segment.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'/')
    .add(b'\\')
    .add(b'%');

impl Url {
    fn default_port(is_https: bool) -> u16 {
        if is_https { 443 } else { 80 }
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn is_https(&self) -> bool {
        self.is_https
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Appends a path segment, which is escaped here.
    pub(crate) fn join(mut self, segment: &str) -> Url {
        self.path.push('/');
        self.path.extend(utf8_percent_encode(segment, ESCAPED));
        self
    }

    /// Appends a query, which must already be escaped.
    pub(crate) fn with_query(mut self, query: &str) -> Url {
        self.path.push('?');
        self.path.push_str(query);
        self
    }

    /// Returns the request target: path and query.
    pub(crate) fn target(&self) -> Result<Uri, AttemptError> {
        let target = if self.path.is_empty() { "/" } else { &self.path };
        target.parse().map_err(|_| AttemptError::Connection("the URL is too long".to_owned()))
    }

    /// Returns the value of the `Host` header.
    pub(crate) fn authority(&self) -> Result<HeaderValue, AttemptError> {
        let invalid = |_| {
            AttemptError::Connection(
                "the host name contains characters that an HTTP header must not contain".to_owned(),
            )
        };
        HeaderValue::from_str(&self.authority).map_err(invalid)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// Replaces slashes in a name with `(_)`, which the protocol defines because a name is one path segment.
fn segment(name: &str) -> String {
    name.replace('/', "(_)")
}

impl Query {
    /// Rejects names that would disappear from the path of a request or change its meaning.
    pub(crate) fn validated(self) -> Result<Query, Error> {
        let names = [
            ("application", Some(&self.application)),
            ("profiles", Some(&self.profiles)),
            ("label", self.label.as_ref()),
        ];
        for (what, name) in names {
            match name.map(String::as_str) {
                Some("") => return Err(Error::Settings(format!("the {what} must not be empty"))),
                Some(name @ ("." | "..")) => {
                    return Err(Error::Settings(format!("the {what} must not be `{name}`")));
                }
                _ => {}
            }
        }
        if self.profiles.contains('/') {
            return Err(Error::Settings(format!(
                "the profiles `{}` must not contain a slash",
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
        assert_eq!(server.url(&query("product", "prod,eu", label)).to_string(), expected);
    }

    #[test]
    fn paths_follow_the_spelling_of_spring_clients() {
        check("http://h:1", None, "http://h:1/product/prod,eu");
        check("http://h:1/", Some("main"), "http://h:1/product/prod,eu/main");
        check(
            "http://h:1/config/",
            Some("feature/x"),
            "http://h:1/config/product/prod,eu/feature(_)x",
        );
        check("http://h:1", Some("a b%2f?#"), "http://h:1/product/prod,eu/a%20b%252f%3F%23");
        check("http://h:1", Some("grün"), "http://h:1/product/prod,eu/gr%C3%BCn");
        check(" HTTP://Example.ORG:80// ", None, "http://example.org/product/prod,eu");
        check("http://[::1]:8888", None, "http://[::1]:8888/product/prod,eu");
    }

    #[test]
    fn an_ipv6_address_loses_its_brackets_for_the_connection() {
        let server = Server::parse("http://me:s3cret@[::1]/x").unwrap();
        assert_eq!((server.base.host(), server.base.port()), ("::1", 80));
        assert_eq!(server.base.authority().unwrap(), "[::1]");
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
        for bad in [
            "http://me:s3cret@h:port",
            "ftp://me:s3cret@h",
            "me:s3cret@h",
            "http://me:s3cret@",
            "http://me:s3cret@h:99999",
            "",
        ] {
            let error = Server::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn names_that_would_disappear_from_the_path_are_rejected() {
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
