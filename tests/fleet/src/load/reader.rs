//! One who reads at one replica, again and again: no answer may fail because of what was done to somebody else.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::fleet::{APPLICATION_COUNT, path};
use crate::http::Connection;
use crate::process::Stop;
use crate::record::Reads;
use crate::replica::Replica;

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// How many failures are remembered.
const FAILURE_COUNT_MAX: usize = 50;

/// Reads until it is over.
pub(crate) fn read(replica: &Replica, index: usize, begun: Instant, stop: &Stop) -> Reads {
    let mut reads = Reads { replica: index, ..Reads::default() };
    let mut connection = None;
    while !stop.is_over_after(PAUSE) {
        let was_at_fault = replica.is_at_fault();
        let asked = Instant::now();
        let application = reads.count % APPLICATION_COUNT;
        match ask(&mut connection, replica, application) {
            Ok((revision, hash)) => {
                reads.count += 1;
                let is_new = reads.revisions.last().is_none_or(|(_, last)| *last != revision);
                if is_new {
                    reads.revisions.push((begun.elapsed(), revision.clone()));
                }
                let known = *reads.bodies.entry((application, revision)).or_insert(hash);
                if known != hash {
                    fail(&mut reads, "two answers of one revision differ".to_owned());
                }
            }
            Err(error) => {
                connection = None;
                if !was_at_fault && !replica.is_at_fault() {
                    let took = asked.elapsed().as_millis();
                    let at = begun.elapsed().as_secs();
                    let name = &replica.name;
                    fail(&mut reads, format!("GET at {name}, second {at}, {took} ms: {error:#}"));
                }
            }
        }
    }
    reads
}

fn fail(reads: &mut Reads, what: String) {
    if reads.failures.len() < FAILURE_COUNT_MAX {
        reads.failures.push(what);
    }
}

/// The revision that was answered and a hash of the body.
fn ask(
    connection: &mut Option<Connection>,
    replica: &Replica,
    application: usize,
) -> Result<(String, u64)> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(replica.address())?),
    };
    let reply = open.get(&path(application))?;
    if reply.status != 200 {
        bail!("status {}: {}", reply.status, reply.body);
    }
    let revision = reply.revision().context("no revision")?.to_owned();
    if !reply.body.contains(&format!("\"version\":\"{revision}\"")) {
        bail!("the head says {revision} and the body does not");
    }
    let mut hasher = DefaultHasher::new();
    (reply.header("etag"), &reply.body).hash(&mut hasher);
    Ok((revision, hasher.finish()))
}
