//! The products of the shop and their prices.
//!
//! `GET /` lists the products, `GET /{id}` returns one, `GET /health` returns the state of the service and of its
//! configuration.

use std::error::Error;

use actix_web::error;
use actix_web::web::{Data, Json, Path, ServiceConfig};
use headwater_client::Live;
use headwater_shop::{
    Database, DatabaseError, Health, Login, configured, failed, serve, start_logging,
};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS product (id BIGINT PRIMARY KEY, title TEXT NOT NULL, cents BIGINT NOT NULL);
    INSERT INTO product VALUES
        (17, 'The Sea, the Sea', 1200), (23, 'Invisible Cities', 1100), (42, 'Mount Analogue', 1500),
        (51, 'The Summer Book', 900), (64, 'A Month in the Country', 1000), (79, 'The Periodic Table', 1300)
        ON CONFLICT DO NOTHING;";

/// The settings of the service. The port and the size of the pool are read at start, all others whenever they change.
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
    username: String,
    password: String,
    pool_size: usize,
}

impl DatabaseSettings {
    fn login(&self) -> Login {
        Login {
            url: self.url.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
        }
    }
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

/// Validates what the types cannot express. The service rejects an invalid configuration and keeps the former one.
fn validate(settings: &Settings) -> Result<(), String> {
    match settings.catalogue.discount_percent {
        0..=100 => Ok(()),
        percent => Err(format!("catalogue.discount-percent is {percent}, expected at most 100")),
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
    fn read(row: &Row) -> Result<Product, tokio_postgres::Error> {
        Ok(Product { id: row.try_get(0)?, title: row.try_get(1)?, cents: row.try_get(2)? })
    }

    async fn find(database: &Database, id: i64) -> Result<Option<Product>, DatabaseError> {
        let select = "SELECT id, title, cents FROM product WHERE id = $1";
        let found = database.connection().await?.query_opt(select, &[&id]).await?;
        Ok(found.as_ref().map(Product::read).transpose()?)
    }

    async fn first(database: &Database, count: u32) -> Result<Vec<Product>, DatabaseError> {
        let select = "SELECT id, title, cents FROM product ORDER BY id LIMIT $1";
        let found = database.connection().await?.query(select, &[&i64::from(count)]).await?;
        Ok(found.iter().map(Product::read).collect::<Result<_, _>>()?)
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
    // Reads the settings once, because they may change while the request is answered.
    let settings = settings.current();
    let Catalogue { page_size, discount_percent } = settings.catalogue;
    let products = Product::first(&database, page_size).await.map_err(failed)?;
    let products = products.into_iter().map(|product| product.at(discount_percent)).collect();
    Ok(Json(Page { discount_percent, currency: settings.shop.currency.clone(), products }))
}

#[actix_web::get("/{id}")]
async fn show(
    id: Path<i64>,
    settings: Data<Live<Settings>>,
    database: Data<Database>,
) -> actix_web::Result<Json<Product>> {
    let product = Product::find(&database, *id).await.map_err(failed)?;
    let product = product.ok_or_else(|| error::ErrorNotFound("no such product"))?;
    Ok(Json(product.at(settings.current().catalogue.discount_percent)))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    start_logging();
    let settings = configured(validate).await?;
    let first = settings.current();
    let login = first.database.login();
    let database = Data::new(Database::open(&login, first.database.pool_size, SCHEMA).await?);
    database.follow(&settings, |settings| settings.database.login(), login);
    let health = Health::new(&settings);
    let settings = Data::new(settings);
    let routes = move |service: &mut ServiceConfig| {
        service.app_data(settings.clone()).app_data(database.clone());
        service.service(list).service(show);
    };
    serve(first.server.port, health, routes).await?;
    Ok(())
}
