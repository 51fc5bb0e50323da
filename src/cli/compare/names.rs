//! Names of property sources. They begin with the address of the repository or the directory of a clone, which the two
//! servers spell differently. The path of a file follows, and must be the same.

/// The start of the name of a document in a file with several documents.
const DOCUMENT: &str = "Config resource 'file [";
/// Headwater's name for the directory of a clone.
const SYNTHETIC_DIRECTORY: &str = "/repository";
const VIA: &str = "' via location '";
const NUMBER: &str = "' (document #";

/// The parts of a name.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct SourceName<'a> {
    /// The address and the path. For a document, the path on the disk of its server.
    place: &'a str,
    document: Option<DocumentName<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
struct DocumentName<'a> {
    /// The address of the repository, which precedes the rest.
    base: &'a str,
    /// The search directory or the import that led to the file.
    via: &'a str,
    number: &'a str,
}

/// The different starts of two names of the same file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bases {
    kind: BaseKind,
    spring: String,
    ours: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum BaseKind {
    Address,
    Directory,
    Location,
}

impl<'a> SourceName<'a> {
    pub(in crate::cli) fn parse(text: &'a str) -> Self {
        let document = || {
            let (base, rest) = text.split_once(DOCUMENT)?;
            let (place, rest) = rest.split_once(VIA)?;
            let (via, rest) = rest.split_once(NUMBER)?;
            let document = DocumentName {
                base: base.trim_end_matches('/'),
                via: via.trim_end_matches('/'),
                number: rest.strip_suffix(')')?,
            };
            Some(Self { place: place.trim_end_matches(']'), document: Some(document) })
        };
        document().unwrap_or(Self { place: text, document: None })
    }

    /// The path of the file, behind the address of its repository or as it is on its server's disk.
    pub(in crate::cli) fn path(&self) -> String {
        let place = self.place.strip_prefix("file:").unwrap_or(self.place);
        let place = place.strip_prefix("//").unwrap_or(place);
        let base = self.document.as_ref().map_or("", |document| document.base);
        match place.strip_prefix(SYNTHETIC_DIRECTORY) {
            Some(rest) if !base.is_empty() => {
                format!("{}{rest}", base.strip_prefix("file:").unwrap_or(base))
            }
            _ => place.to_owned(),
        }
    }

    /// The last segment of the path, and the number of its document.
    pub(in crate::cli) fn short(&self) -> String {
        let file = self.place.rsplit('/').next().unwrap_or(self.place);
        match &self.document {
            Some(DocumentName { number, .. }) => format!("{file} (document #{number})"),
            None => file.to_owned(),
        }
    }

    /// The likelihood that two names belong to the same file: zero, or the square of the number of segments that their paths
    /// share. One long path counts more than two short ones.
    pub(super) fn likeness(&self, other: &Self) -> usize {
        let number = |name: &Self| name.document.as_ref().map(|it| it.number.to_owned());
        if number(self) == number(other) { shared(self.place, other.place).pow(2) } else { 0 }
    }

    /// The starts of the names, if they differ. `self` is Spring's name, and `known` are the known bases of Headwater's
    /// sources.
    pub(super) fn bases(&self, ours: &Self, known: &[String]) -> Vec<Bases> {
        let pair = |kind, spring: &str, ours: &str| {
            let (spring, ours) = divide(spring, ours, known);
            (spring != ours).then(|| Bases {
                kind,
                spring: spring.to_owned(),
                ours: ours.to_owned(),
            })
        };
        let Some((theirs, document)) = self.document.as_ref().zip(ours.document.as_ref()) else {
            return pair(BaseKind::Address, self.place, ours.place).into_iter().collect();
        };
        let pairs = [
            pair(BaseKind::Directory, self.place, ours.place),
            pair(BaseKind::Address, theirs.base, document.base),
            pair(BaseKind::Location, theirs.via, document.via),
        ];
        pairs.into_iter().flatten().collect()
    }
}

impl Bases {
    /// True if another pair is shorter and the rest differs. Then this pair comes from two different files.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        let rest = |long: &str, short: &str| {
            let rest = long.strip_prefix(short)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
        };
        let rests = rest(&self.spring, &other.spring).zip(rest(&self.ours, &other.ours));
        let is_same_kind = self.kind == other.kind && !other.ours.is_empty();
        is_same_kind && rests.is_some_and(|(spring, ours)| spring != ours)
    }
}

/// The bases of two names. Headwater's is the known one, if Spring's name ends in the rest of it. Otherwise both lose the part
/// that they share.
fn divide<'a>(spring: &'a str, ours: &'a str, known: &[String]) -> (&'a str, &'a str) {
    let rest = |base: &str| {
        let rest = ours.strip_prefix(base)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    };
    let file = |base: &String| base.strip_prefix("file:").map(str::to_owned);
    let bases = known.iter().cloned().chain(known.iter().filter_map(file));
    let rests = bases.filter_map(|base| rest(&base)).chain(rest(SYNTHETIC_DIRECTORY));
    let shortest = rests.min_by_key(|rest| rest.len());
    if let Some((rest, spring)) = shortest.and_then(|rest| Some((rest, spring.strip_suffix(rest)?)))
    {
        return (spring, &ours[..ours.len() - rest.len()]);
    }
    let count = shared(spring, ours);
    (without(spring, count), without(ours, count))
}

/// The number of segments that two paths share at their ends.
fn shared(one: &str, other: &str) -> usize {
    one.rsplit('/').zip(other.rsplit('/')).take_while(|(one, other)| one == other).count()
}

/// A path without its last segments.
fn without(path: &str, count: usize) -> &str {
    let mut rest = path;
    for _ in 0..count {
        rest = rest.rsplit_once('/').map_or("", |(rest, _)| rest);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIT: &str = "file:///srv/clone/Config resource 'file [/srv/clone/conf/a.yml' via location 'conf/' (document #1)";
    const OURS: &str = "config.git/Config resource 'file [/repository/conf/a.yml' via location 'conf/' (document #1)";
    const NATIVE: &str =
        "Config resource 'file [/srv/dir/a.yml]' via location 'file:/srv/dir/' (document #0)";

    #[test]
    fn names_are_taken_apart() {
        let document = |base, via, number| Some(DocumentName { base, via, number });
        assert_eq!(
            SourceName::parse("file:///x/a.yml"),
            SourceName { place: "file:///x/a.yml", document: None }
        );
        let git = SourceName {
            place: "/srv/clone/conf/a.yml",
            document: document("file:///srv/clone", "conf", "1"),
        };
        assert_eq!(SourceName::parse(GIT), git);
        let native =
            SourceName { place: "/srv/dir/a.yml", document: document("", "file:/srv/dir", "0") };
        assert_eq!(SourceName::parse(NATIVE), native);
        assert_eq!(SourceName::parse(GIT).short(), "a.yml (document #1)");
    }

    fn bases(spring: &str, ours: &str) -> Vec<Bases> {
        SourceName::parse(spring).bases(&SourceName::parse(ours), &["config.git".to_owned()])
    }

    #[test]
    fn only_the_part_before_the_path_may_differ() {
        let of = |kind, spring: &str, ours: &str| Bases {
            kind,
            spring: spring.into(),
            ours: ours.into(),
        };
        let address = of(BaseKind::Address, "file:///srv/clone", "config.git");
        assert_eq!(
            bases("file:///srv/clone/a.yml", "config.git/a.yml"),
            std::slice::from_ref(&address)
        );
        let directory = of(BaseKind::Directory, "/srv/clone", "/repository");
        assert_eq!(bases(GIT, OURS), [directory, address.clone()]);
        assert_eq!(bases("overrides", "overrides"), []);
        let elsewhere = bases("file:///srv/clone/sub/a.yml", "config.git/a.yml").remove(0);
        assert!(elsewhere.contradicts(&address) && !address.contradicts(&elsewhere));
        let below = bases("file:///srv/clone/sub/a.yml", "config.git/sub/a.yml").remove(0);
        assert!(below == address && !below.contradicts(&address));
    }

    #[test]
    fn a_known_base_is_kept_whole() {
        let bases = |known: &[&str]| {
            let known: Vec<String> = known.iter().map(|text| (*text).to_owned()).collect();
            let bases = SourceName::parse("file:/srv/conf/a.yml")
                .bases(&SourceName::parse("conf/a.yml"), &known);
            (bases[0].spring.clone(), bases[0].ours.clone())
        };
        assert_eq!(bases(&["conf"]), ("file:/srv/conf".to_owned(), "conf".to_owned()));
        assert_eq!(bases(&[]), ("file:/srv".to_owned(), String::new()));
    }

    #[test]
    fn a_longer_shared_path_is_more_alike() {
        let likeness = |one, other| SourceName::parse(one).likeness(&SourceName::parse(other));
        assert_eq!(likeness("x/sub/a.yml", "y/sub/a.yml"), 4);
        assert_eq!(likeness("x/sub/a.yml", "y/a.yml"), 1);
        assert_eq!(likeness("x/a.yml", "y/b.yml"), 0);
        assert_eq!(likeness(GIT, "config.git/conf/a.yml"), 0);
    }
}
