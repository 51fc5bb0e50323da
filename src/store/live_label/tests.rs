//! A label under concurrent readers, first requests and publications.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use super::*;
use crate::areas::Areas;
use crate::model::{ContentId, Revision};
use crate::reveal::Variant;
use crate::snapshot::{Layout, MemberHolds, Rewinds, Style};
use crate::store::answer_handle::{AnswerAt, AnswerHandle};
use crate::store::build::AnswerSettings;
use crate::store::cached_answer::CachedAnswer;
use crate::store::sequence_lock::SequenceStamp;
use crate::tree::{EntryKind, ObjectCache, Objects, RawEntry};

/// A hook that runs before a file is read, with the text of the file. Its error becomes the error of the read.
type Hook = Box<dyn Fn(&str) -> Result<(), TreeError> + Send + Sync>;

/// Files in memory, all of them in the root. The id of a file determines its text, so that no hash is needed.
#[derive(Default)]
struct Disk {
    listings: Mutex<HashMap<ContentId, Vec<RawEntry>>>,
    texts: Mutex<HashMap<ContentId, String>>,
    hook: RwLock<Option<Hook>>,
}

impl Objects for Disk {
    fn list(&self, id: ContentId) -> Result<Vec<RawEntry>, TreeError> {
        Ok(lock(&self.listings)[&id].clone())
    }

    fn size(&self, id: ContentId) -> Result<u64, TreeError> {
        Ok(lock(&self.texts)[&id].len() as u64)
    }

    fn read(&self, id: ContentId) -> Result<Vec<u8>, TreeError> {
        let text = lock(&self.texts)[&id].clone();
        if let Some(hook) = &*read(&self.hook) {
            hook(&text)?;
        }
        Ok(text.into())
    }
}

fn id(kind: u8, numbers: [usize; 2]) -> ContentId {
    let mut bytes = [0; 32];
    bytes[0] = kind;
    bytes[1..9].copy_from_slice(&(numbers[0] as u64).to_le_bytes());
    bytes[9..17].copy_from_slice(&(numbers[1] as u64).to_le_bytes());
    ContentId::from_bytes(&bytes)
}

/// A label with `application.yml` and a file for each service. All files change with every revision.
struct World {
    disk: Arc<Disk>,
    cache: Arc<ObjectCache>,
    service_count: usize,
}

impl World {
    fn new(service_count: usize) -> Self {
        let disk = Arc::new(Disk::default());
        Self { cache: ObjectCache::new(Arc::clone(&disk) as Arc<_>), disk, service_count }
    }

    fn snapshot(&self, revision: usize) -> Arc<Snapshot> {
        let mut entries = Vec::new();
        for service in 0..=self.service_count {
            let (name, key) = if service == self.service_count {
                ("application.yml".to_owned(), "shared")
            } else {
                (format!("s{service}.yml"), "own")
            };
            let file = id(1, [service, revision]);
            lock(&self.disk.texts).insert(file, format!("{key}: {revision}\n"));
            entries.push(RawEntry { name: name.into(), kind: EntryKind::File, id: file });
        }
        let root = id(0, [0, revision]);
        lock(&self.disk.listings).insert(root, entries);
        let layout = Layout {
            base: "disk".into(),
            style: Style::Git,
            search_paths: Vec::new(),
            patterns: Vec::new(),
            toml: true,
            json: false,
        };
        Arc::new(Snapshot::new(vec![Member {
            areas: Areas::default(),
            group: 0,
            layout: Arc::new(layout),
            revision: Revision::new(revision.to_string()),
            label: None,
            overlays: Vec::new(),
            tree: self.cache.tree(root),
            history: None,
            rewinds: Rewinds::default(),
            holds: MemberHolds::default(),
            made_seconds: Some(0),
            commit: None,
        }]))
    }

    fn live(&self) -> Arc<LiveLabel> {
        Arc::new(LiveLabel::new(Label::Default, self.snapshot(1)))
    }

    fn hook(&self, hook: impl Fn(&str) -> Result<(), TreeError> + Send + Sync + 'static) {
        *write(&self.disk.hook) = Some(Box::new(hook));
    }
}

fn query(service: usize) -> Query {
    let application = format!("s{service}").into();
    Query { application, profiles: "default".into(), label: Label::Default }
}

fn request(live: &Arc<LiveLabel>, service: usize) -> AnswerHandle {
    let builder = AnswerBuilder::new(AnswerSettings::default());
    let cell = live.get_or_make(&query(service), &builder).unwrap();
    AnswerHandle::new(Arc::clone(live), cell, Variant::Opened)
}

fn publish(live: &LiveLabel, snapshot: Arc<Snapshot>) -> Result<CompletedPublication, TreeError> {
    live.publish(snapshot, &AnswerBuilder::new(AnswerSettings::default()))
}

/// Returns the revision of an answer. Fails if its parts have different revisions.
#[track_caller]
fn whole_revision(current: &AnswerAt) -> usize {
    let served = current.served().expect("an environment");
    let revision: usize = current.revision.as_str().parse().unwrap();
    for source in &served.environment.sources {
        let value = source.properties()[0].value.text();
        assert_eq!(value.parse(), Ok(revision), "{} is of another revision", source.name);
    }
    assert_eq!(served.environment.sources.len(), 2);
    revision
}

#[test]
fn a_publisher_makes_each_answer_once_beside_first_requests() {
    const BEFORE: usize = 10;
    let world = World::new(200);
    let live = world.live();
    let handles: Vec<AnswerHandle> = (0..BEFORE).map(|service| request(&live, service)).collect();

    // Each time the publisher reads a file of the new revision, a request for one more service arrives and is answered.
    let (publisher, label) = (thread::current().id(), Arc::downgrade(&live));
    let (read_count, next) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(BEFORE));
    let counted = Arc::clone(&read_count);
    world.hook(move |text| {
        if thread::current().id() == publisher && text.starts_with("own: 2") {
            counted.fetch_add(1, Ordering::Relaxed);
            let (live, service) =
                (label.upgrade().unwrap(), next.fetch_add(1, Ordering::Relaxed) % 200);
            thread::spawn(move || drop(request(&live, service))).join().unwrap();
        }
        Ok(())
    });
    let published = publish(&live, world.snapshot(2)).unwrap();

    assert_eq!(
        read_count.load(Ordering::Relaxed),
        BEFORE,
        "the publisher made answers that first requests had made"
    );
    assert_eq!(published.replaced.len(), 2 * BEFORE, "each answer was replaced once");
    for service in 0..2 * BEFORE {
        assert_eq!(whole_revision(&request(&live, service).current()), 2);
    }
    assert!(handles.iter().all(|handle| whole_revision(&handle.current()) == 2));
}

#[test]
fn a_failed_publication_leaves_late_cells_at_the_served_revision() {
    for fails_by_panic in [false, true] {
        let world = World::new(3);
        let live = world.live();
        let _handle = request(&live, 0);
        let (publisher, label) = (thread::current().id(), Arc::downgrade(&live));
        world.hook(move |text| {
            if thread::current().id() != publisher || !text.starts_with("own: 2") {
                return Ok(());
            }
            let live = label.upgrade().unwrap();
            thread::spawn(move || drop(request(&live, 1))).join().unwrap();
            assert!(!fails_by_panic, "the publisher panics on purpose");
            Err(TreeError("the disk is gone".to_owned()))
        });
        let next = world.snapshot(2);
        let attempt = std::panic::AssertUnwindSafe(|| publish(&live, next).is_ok());
        assert!(!std::panic::catch_unwind(attempt).unwrap_or(false));
        for service in 0..3 {
            assert_eq!(whole_revision(&request(&live, service).current()), 1);
        }
        assert_eq!(publish(&live, world.snapshot(3)).unwrap().replaced.len(), 3);
        for service in 0..3 {
            assert_eq!(whole_revision(&request(&live, service).current()), 3);
        }
    }
}

/// The newest revisions that one thread has observed. The thread must never observe an older one.
struct Observer {
    revisions: Vec<usize>,
    cached: Vec<Option<(CachedAnswer, SequenceStamp, usize)>>,
}

#[test]
fn readers_see_whole_revisions_in_order_while_the_label_moves() {
    const SERVICES: usize = 40;
    const REVISIONS: usize = 150;
    let world = World::new(SERVICES);
    let live = world.live();
    // Set after a publication has returned. A thread that reads it must see no older revision from then on.
    let published = AtomicUsize::new(1);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..4 {
            let (live, published, is_over) = (&live, &published, &is_over);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut observer = Observer {
                    revisions: vec![0; SERVICES],
                    cached: (0..SERVICES).map(|_| None).collect(),
                };
                while !is_over.load(Ordering::Acquire) {
                    let service = random.usize(..SERVICES);
                    observer.observe(live, published, service);
                    if random.u8(..4) == 0 {
                        live.forget(&query(random.usize(..SERVICES)));
                    }
                }
            });
        }
        for revision in 2..=REVISIONS {
            publish(&live, world.snapshot(revision)).unwrap();
            published.store(revision, Ordering::Release);
        }
        is_over.store(true, Ordering::Release);
    });
}

impl Observer {
    fn observe(&mut self, live: &Arc<LiveLabel>, published: &AtomicUsize, service: usize) {
        if let Some((cached, stamp, revision)) = &self.cached[service] {
            let least = published.load(Ordering::Acquire);
            let is_current = cached.is_current(*stamp);
            assert!(!is_current || *revision >= least, "a cached answer missed a publication");
        }
        let least = published.load(Ordering::Acquire);
        let handle = request(live, service);
        let revision = whole_revision(&handle.current());
        assert!(revision >= least, "older than what was published before the request");
        assert!(revision >= self.revisions[service], "older after newer");
        self.revisions[service] = revision;
        let cell = live.cell(&query(service));
        let cached = cell.map(|cell| CachedAnswer::new(live, &cell));
        self.cached[service] = cached.and_then(|cached| {
            let stamp = cached.stamp()?;
            let revision = whole_revision(&cached.current(Variant::Opened)?);
            Some((cached, stamp, revision))
        });
    }
}

#[test]
fn first_requests_for_one_answer_share_it() {
    let world = World::new(1);
    let live = world.live();
    let handles: Vec<AnswerHandle> = thread::scope(|scope| {
        let requests: Vec<_> = (0..8).map(|_| scope.spawn(|| request(&live, 0))).collect();
        requests.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let ids: std::collections::HashSet<usize> = handles.iter().map(AnswerHandle::id).collect();
    assert_eq!(ids.len(), 1);
}
