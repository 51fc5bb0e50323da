//! `[[source]]`: where configuration comes from.

use std::path::PathBuf;

use serde::Deserialize;

use super::described::default;

/// The path that the address of every hosted repository contains.
const HOSTED_PATH: &str = "/-/git/";
/// The name of the table.
const TABLE: &str = "source";

/// The settings of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSettings {
    /// A path, a `file:` URI, a git URL (`https://`, `ssh://`, `user@host:path`, `http://`), `hosted:<name>`, or
    /// `etcd://host:2379[,host:2379]/prefix`.
    pub uri: String,
    /// The stable base of the names of property sources. `None` for the URI.
    pub name: Option<String>,
    /// The label of a request that names none.
    pub default_label: Option<String>,
    /// Relative directories with `{application}`, `{profile}`, `{label}` and wildcards. The root is always searched.
    pub search_paths: Vec<String>,
    /// `application/profile` globs of the requests that this source answers.
    pub patterns: Vec<String>,
    /// Read `.toml` files. `None` for hosted repositories only, of this server or of another Headwater.
    pub toml: Option<bool>,
    /// Read `.json` files.
    pub json: bool,
    /// The directory whose files become the first commit of a new hosted repository.
    pub seed: Option<PathBuf>,
    /// Mirror a repository at a path. A repository at a URL is always mirrored.
    pub mirror: bool,
    /// Mirror the remote of a clone and serve the mirror. `false` if another program fetches the remote.
    pub follow_origin: Option<bool>,
    /// Seconds between two looks at a mirrored remote. 0 for looks after a webhook only.
    pub poll_seconds: Option<u64>,
    /// Time limit for one fetch. The first copy can take ten times as long.
    pub fetch_seconds_max: Option<u64>,
    /// The largest pack of one fetch, in bytes.
    pub fetch_bytes_max: Option<u64>,
    /// A file with a user name and a password or token for an `https://` remote or for etcd, each on a line.
    pub credentials_file: Option<PathBuf>,
    /// The private key for an ssh remote.
    pub ssh_key_file: Option<PathBuf>,
    /// The trusted host keys of an ssh remote.
    pub known_hosts_file: Option<PathBuf>,
    /// Certificates (PEM) to trust: for an `https://` remote in place of the system's, or for etcd.
    pub ca_file: Option<PathBuf>,
    /// The certificate chain (PEM) that this server presents to etcd.
    pub client_cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub client_key_file: Option<PathBuf>,
}

impl SourceSettings {
    /// Spring ignores `.toml` files. They are read only where the operator says so, and in hosted repositories, which no
    /// Spring server ever served.
    pub fn reads_toml(&self) -> bool {
        self.toml.unwrap_or_else(|| self.is_hosted() || self.uri.contains(HOSTED_PATH))
    }

    /// A repository in the data directory of this server.
    fn is_hosted(&self) -> bool {
        self.uri.starts_with("hosted:")
    }

    fn check(&self, name: &str, problems: &mut Vec<String>) {
        if self.uri.is_empty() {
            problems.push(format!("{name}: uri is missing"));
        }
        if self.is_hosted() && self.mirror {
            problems
                .push(format!("{name}: mirror is not for a hosted repository, got {:?}", self.uri));
        }
        let is_at_path = !self.is_hosted() && !self.uri.starts_with("etcd:") && !self.mirror;
        if self.follow_origin.is_some() && !is_at_path {
            problems.push(format!(
                "{name}: follow_origin is for a clone at a path, without mirror = true"
            ));
        }
        if !self.is_hosted() && self.seed.is_some() {
            problems
                .push(format!("{name}: seed is for a hosted repository (uri = \"hosted:NAME\")"));
        }
    }
}

/// The sources of a server: those of the flags, or those of the file, or the default one.
pub(super) fn combine(
    uris: &[String],
    of_file: Vec<SourceSettings>,
    seed: Option<PathBuf>,
    toml: Option<bool>,
    problems: &mut Vec<String>,
) -> Vec<SourceSettings> {
    let short = |uri: String| SourceSettings { uri, ..SourceSettings::default() };
    let mut sources =
        if uris.is_empty() { of_file } else { rejoined(uris).into_iter().map(short).collect() };
    if seed.is_some() {
        set_seed(&mut sources, seed, problems);
    }
    if sources.is_empty() {
        let toml = Some(default(TABLE, "toml"));
        sources.push(SourceSettings { toml, ..short(default(TABLE, "uri")) });
    }
    if toml.is_some() {
        sources.iter_mut().for_each(|source| source.toml = toml);
    }
    for (index, source) in sources.iter().enumerate() {
        source.check(&format!("source {}", index + 1), problems);
    }
    sources
}

/// A seed of the flags is for the one hosted repository.
fn set_seed(sources: &mut [SourceSettings], seed: Option<PathBuf>, problems: &mut Vec<String>) {
    let mut hosted = sources.iter_mut().filter(|source| source.is_hosted());
    match (hosted.next(), hosted.next()) {
        (Some(source), None) => source.seed = seed,
        (None, _) => problems.push(
            "seed: it is the first commit of a hosted repository, and no source is hosted:NAME"
                .to_owned(),
        ),
        _ => problems.push(
            "seed: several sources are hosted:NAME. Set the seed of each in its [[source]]"
                .to_owned(),
        ),
    }
}

/// Joins the members of an etcd cluster again: commas separate them in one address, as commas separate sources.
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

#[cfg(test)]
mod tests {
    use super::super::file::SettingsFile;
    use super::super::lower::lower;
    use super::super::lower::tests::load;
    use super::super::{Flags, Settings};
    use super::*;

    #[test]
    fn toml_is_read_where_a_headwater_hosts_or_the_operator_says_so() {
        let reads = |settings: Settings| -> Vec<bool> {
            settings.sources.iter().map(SourceSettings::reads_toml).collect()
        };
        assert_eq!(reads(lower(Flags::default(), SettingsFile::default()).unwrap()), [true]);
        let sources =
            ["hosted:main", "https://host/-/git/main.git", "/srv/config.git", "etcd://h:1/p"];
        let flags = || Flags { source: sources.map(str::to_owned).to_vec(), ..Flags::default() };
        assert_eq!(
            reads(lower(flags(), SettingsFile::default()).unwrap()),
            [true, true, false, false]
        );
        let flags = Flags { toml: Some(false), ..flags() };
        assert_eq!(reads(lower(flags, SettingsFile::default()).unwrap()), [false; 4]);
        let text =
            "[[source]]\nuri = \"x\"\ntoml = true\n[[source]]\nuri = \"hosted:a\"\ntoml = false\n";
        assert_eq!(reads(load(text).unwrap()), [true, false]);
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
    fn settings_that_do_not_fit_a_source_are_rejected() {
        let error = load(
            "[[source]]\nuri = \"hosted:main\"\nmirror = true\n[[source]]\nuri = \"x\"\nseed = \"y\"\n",
        );
        let error = error.unwrap_err();
        for part in ["source 1: mirror is not for a hosted", "source 2: seed is for a hosted"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn only_a_clone_at_a_path_follows_its_origin() {
        for source in
            ["uri = \"hosted:main\"", "uri = \"etcd://a:1/x\"", "uri = \"x\"\nmirror = true"]
        {
            let error = load(&format!("[[source]]\n{source}\nfollow_origin = true\n")).unwrap_err();
            assert!(error.contains("source 1: follow_origin is for a clone at a path"), "{error}");
        }
        assert!(load("[[source]]\nuri = \"./clone\"\nfollow_origin = true\n").is_ok());
    }
}
