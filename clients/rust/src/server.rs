//! One server: where it is, and what is said to it. URLs are taken apart here, so that nobody else sees a password.

use std::fmt;

use hyper::Uri;
use hyper::header::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::credentials::Credentials;
use crate::error::{Error, Failure};

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
        let uri: Uri = text.trim().parse().map_err(|_| unusable("it is no url"))?;
        let scheme = uri.scheme_str().filter(|it| matches!(*it, "http" | "https"));
        let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else {
            return Err(unusable("it must begin with http:// or https://"));
        };
        if cfg!(not(feature = "rustls")) && scheme == "https" {
            return Err(unusable("https needs the feature `rustls`"));
        }
        let (user_information, place) =
            authority.as_str().rsplit_once('@').unwrap_or(("", authority.as_str()));
        let (host, port) = (authority.host(), authority.port_u16());
        if host.is_empty() || (port.is_none() && place != host) {
            return Err(unusable("its host or port is not valid"));
        }
        let (user, password) = user_information.split_once(':').unwrap_or((user_information, ""));
        let credentials = match user.is_empty() && password.is_empty() {
            true => None,
            false => Some(Credentials::percent_encoded(user, password).header()?),
        };
        let usual = Url::usual_port(scheme == "https");
        let port = port.unwrap_or(usual);
        let host = host.to_ascii_lowercase();
        let base = Url {
            is_https: scheme == "https",
            authority: if port == usual { host.clone() } else { format!("{host}:{port}") },
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            path: uri.path().trim_end_matches('/').to_owned(),
        };
        Ok(Server { name: base.to_string(), base, credentials })
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
        self.base.is_https
    }

    /// Where the environment is, and texts below it.
    pub(crate) fn url(&self, query: &Query) -> Url {
        let url = self.own_url(&[&segment(&query.application), &query.profiles]);
        query.label.iter().fold(url, |url, label| url.join(&segment(label)))
    }

    /// A path of the server below its base.
    pub(crate) fn own_url(&self, path: &[&str]) -> Url {
        path.iter().fold(self.base.clone(), |url, segment| url.join(segment))
    }
}

/// A place on a server.
#[derive(Debug, Clone)]
pub(crate) struct Url {
    is_https: bool,
    /// Without the brackets of an address.
    host: String,
    port: u16,
    /// As the `Host` header has it.
    authority: String,
    /// With a query, if there is one; empty for the root.
    path: String,
}

/// What a segment of a path cannot hold as it is.
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
    fn usual_port(is_https: bool) -> u16 {
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

    /// One segment further.
    pub(crate) fn join(mut self, segment: &str) -> Url {
        self.path.push('/');
        self.path.extend(utf8_percent_encode(segment, ESCAPED));
        self
    }

    /// With a query, which has to be escaped already.
    pub(crate) fn ask(mut self, query: &str) -> Url {
        self.path.push('?');
        self.path.push_str(query);
        self
    }

    /// What is asked for in a request.
    pub(crate) fn target(&self) -> Result<Uri, Failure> {
        let target = if self.path.is_empty() { "/" } else { &self.path };
        target.parse().map_err(|_| Failure::Connection("the url is too long".to_owned()))
    }

    /// Whom a request is for.
    pub(crate) fn authority(&self) -> Result<HeaderValue, Failure> {
        let invalid = |_| Failure::Connection("the host has no valid name".to_owned());
        HeaderValue::from_str(&self.authority).map_err(invalid)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// Spring's way to write a slash inside a name.
fn segment(name: &str) -> String {
    name.replace('/', "(_)")
}

impl Query {
    /// Checks what servers would quietly leave out of a path.
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
        assert_eq!(server.url(&query("product", "prod,eu", label)).to_string(), expected);
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
        check("http://h:1", Some("grün"), "http://h:1/product/prod,eu/gr%C3%BCn");
        check(" HTTP://Example.ORG:80// ", None, "http://example.org/product/prod,eu");
        check("http://[::1]:8888", None, "http://[::1]:8888/product/prod,eu");
    }

    #[test]
    fn an_address_is_reached_without_its_brackets() {
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
