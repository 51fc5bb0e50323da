//! A service that keeps its configuration as its own type while it changes. Start `headwater serve` and this example,
//! `cargo run -p headwater-client --example live`, and change the `catalogue` in `config-repo/product.yml`.

use headwater_client::Client;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Catalogue {
    page_size: u32,
    discount_percent: u32,
}

fn validate(catalogue: &Catalogue) -> Result<(), &'static str> {
    if catalogue.discount_percent > 100 { Err("the discount exceeds 100 %") } else { Ok(()) }
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
