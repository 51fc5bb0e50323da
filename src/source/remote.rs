//! Addresses of remote repositories: the accepted forms, their form for git, and the forms that are rejected before git runs.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::OpenError;
use super::uri::{PLACEHOLDERS, file_path, has_placeholder};

/// The longest address, in bytes.
const ADDRESS_BYTES_MAX: usize = 4 * 1024;
/// The longest host name, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// The protocol of a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `https://`
    Https,
    /// `http://`, in clear text.
    Http,
    /// `ssh://` or `user@host:path`.
    Ssh,
    /// A path of this machine, or a `file:` URI.
    File,
}

impl Transport {
    /// The name of the protocol in git's allow-list.
    pub(in crate::source) fn protocol(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

/// A remote repository that may be mirrored. Its address contains no credentials and may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The protocol.
    pub transport: Transport,
    /// The host. `None` for a path.
    pub host: Option<String>,
    /// The address for git. It begins neither with a dash nor with the name of a program that git would run.
    pub(super) address: String,
}

impl Remote {
    /// Returns whether an address is that of a mirrored source: a URL or `user@host:path`, and not a path of this machine.
    pub fn is_meant(uri: &str) -> bool {
        const ELSEWHERE: [&str; 3] = ["file:", "hosted:", "etcd:"];
        let before_slash = uri.split('/').next().unwrap_or(uri);
        let is_short = before_slash.contains('@') && before_slash.contains(':');
        let is_helper = before_slash.contains("::");
        !ELSEWHERE.iter().any(|scheme| uri.starts_with(scheme))
            && (uri.contains("://") || is_short || is_helper)
    }

    /// Parses an address.
    ///
    /// # Errors
    /// For any other form than `https://`, `http://`, `ssh://`, `user@host:path`, a path and a `file:` URI. For an address with
    /// credentials or placeholders, with a disguised host, or in the form of an option. The messages do not contain the
    /// address.
    pub fn parse(uri: &str) -> Result<Self, OpenError> {
        let refused = |reason| Err(OpenError::Malformed { reason });
        if uri.trim().is_empty() {
            return refused("the address of the source is empty");
        }
        if uri.len() > ADDRESS_BYTES_MAX {
            return refused("the address of the source is too long");
        }
        if has_placeholder(uri) {
            return refused(PLACEHOLDERS);
        }
        if uri.chars().any(|c| c.is_control() || c == '\\') {
            return refused("the address of the source contains control characters or backslashes");
        }
        if let Some((scheme, rest)) = uri.split_once("://").filter(|(scheme, _)| is_scheme(scheme))
        {
            return match scheme {
                "https" => http(Transport::Https, uri, rest),
                "http" => http(Transport::Http, uri, rest),
                "ssh" => ssh(uri, rest),
                "file" => file(uri),
                _ => refused(
                    "the address of the source has an unknown scheme: expected https, ssh, http or file",
                ),
            };
        }
        if uri.starts_with("file:") {
            return file(uri);
        }
        let before_slash = uri.split('/').next().unwrap_or(uri);
        if before_slash.contains("::") {
            return refused(
                "the address of the source names a program for git to run, which is not supported",
            );
        }
        if before_slash.contains('@') && before_slash.contains(':') {
            return short(uri);
        }
        if uri.starts_with('-') {
            return refused("the address of the source begins with a dash");
        }
        file(&format!("file:{}", uri.replace('%', "%25")))
    }

    /// The name of the remote in file names, different for any two remotes.
    pub(super) fn digest(&self) -> String {
        use aws_lc_rs::digest::{SHA256, digest};
        let digest = digest(&SHA256, self.address.as_bytes());
        digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns whether the connection to it is readable in transit.
    pub fn is_clear_text(&self) -> bool {
        self.transport == Transport::Http && !self.host.as_deref().is_some_and(is_loopback)
    }
}

fn is_scheme(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_part)
}

fn http(transport: Transport, uri: &str, rest: &str) -> Result<Remote, OpenError> {
    let refused = |reason| Err(OpenError::Malformed { reason });
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return refused(
            "the address of the source contains a user or a password: remove them, \
             and write both to its credentials_file",
        );
    }
    if path.is_empty() {
        return refused("the address of the source names no repository");
    }
    if path.contains(['?', '#', ' ']) {
        return refused("the address of the source has a query, a fragment or a space");
    }
    let host = authority_host(authority)?;
    Ok(Remote { transport, host: Some(host), address: uri.trim_end_matches('/').to_owned() })
}

fn ssh(uri: &str, rest: &str) -> Result<Remote, OpenError> {
    let refused = |reason| Err(OpenError::Malformed { reason });
    let Some((authority, path)) = rest.split_once('/') else {
        return refused("the address of the source names no repository");
    };
    let authority = match authority.split_once('@') {
        Some((user, host)) => {
            check_user(user)?;
            host
        }
        None => authority,
    };
    check_ssh_path(path)?;
    let host = authority_host(authority)?;
    Ok(Remote {
        transport: Transport::Ssh,
        host: Some(host),
        address: uri.trim_end_matches('/').to_owned(),
    })
}

/// Parses git's short form `user@host:path`.
fn short(uri: &str) -> Result<Remote, OpenError> {
    let refused = |reason| Err(OpenError::Malformed { reason });
    let (user, rest) = uri.split_once('@').unwrap_or_default();
    check_user(user)?;
    let Some((host, path)) = rest.split_once(':') else {
        return refused("the address of the source names no repository");
    };
    check_ssh_path(path)?;
    let host = checked_host(host)?;
    Ok(Remote {
        transport: Transport::Ssh,
        host: Some(host),
        address: uri.trim_end_matches('/').to_owned(),
    })
}

fn file(uri: &str) -> Result<Remote, OpenError> {
    let path = file_path(uri.strip_prefix("file:").unwrap_or(uri))?;
    let unusable =
        OpenError::Malformed { reason: "the address of the source is not a usable path" };
    let path: Option<PathBuf> = std::path::absolute(path).ok();
    match path.as_ref().and_then(|path| path.to_str()) {
        Some(path) => {
            Ok(Remote { transport: Transport::File, host: None, address: path.to_owned() })
        }
        None => Err(unusable),
    }
}

fn check_user(user: &str) -> Result<(), OpenError> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if user.contains(':') {
        return Err(OpenError::Malformed {
            reason: "the address of the source contains a password: configure ssh_key_file for an ssh remote",
        });
    }
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if user.starts_with(is_first) && user.chars().all(is_part) {
        Ok(())
    } else {
        Err(OpenError::Malformed {
            reason: "the user in the address of the source is not a valid name",
        })
    }
}

fn check_ssh_path(path: &str) -> Result<(), OpenError> {
    if path.is_empty() || path.starts_with('-') || path.contains(' ') {
        return Err(OpenError::Malformed {
            reason: "the address of the source has no valid path of a repository",
        });
    }
    Ok(())
}

/// The host of `host`, `host:port` or `[address]:port`.
fn authority_host(authority: &str) -> Result<String, OpenError> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = match port.strip_prefix(':') {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+'),
        None => port.is_empty(),
    };
    if !is_port {
        return Err(OpenError::Malformed {
            reason: "the port in the address of the source is not a number from 1 to 65535",
        });
    }
    checked_host(host)
}

/// Checks that a host is a name, or an IP address in its canonical form. Other forms disguise their target, and link-local
/// addresses lead to the metadata services of clouds.
fn checked_host(host: &str) -> Result<String, OpenError> {
    let refused = |reason| Err(OpenError::Malformed { reason });
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match address.parse::<std::net::Ipv6Addr>() {
            Ok(address) if address.to_ipv4_mapped().is_some() => {
                refused("the host in the address of the source is an IPv4 address in disguise")
            }
            Ok(address) if address.is_unicast_link_local() => {
                refused("the host in the address of the source is link-local")
            }
            Ok(address) => Ok(address.to_string()),
            Err(_) => refused("the host in the address of the source is not a valid host"),
        };
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        if address.is_link_local() {
            return refused("the host in the address of the source is link-local");
        }
        return Ok(address.to_string());
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_name = host.len() <= HOST_BYTES_MAX
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.chars().all(is_part);
    // The last part of a name is never a number. In an address in octal, hexadecimal or as one number, it is one.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with(|c: char| c.is_ascii_digit())
        && last
            .trim_start_matches("0x")
            .trim_start_matches("0X")
            .chars()
            .all(|c| c.is_ascii_hexdigit());
    match (is_name, is_number) {
        (true, false) => Ok(host.to_ascii_lowercase()),
        (true, true) => refused("the host in the address of the source is a number in disguise"),
        (false, _) => refused("the host in the address of the source is not a valid host"),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: Result<(Transport, &str), &str>) {
        let found = Remote::parse(uri).map_err(|error| error.to_string());
        match expected {
            Ok((transport, address)) => {
                let found = found.unwrap_or_else(|error| panic!("{uri}: {error}"));
                assert_eq!((found.transport, &*found.address), (transport, address), "{uri}");
            }
            Err(part) => {
                let error = found.expect_err(uri);
                assert!(error.contains(part), "{uri}: {error}");
                assert!(!error.contains("hunter2"), "{error}");
            }
        }
    }

    #[test]
    fn the_usual_addresses_are_taken() {
        use Transport::{File, Http, Https, Ssh};
        for (uri, transport) in [
            ("https://git.example.org/shop/config.git", Https),
            ("https://git.example.org:8443/shop/config", Https),
            ("https://10.1.2.3/config.git", Https),
            ("https://[2001:db8::1]:8443/config.git", Https),
            ("http://gitea:3000/shop/config.git", Http),
            ("ssh://git@git.example.org:2222/shop/config.git", Ssh),
            ("ssh://git.example.org/~/config.git", Ssh),
            ("git@github.com:shop/config.git", Ssh),
            ("git@ssh.dev.azure.com:v3/shop/config/config", Ssh),
        ] {
            assert!(Remote::is_meant(uri), "{uri}");
            check(uri, Ok((transport, uri)));
        }
        check("/srv/config.git", Ok((File, "/srv/config.git")));
        check("file:///srv/my%20config.git", Ok((File, "/srv/my config.git")));
        check("/srv/50%.git", Ok((File, "/srv/50%.git")));
        check("https://example.org/config/", Ok((Https, "https://example.org/config")));
        for uri in ["./config-repo", "/srv/config.git", "file:///srv", "hosted:main", "etcd://h/p"]
        {
            assert!(!Remote::is_meant(uri), "{uri}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for (uri, part) in [
            ("https://user:hunter2@host/r.git", "credentials_file"),
            ("https://hunter2@host/r.git", "credentials_file"),
            ("https://user@good@evil/r.git", "credentials_file"),
            ("ssh://git:hunter2@host/r.git", "ssh_key_file"),
            ("https://{application}.host/r.git", "placeholders"),
            ("https://host:{label}/r.git", "placeholders"),
            ("{profile}://host/r.git", "placeholders"),
            ("https://host/{application}.git", "placeholders"),
            ("ext::sh -c touch% /tmp/x", "program"),
            ("ext::sh -c x://", "program"),
            ("ssh://-oProxyCommand=x/r.git", "not a valid host"),
            ("ssh://git@-oProxyCommand=x/r.git", "not a valid host"),
            ("git@-oX:r.git", "not a valid host"),
            ("-oX@host:r.git", "not a valid name"),
            ("ssh://-l@host/r.git", "not a valid name"),
            ("git@host:-r.git", "no valid path"),
            ("git@host:", "no valid path"),
            ("--upload-pack=x", "dash"),
            ("https://host", "no repository"),
            ("https:///r.git", "not a valid host"),
            ("https://host:0/r.git", "port"),
            ("https://host:99999/r.git", "port"),
            ("https://host:+1/r.git", "port"),
            ("https://host/r.git?x=y", "query"),
            ("https://host/r.git#x", "query"),
            ("https://host\n/r.git", "control"),
            ("https://host\\@evil/r.git", "backslash"),
            ("http://169.254.169.254/latest", "link-local"),
            ("http://[fe80::1]/r.git", "link-local"),
            ("http://[::ffff:127.0.0.1]/r.git", "disguise"),
            ("http://2130706433/r.git", "disguise"),
            ("http://0x7f000001/r.git", "disguise"),
            ("http://0x7f.0.0.1/r.git", "disguise"),
            ("http://0177.0.0.01/r.git", "disguise"),
            ("http://127.1/r.git", "disguise"),
            ("http://h\u{f6}st/r.git", "not a valid host"),
            ("ftp://host/r.git", "unknown scheme"),
            ("git://host/r.git", "unknown scheme"),
            ("HTTPS://host/r.git", "unknown scheme"),
            ("file://elsewhere/r.git", "another host"),
            ("", "empty"),
        ] {
            check(uri, Err(part));
        }
    }

    #[test]
    fn clear_text_is_known() {
        let is_clear_text = |uri| Remote::parse(uri).unwrap().is_clear_text();
        assert!(is_clear_text("http://gitea:3000/r.git"));
        assert!(!is_clear_text("https://gitea/r.git"));
        assert!(!is_clear_text("http://127.0.0.1:3000/r.git"));
        assert!(!is_clear_text("http://[::1]:3000/r.git"));
    }
}
