//! A small web service that reads its configuration before it listens, and follows changes while it runs:
//! `HEADWATER_URL=http://localhost:8888 cargo run -p headwater-client --example actix_service`,
//! then `curl http://127.0.0.1:8080/` and `curl http://127.0.0.1:8080/health`.

use actix_web::{App, HttpResponse, HttpServer, Responder, get, web};
use headwater_client::{Client, HealthState, Live};
use serde::Deserialize;

/// The settings of the service. Every setting has a default, so that the service runs with any configuration.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Settings {
    server: Server,
    greeting: String,
}

/// The address of the service, which is read at start only.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Server {
    address: String,
    port: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { server: Server::default(), greeting: "hello".into() }
    }
}

impl Default for Server {
    fn default() -> Server {
        Server { address: "127.0.0.1".into(), port: 8080 }
    }
}

/// Returns the present greeting.
#[get("/")]
async fn index(settings: web::Data<Live<Settings>>) -> impl Responder {
    format!("{}\n", settings.current().greeting)
}

/// Reports the state of the configuration. A stale one does not make the service unhealthy.
#[get("/health")]
async fn health(settings: web::Data<Live<Settings>>) -> impl Responder {
    let state = match settings.health().state() {
        HealthState::Live => "live",
        _ => "stale",
    };
    let rejected = settings.rejection().map(|rejection| rejection.error.to_string());
    HttpResponse::Ok().json(serde_json::json!({
        "status": "UP", "configuration": state, "rejected": rejected,
    }))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Client::from_env()
        .application("product")
        .last_known_good(std::env::temp_dir().join("product-headwater"))
        .live::<Settings>()
        .await?;
    let address = (settings.current().server.address.clone(), settings.current().server.port);

    let shared = web::Data::new(settings);
    let server =
        HttpServer::new(move || App::new().app_data(shared.clone()).service(index).service(health));
    let server = server.bind(address)?;
    eprintln!("listening on {:?}", server.addrs());
    server.run().await?;
    Ok(())
}
