//! A small web service that has its whole configuration before it listens:
//! `HEADWATER_URL=http://localhost:8888 cargo run -p headwater-client --example actix_service`,
//! then `curl http://127.0.0.1:8080/` and `curl http://127.0.0.1:8080/health`.

use actix_web::{App, HttpResponse, HttpServer, Responder, get, web};
use headwater_client::{Client, Configuration};
use serde::Deserialize;

/// What the service wants to know. Everything has a default, so that it runs with any configuration.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Server {
    address: String,
    port: u16,
}

impl Default for Server {
    fn default() -> Server {
        Server { address: "127.0.0.1".into(), port: 8080 }
    }
}

#[get("/")]
async fn index(configuration: web::Data<Configuration>) -> impl Responder {
    format!("configured by revision {}\n", configuration.revision().unwrap_or("unknown"))
}

/// A stale configuration is worth a word, but no reason to take the service away.
#[get("/health")]
async fn health(configuration: web::Data<Configuration>) -> impl Responder {
    let configuration_state = if configuration.is_stale() { "stale" } else { "fresh" };
    HttpResponse::Ok()
        .json(serde_json::json!({ "status": "UP", "configuration": configuration_state }))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let configuration = Client::from_env()
        .application("product")
        .last_known_good(std::env::temp_dir().join("product-headwater"))
        .connect()
        .await?;
    let server: Server = configuration.get_at("server")?;

    let shared = web::Data::new(configuration);
    HttpServer::new(move || App::new().app_data(shared.clone()).service(index).service(health))
        .bind((server.address, server.port))?
        .run()
        .await?;
    Ok(())
}
