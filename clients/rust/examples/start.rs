//! The service of `docs/start.md`, which describes how to start and change it.
#![expect(clippy::print_stdout, reason = "the example prints its configuration")]

#[derive(serde::Deserialize)]
struct Catalogue {
    discount_percent: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), headwater_client::Error> {
    let client = headwater_client::Client::from_env().application("product").build()?;
    let mut catalogue = client.live::<Catalogue>().at("catalogue").await?;
    println!("{} % off", catalogue.current().discount_percent);
    while let Some(catalogue) = catalogue.changed().await {
        println!("{} % off from now on", catalogue.discount_percent);
    }
    Ok(())
}
