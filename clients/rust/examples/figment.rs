//! A program that already uses figment adds the configuration of a server in one line:
//! `cargo run -p headwater-client --features figment --example figment`.

use figment::Figment;
use figment::providers::Serialized;
use headwater_client::Client;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Settings {
    log_level: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let configuration = Client::from_env().application("product").connect_blocking()?;
    let figment = Figment::from(Serialized::default("log_level", "info")).merge(configuration);
    let settings: Settings = figment.extract()?;
    eprintln!("logging at {}", settings.log_level);
    Ok(())
}
