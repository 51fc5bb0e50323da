//! A service whose configuration is its own type and changes while it runs. Start `headwater serve`, then this with
//! `cargo run -p headwater-client --example live`, and change the `catalogue` in `config-repo/product.yml`.

use headwater_client::Client;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Catalogue {
    page_size: u32,
    discount_percent: u32,
}

fn validate(catalogue: &Catalogue) -> Result<(), &'static str> {
    if catalogue.discount_percent > 100 { Err("nobody is paid for buying") } else { Ok(()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), headwater_client::Error> {
    let client = Client::from_env().application("product").build()?;
    let mut catalogue = client.live_with(validate).at("catalogue").await?;
    loop {
        let Catalogue { page_size, discount_percent } = &*catalogue.current();
        eprintln!("{page_size} books on a page, {discount_percent} % off");
        if catalogue.changed().await.is_none() {
            return Ok(());
        }
    }
}
