//! The first lines of a server on a terminal: what it serves, and a command that shows it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::{first_query, log_failure};
use crate::access::Caller;
use crate::cli::colour::{BOLD, Colours, DIM};
use crate::cli::compare::segment;
use crate::cli::{output, sources};
use crate::model::{Label, Query};
use crate::server::StartedServer;
use crate::settings::Settings;
use crate::store::{AnswerError, Store};

/// The most environments that are tried for the example request.
const TRIED_COUNT_MAX: usize = 100;

/// The facts about a server that a user can reach it by.
pub(super) struct Welcome {
    /// With an address that a program on this machine can connect to.
    url: String,
    repositories: Vec<String>,
    token_file: Option<PathBuf>,
    certificate: Option<PathBuf>,
}

/// The facts about the configuration that is served.
struct WelcomeContent {
    source: String,
    revision: String,
    service_count: usize,
    /// An environment that the server can answer.
    example: Option<Query>,
}

impl Welcome {
    pub(super) fn new(settings: &Settings, started: &StartedServer) -> Self {
        Self {
            url: reachable(started.url()),
            repositories: started.hosted().map(str::to_owned).collect(),
            token_file: settings.token_file.clone(),
            certificate: settings.tls.as_ref().map(|(certificate, _)| certificate.clone()),
        }
    }

    /// Loads the default label and prints the welcome. A remote is waited for until its first copy has ended.
    pub(super) async fn show(&self, store: &Arc<Store>) {
        let text = match self.load(store).await {
            Ok(served) => self.text(&served, Colours::of_stderr()),
            Err(error) => {
                log_failure(store, &error);
                self.text_without_content(store.source_name(), Colours::of_stderr())
            }
        };
        eprint!("{text}");
    }

    async fn load(&self, store: &Arc<Store>) -> Result<WelcomeContent, AnswerError> {
        let _progress = sources::is_first_copy(&store.remotes())
            .then(|| sources::first_copy(store.source_name()));
        let revision = loop {
            match store.answer(&Caller::Operator, &first_query()).await {
                Ok(handle) => break handle.current().tip.to_string(),
                Err(_) if sources::is_first_copy(&store.remotes()) => {}
                Err(error) => return Err(error),
            }
        };
        let (catalog, _) = store.read_catalog(&Label::Default).await?;
        Ok(WelcomeContent {
            source: store.source_name().to_owned(),
            revision,
            service_count: catalog.applications.len(),
            example: example(store, &catalog.queries(&Label::Default)).await,
        })
    }

    fn text(&self, served: &WelcomeContent, colours: Colours) -> String {
        let mut text = self.head(&served.source, colours);
        row(&mut text, colours, "revision", &output::short(&served.revision));
        row(&mut text, colours, "services", &served.service_count.to_string());
        row(&mut text, colours, "address", &self.url);
        text.push('\n');
        if let Some(query) = &served.example {
            text.push_str(&format!("  {}\n", self.curl(query)));
        }
        self.push_clones(&mut text);
        text.push('\n');
        text
    }

    fn text_without_content(&self, source: &str, colours: Colours) -> String {
        let mut text = self.head(source, colours);
        row(&mut text, colours, "revision", "none yet");
        row(&mut text, colours, "address", &self.url);
        text.push('\n');
        self.push_clones(&mut text);
        text.push('\n');
        text
    }

    fn head(&self, source: &str, colours: Colours) -> String {
        let name = format!("Headwater {}", env!("CARGO_PKG_VERSION"));
        let mut text = format!("\n  {}\n\n", colours.paint(BOLD, &name));
        row(&mut text, colours, "source", &output::one_line(source));
        text
    }

    fn push_clones(&self, text: &mut String) {
        for name in &self.repositories {
            text.push_str(&format!("  git clone {}/-/git/{name}.git\n", self.url));
        }
    }

    /// A command that prints an environment, in the words of a POSIX shell.
    fn curl(&self, query: &Query) -> String {
        let mut command = "curl".to_owned();
        if let Some(certificate) = &self.certificate {
            command += &format!(" --cacert {}", quoted(&certificate.to_string_lossy()));
        }
        if let Some(file) = &self.token_file {
            let file = quoted(&file.to_string_lossy());
            command += &format!(" -H \"Authorization: Bearer $(cat {file})\"");
        }
        let application = escaped(&segment(&query.application));
        format!("{command} {}/{application}/{}", self.url, escaped(&query.profiles))
    }
}

fn row(text: &mut String, colours: Colours, name: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {}  {value}", colours.paint(DIM, &format!("{name:8}")));
}

/// The URL with an address to connect to: a server that listens on all addresses is reached on loopback. With TLS the
/// loopback address gets its name, which certificates have more often than the address.
fn reachable(url: &str) -> String {
    let found = url.split_once("://").and_then(|(scheme, rest)| {
        let (address, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        Some((scheme, address.parse::<SocketAddr>().ok()?, path))
    });
    let Some((scheme, mut address, path)) = found else { return url.to_owned() };
    if address.ip().is_unspecified() {
        let loopback: [std::net::IpAddr; 2] =
            [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
        address.set_ip(loopback[usize::from(address.is_ipv6())]);
    }
    if scheme == "https" && address.ip().is_loopback() {
        return format!("{scheme}://localhost:{}{path}", address.port());
    }
    format!("{scheme}://{address}{path}")
}

/// The first environment of a service that the server can answer with a property source. Profiles other than `default`
/// come first, because their answers show more.
async fn example(store: &Arc<Store>, queries: &[Query]) -> Option<Query> {
    let rank =
        |query: &&Query| (&*query.application == "application", &*query.profiles == "default");
    let mut queries: Vec<&Query> = queries.iter().collect();
    queries.sort_by_key(rank);
    for query in queries.into_iter().take(TRIED_COUNT_MAX) {
        if let Ok(handle) = store.answer(&Caller::Operator, query).await
            && let Some(served) = handle.current().served()
            && !served.environment.sources.is_empty()
        {
            return Some(query.clone());
        }
    }
    None
}

/// A segment of a path, without characters that a URL or a shell treats in its own way.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// One word of a shell, which may not close the quotes around it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let text = output::one_line(text);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_can_be_connected_to() {
        for (url, expected) in [
            ("http://127.0.0.1:8888", "http://127.0.0.1:8888"),
            ("http://0.0.0.0:8888/config", "http://127.0.0.1:8888/config"),
            ("http://[::]:1", "http://[::1]:1"),
            ("http://192.0.2.1:80", "http://192.0.2.1:80"),
            ("https://0.0.0.0:8443", "https://localhost:8443"),
            ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
        ] {
            assert_eq!(reachable(url), expected);
        }
    }

    #[test]
    fn words_of_a_shell_are_quoted_where_needed() {
        assert_eq!(quoted("/etc/tls/a.crt"), "/etc/tls/a.crt");
        assert_eq!(quoted("my file"), "'my file'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(escaped("a b/c"), "a%20b%2Fc");
    }
}
