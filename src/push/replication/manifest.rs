//! The manifest of a shared repository in etcd. One key holds all references and the list of the packs with their
//! objects, and is replaced as a whole.
//!
//! In this module a commit is one replacement of the manifest in etcd, and not a commit of git. A commit id is random.
//!
//! This module performs no input or output.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::push::rejection::rejected;
use crate::push::updates::{self, Update};
use crate::source::git::{RewindRecord, is_reference_name};

/// The largest manifest, in bytes. Etcd accepts 1.5 MB in one request.
pub(super) const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// The number of recent replacements whose commit ids a manifest holds.
const RECENT_COUNT_MAX: usize = 64;
/// The longest part of a name between slashes, in bytes. It names a file, with `.lock` while the file is written.
const PART_BYTES_MAX: usize = 250;
/// The maximum number of pieces of a pack, of a mebibyte each.
pub(super) const PIECE_COUNT_MAX: u32 = 8192;

/// The keys of one repository.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    root: String,
    evidence: String,
}

impl Keys {
    /// Creates the keys of a repository below the prefix that the replicas share.
    pub(super) fn new(prefix: &str, repository: &str) -> Self {
        Self {
            root: format!("{prefix}/git/v1/{repository}"),
            evidence: format!("{prefix}/rollouts/v1/evidence/{repository}/"),
        }
    }

    pub(super) fn manifest(&self) -> String {
        format!("{}/state", self.root)
    }

    /// Returns the key of the state of the rollouts. A replica of a version without rollouts never writes it.
    pub(super) fn rollouts(&self) -> String {
        format!("{}/rollouts", self.root)
    }

    /// Returns the prefix of what replicas report to each other about the rollouts.
    pub(super) fn evidence(&self) -> String {
        self.evidence.clone()
    }

    /// Returns the prefix of the keys of all packs.
    pub(super) fn packs(&self) -> String {
        format!("{}/packs/", self.root)
    }

    pub(super) fn piece(&self, pack: &str, number: u32) -> String {
        format!("{}{pack}/{number:06}", self.packs())
    }

    /// Returns the key that exists while a pack is being uploaded.
    pub(super) fn upload(&self, pack: &str) -> String {
        format!("{}/uploads/{pack}", self.root)
    }

    /// Returns the pack that a key is a piece of.
    pub(super) fn pack_of<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        let rest = key.strip_prefix(self.packs().as_bytes())?;
        std::str::from_utf8(rest).ok()?.split_once('/').map(|(pack, _)| pack)
    }
}

/// A pack in etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pack {
    /// The name in the pack's keys. Each upload has its own, so that no replica overwrites the pack of another one, or
    /// deletes it as garbage.
    pub(super) id: String,
    /// The digest of all bytes of the pack.
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) pieces: u32,
}

/// The manifest, which is the value of one key. All other keys of the repository depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// A random identifier, chosen when the repository was first shared. Manifests of different lineages have no order.
    /// The lineage of an epoch is another one, of the record of rewinds.
    #[serde(rename = "life")]
    pub(super) lineage: String,
    /// The number of the manifest in its lineage. Each replacement adds one.
    pub(super) sequence: u64,
    /// The full names of references, with the ids of their objects.
    pub(super) references: BTreeMap<String, String>,
    /// The packs in the order in which they were added. They hold every object that the references lead to. A replica
    /// may take them in any order.
    pub(super) packs: Vec<Pack>,
    /// The commit ids of this manifest and the ones before it, the newest last. A replica that lost the answer of etcd
    /// looks for its own id here.
    pub(super) recent: Vec<String>,
    /// The record of rewinds of the references. `None` if there was no rewind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rewinds: Option<RewindRecord>,
    /// The user name that came with the token of the last push, if it came with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) who: Option<String>,
}

/// The checkpoint: what a replica keeps on its own disk of the last manifest that it has applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The prefix in etcd below which the repository is shared.
    pub(super) prefix: String,
    #[serde(rename = "life")]
    pub(super) lineage: String,
    pub(super) sequence: u64,
    /// The commit id of that manifest.
    #[serde(rename = "swap")]
    pub(super) commit_id: String,
    /// The packs whose objects the repository has.
    pub(super) packs: BTreeSet<String>,
}

/// The relation of a manifest to a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ManifestRelation {
    Same,
    /// The manifest continues from the checkpoint.
    Newer,
    /// The manifest is earlier than the checkpoint, because etcd was restored to an older state.
    Older,
    /// The manifest belongs to another history.
    Foreign,
}

/// The parts of the next manifest that a commit decides.
pub(super) struct ManifestChange {
    pub(super) references: BTreeMap<String, String>,
    pub(super) packs: Vec<Pack>,
    pub(super) who: Option<String>,
}

impl Manifest {
    /// Parses the value of the key.
    ///
    /// # Errors
    /// The reason, without the text of the value.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|_| "the manifest in etcd cannot be parsed")?;
        let are_names = manifest.references.iter().all(|(name, id)| {
            updates::short(name).is_some() && is_reference_name(name) && is_hex(id, 40)
        });
        if !are_names {
            return Err("the manifest in etcd contains an invalid reference");
        }
        let are_packs = manifest.packs.iter().all(|pack| {
            is_hex(&pack.id, 32)
                && is_hex(&pack.sha256, 64)
                && (1..=PIECE_COUNT_MAX).contains(&pack.pieces)
        });
        if !manifest.rewinds.as_ref().is_none_or(RewindRecord::is_valid) {
            return Err("the manifest in etcd contains an invalid record of rewinds");
        }
        if manifest.recent.is_empty() {
            return Err("the manifest in etcd names no commit");
        }
        if are_packs { Ok(manifest) } else { Err("the manifest in etcd contains an invalid pack") }
    }

    /// Returns the manifest after `before`, or the first one of a new lineage.
    ///
    /// The result has the record of rewinds of `before`. A caller that has another record sets it in the result, so
    /// that references and record change in one transaction.
    pub(super) fn next(before: Option<&Self>, commit_id: &str, change: ManifestChange) -> Self {
        let ManifestChange { references, packs, who } = change;
        let mut recent = before.map_or_else(Vec::new, |before| before.recent.clone());
        recent.push(commit_id.to_owned());
        recent.drain(..recent.len().saturating_sub(RECENT_COUNT_MAX));
        Self {
            lineage: before.map_or_else(new_id, |before| before.lineage.clone()),
            sequence: before.map_or(0, |before| before.sequence) + 1,
            references,
            packs,
            recent,
            rewinds: before.and_then(|before| before.rewinds.clone()),
            who,
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are always JSON")
    }

    /// Returns the id of the commit that wrote this manifest.
    pub(super) fn commit_id(&self) -> &str {
        self.recent.last().map_or("", String::as_str)
    }

    /// Returns the checkpoint of a replica that has applied this manifest.
    pub(super) fn checkpoint(&self, prefix: &str) -> Checkpoint {
        Checkpoint {
            prefix: prefix.to_owned(),
            lineage: self.lineage.clone(),
            sequence: self.sequence,
            commit_id: self.commit_id().to_owned(),
            packs: self.packs.iter().map(|pack| pack.id.clone()).collect(),
        }
    }

    /// Returns the relation of this manifest to the checkpoint of a repository.
    pub(super) fn relation(&self, checkpoint: &Checkpoint) -> ManifestRelation {
        if self.lineage != checkpoint.lineage {
            return ManifestRelation::Foreign;
        }
        let Some(distance) = self.sequence.checked_sub(checkpoint.sequence) else {
            return ManifestRelation::Older;
        };
        let distance = usize::try_from(distance).unwrap_or(usize::MAX);
        match self.recent.iter().rev().nth(distance) {
            Some(commit_id) if *commit_id != checkpoint.commit_id => ManifestRelation::Foreign,
            Some(_) if distance == 0 => ManifestRelation::Same,
            // The commit id of an old checkpoint is no longer among the recent ones and cannot be compared. The lineage
            // and the higher sequence decide.
            _ => ManifestRelation::Newer,
        }
    }

    /// Returns true if packs were only added since the checkpoint.
    ///
    /// Invariant: an added pack holds every object that was not there when it was added. A replica that has the packs
    /// of the checkpoint and takes the added ones therefore has every object.
    pub(super) fn only_adds_packs_to(&self, checkpoint: &Checkpoint) -> bool {
        // A pack that combines many is placed before the packs that came later.
        self.packs.first().is_some_and(|first| checkpoint.packs.contains(&first.id))
    }

    /// Returns true if `recent` reaches back to this sequence. A commit id for it that is missing there was then never
    /// committed.
    pub(super) fn covers(&self, sequence: u64) -> bool {
        let distance = self.sequence.saturating_sub(sequence);
        usize::try_from(distance).is_ok_and(|distance| distance < self.recent.len())
    }

    /// Returns the references after these updates, or a line for the pusher if git would reject an update later.
    /// Git has to be able to move the references that etcd has committed. `head` is the branch that `HEAD` leads to.
    pub(super) fn moved(
        &self,
        updates: &[Update],
        head: &str,
    ) -> Result<BTreeMap<String, String>, String> {
        let mut references = self.references.clone();
        let mut all: BTreeSet<&str> = self.references.keys().map(String::as_str).collect();
        let mut named = BTreeSet::new();
        for update in updates {
            let (name, shown) = (update.reference.as_str(), update.shown());
            if !named.insert(name) {
                return Err(rejected(&format!("{shown}: the push names it twice. Push it once")));
            }
            if self.references.get(name) != update.old.as_ref() {
                return Err(updates::fetch_first(&shown));
            }
            if update.new.is_none() && update.branch() == Some(head) {
                return Err(rejected(&format!(
                    "{shown}: the branch that HEAD leads to cannot be deleted. Delete other branches only"
                )));
            }
            match &update.new {
                Some(id) => {
                    check_writable(name)
                        .map_err(|reason| rejected(&format!("{shown}: {reason}")))?;
                    all.insert(name);
                    references.insert(name.to_owned(), id.to_ascii_lowercase());
                }
                None => drop(references.remove(name)),
            }
        }
        updates::check_conflicts(&all, updates)?;
        Ok(references)
    }
}

impl Checkpoint {
    /// Parses the checkpoint of a repository. Returns `None` for a malformed checkpoint, and for one of another prefix.
    pub(super) fn parse(bytes: &[u8], prefix: &str) -> Option<Self> {
        let checkpoint: Self = serde_json::from_slice(bytes).ok()?;
        (checkpoint.prefix == prefix).then_some(checkpoint)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are always JSON")
    }
}

fn check_writable(name: &str) -> Result<(), &'static str> {
    let has_long_part = name.split('/').any(|part| part.len() > PART_BYTES_MAX);
    if is_reference_name(name) && !has_long_part {
        Ok(())
    } else {
        Err("git rejects this name. Choose another one")
    }
}

/// Returns a random id that is not in use.
pub(super) fn new_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn manifest(references: &[(&str, &str)]) -> Manifest {
        let references = references.iter().map(|(name, id)| ((*name).into(), (*id).into()));
        let next =
            ManifestChange { references: references.collect(), packs: Vec::new(), who: None };
        Manifest::next(None, "first", next)
    }

    fn update(old: Option<&str>, new: Option<&str>, reference: &str) -> Update {
        Update {
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            reference: reference.to_owned(),
        }
    }

    #[track_caller]
    fn check(updates: &[Update], expected: Result<&[(&str, &str)], &str>) {
        let before = manifest(&[("refs/heads/main", A), ("refs/heads/a/b", A)]);
        match (before.moved(updates, "main"), expected) {
            (Ok(moved), Ok(expected)) => assert_eq!(moved, manifest(expected).references),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_push_that_git_would_reject_is_rejected_before_a_reference_moves() {
        let main = "refs/heads/main";
        let ab = ("refs/heads/a/b", A);
        check(&[update(Some(A), Some(B), main)], Ok(&[(main, B), ab]));
        check(&[update(Some(A), None, ab.0)], Ok(&[(main, A)]));
        check(&[update(Some(B), Some(A), main)], Err("fetch first: main has moved"));
        check(&[update(None, Some(B), main)], Err("fetch first"));
        check(&[update(Some(A), None, main)], Err("HEAD leads to"));
        check(&[update(Some(A), Some(B), main), update(Some(A), Some(A), main)], Err("twice"));
        for name in ["refs/heads/a", "refs/heads/a/b/c", "refs/heads/main/x"] {
            check(&[update(None, Some(B), name)], Err("is in the way"));
        }
        check(
            &[update(None, Some(B), "refs/heads/x"), update(None, Some(B), "refs/heads/x/y")],
            Err("is in the way"),
        );
        check(
            &[update(Some(A), None, ab.0), update(None, Some(B), "refs/heads/a")],
            Err("is in the way"),
        );
        check(&[update(None, Some(B), "refs/tags/a")], Ok(&[(main, A), ab, ("refs/tags/a", B)]));
        let long = format!("refs/heads/{}", "x".repeat(251));
        for name in ["refs/heads/a..b", "refs/heads/x.lock", "refs/heads/a b", &long] {
            check(&[update(None, Some(B), name)], Err("rejects this name"));
        }
    }

    #[test]
    fn added_packs_are_distinguished_from_a_combined_pack() {
        let with = |ids: &[&str]| {
            let pack = |id: &&str| Pack {
                id: (*id).to_owned(),
                sha256: String::new(),
                bytes: 1,
                pieces: 1,
            };
            Manifest { packs: ids.iter().map(pack).collect(), ..manifest(&[]) }
        };
        let checkpoint = with(&["a", "b"]).checkpoint("prefix");
        assert!(with(&["a", "b"]).only_adds_packs_to(&checkpoint));
        assert!(with(&["a", "b", "c", "d"]).only_adds_packs_to(&checkpoint));
        assert!(!with(&["one", "c"]).only_adds_packs_to(&checkpoint));
        assert!(!with(&["c"]).only_adds_packs_to(&with(&[]).checkpoint("prefix")));
        assert!(!with(&[]).only_adds_packs_to(&checkpoint));
    }

    #[test]
    fn a_valid_manifest_is_read_back_and_an_invalid_one_is_rejected() {
        let good = manifest(&[("refs/heads/main", A)]);
        assert_eq!(Manifest::parse(&good.to_json()), Ok(good.clone()));
        let text = String::from_utf8(good.to_json()).unwrap();
        for (from, to) in [
            ("refs/heads/main", "refs/heads/a b"),
            ("refs/heads/main", "refs/heads/a\\nb"),
            ("refs/heads/main", "HEAD"),
            (A, "aa"),
            ("\"sequence\":1", "\"sequence\":-1"),
            (
                "\"packs\":[]",
                "\"packs\":[{\"id\":\"..\",\"sha256\":\"\",\"bytes\":1,\"pieces\":1}]",
            ),
            ("[\"first\"]", "[]"),
        ] {
            let bad = text.replace(from, to);
            assert_ne!(bad, text, "{from}");
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Manifest::parse(b"").is_err());
    }

    #[test]
    fn a_checkpoint_detects_older_and_foreign_manifests() {
        let mut manifests = vec![manifest(&[])];
        for number in 0..100 {
            let before = manifests.last().unwrap();
            let next = ManifestChange { references: BTreeMap::new(), packs: Vec::new(), who: None };
            manifests.push(Manifest::next(Some(before), &number.to_string(), next));
        }
        let checkpoint = manifests[50].checkpoint("x");
        assert_eq!(Checkpoint::parse(&checkpoint.to_json(), "x"), Some(checkpoint.clone()));
        assert_eq!(Checkpoint::parse(&checkpoint.to_json(), "y"), None);
        assert_eq!(manifests[50].relation(&checkpoint), ManifestRelation::Same);
        assert_eq!(manifests[51].relation(&checkpoint), ManifestRelation::Newer);
        assert_eq!(manifests[49].relation(&checkpoint), ManifestRelation::Older);
        assert_eq!(manifests[100].relation(&manifests[0].checkpoint("x")), ManifestRelation::Newer);
        assert!(manifests[100].covers(50) && !manifests[100].covers(20));
        let next = ManifestChange { references: BTreeMap::new(), packs: Vec::new(), who: None };
        let other = Manifest::next(Some(&manifests[49]), "other", next);
        assert_eq!(other.relation(&checkpoint), ManifestRelation::Foreign);
        let stranger = Manifest { lineage: new_id(), ..manifests[60].clone() };
        assert_eq!(stranger.relation(&checkpoint), ManifestRelation::Foreign);
    }

    /// Servers of several versions read and write these texts.
    #[test]
    fn the_stored_fields_keep_their_names() {
        let change = ManifestChange {
            references: BTreeMap::from([("refs/heads/main".to_owned(), A.to_owned())]),
            packs: vec![Pack { id: "p".into(), sha256: "h".into(), bytes: 7, pieces: 1 }],
            who: Some("ann".to_owned()),
        };
        let manifest = Manifest { lineage: "l".to_owned(), ..Manifest::next(None, "c", change) };
        let expected = format!(
            "{{\"life\":\"l\",\"sequence\":1,\"references\":{{\"refs/heads/main\":\"{A}\"}},\
             \"packs\":[{{\"id\":\"p\",\"sha256\":\"h\",\"bytes\":7,\"pieces\":1}}],\
             \"recent\":[\"c\"],\"who\":\"ann\"}}"
        );
        assert_eq!(String::from_utf8(manifest.to_json()).unwrap(), expected);
        let checkpoint = String::from_utf8(manifest.checkpoint("x").to_json()).unwrap();
        let expected = r#"{"prefix":"x","life":"l","sequence":1,"swap":"c","packs":["p"]}"#;
        assert_eq!(checkpoint, expected);
    }

    #[test]
    fn keys_lie_below_the_prefix() {
        let keys = Keys::new("shop", "main");
        assert_eq!(keys.manifest(), "shop/git/v1/main/state");
        let piece = keys.piece("0a", 7);
        assert_eq!(piece, "shop/git/v1/main/packs/0a/000007");
        assert_eq!(keys.pack_of(piece.as_bytes()), Some("0a"));
        assert_eq!(keys.pack_of(keys.upload("0a").as_bytes()), None);
    }
}
