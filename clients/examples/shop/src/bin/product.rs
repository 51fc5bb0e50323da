//! The products of the shop and what they cost today.
//!
//! `GET /` lists them, `GET /{id}` shows one, `GET /health` says how the service and its configuration are.

use std::error::Error;

use actix_web::error;
use actix_web::web::{Data, Json, Path, ServiceConfig, block};
use headwater_client::Live;
use headwater_shop::{Database, Health, configured, failed, serve, start_logging};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS product (id INTEGER PRIMARY KEY, title TEXT NOT NULL, cents INTEGER NOT NULL);
    INSERT OR IGNORE INTO product VALUES
        (17, 'The Sea, the Sea', 1200), (23, 'Invisible Cities', 1100), (42, 'Mount Analogue', 1500),
        (51, 'The Summer Book', 900), (64, 'A Month in the Country', 1000), (79, 'The Periodic Table', 1300);";

/// What the service is configured with. Port and database count when it starts, the rest whenever it changes.
#[derive(Deserialize)]
struct Settings {
    server: Server,
    database: DatabaseSettings,
    shop: Shop,
    catalogue: Catalogue,
}

#[derive(Deserialize)]
struct Server {
    port: u16,
}

#[derive(Deserialize)]
struct DatabaseSettings {
    url: String,
    pool_size: usize,
}

#[derive(Deserialize)]
struct Shop {
    currency: String,
}

#[derive(Deserialize)]
struct Catalogue {
    page_size: u32,
    discount_percent: u32,
}

/// What no type says. Settings that do not pass are not taken, and the service goes on with those of before.
fn validate(settings: &Settings) -> Result<(), String> {
    match settings.catalogue.discount_percent {
        0..=100 => Ok(()),
        percent => {
            Err(format!("nobody is paid for buying: catalogue.discount-percent is {percent}"))
        }
    }
}

#[derive(Serialize)]
struct Page {
    discount_percent: u32,
    currency: String,
    products: Vec<Product>,
}

#[derive(Serialize)]
struct Product {
    id: i64,
    title: String,
    cents: i64,
}

impl Product {
    fn read(row: &Row<'_>) -> rusqlite::Result<Product> {
        Ok(Product { id: row.get(0)?, title: row.get(1)?, cents: row.get(2)? })
    }

    fn at(mut self, discount_percent: u32) -> Product {
        self.cents = self.cents * (100 - i64::from(discount_percent)) / 100;
        self
    }
}

#[actix_web::get("/")]
async fn list(
    settings: Data<Live<Settings>>,
    database: Data<Database>,
) -> actix_web::Result<Json<Page>> {
    // One look at the settings for all of the answer: they may change meanwhile.
    let settings = settings.current();
    let Catalogue { page_size, discount_percent } = settings.catalogue;
    let products = block(move || {
        database.with(|database| {
            let mut select = database
                .prepare_cached("SELECT id, title, cents FROM product ORDER BY id LIMIT ?1")?;
            select.query_map([page_size], Product::read)?.collect::<rusqlite::Result<Vec<_>>>()
        })
    });
    let products = products.await?.map_err(failed)?;
    let products = products.into_iter().map(|product| product.at(discount_percent)).collect();
    Ok(Json(Page { discount_percent, currency: settings.shop.currency.clone(), products }))
}

#[actix_web::get("/{id}")]
async fn show(
    id: Path<i64>,
    settings: Data<Live<Settings>>,
    database: Data<Database>,
) -> actix_web::Result<Json<Product>> {
    let product = block(move || {
        database.with(|database| {
            let mut select =
                database.prepare_cached("SELECT id, title, cents FROM product WHERE id = ?1")?;
            select.query_row([*id], Product::read).optional()
        })
    });
    let product = product.await?.map_err(failed)?;
    let product = product.ok_or_else(|| error::ErrorNotFound("no such product"))?;
    Ok(Json(product.at(settings.current().catalogue.discount_percent)))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    start_logging();
    let settings = configured(validate).await?;
    let first = settings.current();
    let DatabaseSettings { url, pool_size } = &first.database;
    let database = Data::new(Database::open(url, *pool_size, SCHEMA)?);
    let health = Health::of(&settings);
    let settings = Data::new(settings);
    let routes = move |service: &mut ServiceConfig| {
        service.app_data(settings.clone()).app_data(database.clone());
        service.service(list).service(show);
    };
    serve(first.server.port, health, routes).await?;
    Ok(())
}
