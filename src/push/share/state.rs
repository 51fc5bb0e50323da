//! What etcd says of a shared repository: the whole table of its references in one key, which is swapped as a whole, and
//! where the packs are that lead to all of them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::super::updates::{self, Update};
use crate::source::git::is_reference_name;

/// The largest table, in bytes: etcd takes 1.5 MB in one request.
pub(super) const STATE_BYTES_MAX: usize = 1024 * 1024;
/// How many of the last swaps are named.
const RECENT_COUNT_MAX: usize = 64;
/// The longest part of a name between slashes, in bytes: it is the name of a file, with `.lock` while it is written.
const PART_BYTES_MAX: usize = 250;
/// How many pieces a pack has at most: of a mebibyte each.
pub(super) const PIECE_COUNT_MAX: u32 = 8192;

/// Where the keys of one repository are.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    root: String,
}

impl Keys {
    /// Of a repository, below the prefix where replicas meet.
    pub(super) fn new(prefix: &str, repository: &str) -> Self {
        Self { root: format!("{prefix}/git/v1/{repository}") }
    }

    pub(super) fn state(&self) -> String {
        format!("{}/state", self.root)
    }

    /// What the keys of all packs begin with.
    pub(super) fn packs(&self) -> String {
        format!("{}/packs/", self.root)
    }

    pub(super) fn piece(&self, pack: &str, number: u32) -> String {
        format!("{}{pack}/{number:06}", self.packs())
    }

    /// The key that is there for as long as a pack is being uploaded.
    pub(super) fn upload(&self, pack: &str) -> String {
        format!("{}/uploads/{pack}", self.root)
    }

    /// Which pack a key is a piece of.
    pub(super) fn pack_of<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        let rest = key.strip_prefix(self.packs().as_bytes())?;
        std::str::from_utf8(rest).ok()?.split_once('/').map(|(pack, _)| pack)
    }
}

/// A pack in etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pack {
    /// What its keys are named by: each upload has one of its own, so that nobody writes or collects another one's.
    pub(super) id: String,
    /// Of all of its bytes.
    pub(super) sha256: String,
    pub(super) bytes: u64,
    pub(super) pieces: u32,
}

/// The value of the one key that everything hangs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Random, from when the repository was first shared.
    pub(super) life: String,
    /// One more with each swap.
    pub(super) sequence: u64,
    /// Full names of references and the ids of the objects that they stand for.
    pub(super) references: BTreeMap<String, String>,
    /// In the order in which they were added. They hold all that the references lead to, whatever the order is that one
    /// takes them in.
    pub(super) packs: Vec<Pack>,
    /// What the last swaps are known by, the newest last.
    pub(super) recent: Vec<String>,
    /// Who pushed last, if the push token had a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) who: Option<String>,
}

/// How far a repository is, as it is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Where it is shared: the prefix in etcd.
    pub(super) prefix: String,
    pub(super) life: String,
    pub(super) sequence: u64,
    /// What the last swap is known by that it has taken.
    pub(super) swap: String,
    /// The packs that need not be taken again.
    pub(super) packs: BTreeSet<String>,
}

/// How a state stands to a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Same,
    /// It leads on from there.
    Newer,
    /// It is an earlier one: etcd was set back.
    Older,
    /// It is that of another history.
    Foreign,
}

/// What a state is to become.
pub(super) struct Next {
    pub(super) references: BTreeMap<String, String>,
    pub(super) packs: Vec<Pack>,
    pub(super) who: Option<String>,
}

impl State {
    /// Reads the value of the key.
    ///
    /// # Errors
    /// What is wrong with it, without its text.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let state: Self =
            serde_json::from_slice(bytes).map_err(|_| "its state in etcd is not one of ours")?;
        let are_names = state.references.iter().all(|(name, id)| {
            updates::short(name).is_some() && is_reference_name(name) && is_hex(id, 40)
        });
        if !are_names {
            return Err("its state in etcd has a reference that can be none");
        }
        let are_packs = state.packs.iter().all(|pack| {
            is_hex(&pack.id, 32)
                && is_hex(&pack.sha256, 64)
                && (1..=PIECE_COUNT_MAX).contains(&pack.pieces)
        });
        match are_packs && !state.recent.is_empty() {
            true => Ok(state),
            false => Err("its state in etcd has a pack that can be none"),
        }
    }

    /// The first one (without one before it), or the next one, known by a swap.
    pub(super) fn next(before: Option<&Self>, swap: &str, next: Next) -> Self {
        let Next { references, packs, who } = next;
        let mut recent = before.map_or_else(Vec::new, |before| before.recent.clone());
        recent.push(swap.to_owned());
        recent.drain(..recent.len().saturating_sub(RECENT_COUNT_MAX));
        Self {
            life: before.map_or_else(new_id, |before| before.life.clone()),
            sequence: before.map_or(0, |before| before.sequence) + 1,
            references,
            packs,
            recent,
            who,
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are always JSON")
    }

    /// What the last swap is known by.
    pub(super) fn swap(&self) -> &str {
        self.recent.last().map_or("", |swap| swap)
    }

    /// The mark of a repository that has taken this.
    pub(super) fn mark(&self, prefix: &str) -> Mark {
        Mark {
            prefix: prefix.to_owned(),
            life: self.life.clone(),
            sequence: self.sequence,
            swap: self.swap().to_owned(),
            packs: self.packs.iter().map(|pack| pack.id.clone()).collect(),
        }
    }

    /// How this stands to what a repository has taken last.
    pub(super) fn relation(&self, mark: &Mark) -> Relation {
        if self.life != mark.life {
            return Relation::Foreign;
        }
        let Some(distance) = self.sequence.checked_sub(mark.sequence) else {
            return Relation::Older;
        };
        let distance = usize::try_from(distance).unwrap_or(usize::MAX);
        match self.recent.iter().rev().nth(distance) {
            Some(swap) if *swap != mark.swap => Relation::Foreign,
            Some(_) if distance == 0 => Relation::Same,
            // One that was away for long is not remembered any more.
            _ => Relation::Newer,
        }
    }

    /// Whether nothing became of the packs of a mark but that others were added. Each of those holds all that was not there
    /// already when it was added, so that whoever has taken the mark and takes them has all.
    pub(super) fn adds_to(&self, mark: &Mark) -> bool {
        // What many become is put before those that came later.
        self.packs.first().is_some_and(|first| mark.packs.contains(&first.id))
    }

    /// Whether a swap of this sequence would be remembered here.
    pub(super) fn would_name(&self, sequence: u64) -> bool {
        let distance = self.sequence.saturating_sub(sequence);
        usize::try_from(distance).is_ok_and(|distance| distance < self.recent.len())
    }

    /// The references after these updates, in words for who pushes when git would refuse one of them later: once they are
    /// swapped they have to be made. `head` is the branch that `HEAD` leads to.
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
                return Err(format!("{shown}: named twice in one push"));
            }
            if self.references.get(name) != update.old.as_ref() {
                return Err(format!("fetch first: {shown} has moved since you fetched"));
            }
            if update.new.is_none() && update.branch() == Some(head) {
                return Err(format!("{shown}: the branch that HEAD leads to is not deleted"));
            }
            match &update.new {
                Some(id) => {
                    can_be_written(name).map_err(|reason| format!("{shown}: {reason}"))?;
                    all.insert(name);
                    references.insert(name.to_owned(), id.to_ascii_lowercase());
                }
                None => drop(references.remove(name)),
            }
        }
        for update in updates.iter().filter(|update| update.new.is_some()) {
            if let Some(other) = in_the_way(&all, &update.reference) {
                let other = updates::short(other).unwrap_or(other);
                return Err(format!(
                    "{}: {other} is in the way, since one name cannot begin with the other and a slash",
                    update.shown()
                ));
            }
        }
        Ok(references)
    }
}

impl Mark {
    /// Reads the mark beside a repository. Nothing if it is none, or that of a repository that is shared elsewhere.
    pub(super) fn parse(bytes: &[u8], prefix: &str) -> Option<Self> {
        let mark: Self = serde_json::from_slice(bytes).ok()?;
        (mark.prefix == prefix).then_some(mark)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are always JSON")
    }
}

fn can_be_written(name: &str) -> Result<(), &'static str> {
    let has_long_part = name.split('/').any(|part| part.len() > PART_BYTES_MAX);
    match is_reference_name(name) && !has_long_part {
        true => Ok(()),
        false => Err("git does not take this name"),
    }
}

/// A name that begins with this one and a slash, or the other way round.
fn in_the_way<'a>(all: &BTreeSet<&'a str>, name: &str) -> Option<&'a str> {
    let above = name.match_indices('/').map(|(at, _)| &name[..at]);
    if let Some(above) = above.filter_map(|above| all.get(above)).next() {
        return Some(above);
    }
    let below = format!("{name}/");
    let first = all.range::<str, _>((Bound::Included(&*below), Bound::Unbounded)).next();
    first.filter(|first| first.starts_with(&below)).copied()
}

/// What is named by nobody else.
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

    fn state(references: &[(&str, &str)]) -> State {
        let references = references.iter().map(|(name, id)| ((*name).into(), (*id).into()));
        let next = Next { references: references.collect(), packs: Vec::new(), who: None };
        State::next(None, "first", next)
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
        let before = state(&[("refs/heads/main", A), ("refs/heads/a/b", A)]);
        match (before.moved(updates, "main"), expected) {
            (Ok(moved), Ok(expected)) => assert_eq!(moved, state(expected).references),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn what_git_would_refuse_is_refused_before_anything_moves() {
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
            check(&[update(None, Some(B), name)], Err("does not take this name"));
        }
    }

    #[test]
    fn packs_that_are_added_are_told_from_many_that_became_one() {
        let with = |ids: &[&str]| {
            let pack = |id: &&str| Pack {
                id: (*id).to_owned(),
                sha256: String::new(),
                bytes: 1,
                pieces: 1,
            };
            State { packs: ids.iter().map(pack).collect(), ..state(&[]) }
        };
        let mark = with(&["a", "b"]).mark("prefix");
        assert!(with(&["a", "b"]).adds_to(&mark));
        assert!(with(&["a", "b", "c", "d"]).adds_to(&mark));
        assert!(!with(&["one", "c"]).adds_to(&mark));
        assert!(!with(&["c"]).adds_to(&with(&[]).mark("prefix")));
        assert!(!with(&[]).adds_to(&mark));
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_nothing_else_is() {
        let good = state(&[("refs/heads/main", A)]);
        assert_eq!(State::parse(&good.to_json()), Ok(good.clone()));
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
            assert!(State::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(State::parse(b"").is_err());
    }

    #[test]
    fn a_mark_knows_its_history() {
        let mut states = vec![state(&[])];
        for number in 0..100 {
            let before = states.last().unwrap();
            let next = Next { references: BTreeMap::new(), packs: Vec::new(), who: None };
            states.push(State::next(Some(before), &number.to_string(), next));
        }
        let mark = states[50].mark("x");
        assert_eq!(Mark::parse(&mark.to_json(), "x"), Some(mark.clone()));
        assert_eq!(Mark::parse(&mark.to_json(), "y"), None);
        assert_eq!(states[50].relation(&mark), Relation::Same);
        assert_eq!(states[51].relation(&mark), Relation::Newer);
        assert_eq!(states[49].relation(&mark), Relation::Older);
        assert_eq!(states[100].relation(&states[0].mark("x")), Relation::Newer);
        assert!(states[100].would_name(50) && !states[100].would_name(20));
        let next = Next { references: BTreeMap::new(), packs: Vec::new(), who: None };
        let other = State::next(Some(&states[49]), "other", next);
        assert_eq!(other.relation(&mark), Relation::Foreign);
        let stranger = State { life: new_id(), ..states[60].clone() };
        assert_eq!(stranger.relation(&mark), Relation::Foreign);
    }

    #[test]
    fn keys_lie_below_the_prefix() {
        let keys = Keys::new("shop", "main");
        assert_eq!(keys.state(), "shop/git/v1/main/state");
        let piece = keys.piece("0a", 7);
        assert_eq!(piece, "shop/git/v1/main/packs/0a/000007");
        assert_eq!(keys.pack_of(piece.as_bytes()), Some("0a"));
        assert_eq!(keys.pack_of(keys.upload("0a").as_bytes()), None);
    }
}
