//! A model of a push to a repository that two replicas share through etcd, walked through whole: two pushes at a time, a
//! crash between any two steps, a lost disk, leases that end too early, and a collector of packs at work.
//!
//! What is modelled is the order of the steps and what each of them sees. Orders that look as good and are not are walked
//! as well: the walk has to find out what is wrong with each of them, or it would prove nothing.

use std::collections::{HashSet, VecDeque};

/// The commit that both pushes are made on.
const BASE: usize = 0;
/// The commits of the pushes: the first is made at replica 0, the second at replica 1.
const COMMITS: [usize; 2] = [1, 2];
/// How often a replica crashes in one walk, one of them with its disk; how often packs are collected, and how often a lease
/// ends whose upload goes on.
const CRASH_COUNT_MAX: u8 = 2;
const COLLECTION_COUNT_MAX: u8 = 2;
const LEASE_END_COUNT_MAX: u8 = 2;
/// More states than there are, so that a mistake in the model ends.
const STATE_COUNT_MAX: usize = 5_000_000;

/// In which order a push is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The pack into etcd, under a lease; the compare-and-swap, which needs the lease as well; the own git; the answer.
    Ours,
    /// The answer comes as soon as the own git has moved, the swap after it.
    AnswerFirst,
    /// The own reference moves before the swap.
    ReferenceFirst,
    /// The swap comes before the pack.
    SwapFirst,
    /// The swap does not compare.
    SwapBlindly,
    /// The swap does not ask whether the lease is still there.
    SwapWithoutLease,
    /// The collector does not ask whether the label is still where it was.
    CollectUnseen,
    /// The collector does not ask whether somebody is uploading.
    CollectUploads,
    /// What failed after the swap is reported as refused.
    RefuseAfterSwap,
}

/// Where a push is. It is kept in the memory of its replica only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    NotBegun,
    /// In git's quarantine; nobody else sees it.
    Received,
    /// It was asked where the label is.
    Asked,
    /// There is a key with a lease that says that this is being uploaded.
    Announced,
    Stored,
    Swapped,
    Migrated,
    Moved,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Outcome {
    None,
    Acknowledged,
    Refused,
    /// The pusher was told nothing.
    Lost,
}

/// The git of one replica: what is on its disk, and what it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Git {
    objects: [bool; 3],
    tip: usize,
}

/// The collector: it looks where the label is, then takes away one pack after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Collector {
    Idle,
    Looked { tip: usize },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// What lies in etcd, and what is being uploaded there.
    objects: [bool; 3],
    uploads: [bool; 3],
    tip: usize,
    collections: u8,
    collector: Collector,
    lease_ends: u8,
    gits: [Git; 2],
    phases: [Phase; 2],
    outcomes: [Outcome; 2],
    crashes: u8,
    disks_lost: u8,
    /// What etcd has ever said the label is at, the newest last.
    history: Vec<usize>,
}

impl World {
    fn new() -> Self {
        let git = Git { objects: [true, false, false], tip: BASE };
        Self {
            objects: [true, false, false],
            uploads: [false; 3],
            tip: BASE,
            collections: 0,
            collector: Collector::Idle,
            lease_ends: 0,
            gits: [git; 2],
            phases: [Phase::NotBegun; 2],
            outcomes: [Outcome::None; 2],
            crashes: 0,
            disks_lost: 0,
            history: vec![BASE],
        }
    }

    /// All that can happen next.
    fn next(&self, order: Order) -> Vec<Self> {
        let mut next = Vec::new();
        for at in 0..2 {
            next.extend(self.push(at, order));
            next.extend(self.follow(at));
            next.extend(self.crash(at, order));
            next.extend(self.end_lease(at));
        }
        next.extend(self.collect(order));
        next
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Option<Self> {
        let mut world = self.clone();
        change(&mut world);
        Some(world)
    }

    fn push(&self, at: usize, order: Order) -> Option<Self> {
        let ask = |world: &mut Self| {
            if world.tip == BASE {
                world.phases[at] = Phase::Asked;
            } else {
                world.end(at, Outcome::Refused);
            }
        };
        match (self.phases[at], order) {
            (Phase::NotBegun, _) if self.gits[at].tip == BASE => {
                self.with(|world| world.phases[at] = Phase::Received)
            }
            (Phase::NotBegun, _) => self.with(|world| world.end(at, Outcome::Refused)),
            (Phase::Received, _) => self.with(ask),
            (Phase::Asked, Order::SwapFirst) => self.with(|world| world.swap(at, order)),
            (Phase::Asked, _) => self.with(|world| {
                world.uploads[COMMITS[at]] = true;
                world.phases[at] = Phase::Announced;
            }),
            (Phase::Announced, Order::ReferenceFirst | Order::AnswerFirst) => self.with(|world| {
                world.store(at);
                world.migrate(at);
                world.gits[at].tip = COMMITS[at];
                if order == Order::AnswerFirst {
                    world.outcomes[at] = Outcome::Acknowledged;
                }
            }),
            (Phase::Announced, _) => self.with(|world| world.store(at)),
            (Phase::Stored, _) => self.with(|world| world.swap(at, order)),
            (Phase::Swapped, _) => self.with(|world| {
                world.store_late(at, order);
                world.migrate(at);
                world.phases[at] = Phase::Migrated;
            }),
            (Phase::Migrated, _) => self.with(|world| {
                world.gits[at].tip = COMMITS[at];
                world.phases[at] = Phase::Moved;
            }),
            (Phase::Moved, _) => self.with(|world| world.end(at, Outcome::Acknowledged)),
            (Phase::Ended, _) => None,
        }
    }

    fn end(&mut self, at: usize, outcome: Outcome) {
        self.phases[at] = Phase::Ended;
        if self.outcomes[at] == Outcome::None {
            self.outcomes[at] = outcome;
        }
    }

    /// Nothing is written any more once the lease has ended: it is begun again.
    fn store(&mut self, at: usize) {
        if self.uploads[COMMITS[at]] {
            self.objects[COMMITS[at]] = true;
            self.phases[at] = Phase::Stored;
        } else {
            self.phases[at] = Phase::Received;
        }
    }

    fn store_late(&mut self, at: usize, order: Order) {
        if order == Order::SwapFirst {
            self.objects[COMMITS[at]] = true;
        }
    }

    fn migrate(&mut self, at: usize) {
        self.gits[at].objects[COMMITS[at]] = true;
    }

    /// The compare-and-swap: one step of etcd, whole or not at all.
    fn swap(&mut self, at: usize, order: Order) {
        let asks_for_lease = !matches!(order, Order::SwapWithoutLease | Order::SwapFirst);
        if self.tip != BASE && order != Order::SwapBlindly {
            self.end(at, Outcome::Refused);
        } else if asks_for_lease && !self.uploads[COMMITS[at]] {
            self.phases[at] = Phase::Received;
        } else {
            self.tip = COMMITS[at];
            self.uploads[COMMITS[at]] = false;
            self.history.push(COMMITS[at]);
            self.phases[at] = Phase::Swapped;
        }
    }

    /// A lease ends: that of a push that is over, sooner or later; that of one that goes on, too, if it is slow.
    fn end_lease(&self, at: usize) -> Option<Self> {
        let is_over = self.phases[at] == Phase::Ended;
        let may_end = is_over || self.lease_ends < LEASE_END_COUNT_MAX;
        (self.uploads[COMMITS[at]] && may_end).then(|| {
            self.with(|world| {
                world.uploads[COMMITS[at]] = false;
                world.lease_ends += u8::from(!is_over);
            })
        })?
    }

    /// What a replica does with what etcd says, also after a restart: objects first, then the reference. While it has a push
    /// under way that was let through, the push does it.
    fn follow(&self, at: usize) -> Option<Self> {
        let is_busy = matches!(self.phases[at], Phase::Swapped | Phase::Migrated | Phase::Moved);
        if is_busy || self.gits[at].tip == self.tip {
            return None;
        }
        self.with(|world| {
            let tip = world.tip;
            match world.gits[at].objects[tip] {
                true => world.gits[at].tip = tip,
                false => world.gits[at].objects[tip] = world.objects[tip],
            }
        })
        .filter(|world| world != self)
    }

    /// The replica is gone and comes back: with its disk, or with an empty one.
    fn crash(&self, at: usize, order: Order) -> Vec<Self> {
        if self.crashes == CRASH_COUNT_MAX {
            return Vec::new();
        }
        let crashed = self.with(|world| {
            world.crashes += 1;
            let was_swapped = matches!(world.phases[at], Phase::Swapped | Phase::Migrated);
            let outcome = match order == Order::RefuseAfterSwap && was_swapped {
                true => Outcome::Refused,
                false => Outcome::Lost,
            };
            if world.phases[at] != Phase::NotBegun {
                world.end(at, outcome);
            }
        });
        let wiped = crashed.clone().filter(|_| self.disks_lost == 0).map(|mut world| {
            world.disks_lost += 1;
            world.gits[at] = Git { objects: [true, false, false], tip: BASE };
            world
        });
        crashed.into_iter().chain(wiped).collect()
    }

    fn collect(&self, order: Order) -> Vec<Self> {
        let step = match self.collector {
            Collector::Idle if self.collections == COLLECTION_COUNT_MAX => None,
            Collector::Idle => self.with(|world| {
                world.collections += 1;
                world.collector = Collector::Looked { tip: world.tip };
            }),
            Collector::Looked { tip } => {
                let taken = COMMITS.into_iter().filter_map(|id| self.take_away(tip, id, order));
                return taken.chain(self.with(|world| world.collector = Collector::Idle)).collect();
            }
        };
        step.into_iter().collect()
    }

    /// One step of etcd: a pack goes that was not named where the label was, if it is still there and nobody uploads it.
    fn take_away(&self, tip: usize, id: usize, order: Order) -> Option<Self> {
        let is_unseen = self.tip != tip && order != Order::CollectUnseen;
        let is_uploaded = self.uploads[id] && order != Order::CollectUploads;
        let is_named = id == tip;
        (self.objects[id] && !is_named && !is_unseen && !is_uploaded)
            .then(|| self.with(|world| world.objects[id] = false))?
    }

    /// What is wrong with this state, whatever comes next.
    fn fault(&self) -> Option<&'static str> {
        let winners = COMMITS.iter().filter(|id| self.history.contains(id)).count();
        if winners > 1 {
            return Some("both pushes won");
        }
        if self.history.iter().any(|id| !self.objects[*id]) {
            return Some("what etcd leads to is not in etcd");
        }
        if self.gits.iter().any(|git| !self.history.contains(&git.tip)) {
            return Some("a replica serves what is not in etcd");
        }
        for (at, outcome) in self.outcomes.iter().enumerate() {
            let is_in = self.history.contains(&COMMITS[at]);
            if *outcome == Outcome::Acknowledged && !is_in {
                return Some("an acknowledged push is not in etcd");
            }
            if *outcome == Outcome::Refused && is_in {
                return Some("a refused push is in etcd");
            }
        }
        (!self.recovers()).then_some("a replica never gets there")
    }

    /// Whether both replicas are where etcd is, once nobody pushes or crashes any more.
    fn recovers(&self) -> bool {
        let mut world = self.clone();
        for at in 0..2 {
            world.phases[at] = Phase::Ended;
            while let Some(next) = world.follow(at) {
                world = next;
            }
        }
        world.gits.iter().all(|git| git.tip == world.tip && git.objects[git.tip])
    }
}

/// Walks through all states. What is wrong, or how many states there are and how often each push won.
fn walk(order: Order) -> Result<(usize, [usize; 2]), &'static str> {
    let mut seen = HashSet::from([World::new()]);
    let mut open = VecDeque::from([World::new()]);
    let mut wins = [0, 0];
    while let Some(world) = open.pop_front() {
        assert!(seen.len() < STATE_COUNT_MAX);
        if let Some(fault) = world.fault() {
            return Err(fault);
        }
        let next = world.next(order);
        let is_over = world.phases == [Phase::Ended; 2];
        if is_over && world.crashes == 0 {
            let acknowledged = |at: usize| world.outcomes[at] == Outcome::Acknowledged;
            assert_ne!(acknowledged(0), acknowledged(1), "nobody crashed: {world:?}");
            wins[usize::from(acknowledged(1))] += 1;
        }
        for world in next {
            if seen.insert(world.clone()) {
                open.push_back(world);
            }
        }
    }
    Ok((seen.len(), wins))
}

#[test]
fn a_push_in_our_order_is_whole_or_absent_whatever_crashes() {
    let (state_count, wins) = walk(Order::Ours).unwrap();
    println!("{state_count} states; the first push won in {}, the second in {}", wins[0], wins[1]);
    assert!(state_count > 10_000 && wins.iter().all(|count| *count > 0));
}

#[test]
fn orders_that_look_as_good_are_found_out() {
    for (order, fault) in [
        (Order::AnswerFirst, "a replica serves what is not in etcd"),
        (Order::ReferenceFirst, "a replica serves what is not in etcd"),
        (Order::SwapFirst, "what etcd leads to is not in etcd"),
        (Order::SwapBlindly, "both pushes won"),
        (Order::SwapWithoutLease, "what etcd leads to is not in etcd"),
        (Order::CollectUnseen, "what etcd leads to is not in etcd"),
        (Order::CollectUploads, "what etcd leads to is not in etcd"),
        (Order::RefuseAfterSwap, "a refused push is in etcd"),
    ] {
        assert_eq!(walk(order).map(drop), Err(fault), "{order:?}");
    }
}
