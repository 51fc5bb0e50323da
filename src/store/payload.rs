//! Payloads: the opened values, the digest and the large rendered text of answers that share the same property sources.
//!
//! Sealed values are opened here, when an answer is built. Answers to different names share most files, so that a file is
//! opened once for all of them. An opened text lives as long as an answer that contains it.
//!
//! Clients can invent any number of names. Most answers to invented names consist of `application.yml` alone. Their
//! text is rendered once, and each answer adds a head with its own names.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;

use super::answer::property_bytes;
use super::ledger::{Charge, Ledger};
use crate::model::{Digest, Problem, PropertySource};
use crate::render::{self, Representation};
use crate::reveal::{self, Generation, Keyring, RevealedDocument, Variant};
use crate::sync::lock;

/// The size of keys and values from which answers with the same sources share one rendered text. A smaller text is
/// copied into each answer, so that it is sent in one piece.
pub(super) const SHARED_TEXT_BYTES_MIN: usize = 64 * 1024;
/// The number of payloads that are remembered for the next request without a kept answer.
const RECENT_COUNT_MAX: usize = 32;
/// The smallest size of the map at which dropped payloads are removed. The map may grow to twice the number of
/// remaining ones before the next removal.
const SWEEP_AT: usize = 256;

/// The part of an answer that depends on its property sources alone.
pub(super) struct Payload {
    /// Invariant: the payload holds its sources, so that no other document takes an address in its [`PayloadKey`] or in the
    /// [`DocumentKey`] of one of them.
    resolved: Vec<PropertySource>,
    /// The sources with opened values. `None` if there is nothing to open.
    revealed: Option<RevealedSources>,
    /// True if some source has a value to open.
    has_sealed: bool,
    pub(super) digest: Digest,
    /// The bytes of all keys and values.
    pub(super) text_bytes: usize,
    rendered: [OnceLock<RenderedSources>; 2],
    charge: Charge,
}

/// The sources of a payload after their sealed values were opened.
struct RevealedSources {
    sources: Vec<PropertySource>,
    /// For each source, the opened document. `None` for a source without sealed values.
    documents: Vec<Option<Arc<OpenedDocument>>>,
}

/// One opened document, shared by all payloads that contain it.
struct OpenedDocument {
    /// The generation of the keys and of the referenced values.
    generation: Generation,
    revealed: RevealedDocument,
    _charge: Charge,
}

struct RenderedSources {
    text: Bytes,
    _charge: Charge,
}

impl Payload {
    fn new(
        resolved: &[PropertySource],
        revealed: Option<RevealedSources>,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let resolved = resolved.to_vec();
        let (digest, text_bytes, count) = match &revealed {
            None => (render::digest(&resolved), text_bytes(&resolved), 1),
            Some(RevealedSources { sources, documents }) => {
                let documents = documents.iter().flatten();
                let outcomes = documents.flat_map(|document| document.revealed.outcomes());
                (render::digest_opened(&resolved, outcomes), text_bytes(sources), 2)
            }
        };
        Self {
            digest,
            text_bytes,
            charge: ledger.charge(count * size_of_val(&*resolved)),
            has_sealed: resolved.iter().any(reveal::has_sealed),
            resolved,
            revealed,
            rendered: Default::default(),
        }
    }

    /// Returns true if the sources have a value to open.
    pub(super) fn has_sealed(&self) -> bool {
        self.has_sealed
    }

    /// The sources to render.
    pub(super) fn sources(&self) -> &[PropertySource] {
        self.revealed.as_ref().map_or(&self.resolved, |revealed| &revealed.sources)
    }

    /// Returns true if a key or a referenced value can change the payload.
    pub(super) fn is_revealed(&self) -> bool {
        self.revealed.is_some()
    }

    /// The values that no key opens: the index of the source, and the problem.
    pub(super) fn unopened(&self) -> impl Iterator<Item = (usize, Problem)> {
        let documents = self.revealed.iter().flat_map(|revealed| revealed.documents.iter());
        let attempted = documents.enumerate().zip(&self.resolved);
        attempted
            .filter_map(|((index, document), source)| {
                let problems = document.as_ref()?.revealed.problems(source.file.as_ref()?);
                Some(problems.map(move |problem| (index, problem)))
            })
            .flatten()
    }

    /// Adds bytes of an answer with this payload to the ledger, until the result is dropped.
    pub(super) fn charge(&self, bytes: usize) -> Charge {
        self.charge.another(bytes)
    }

    /// Returns true if answers share the rendered text.
    pub(super) fn is_large(&self) -> bool {
        self.text_bytes >= SHARED_TEXT_BYTES_MIN
    }

    /// The JSON from the list of sources to the end, rendered at most once.
    pub(super) fn text(&self, representation: Representation) -> Bytes {
        let rendered = self.rendered[representation as usize].get_or_init(|| {
            let mut text = Vec::with_capacity(self.text_bytes + self.text_bytes / 4);
            render::write_sources(&mut text, self.sources(), representation);
            text.shrink_to_fit();
            RenderedSources { _charge: self.charge.another(text.len()), text: text.into() }
        });
        rendered.text.clone()
    }
}

/// The bytes of all keys and values.
fn text_bytes(sources: &[PropertySource]) -> usize {
    let properties = sources.iter().flat_map(PropertySource::properties);
    properties.map(|property| property.key.len() + property.value.text().len()).sum()
}

/// The identity of a document: the address of the parsed file, and the index of the document in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct DocumentKey(usize, usize);

impl DocumentKey {
    fn of(source: &PropertySource) -> Self {
        Self(Arc::as_ptr(&source.documents).addr(), source.index)
    }
}

/// The identity of a list of sources: the variant, what opens it, and the name and the document of each.
#[derive(PartialEq, Eq, Hash)]
struct PayloadKey(Variant, Generation, Vec<(Arc<str>, DocumentKey)>);

impl PayloadKey {
    fn of(sources: &[PropertySource], variant: Variant, keys: &Keyring) -> Self {
        let generation = match variant {
            Variant::Sealed => Generation::default(),
            Variant::Opened => keys.generation(),
        };
        let keys = sources.iter().map(|it| (Arc::clone(&it.name), DocumentKey::of(it)));
        Self(variant, generation, keys.collect())
    }
}

/// The payloads of a store.
pub(super) struct Payloads {
    known: Mutex<WeakMap<PayloadKey, Payload>>,
    /// The documents that are opened in a payload.
    opened: Mutex<WeakMap<DocumentKey, OpenedDocument>>,
    keys: Arc<Keyring>,
    /// The payloads that answers without a kept cell needed last.
    recent: Mutex<VecDeque<Arc<Payload>>>,
    ledger: Arc<Ledger>,
}

/// Values for as long as other places hold them.
struct WeakMap<K, V> {
    values: HashMap<K, Weak<V>>,
    sweep_at: usize,
}

impl Payloads {
    pub(super) fn new(ledger: Arc<Ledger>, keys: Arc<Keyring>) -> Self {
        Self {
            known: Mutex::default(),
            opened: Mutex::default(),
            keys,
            recent: Mutex::default(),
            ledger,
        }
    }

    /// Returns the payload of a list of sources, shared with the answers that hold it already.
    pub(super) fn get_or_make(&self, sources: &[PropertySource], variant: Variant) -> Arc<Payload> {
        let key = PayloadKey::of(sources, variant, &self.keys);
        if let Some(payload) = lock(&self.known).get(&key) {
            return payload;
        }
        // Locking: the payload is made without the lock, because opened values and a digest take time. The first one is
        // kept if two are made concurrently.
        let revealed = match variant {
            Variant::Sealed => None,
            Variant::Opened => self.reveal(sources),
        };
        let payload = Arc::new(Payload::new(sources, revealed, &self.ledger));
        lock(&self.known).get_or_insert(key, payload)
    }

    /// Opens the sealed values of sources. `None` if there are none.
    fn reveal(&self, sources: &[PropertySource]) -> Option<RevealedSources> {
        let documents: Vec<_> = sources.iter().map(|source| self.open(source)).collect();
        documents.iter().any(Option::is_some).then(|| {
            let revealed = |(source, document): (&PropertySource, &Option<Arc<OpenedDocument>>)| {
                match document {
                    Some(document) => document.revealed.source(source),
                    None => source.clone(),
                }
            };
            let sources = sources.iter().zip(&documents).map(revealed).collect();
            RevealedSources { sources, documents }
        })
    }

    /// Returns an opened document, shared with the payloads that hold it already. `None` if it has no sealed values.
    fn open(&self, source: &PropertySource) -> Option<Arc<OpenedDocument>> {
        if !reveal::has_sealed(source) {
            return None;
        }
        let (key, generation) = (DocumentKey::of(source), self.keys.generation_for(source));
        let previous = lock(&self.opened).get(&key);
        if let Some(document) = &previous
            && document.generation == generation
        {
            return previous;
        }
        // Locking: values are opened without the lock, because an RSA key takes milliseconds for each.
        let before = previous.as_ref().map(|document| &document.revealed);
        let revealed = reveal::reveal(source, &self.keys, before)?;
        let bytes = revealed.properties().iter().map(property_bytes).sum();
        let _charge = self.ledger.charge(bytes);
        let document = Arc::new(OpenedDocument { generation, revealed, _charge });
        let is_outdated = |known: &OpenedDocument| known.generation != generation;
        Some(lock(&self.opened).get_or_replace(key, document, is_outdated))
    }

    /// Finds the reason for which an environment with these sources must not be served.
    ///
    /// # Errors
    /// The first reason.
    pub(super) fn examine(&self, sources: &[PropertySource]) -> Result<(), Problem> {
        for source in sources.iter().filter(|source| reveal::may_hold(source, &self.keys)) {
            if let (Some(file), Some(document)) = (&source.file, self.open(source))
                && let Some(problem) = document.revealed.hold_reason(file, &self.keys)
            {
                return Err(problem);
            }
        }
        Ok(())
    }

    /// Remembers a payload for the next request. For an answer that is not kept.
    pub(super) fn remember(&self, payload: &Arc<Payload>) {
        let mut recent = lock(&self.recent);
        if recent.iter().any(|known| Arc::ptr_eq(known, payload)) {
            return;
        }
        if recent.len() == RECENT_COUNT_MAX {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(payload));
    }

    /// Forgets the payloads that were remembered for the next request.
    pub(super) fn forget_recent(&self) {
        let recent = std::mem::take(&mut *lock(&self.recent));
        drop(recent);
    }
}

impl<K, V> Default for WeakMap<K, V> {
    fn default() -> Self {
        Self { values: HashMap::new(), sweep_at: SWEEP_AT }
    }
}

impl<K: Eq + Hash, V> WeakMap<K, V> {
    fn get(&self, key: &K) -> Option<Arc<V>> {
        // The key of a dropped value may contain an address that a new document has by now. The failed upgrade prevents a
        // wrong match.
        self.values.get(key)?.upgrade()
    }

    /// Returns the known value of a key, or inserts this one.
    fn get_or_insert(&mut self, key: K, value: Arc<V>) -> Arc<V> {
        self.get_or_replace(key, value, |_| false)
    }

    /// Returns the known value of a key unless it is outdated, or inserts this one.
    fn get_or_replace(
        &mut self,
        key: K,
        value: Arc<V>,
        is_outdated: impl FnOnce(&V) -> bool,
    ) -> Arc<V> {
        if let Some(known) = self.get(&key)
            && !is_outdated(&known)
        {
            return known;
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|_, value| value.strong_count() > 0);
            self.sweep_at = (self.values.len() * 2).max(SWEEP_AT);
        }
        self.values.insert(key, Arc::downgrade(&value));
        value
    }
}
