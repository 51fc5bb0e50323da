//! Rollouts that hold applications, seen through the store: which content each reader receives, and in which order.

mod every_order;
mod files;
mod order;
mod sides;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use headwater::access::{Caller, Policy};
use headwater::model::Revision;
use headwater::source::memory::MemorySource;
use headwater::store::{AnswerAt, AnswerHandle, AnswerSettings, Store};

use crate::fixture::held::{instance, query};

/// The limit on any wait. A test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn store(source: &Arc<MemorySource>) -> Arc<Store> {
    let source = Arc::clone(source);
    let runtime = tokio::runtime::Handle::current();
    Store::new(source, AnswerSettings::default(), Policy::Open, runtime)
}

/// The answer for a reader without a name.
async fn read(store: &Arc<Store>, application: &str) -> AnswerHandle {
    store.answer(&Caller::Anonymous, &query(application)).await.unwrap()
}

/// The answer for an instance.
async fn read_as(store: &Arc<Store>, application: &str, name: &str) -> AnswerHandle {
    read(store, application).await.for_instance(Some(instance(application, name)))
}

async fn wait_for(handle: &mut AnswerHandle, revision: &Revision) {
    tokio::time::timeout(PATIENCE, handle.wait_for_revision(revision)).await.unwrap().unwrap();
}

/// The text of a value.
fn value(current: &AnswerAt, key: &str) -> String {
    let environment = &current.served().expect("an environment").environment;
    let mut properties = environment.sources.iter().flat_map(|source| source.properties());
    properties.find(|it| &*it.key == key).expect(key).value.text().to_string()
}

/// The value of `v`, the served revision, and the rollout.
fn shown(handle: &AnswerHandle) -> (String, Revision, Option<String>) {
    let current = handle.current();
    let rollout = current.rollout.as_ref().map(|rollout| rollout.id.to_string());
    (value(&current, "v"), current.revision.clone(), rollout)
}
