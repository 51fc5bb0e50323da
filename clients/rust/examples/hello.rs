//! The shortest service: `HEADWATER_URL=http://localhost:8888 cargo run -p headwater-client --example hello`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), headwater_client::Error> {
    let configuration =
        headwater_client::Client::from_env().application("product").connect().await?;
    for property in configuration.properties() {
        eprintln!("{} is set by {}", property.key(), property.source());
    }
    Ok(())
}
