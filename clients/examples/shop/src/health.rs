//! What `/health` says: whether the service wants to be asked, and how its configuration is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix_web::{HttpResponse, rt, web};
use headwater_client::{Live, State};
use serde::Serialize;

/// Looks at the configuration of a service when it is asked.
pub struct Health {
    look: Box<dyn Fn() -> Configuration + Send + Sync>,
    is_leaving: AtomicBool,
}

#[derive(Serialize)]
struct Report {
    status: &'static str,
    configuration: Configuration,
}

#[derive(Serialize)]
struct Configuration {
    /// `live`: a server says that it is the newest; `stale`: none does, for now; `disconnected`: none ever did.
    state: &'static str,
    /// Of what the service runs with.
    revision: Option<String>,
    /// Changes that were taken since the start.
    change_count: u64,
    /// Why the newest is not taken, if it is not.
    rejection: Option<String>,
}

impl Health {
    /// Watches a configuration, to count its changes. Call it in the runtime of the service.
    pub fn of<T: Send + Sync + 'static>(live: &Live<T>) -> Health {
        let (live, mut changing) = (live.clone(), live.clone());
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        rt::spawn(async move {
            while changing.changed().await.is_some() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let look = Box::new(move || look(&live, count.load(Ordering::Relaxed)));
        Health { look, is_leaving: AtomicBool::new(false) }
    }

    /// From now on the service does not want to be asked.
    pub(crate) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }
}

fn look<T>(live: &Live<T>, change_count: u64) -> Configuration {
    let state = match live.health().state() {
        State::Live => "live",
        State::Stale { .. } => "stale",
        _ => "disconnected",
    };
    Configuration {
        state,
        revision: live.configuration().revision().map(str::to_owned),
        change_count,
        rejection: live.rejection().map(|rejection| rejection.error.to_string()),
    }
}

/// Answers `GET /health`.
pub(crate) async fn show_health(health: web::Data<Health>) -> HttpResponse {
    let configuration = (health.look)();
    // Neither a stale configuration nor a rejected one is a reason to take the service away: it works with what it had.
    match health.is_leaving.load(Ordering::Relaxed) {
        false => HttpResponse::Ok().json(Report { status: "UP", configuration }),
        true => HttpResponse::ServiceUnavailable()
            .json(Report { status: "OUT_OF_SERVICE", configuration }),
    }
}
