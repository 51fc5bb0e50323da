//! The orders of the shop.
//!
//! `POST /` places an order, `GET /{number}` returns it, `GET /health` returns the state of the service and of its
//! configuration.

use std::error::Error;

use actix_web::web::{Data, Json, Path, ServiceConfig, block};
use actix_web::{HttpResponse, error};
use headwater_client::Live;
use headwater_shop::{Database, Health, configured, failed, serve, start_logging};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

/// One connection, because orders are written one after the other.
const POOL_SIZE: usize = 1;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS purchase (number INTEGER PRIMARY KEY, customer TEXT NOT NULL, deliver TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS line (number INTEGER NOT NULL REFERENCES purchase, product INTEGER NOT NULL,
        quantity INTEGER NOT NULL, cents INTEGER NOT NULL);
    CREATE INDEX IF NOT EXISTS line_number ON line (number);";

/// The settings of the service. Port and database are read at start, all others whenever they change.
#[derive(Deserialize)]
struct Settings {
    server: Server,
    order: OrderSettings,
}

#[derive(Deserialize)]
struct Server {
    port: u16,
}

#[derive(Deserialize)]
struct OrderSettings {
    database_url: String,
    number_prefix: String,
    first_number: i64,
    deliver: Vec<String>,
    limits: Limits,
}

#[derive(Deserialize)]
struct Limits {
    items: u64,
    /// The largest value of an order, in whole units of the currency.
    value: f64,
}

/// Validates what the types cannot express. The service rejects an invalid configuration and keeps the former one.
fn validate(settings: &Settings) -> Result<(), String> {
    if settings.order.deliver.is_empty() {
        return Err("order.deliver must name at least one way of delivery".to_owned());
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Order {
    customer: String,
    deliver: String,
    lines: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    product: i64,
    quantity: u32,
    cents: u32,
}

#[derive(Serialize)]
struct Placed {
    number: String,
}

impl Order {
    /// Returns the reason for which the shop rejects the order with its present settings.
    fn rejection(&self, settings: &OrderSettings) -> Option<&'static str> {
        let items: u64 = self.lines.iter().map(|line| u64::from(line.quantity)).sum();
        let cents = |line: &Line| u64::from(line.quantity) * u64::from(line.cents);
        let cents: u64 = self.lines.iter().map(cents).sum();
        if items == 0 {
            Some("the order is empty")
        } else if !settings.deliver.contains(&self.deliver) {
            Some("unknown way of delivery")
        } else if items > settings.limits.items {
            Some("the order has too many items")
        } else if cents as f64 > settings.limits.value * 100.0 {
            Some("the value of the order is too high")
        } else {
            None
        }
    }

    /// Stores the order under the next number and returns the number.
    fn place(&self, database: &mut Connection, first_number: i64) -> rusqlite::Result<i64> {
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let number = transaction.query_row(
            "INSERT INTO purchase SELECT max(coalesce(max(number) + 1, 0), ?1), ?2, ?3 FROM purchase RETURNING number",
            params![first_number, self.customer, self.deliver],
            |row| row.get(0),
        )?;
        for line in &self.lines {
            transaction.execute(
                "INSERT INTO line VALUES (?1, ?2, ?3, ?4)",
                params![number, line.product, line.quantity, line.cents],
            )?;
        }
        transaction.commit()?;
        Ok(number)
    }

    fn find(database: &Connection, number: i64) -> rusqlite::Result<Option<Order>> {
        let found = database.query_row(
            "SELECT customer, deliver FROM purchase WHERE number = ?1",
            [number],
            |row| Ok(Order { customer: row.get(0)?, deliver: row.get(1)?, lines: Vec::new() }),
        );
        let Some(mut order) = found.optional()? else { return Ok(None) };
        let mut select = database
            .prepare_cached("SELECT product, quantity, cents FROM line WHERE number = ?1")?;
        let lines = select.query_map([number], |row| {
            Ok(Line { product: row.get(0)?, quantity: row.get(1)?, cents: row.get(2)? })
        })?;
        order.lines = lines.collect::<rusqlite::Result<_>>()?;
        Ok(Some(order))
    }
}

#[actix_web::post("/")]
async fn place(
    order: Json<Order>,
    settings: Data<Live<Settings>>,
    database: Data<Database>,
) -> actix_web::Result<HttpResponse> {
    // Reads the settings once, because they may change while the request is answered.
    let settings = settings.current();
    if let Some(reason) = order.rejection(&settings.order) {
        return Err(error::ErrorUnprocessableEntity(reason));
    }
    let first_number = settings.order.first_number;
    let number =
        block(move || database.with(|database| order.place(database, first_number))).await?;
    let number = format!("{}{}", settings.order.number_prefix, number.map_err(failed)?);
    Ok(HttpResponse::Created().json(Placed { number }))
}

#[actix_web::get("/{number}")]
async fn show(
    number: Path<String>,
    settings: Data<Live<Settings>>,
    database: Data<Database>,
) -> actix_web::Result<Json<Order>> {
    let unknown = || error::ErrorNotFound("no such order");
    let settings = settings.current();
    let number = number.strip_prefix(settings.order.number_prefix.as_str());
    let number: i64 = number.and_then(|number| number.parse().ok()).ok_or_else(unknown)?;
    let order = block(move || database.with(|database| Order::find(database, number))).await?;
    Ok(Json(order.map_err(failed)?.ok_or_else(unknown)?))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    start_logging();
    let settings = configured(validate).await?;
    let first = settings.current();
    let database = Data::new(Database::open(&first.order.database_url, POOL_SIZE, SCHEMA)?);
    let health = Health::new(&settings);
    let settings = Data::new(settings);
    let routes = move |service: &mut ServiceConfig| {
        service.app_data(settings.clone()).app_data(database.clone());
        service.service(place).service(show);
    };
    serve(first.server.port, health, routes).await?;
    Ok(())
}
