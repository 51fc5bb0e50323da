//! The watcher groups of one worker thread, and its clock: one timer for the heartbeats of all streams.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;

use super::environment::{self, WatchedEnvironment};
use super::group::WatcherGroup;
use super::moves::{self, WatchedMoves};
use crate::http::Http;
use crate::reveal::Variant;
use crate::store::AnswerHandle;

/// The interval at which silent streams are searched. A stream gets a heartbeat after three silent ticks, so after 10
/// to 15 s.
const TICK: Duration = Duration::from_secs(5);

/// A watched environment: the id of the answer, and the variant that the watchers receive.
type EnvironmentKey = (usize, Variant);

/// The watcher groups of one worker thread. They never leave the thread.
pub struct WatcherGroups {
    http: web::Data<Http>,
    environments: RefCell<HashMap<EnvironmentKey, Weak<WatcherGroup<WatchedEnvironment>>>>,
    moves: RefCell<Weak<WatcherGroup<WatchedMoves>>>,
    clock: Rc<Cell<u32>>,
    is_ticking: Cell<bool>,
}

impl WatcherGroups {
    /// Creates the groups of a worker.
    pub fn new(http: &web::Data<Http>) -> Rc<Self> {
        Rc::new(Self {
            http: http.clone(),
            environments: RefCell::default(),
            moves: RefCell::default(),
            clock: Rc::default(),
            is_ticking: Cell::new(false),
        })
    }

    /// Returns the group of an environment in a variant. Creates it if it is missing or has ended.
    pub(super) fn environment(
        self: &Rc<Self>,
        handle: &AnswerHandle,
    ) -> Rc<WatcherGroup<WatchedEnvironment>> {
        let mut environments = self.environments.borrow_mut();
        let key = (handle.id(), handle.variant());
        let known = environments.get(&key).and_then(Weak::upgrade);
        if let Some(group) = known.filter(|group| group.end().is_none()) {
            return group;
        }
        self.start_clock();
        // Entries without watchers are removed when the map has doubled since the last time.
        if environments.len() == environments.capacity() {
            environments.retain(|_, group| group.strong_count() > 0);
        }
        let group = Rc::new(WatcherGroup::new(
            WatchedEnvironment::new(handle.clone()),
            Rc::clone(&self.clock),
        ));
        let follower =
            environment::follow(Rc::downgrade(&group), handle.clone(), self.http.clone());
        group.set_follower(tokio::task::spawn_local(follower));
        environments.insert(key, Rc::downgrade(&group));
        group
    }

    /// Returns the group for the moves of all labels.
    pub(super) fn moves(self: &Rc<Self>) -> Rc<WatcherGroup<WatchedMoves>> {
        if let Some(group) = self.moves.borrow().upgrade() {
            return group;
        }
        self.start_clock();
        let events = &self.http.store.events;
        let group = Rc::new(WatcherGroup::new(
            WatchedMoves::new(Arc::clone(events)),
            Rc::clone(&self.clock),
        ));
        let follower = moves::follow(Rc::downgrade(&group), events.subscribe(), self.http.clone());
        group.set_follower(tokio::task::spawn_local(follower));
        *self.moves.borrow_mut() = Rc::downgrade(&group);
        group
    }

    /// Starts the clock with the first group.
    fn start_clock(self: &Rc<Self>) {
        if !self.is_ticking.replace(true) {
            tokio::task::spawn_local(tick(Rc::downgrade(self)));
        }
    }

    async fn heartbeat(&self) {
        self.clock.set(self.clock.get().wrapping_add(1));
        let environments: Vec<_> =
            self.environments.borrow().values().filter_map(Weak::upgrade).collect();
        for group in environments {
            group.heartbeat().await;
        }
        let moves = self.moves.borrow().upgrade();
        if let Some(group) = moves {
            group.heartbeat().await;
        }
    }
}

/// Advances the clock until the groups are dropped.
async fn tick(groups: Weak<WatcherGroups>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match groups.upgrade() {
            Some(groups) => groups.heartbeat().await,
            None => return,
        }
    }
}
