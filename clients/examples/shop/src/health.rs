//! The health endpoint: the readiness of the service and the state of its configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix_web::{HttpResponse, rt, web};
use headwater_client::{HealthState, Live};
use serde::Serialize;

/// The health of a service, evaluated for each request.
pub struct Health {
    evaluate: Box<dyn Fn() -> Configuration + Send + Sync>,
    is_draining: AtomicBool,
}

#[derive(Serialize)]
struct Report {
    status: &'static str,
    configuration: Configuration,
}

#[derive(Serialize)]
struct Configuration {
    /// `live` when a server confirms the configuration, `stale` while none does, `disconnected` before the first answer.
    state: &'static str,
    /// The revision in use.
    revision: Option<String>,
    /// The number of applied changes since the start.
    change_count: u64,
    /// The reason for which the newest configuration was rejected.
    rejection: Option<String>,
}

impl Health {
    /// Creates the health of a configuration and counts its changes. Call it in the runtime of the service.
    pub fn new<T: Send + Sync + 'static>(live: &Live<T>) -> Health {
        let (live, mut changing) = (live.clone(), live.clone());
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        rt::spawn(async move {
            while changing.changed().await.is_some() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let evaluate = Box::new(move || evaluate(&live, count.load(Ordering::Relaxed)));
        Health { evaluate, is_draining: AtomicBool::new(false) }
    }

    /// Reports `OUT_OF_SERVICE` from now on.
    pub(crate) fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }
}

fn evaluate<T>(live: &Live<T>, change_count: u64) -> Configuration {
    let state = match live.health().state() {
        HealthState::Live => "live",
        HealthState::Stale { .. } => "stale",
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
    let configuration = (health.evaluate)();
    // A stale or rejected configuration does not make the service unhealthy: it works with the former one.
    if health.is_draining.load(Ordering::Relaxed) {
        return HttpResponse::ServiceUnavailable()
            .json(Report { status: "OUT_OF_SERVICE", configuration });
    }
    HttpResponse::Ok().json(Report { status: "UP", configuration })
}
