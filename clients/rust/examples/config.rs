//! A program that already uses config adds the configuration of a server in one line:
//! `cargo run -p headwater-client --features config --example config`.

use config::Config;
use headwater_client::Client;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Settings {
    log_level: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let configuration = Client::from_env().application("product").connect_blocking()?;
    let config = Config::builder().set_default("log_level", "info")?.add_source(configuration);
    let settings: Settings = config.build()?.try_deserialize()?;
    eprintln!("logging at {}", settings.log_level);
    Ok(())
}
