//! All lists of one worker, and its clock: one timer for all of its streams.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;

use super::environment::{self, Environment};
use super::list::List;
use super::moves::{self, Moves};
use crate::http::Http;
use crate::store::Reader;

/// How often silent streams are looked for. One that has said nothing for three of these shows that it is alive: so a
/// comment comes after 10 to 15 s.
const TICK: Duration = Duration::from_secs(5);

/// The lists of one worker. Made by it and never seen by another.
pub struct Lists {
    http: web::Data<Http>,
    /// By the answer that is watched.
    environments: RefCell<HashMap<usize, Weak<List<Environment>>>>,
    moves: RefCell<Weak<List<Moves>>>,
    clock: Rc<Cell<u32>>,
    ticks: Cell<bool>,
}

impl Lists {
    /// None yet.
    pub fn new(http: &web::Data<Http>) -> Rc<Self> {
        Rc::new(Self {
            http: http.clone(),
            environments: RefCell::default(),
            moves: RefCell::default(),
            clock: Rc::default(),
            ticks: Cell::new(false),
        })
    }

    /// The list of those who watch an answer.
    pub(super) fn environment(self: &Rc<Self>, reader: &Reader) -> Rc<List<Environment>> {
        let mut environments = self.environments.borrow_mut();
        let known = environments.get(&reader.id()).and_then(Weak::upgrade);
        if let Some(list) = known.filter(|list| list.end().is_none()) {
            return list;
        }
        self.tick();
        // Those that nobody is in any more are forgotten when there are twice as many as at the last look.
        if environments.len() == environments.capacity() {
            environments.retain(|_, list| list.strong_count() > 0);
        }
        let list = Rc::new(List::new(Environment::new(reader.clone()), Rc::clone(&self.clock)));
        let follower = environment::follow(Rc::downgrade(&list), reader.clone(), self.http.clone());
        list.followed_by(tokio::task::spawn_local(follower).abort_handle());
        environments.insert(reader.id(), Rc::downgrade(&list));
        list
    }

    /// The list of those who watch all moves.
    pub(super) fn moves(self: &Rc<Self>) -> Rc<List<Moves>> {
        if let Some(list) = self.moves.borrow().upgrade() {
            return list;
        }
        self.tick();
        let moves = &self.http.store.moves;
        let list = Rc::new(List::new(Moves::new(Arc::clone(moves)), Rc::clone(&self.clock)));
        let follower = moves::follow(Rc::downgrade(&list), moves.listen(), self.http.clone());
        list.followed_by(tokio::task::spawn_local(follower).abort_handle());
        *self.moves.borrow_mut() = Rc::downgrade(&list);
        list
    }

    /// Begins to tick with the first list.
    fn tick(self: &Rc<Self>) {
        if !self.ticks.replace(true) {
            tokio::task::spawn_local(tick(Rc::downgrade(self)));
        }
    }

    async fn beat(&self) {
        self.clock.set(self.clock.get().wrapping_add(1));
        let environments: Vec<_> =
            self.environments.borrow().values().filter_map(Weak::upgrade).collect();
        for list in environments {
            list.beat().await;
        }
        let moves = self.moves.borrow().upgrade();
        if let Some(list) = moves {
            list.beat().await;
        }
    }
}

/// Ends with the worker.
async fn tick(lists: Weak<Lists>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match lists.upgrade() {
            Some(lists) => lists.beat().await,
            None => return,
        }
    }
}
