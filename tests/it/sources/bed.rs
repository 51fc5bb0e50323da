//! The places that the sources under test read from, and the ways to change them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use git2::{Oid, Repository, Signature, Time};
use headwater::model::{Label, Revision};
use headwater::snapshot::Style;
use headwater::source::directory::{DirectoryOptions, DirectorySource, SCAN_TIME_MAX};
use headwater::source::etcd::{Content, EtcdSource, NewRevision};
use headwater::source::git::{Findings, GitOptions, GitSource};
use headwater::source::memory::MemorySource;
use headwater::source::mirror::{Access, MirrorOptions, MirrorPlace, MirrorSource};
use headwater::source::{OpenOptions, Source};
use tempfile::TempDir;

use super::layout;
use crate::fixture::{Cluster, eventually};

/// Files by path: `None` deletes.
pub(super) type Files<'a> = &'a [(&'a str, Option<&'a str>)];

/// A source, and the place it reads from.
pub(super) trait Bed: Send + Sync + 'static {
    fn new() -> Self
    where
        Self: Sized;
    fn source(&self) -> Arc<dyn Source>;
    /// Changes what a request without a label gets.
    fn commit(&self, files: Files<'_>);
    /// The place cannot be read from now on.
    fn break_down(&self);
    fn mend(&self);
}

/// A bed with branches, tags and history. The default branch is `main`.
pub(super) trait Branches: Bed {
    fn commit_on(&self, branch: &str, files: Files<'_>) -> Revision;
    fn tag(&self, name: &str, revision: &Revision);
    fn force(&self, branch: &str, revision: &Revision);
    fn delete_branch(&self, branch: &str);
}

pub(super) struct MemoryBed(Arc<MemorySource>);

impl Bed for MemoryBed {
    fn new() -> Self {
        Self(Arc::new(MemorySource::new(layout("memory", Style::Git))))
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.0) as Arc<_>
    }

    fn commit(&self, files: Files<'_>) {
        self.0.commit("main", files);
    }

    fn break_down(&self) {
        self.0.fail(Some("an outage"));
    }

    fn mend(&self) {
        self.0.fail(None);
    }
}

impl Branches for MemoryBed {
    fn commit_on(&self, branch: &str, files: Files<'_>) -> Revision {
        self.0.commit(branch, files)
    }

    fn tag(&self, name: &str, revision: &Revision) {
        assert!(self.0.tag(name, revision));
    }

    fn force(&self, branch: &str, revision: &Revision) {
        assert!(self.0.force(branch, revision));
    }

    fn delete_branch(&self, branch: &str) {
        self.0.delete_branch(branch);
    }
}

/// A bare repository. Every commit is made a minute after the one before, so that ids are known.
pub(super) struct GitBed {
    directory: TempDir,
    files: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    made_count: Mutex<i64>,
    source: Arc<GitSource>,
}

impl GitBed {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("config.git")
    }

    pub(super) fn repository(&self) -> Repository {
        Repository::open_bare(self.path()).expect("the repository")
    }

    pub(super) fn signature(&self) -> Signature<'static> {
        let mut made_count = self.made_count.lock().expect("the count");
        *made_count += 1;
        let time = Time::new(1_700_000_000 + 60 * *made_count, 0);
        Signature::new("Ada", "ada@example.org", &time).expect("a signature")
    }

    /// Commits a tree as the new tip of a branch.
    pub(super) fn commit_tree(&self, branch: &str, tree: Oid) -> Revision {
        let repository = self.repository();
        let name = format!("refs/heads/{branch}");
        let parent = repository
            .find_reference(&name)
            .ok()
            .map(|tip| tip.peel_to_commit().expect("a commit"));
        let signature = self.signature();
        let tree = repository.find_tree(tree).expect("a tree");
        let parents: Vec<_> = parent.iter().collect();
        let id = repository.commit(Some(&name), &signature, &signature, "Change", &tree, &parents);
        Revision::new(id.expect("a commit").to_string())
    }
}

/// The commits of all branches and, where no branch has the name, of all tags.
fn labels(path: &Path) -> Option<BTreeMap<String, String>> {
    let repository = Repository::open_bare(path).ok()?;
    let mut found = BTreeMap::new();
    for prefix in ["refs/tags/", "refs/heads/"] {
        for reference in repository.references_glob(&format!("{prefix}*")).ok()? {
            let reference = reference.ok()?;
            let name = reference.name().ok()?.strip_prefix(prefix)?.to_owned();
            found.insert(name, reference.peel_to_commit().ok()?.id().to_string());
        }
    }
    Some(found)
}

/// A bare repository that is mirrored: read from a copy, which follows when it is told to.
pub(super) struct MirrorBed {
    origin: GitBed,
    place: TempDir,
    source: Arc<MirrorSource>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for MirrorBed {
    fn drop(&mut self) {
        self.runtime.take().expect("a runtime").shutdown_background();
    }
}

impl MirrorBed {
    fn copies(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.place.path()).expect("the copies");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|it| it == "git")).collect()
    }

    /// Waits until what the copy serves is what the origin is. The references of the copy move before it serves them.
    fn told<T>(&self, value: T) -> T {
        self.source.look_again();
        let origin = labels(&self.origin.path());
        let origin = origin.expect("the origin can be read");
        eventually("the copy follows", || self.serves(&origin));
        value
    }

    fn serves(&self, origin: &BTreeMap<String, String>) -> bool {
        let runtime = self.runtime.as_ref().expect("a runtime").handle();
        let serves = async {
            let names = self.source.label_names().await;
            if !names.is_ok_and(|names| names.iter().eq(origin.keys())) {
                return false;
            }
            for (name, commit) in origin {
                let label = Label::Named(name.as_str().into());
                let found = self.source.load(&label, None).await;
                if !found.is_ok_and(|found| found.revision.as_str() == commit) {
                    return false;
                }
            }
            true
        };
        // Tests call this on a thread that has a runtime of its own.
        std::thread::scope(|scope| scope.spawn(|| runtime.block_on(serves)).join())
            .expect("it is asked")
    }
}

impl Bed for MirrorBed {
    fn new() -> Self {
        let origin = GitBed::new();
        // A remote without a branch is no source yet.
        origin.commit_on("elsewhere", &[("elsewhere.yml", Some("a: 1"))]);
        let place = tempfile::tempdir().expect("a temporary directory");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let mirror = MirrorOptions {
            access: Access::default(),
            poll: Duration::from_millis(200),
            spacing: Duration::ZERO,
            // Of a machine that is busy with other tests.
            fetch_time_max: Duration::from_secs(60),
            pack_bytes_max: 64 * 1024 * 1024,
        };
        let at = MirrorPlace {
            directory: place.path().to_owned(),
            held: Arc::new(()),
            runtime: runtime.handle().clone(),
        };
        let options = OpenOptions { name: Some("config".to_owned()), ..OpenOptions::default() };
        let uri = origin.path().display().to_string();
        let source = MirrorSource::open(&uri, options, mirror, at).expect("the source");
        Self { origin, place, source: Arc::new(source), runtime: Some(runtime) }
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.source) as Arc<_>
    }

    fn commit(&self, files: Files<'_>) {
        self.commit_on("main", files);
    }

    /// With its copy, for what the copy holds is served whether the remote is there or not.
    fn break_down(&self) {
        self.origin.break_down();
        for copy in self.copies() {
            std::fs::remove_dir_all(copy).expect("removed");
        }
    }

    fn mend(&self) {
        self.origin.mend();
        eventually("there is a copy again", || self.told(!self.copies().is_empty()));
    }
}

impl Branches for MirrorBed {
    fn commit_on(&self, branch: &str, files: Files<'_>) -> Revision {
        self.told(self.origin.commit_on(branch, files))
    }

    fn tag(&self, name: &str, revision: &Revision) {
        self.origin.tag(name, revision);
        self.told(());
    }

    fn force(&self, branch: &str, revision: &Revision) {
        self.origin.force(branch, revision);
        self.told(());
    }

    fn delete_branch(&self, branch: &str) {
        self.origin.delete_branch(branch);
        self.told(());
    }
}

/// Opens a repository the way the server does.
pub(super) fn open_git(path: &Path) -> GitSource {
    let options = GitOptions {
        layout: layout("config", Style::Git),
        default_label: None,
        findings: Findings::default(),
    };
    GitSource::open(path, options).expect("the source")
}

impl Bed for GitBed {
    fn new() -> Self {
        headwater::source::git::prepare();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("config.git");
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        Repository::init_opts(&path, &options).expect("a repository");
        Self {
            source: Arc::new(open_git(&path)),
            directory,
            files: Mutex::default(),
            made_count: Mutex::default(),
        }
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.source) as Arc<_>
    }

    fn commit(&self, files: Files<'_>) {
        self.commit_on("main", files);
    }

    fn break_down(&self) {
        std::fs::rename(self.path(), self.directory.path().join("away")).expect("moved away");
    }

    fn mend(&self) {
        std::fs::rename(self.directory.path().join("away"), self.path()).expect("moved back");
    }
}

impl Branches for GitBed {
    fn commit_on(&self, branch: &str, changes: Files<'_>) -> Revision {
        let tree = {
            let mut branches = self.files.lock().expect("the files");
            let files = branches.entry(branch.to_owned()).or_default();
            for (path, content) in changes {
                match content {
                    Some(content) => files.insert((*path).to_owned(), (*content).to_owned()),
                    None => files.remove(*path),
                };
            }
            let files: Vec<(&str, u32, &str)> =
                files.iter().map(|(path, content)| (&**path, 0o100_644, &**content)).collect();
            write_tree(&self.repository(), &files)
        };
        self.commit_tree(branch, tree)
    }

    fn tag(&self, name: &str, revision: &Revision) {
        let repository = self.repository();
        let target = repository.find_object(oid(revision), None).expect("a commit");
        repository.tag(name, &target, &self.signature(), "A release", false).expect("a tag");
    }

    fn force(&self, branch: &str, revision: &Revision) {
        self.repository()
            .reference(&format!("refs/heads/{branch}"), oid(revision), true, "")
            .expect("a reference");
    }

    fn delete_branch(&self, branch: &str) {
        let repository = self.repository();
        let mut reference =
            repository.find_reference(&format!("refs/heads/{branch}")).expect("a branch");
        reference.delete().expect("deleted");
    }
}

pub(super) fn oid(revision: &Revision) -> Oid {
    Oid::from_str(revision.as_str()).expect("a commit id")
}

/// Writes nested trees of files with their modes.
pub(super) fn write_tree(repository: &Repository, files: &[(&str, u32, &str)]) -> Oid {
    let mut builder = repository.treebuilder(None).expect("a tree builder");
    let mut directories: BTreeMap<&str, Vec<(&str, u32, &str)>> = BTreeMap::new();
    for (path, mode, content) in files {
        match path.split_once('/') {
            Some((directory, rest)) => {
                directories.entry(directory).or_default().push((rest, *mode, content))
            }
            None => {
                let id = match mode {
                    0o160_000 => Oid::from_str(content).expect("a commit id"),
                    _ => repository.blob(content.as_bytes()).expect("a blob"),
                };
                builder.insert(path, id, *mode as i32).expect("an entry");
            }
        }
    }
    for (name, files) in directories {
        let id = write_tree(repository, &files);
        builder.insert(name, id, 0o040_000).expect("a directory");
    }
    builder.write().expect("a tree")
}

/// A directory whose files are replaced by renaming, as editors do.
pub(super) struct DirectoryBed {
    directory: TempDir,
    source: Arc<DirectorySource>,
}

impl DirectoryBed {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// A path next to the directory, which must never be read.
    pub(super) fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }
}

/// Opens a directory the way the server does.
pub(super) fn open_directory(path: &Path) -> DirectorySource {
    let options = DirectoryOptions {
        layout: layout("directory", Style::Native),
        default_label: None,
        scan_time_max: SCAN_TIME_MAX,
    };
    DirectorySource::open(path, options).expect("the source")
}

impl Bed for DirectoryBed {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("config");
        std::fs::create_dir(&path).expect("a directory");
        Self { source: Arc::new(open_directory(&path)), directory }
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.source) as Arc<_>
    }

    fn commit(&self, files: Files<'_>) {
        files.iter().for_each(|(path, content)| put(&self.path().join(path), *content));
    }

    fn break_down(&self) {
        std::fs::rename(self.path(), self.directory.path().join("away")).expect("moved away");
    }

    fn mend(&self) {
        std::fs::rename(self.directory.path().join("away"), self.path()).expect("moved back");
    }
}

fn put(path: &Path, content: Option<&str>) {
    let Some(content) = content else {
        std::fs::remove_file(path).expect("deleted");
        return;
    };
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    let new = path.with_extension("new~");
    std::fs::write(&new, content).expect("written");
    std::fs::rename(&new, path).expect("renamed");
}

/// A Kubernetes ConfigMap as the kubelet lays it out: everything is a link through `..data`, which is swapped.
pub(super) struct ConfigMapBed {
    directory: DirectoryBed,
    files: Mutex<BTreeMap<String, String>>,
    swap_count: Mutex<usize>,
}

impl Bed for ConfigMapBed {
    fn new() -> Self {
        Self {
            directory: DirectoryBed::new(),
            files: Mutex::default(),
            swap_count: Mutex::default(),
        }
    }

    fn source(&self) -> Arc<dyn Source> {
        self.directory.source()
    }

    fn commit(&self, changes: Files<'_>) {
        let root = self.directory.path();
        let mut files = self.files.lock().expect("the files");
        let mut swap_count = self.swap_count.lock().expect("the count");
        *swap_count += 1;
        let data = format!("..2026_11_20_{swap_count}");
        for (path, content) in changes {
            match content {
                Some(content) => files.insert((*path).to_owned(), (*content).to_owned()),
                None => files.remove(*path),
            };
        }
        for (path, content) in &*files {
            put(&root.join(&data).join(path), Some(content));
        }
        let old = std::fs::read_link(root.join("..data")).ok();
        std::os::unix::fs::symlink(&data, root.join("..data_tmp")).expect("a link");
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).expect("swapped");
        for path in files.keys() {
            let name = path.split('/').next().expect("a name");
            if !root.join(name).is_symlink() {
                std::os::unix::fs::symlink(format!("..data/{name}"), root.join(name))
                    .expect("a link");
            }
        }
        if let Some(old) = old {
            std::fs::remove_dir_all(root.join(old)).expect("removed");
        }
    }

    fn break_down(&self) {
        self.directory.break_down();
    }

    fn mend(&self) {
        self.directory.mend();
    }
}

/// A prefix in etcd that is published to. Every publication is made a minute after the one before.
pub(super) struct EtcdBed {
    pub(super) cluster: Arc<Cluster>,
    pub(super) prefix: String,
    source: Arc<EtcdSource>,
    state: Mutex<Published>,
}

#[derive(Default)]
struct Published {
    files: BTreeMap<String, BTreeMap<String, Content>>,
    tips: BTreeMap<String, Revision>,
    made_count: i64,
}

/// Makes prefixes that nobody else has.
static PREFIX_COUNT: AtomicUsize = AtomicUsize::new(0);

impl EtcdBed {
    /// In a cluster, with a prefix that nobody else has.
    pub(super) fn of(cluster: Arc<Cluster>) -> Self {
        let prefix = format!("config-{}", PREFIX_COUNT.fetch_add(1, Ordering::Relaxed));
        let source = open_etcd(&cluster, &prefix);
        Self { cluster, prefix, source, state: Mutex::default() }
    }

    /// Another replica.
    pub(super) fn another(&self) -> Arc<EtcdSource> {
        open_etcd(&self.cluster, &self.prefix)
    }

    pub(super) fn etcd_source(&self) -> &Arc<EtcdSource> {
        &self.source
    }

    pub(super) fn key(&self, rest: &str) -> String {
        format!("{}/v1/{rest}", self.prefix)
    }

    fn reference(&self, branch: &str) -> String {
        self.key(&format!("refs/{}", branch.replace('/', "%2F")))
    }

    /// Waits until the source has a label at a revision, or nowhere.
    pub(super) fn seen(&self, label: &str, revision: Option<&Revision>) {
        eventually("the source follows", || {
            let (source, label) = (Arc::clone(&self.source), Label::Named(label.into()));
            let found = self.cluster.on(async move { source.load(&label, None).await });
            found.ok().map(|found| found.revision).as_ref() == revision
        });
    }
}

/// Opens a prefix the way the server does.
pub(super) fn open_etcd(cluster: &Cluster, prefix: &str) -> Arc<EtcdSource> {
    let (uri, options) = (cluster.uri(prefix), OpenOptions::default());
    let runtime = cluster.runtime().handle();
    let source = EtcdSource::open(&uri, options, headwater_etcd::Access::default(), runtime);
    Arc::new(source.expect("the source"))
}

/// All files of a label, as they are published.
pub(super) fn publication(files: BTreeMap<String, Content>, seconds: i64) -> NewRevision {
    let (author, subject) = ("Ada".to_owned(), "Change".to_owned());
    NewRevision { files, author, subject, seconds }
}

impl Bed for EtcdBed {
    fn new() -> Self {
        Self::of(Cluster::shared())
    }

    fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.source) as Arc<_>
    }

    fn commit(&self, files: Files<'_>) {
        self.commit_on("main", files);
    }

    /// The label leads nowhere. While etcd itself is away, what was there last is served.
    fn break_down(&self) {
        let tip = self.state.lock().expect("the state").tips["main"].clone();
        self.cluster.put(&self.reference("main"), b"something else");
        eventually("the source follows", || {
            let source = Arc::clone(&self.source);
            let found = self.cluster.on(async move { source.load(&Label::Default, None).await });
            !found.is_ok_and(|found| found.revision == tip)
        });
    }

    fn mend(&self) {
        let tip = self.state.lock().expect("the state").tips["main"].clone();
        self.cluster.put(&self.reference("main"), tip.as_str().as_bytes());
        self.seen("main", Some(&tip));
    }
}

impl Branches for EtcdBed {
    fn commit_on(&self, branch: &str, changes: Files<'_>) -> Revision {
        let mut state = self.state.lock().expect("the state");
        let files = state.files.entry(branch.to_owned()).or_default();
        for (path, content) in changes {
            match content {
                Some(text) => {
                    let content = Content::File(text.as_bytes().to_vec().into());
                    files.insert((*path).to_owned(), content)
                }
                None => files.remove(*path),
            };
        }
        let files = files.clone();
        state.made_count += 1;
        let publication = publication(files, 1_700_000_000 + 60 * state.made_count);
        let (source, label) = (Arc::clone(&self.source), branch.to_owned());
        let before = state.tips.get(branch).cloned();
        let published = self
            .cluster
            .on(async move { source.publish(&label, before.as_ref(), publication).await });
        let revision = published.expect("published");
        state.tips.insert(branch.to_owned(), revision.clone());
        revision
    }

    fn tag(&self, _name: &str, _revision: &Revision) {
        unreachable!("all labels of etcd are alike");
    }

    fn force(&self, branch: &str, revision: &Revision) {
        self.cluster.put(&self.reference(branch), revision.as_str().as_bytes());
        self.seen(branch, Some(revision));
        let mut state = self.state.lock().expect("the state");
        state.tips.insert(branch.to_owned(), revision.clone());
    }

    fn delete_branch(&self, branch: &str) {
        let before = self.state.lock().expect("the state").tips.remove(branch);
        self.cluster.delete(&self.reference(branch));
        eventually("the source follows", || {
            let (source, label) = (Arc::clone(&self.source), Label::Named(branch.into()));
            let found = self.cluster.on(async move { source.load(&label, None).await });
            found.ok().map(|found| found.revision) != before
        });
    }
}

/// A prefix in etcd with files that are put by hand.
pub(super) struct ByHandBed(EtcdBed);

impl Bed for ByHandBed {
    fn new() -> Self {
        Self(EtcdBed::new())
    }

    fn source(&self) -> Arc<dyn Source> {
        self.0.source()
    }

    fn commit(&self, files: Files<'_>) {
        for (path, content) in files {
            let key = self.0.key(&format!("files/main/{path}"));
            match content {
                Some(text) => self.0.cluster.put(&key, text.as_bytes()),
                None => self.0.cluster.delete(&key),
            }
        }
        // What is put is followed; whoever loads at once wants to find it.
        let last =
            files.last().map(|(path, content)| ((*path).to_owned(), content.map(str::to_owned)));
        let Some((path, content)) = last else { return };
        eventually("the source follows", || {
            let source = self.source();
            let found = self.0.cluster.on(async move { source.load(&Label::Default, None).await });
            let Ok(found) = found else { return content.is_none() };
            let tree = &found.members[0].tree;
            let file = tree.file(&path).expect("reads");
            file.map(|file| tree.bytes(&file).expect("reads"))
                == content.as_ref().map(|text| text.clone().into_bytes())
        });
    }

    /// It is published as well, so that nobody can say which of the two it is.
    fn break_down(&self) {
        self.0.cluster.put(&self.0.reference("main"), "0".repeat(64).as_bytes());
        eventually("the source follows", || {
            let source = self.source();
            self.0.cluster.on(async move { source.load(&Label::Default, None).await }).is_err()
        });
    }

    fn mend(&self) {
        self.0.cluster.delete(&self.0.reference("main"));
        eventually("the source follows", || {
            let source = self.source();
            self.0.cluster.on(async move { source.load(&Label::Default, None).await }).is_ok()
        });
    }
}
