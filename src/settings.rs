//! The server's own settings: defaults, then `headwater.toml`, then `HEADWATER_…`, then flags. Typed once, validated once
//! with all problems at once, and immutable from then on. Secrets are read from files, never from flags.

mod share;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use share::{ShareSettings, is_name};
pub use watch::{Network, WatchSettings};

/// The file that is read when no other is named.
const FILE: &str = "headwater.toml";
/// What is served when nothing else is said.
const DEFAULT_SOURCE: &str = "./config-repo";
/// Where the server listens when nothing else is said.
const DEFAULT_LISTEN: &str = "127.0.0.1:8888";
/// Where the server keeps what it keeps when nothing else is said.
const DEFAULT_DATA: &str = "./headwater-data";

/// Everything a server can be told on the command line or in its environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// A git repository, a directory, a git URL to mirror, hosted:NAME to host, or etcd://HOST:PORT/PREFIX; several make a composite, the first one winning [default: ./config-repo]
    #[arg(
        long = "source",
        value_name = "SOURCE",
        env = "HEADWATER_SOURCE",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub source: Vec<String>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8888]
    #[arg(long, value_name = "ADDRESS", env = "HEADWATER_LISTEN")]
    pub listen: Option<String>,
    /// Directory for what the server keeps: hosted repositories, mirrors [default: ./headwater-data, made when needed]
    #[arg(long, value_name = "DIR", env = "HEADWATER_DATA")]
    pub data: Option<PathBuf>,
    /// The etcd cluster through which replicas know each other and share the repositories that they host
    #[arg(
        long,
        value_name = "etcd://HOST:PORT/PREFIX",
        env = "HEADWATER_SHARE",
        hide_env_values = true
    )]
    pub share: Option<String>,
    /// What this replica is called [default: the name of its host]
    #[arg(long, value_name = "NAME", env = "HEADWATER_REPLICA")]
    pub replica: Option<String>,
    /// Directory whose files are the first commit of a hosted repository that is made
    #[arg(long, value_name = "DIR", env = "HEADWATER_SEED")]
    pub seed: Option<PathBuf>,
    /// File with the token that a push needs; the variable HEADWATER_PUSH_TOKEN may hold the token itself
    #[arg(long, value_name = "FILE", env = "HEADWATER_PUSH_TOKEN_FILE")]
    pub push_token_file: Option<PathBuf>,
    /// File with the secrets, one a line, of which a call of /monitor has to prove one; the variable HEADWATER_MONITOR_SECRET may hold one itself
    #[arg(long, value_name = "FILE", env = "HEADWATER_MONITOR_SECRET_FILE")]
    pub monitor_secret_file: Option<PathBuf>,
    /// Settings file [default: headwater.toml, where there is one]
    #[arg(long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Path that stands before all others, such as /config
    #[arg(long, value_name = "PATH", env = "HEADWATER_PREFIX")]
    pub prefix: Option<String>,
    /// Certificate chain (PEM); with --tls-key the server speaks TLS only
    #[arg(long, value_name = "FILE", env = "HEADWATER_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM)
    #[arg(long, value_name = "FILE", env = "HEADWATER_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// File with the token that reading needs
    #[arg(long, value_name = "FILE", env = "HEADWATER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Threads that answer requests [default: one for each processor]
    #[arg(long, value_name = "COUNT", env = "HEADWATER_WORKERS")]
    pub workers: Option<usize>,
    /// Whether an environment without any property source is an answer [default: true]
    #[arg(long, value_name = "BOOL", env = "HEADWATER_ACCEPT_EMPTY")]
    pub accept_empty: Option<bool>,
    /// Whether one source that fails, fails the answer [default: true]
    #[arg(long, value_name = "BOOL", env = "HEADWATER_FAIL_ON_COMPOSITE_ERROR")]
    pub fail_on_composite_error: Option<bool>,
    /// A property that every environment has, above all others; in the variable one on each line
    #[arg(
        long = "override",
        value_name = "KEY=VALUE",
        env = "HEADWATER_OVERRIDES",
        hide_env_values = true,
        value_delimiter = '\n'
    )]
    pub overrides: Vec<String>,
}

/// `headwater.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<String>,
    prefix: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    token_file: Option<PathBuf>,
    workers: Option<usize>,
    accept_empty: Option<bool>,
    fail_on_composite_error: Option<bool>,
    data: Option<PathBuf>,
    push: PushSettings,
    watch: WatchSettings,
    monitor: MonitorSettings,
    share: ShareSettings,
    overrides: toml::Table,
    source: Vec<SourceSettings>,
}

/// One `[[source]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSettings {
    /// A path, a `file:` URI, a git URL (`https://`, `ssh://`, `user@host:path`, `http://`), `hosted:<name>`, or
    /// `etcd://host:2379[,host:2379]/prefix`.
    pub uri: String,
    /// The stable base of names in answers; the URI without it.
    pub name: Option<String>,
    /// The label of a request that names none.
    pub default_label: Option<String>,
    /// Relative directories with `{application}`, `{profile}`, `{label}` and wildcards; the root is always searched.
    pub search_paths: Vec<String>,
    /// `application/profile` globs of the requests that this source answers.
    pub patterns: Vec<String>,
    /// Whether `.json` files are configuration.
    pub json: bool,
    /// The directory whose files are the first commit of a hosted repository that is made.
    pub seed: Option<PathBuf>,
    /// Whether a repository at a path is mirrored, as one at a URL always is.
    pub mirror: bool,
    /// How often a mirrored remote is asked whether it moved; 0 for only when a hook says so.
    pub poll_seconds: Option<u64>,
    /// The longest that one fetch of a mirrored remote takes; the first copy may take ten times as long.
    pub fetch_seconds_max: Option<u64>,
    /// The largest pack that a mirrored remote may send, in bytes.
    pub fetch_bytes_max: Option<u64>,
    /// The user name and the password or token for an `https://` remote or for etcd, each on a line.
    pub credentials_file: Option<PathBuf>,
    /// The private key for an ssh remote.
    pub ssh_key_file: Option<PathBuf>,
    /// The hosts that are trusted of an ssh remote.
    pub known_hosts_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted of an `https://` remote in place of the system's, or of etcd.
    pub ca_file: Option<PathBuf>,
    /// The certificate chain (PEM) that etcd is shown.
    pub client_cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub client_key_file: Option<PathBuf>,
}

/// `[monitor]`: who may say that something was pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorSettings {
    /// Where the secrets are, one a line, of which a call has to prove one.
    pub secret_file: Option<PathBuf>,
    /// A secret itself; from the environment only.
    #[serde(skip)]
    pub secret: Option<Secret>,
}

/// The user name and the password or token for sources that have no file of their own; from the environment only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password or token.
    pub password: Secret,
}

/// `[push]`: what is asked of a push to a hosted repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushSettings {
    /// Where the token that a push needs is.
    pub token_file: Option<PathBuf>,
    /// The token itself; from the environment only.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// What becomes of a push with problems.
    pub checks: Checks,
    /// Whether a placeholder that nothing resolves is a problem.
    pub strict: bool,
    /// Whether a branch may be moved to a commit that does not follow the one it is at, and a tag be moved at all.
    pub allow_force: bool,
    /// Whether a branch or a tag may be deleted.
    pub allow_delete: bool,
    /// The longest that the checks of one push take, in seconds; what was not reached is said.
    pub check_seconds_max: u64,
    /// The largest pack that is taken, in bytes.
    pub pack_bytes_max: u64,
    /// The program that git runs as its hook: this one, unless it is not Headwater itself that serves.
    #[serde(skip)]
    pub hook_program: Option<PathBuf>,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            token_file: None,
            token: None,
            checks: Checks::Refuse,
            strict: false,
            allow_force: false,
            allow_delete: false,
            check_seconds_max: 5,
            pack_bytes_max: 256 * 1024 * 1024,
            hook_program: None,
        }
    }
}

/// What becomes of a push with problems.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checks {
    /// It is refused.
    #[default]
    Refuse,
    /// It is taken, with a warning to who pushes and in the log: for emergencies.
    Warn,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a server runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Empty, or `/…` without a trailing slash.
    pub prefix: String,
    /// Certificate chain and private key, if the server is to speak TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where the read token is, if reading needs one.
    pub token_file: Option<PathBuf>,
    /// Threads that answer requests; `None` for one for each processor.
    pub workers: Option<usize>,
    /// Whether an environment without any property source is an answer.
    pub accept_empty: bool,
    /// Whether a source that fails, fails the answer.
    pub fail_on_composite_error: bool,
    /// What the server keeps stands here; made when a source needs it.
    pub data: PathBuf,
    /// What is asked of a push.
    pub push: PushSettings,
    /// How many may watch.
    pub watch: WatchSettings,
    /// Who may say that something was pushed elsewhere.
    pub monitor: MonitorSettings,
    /// Where replicas meet.
    pub share: ShareSettings,
    /// What opens `https://` remotes that have no `credentials_file`.
    pub git_login: Option<Login>,
    /// What opens etcd where there is no `credentials_file`.
    pub etcd_login: Option<Login>,
    /// Properties that every environment has, above all others.
    pub overrides: Vec<(String, String)>,
    /// At least one, the first one winning.
    pub sources: Vec<SourceSettings>,
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(pub Vec<String>);

impl Settings {
    /// Puts defaults, file and flags together. The environment stands among the flags already.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn load(flags: Flags) -> Result<Self, SettingsError> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None if Path::new(FILE).exists() => read(Path::new(FILE))?,
            None => File::default(),
        };
        lower(flags, file)
    }
}

fn read(path: &Path) -> Result<File, SettingsError> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError(vec![format!("{name}: {error}")]))?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        SettingsError(vec![format!("{name}:{line}: {}", without_value(error.message()))])
    })
}

/// A message about a value of the wrong type, without the value that it quotes: that may be a secret.
fn without_value(message: &str) -> String {
    let quoted = message.strip_prefix("invalid ").and_then(|_| {
        let (before, _) = message.split_once(['"', '`'])?;
        let (_, after) = message.rsplit_once(", expected ")?;
        Some(format!("{}, expected {after}", before.trim_end()))
    });
    quoted.unwrap_or_else(|| message.to_owned())
}

fn lower(flags: Flags, file: File) -> Result<Settings, SettingsError> {
    let mut problems = Vec::new();
    let listen = flags.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
    let listen = listen.parse().unwrap_or_else(|_| {
        problems
            .push(format!("listen: {listen:?} is no address and port such as {DEFAULT_LISTEN}"));
        SocketAddr::from(([127, 0, 0, 1], 0))
    });
    let prefix = flags.prefix.or(file.prefix).unwrap_or_default();
    let prefix = prefix.trim_end_matches('/').to_owned();
    if !prefix.is_empty() && !prefix.starts_with('/') {
        problems.push(format!("prefix: {prefix:?} does not begin with a slash"));
    }
    let tls = match (flags.tls_cert.or(file.tls_cert), flags.tls_key.or(file.tls_key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            problems.push("tls_cert and tls_key: one is of no use without the other".to_owned());
            None
        }
    };
    let mut sources = file.source;
    if !flags.source.is_empty() {
        let short = |uri: &String| SourceSettings { uri: uri.clone(), ..Default::default() };
        sources = rejoined(&flags.source).iter().map(short).collect();
    }
    if flags.seed.is_some() {
        seed(&mut sources, flags.seed, &mut problems);
    }
    if sources.is_empty() {
        sources.push(SourceSettings { uri: DEFAULT_SOURCE.to_owned(), ..Default::default() });
    }
    for (index, source) in sources.iter().enumerate() {
        if source.uri.is_empty() {
            problems.push(format!("source {}: uri is missing", index + 1));
        }
        let is_hosted = source.uri.starts_with("hosted:");
        if is_hosted && source.mirror {
            problems.push(format!("source {}: what is hosted here is not mirrored", index + 1));
        }
        if !is_hosted && source.seed.is_some() {
            problems.push(format!("source {}: only a hosted: source has a seed", index + 1));
        }
    }
    let overrides = match flags.overrides.is_empty() {
        true => flatten(&file.overrides, &mut problems),
        false => pairs(&flags.overrides, &mut problems),
    };
    let mut push = file.push;
    push.token_file = flags.push_token_file.or(push.token_file);
    push.token = push_token();
    if push.token.is_some() && push.token_file.is_some() {
        problems.push("push: the token stands in a file and in the environment".to_owned());
    }
    let mut monitor = file.monitor;
    monitor.secret_file = flags.monitor_secret_file.or(monitor.secret_file);
    monitor.secret = variable("HEADWATER_MONITOR_SECRET").map(Secret);
    if monitor.secret.is_some() && monitor.secret_file.is_some() {
        problems.push("monitor: the secret stands in a file and in the environment".to_owned());
    }
    let mut share = file.share;
    share.uri = flags.share.or(share.uri);
    share.replica = flags.replica.or(share.replica);
    share.check(&mut problems);
    let git_login = login(["HEADWATER_GIT_USERNAME", "HEADWATER_GIT_PASSWORD"], &mut problems);
    let etcd_login = login(["HEADWATER_ETCD_USERNAME", "HEADWATER_ETCD_PASSWORD"], &mut problems);
    let workers = flags.workers.or(file.workers);
    if workers == Some(0) {
        problems.push("workers: at least 1".to_owned());
    }
    if !problems.is_empty() {
        return Err(SettingsError(problems));
    }
    Ok(Settings {
        listen,
        prefix,
        tls,
        token_file: flags.token_file.or(file.token_file),
        workers,
        accept_empty: flags.accept_empty.or(file.accept_empty).unwrap_or(true),
        fail_on_composite_error: flags
            .fail_on_composite_error
            .or(file.fail_on_composite_error)
            .unwrap_or(true),
        data: flags
            .data
            .or_else(|| variable("HEADWATER_DATA").map(PathBuf::from))
            .or(file.data)
            .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA)),
        push,
        watch: file.watch,
        monitor,
        share,
        git_login,
        etcd_login,
        overrides,
        sources,
    })
}

/// The one hosted repository is what a seed without a name is for.
fn seed(sources: &mut [SourceSettings], seed: Option<PathBuf>, problems: &mut Vec<String>) {
    let mut hosted = sources.iter_mut().filter(|source| source.uri.starts_with("hosted:"));
    match (hosted.next(), hosted.next()) {
        (Some(source), None) => source.seed = seed,
        (None, _) => problems.push("seed: there is no hosted: source".to_owned()),
        _ => problems.push("seed: there are several hosted: sources, give each its own".to_owned()),
    }
}

/// The token that a push needs, where the environment says it.
fn push_token() -> Option<Secret> {
    variable("HEADWATER_PUSH_TOKEN").map(Secret)
}

/// A variable that says something.
fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// What opens sources of one kind, where the environment says it.
fn login(names: [&str; 2], problems: &mut Vec<String>) -> Option<Login> {
    match names.map(variable) {
        [Some(username), Some(password)] => Some(Login { username, password: Secret(password) }),
        [None, None] => None,
        _ => {
            problems.push(format!("{}: one is of no use without the other", names.join(" and ")));
            None
        }
    }
}

/// The members of an etcd cluster stand in one address, with commas between them as between sources.
fn rejoined(sources: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for source in sources {
        let lacks_a_prefix = |last: &&mut String| {
            last.strip_prefix("etcd://").is_some_and(|hosts| !hosts.contains('/'))
        };
        match joined.last_mut().filter(lacks_a_prefix) {
            Some(last) => {
                last.push(',');
                last.push_str(source);
            }
            None => joined.push(source.clone()),
        }
    }
    joined
}

/// `KEY=VALUE` texts; blank ones, such as the last line of a variable, say nothing.
fn pairs(texts: &[String], problems: &mut Vec<String>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for text in texts.iter().map(|text| text.trim_end_matches('\r')) {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                pairs.push((key.trim().to_owned(), value.replace("\\{", "{")));
            }
            _ if text.trim().is_empty() => {}
            // Not repeated: it may be a value whose key was forgotten.
            _ => problems.push("override: not of the form KEY=VALUE".to_owned()),
        }
    }
    pairs
}

/// `[overrides]` as flat keys; values are strings, with Spring's escapes taken out (specification, section 14).
fn flatten(table: &toml::Table, problems: &mut Vec<String>) -> Vec<(String, String)> {
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
                    .push(format!("overrides: {prefix} is a list, write its items as {prefix}[0]"));
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

/// The settings file with every key, its default, and what it means.
pub const DEFAULT_FILE: &str = r#"# Address and port to listen on; port 0 takes a free one.
listen = "127.0.0.1:8888"

# Path that stands before all others, such as "/config"; health and metrics stay where they are.
prefix = ""

# Certificate chain and private key (PEM); with both the server speaks TLS only. Read again when they change.
# tls_cert = "tls.crt"
# tls_key = "tls.key"

# File with the token that reading needs: as Bearer, or as the password of Basic.
# token_file = "token"

# Threads that answer requests; one for each processor when it is left out.
# workers = 2

# Whether an environment without any property source is an answer (200) or an error (404).
accept_empty = true

# Whether one source that fails, fails the answer; otherwise it is left out.
fail_on_composite_error = true

# Directory for what the server keeps: hosted repositories, mirrors. Made when a source needs it; one server at a time.
data = "./headwater-data"

# What is asked of a push to a hosted repository.
[push]
# File with the token that a push needs, as the password of Basic or as Bearer; without one, pushes come from this
# machine only. The variable HEADWATER_PUSH_TOKEN may hold the token itself.
# token_file = "push-token"
# What becomes of a push with problems: "refuse", or "warn" to take it all the same.
checks = "refuse"
# Whether a placeholder that nothing resolves is a problem; otherwise it is a warning.
strict = false
# Whether a branch may be moved to a commit that does not follow the one it is at, and a tag be moved at all; and whether
# either may be deleted.
allow_force = false
allow_delete = false
# The longest that the checks of one push take; what was not reached is said.
check_seconds_max = 5
# The largest pack that is taken.
pack_bytes_max = 268435456

# How many may watch: streams and long polls together.
[watch]
watchers_max = 20000
# The most of one client address; not limited when it is left out.
# watchers_per_client_max = 200
# Proxies whose X-Forwarded-For says whose address that is, such as "10.0.0.1" or "10.0.0.0/8".
trusted_proxies = []

# Replicas: the etcd cluster through which they know each other and share the repositories that they host.
[share]
# uri = "etcd://etcd-1:2379,etcd-2:2379,etcd-3:2379/headwater"
# What this replica is called; its host's name without it.
# replica = "headwater-1"
# ca_file makes it speak TLS, client_cert_file and client_key_file prove who we are, and credentials_file holds a user and
# a password, each on a line, unless HEADWATER_ETCD_USERNAME and HEADWATER_ETCD_PASSWORD do.
# credentials_file = "etcd-credentials"
# ca_file = "ca.crt"
# client_cert_file = "client.crt"
# client_key_file = "client.key"

# Who may say at /monitor that something was pushed; without a secret anyone may, and all that it does is to look.
[monitor]
# File with secrets, one a line: a call has to prove one of them, as the git host signs it. The variable
# HEADWATER_MONITOR_SECRET may hold one itself.
# secret_file = "monitor-secret"

# Properties that every environment has, above all others.
[overrides]

# Where configuration comes from; several make a composite, the first one winning.
[[source]]
# A git repository, bare or not, a plain directory, hosted:<name> for a repository that the server keeps, or a git URL
# (https://, ssh://, user@host:path, http://), which is mirrored in the background.
uri = "./config-repo"
# Stable base of the names in answers; the uri when it is left out.
# name = "shop"
# Label of a request that names none; git: the branch of HEAD when it is left out.
# default_label = "main"
# Directories that are searched after the root, the last one winning.
search_paths = []
# Requests that this source answers, as application/profile; all when it is empty.
patterns = []
# Whether .json files are configuration.
json = false
# Directory whose files are the first commit of a hosted repository that is made.
# seed = "./config-repo"
# Whether a repository at a path is mirrored too, in place of being read where it is.
mirror = false
# How often a mirrored remote is asked whether it moved; 0 for only when a hook says so.
# poll_seconds = 30
# The longest that one fetch takes (the first copy: ten times as long), and the largest pack that is taken.
# fetch_seconds_max = 120
# fetch_bytes_max = 2147483648
# For https: a file of two lines, the user name and the password or token. The variables HEADWATER_GIT_USERNAME and
# HEADWATER_GIT_PASSWORD serve remotes of one host that have none.
# credentials_file = "git-credentials"
# For https: certificates (PEM) that are trusted in place of the system's.
# ca_file = "ca.crt"
# For etcd (etcd://host:2379,host:2379/prefix): ca_file makes it speak TLS, these prove who we are to it, and
# credentials_file holds a user and a password, or HEADWATER_ETCD_USERNAME and HEADWATER_ETCD_PASSWORD do.
# client_cert_file = "client.crt"
# client_key_file = "client.key"
# For ssh, both: the private key, and the host keys that are trusted.
# ssh_key_file = "id_ed25519"
# known_hosts_file = "known_hosts"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headwater.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        Settings::load(flags).map_err(|error| error.to_string())
    }

    #[test]
    fn the_printed_default_is_the_default() {
        let nothing = lower(Flags::default(), File::default()).unwrap();
        assert_eq!(file(DEFAULT_FILE).unwrap(), nothing);
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let error = file("listen = \"127.0.0.1:1\"\nlisten_on = 1\n").unwrap_err();
        assert!(error.contains("headwater.toml:2: unknown field `listen_on`"), "{error}");
        let error = file("[[source]]\nuri = \"x\"\nserach_paths = []\n").unwrap_err();
        assert!(error.contains(":3: unknown field `serach_paths`"), "{error}");
    }

    #[test]
    fn values_of_the_wrong_type_are_not_quoted() {
        for (text, message) in [
            ("overrides = \"hunter2\"", "invalid type: string, expected a map"),
            ("workers = \"a\\\", expected hunter2\"", "invalid type: string, expected usize"),
            ("listen = 4711", "invalid type: integer, expected a string"),
        ] {
            let error = file(text).unwrap_err();
            assert!(error.ends_with(&format!("headwater.toml:1: {message}")), "{error}");
        }
    }

    #[test]
    fn all_problems_come_at_once() {
        let error =
            file("listen = \"x\"\nprefix = \"p\"\ntls_cert = \"c\"\n[[source]]\n").unwrap_err();
        for part in ["listen", "prefix", "tls_cert", "uri is missing"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn the_members_of_a_cluster_are_one_source() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (given, expected) in [
            (&["a", "b"][..], &["a", "b"][..]),
            (&["etcd://a:1", "b:2", "c/shop", "./x"], &["etcd://a:1,b:2,c/shop", "./x"]),
            (&["etcd://a/shop", "b"], &["etcd://a/shop", "b"]),
        ] {
            assert_eq!(rejoined(&texts(given)), texts(expected));
        }
    }

    #[test]
    fn what_a_source_cannot_have_is_said() {
        let error = file(
            "[[source]]\nuri = \"hosted:main\"\nmirror = true\n[[source]]\nuri = \"x\"\nseed = \"y\"\n",
        );
        let error = error.unwrap_err();
        for part in ["source 1: what is hosted here", "source 2: only a hosted: source has a seed"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn overrides_of_the_command_line_take_the_place_of_the_files() {
        let flags = Flags {
            overrides: vec!["a.b=x=y".to_owned(), "c=".to_owned(), String::new()],
            accept_empty: Some(false),
            ..Flags::default()
        };
        let settings = lower(flags, File::default()).unwrap();
        assert_eq!(
            settings.overrides,
            [("a.b".to_owned(), "x=y".to_owned()), ("c".to_owned(), String::new())]
        );
        assert!(!settings.accept_empty);
        let flags = Flags { overrides: vec!["s3cret".to_owned()], ..Flags::default() };
        let error = lower(flags, File::default()).unwrap_err().to_string();
        assert_eq!(error, "override: not of the form KEY=VALUE");
    }

    #[test]
    fn flags_win_over_the_file_and_overrides_are_flat_text() {
        let settings = file("[overrides]\na.b = 1\n\"c.d\" = \"\\\\${x}\"\n").unwrap();
        assert_eq!(
            settings.overrides,
            [("a.b".to_owned(), "1".to_owned()), ("c.d".to_owned(), "\\${x}".to_owned())]
        );
    }
}
