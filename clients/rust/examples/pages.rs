//! The code fragments of the project's pages, so that they are compiled: first the README, then `docs/watching.md`.
#![allow(
    clippy::print_stdout,
    dead_code,
    reason = "the fragments print, and most of them are never called"
)]

use headwater_client::{Client, Configuration, Error, Update};

#[derive(serde::Deserialize)]
struct Orders {
    limit: u32,
}

async fn readme() -> Result<(), Error> {
    #[derive(serde::Deserialize)]
    struct Catalogue {
        discount_percent: u32,
    }

    let client = headwater_client::Client::from_env().application("product").build()?;
    let mut catalogue = client.live::<Catalogue>().at("catalogue").await?;
    println!("{} % off", catalogue.current().discount_percent); // an Arc, without a lock
    while let Some(catalogue) = catalogue.changed().await {
        println!("{} % off from now on", catalogue.discount_percent);
    }
    Ok(())
}

async fn watch() -> Result<(), Error> {
    let mut watch = Client::from_env().application("orders").build()?.watch();
    while let Some(update) = watch.next().await {
        if let Update::Configuration(configuration) = update? {
            apply(&configuration);
        }
    }
    Ok(())
}

fn apply(configuration: &Configuration) {
    println!("{:?}", configuration.revision());
}

async fn live() -> Result<(), Error> {
    let mut orders = Client::from_env().application("orders").live::<Orders>().await?;
    println!("{}", orders.current().limit);
    while let Some(orders) = orders.changed().await {
        println!("{} from now on", orders.limit);
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    readme().await
}
