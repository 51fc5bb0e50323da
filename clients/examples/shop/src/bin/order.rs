//! The orders of the shop.
//!
//! `POST /` places an order, `GET /{number}` returns it, `GET /health` returns the state of the service and of its
//! configuration.

use std::error::Error;

use actix_web::web::{Data, Json, Path, ServiceConfig};
use actix_web::{HttpResponse, error};
use headwater_client::Live;
use headwater_shop::{
    Database, DatabaseError, Health, Login, configured, failed, serve, start_logging,
};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

/// Orders are written one after the other, and read beside that.
const POOL_SIZE: usize = 4;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS purchase (number BIGINT PRIMARY KEY, customer TEXT NOT NULL, deliver TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS line (number BIGINT NOT NULL REFERENCES purchase, product BIGINT NOT NULL,
        quantity BIGINT NOT NULL, cents BIGINT NOT NULL);
    CREATE INDEX IF NOT EXISTS line_number ON line (number);";

/// The settings of the service. The port is read at start, all others whenever they change.
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
    database_username: String,
    database_password: String,
    number_prefix: String,
    first_number: i64,
    deliver: Vec<String>,
    limits: Limits,
}

impl OrderSettings {
    fn login(&self) -> Login {
        Login {
            url: self.database_url.clone(),
            username: self.database_username.clone(),
            password: self.database_password.clone(),
        }
    }
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
    async fn place(&self, database: &Database, first_number: i64) -> Result<i64, DatabaseError> {
        let mut connection = database.connection().await?;
        let transaction = connection.transaction().await?;
        // Orders are numbered one after the other. Readers do not wait.
        transaction.batch_execute("LOCK TABLE purchase IN EXCLUSIVE MODE").await?;
        let insert = "INSERT INTO purchase
            SELECT greatest(coalesce(max(number) + 1, 0), $1), $2, $3 FROM purchase RETURNING number";
        let (customer, deliver) = (&self.customer, &self.deliver);
        let row = transaction.query_one(insert, &[&first_number, customer, deliver]).await?;
        let number: i64 = row.try_get(0)?;
        for Line { product, quantity, cents } in &self.lines {
            let (quantity, cents) = (i64::from(*quantity), i64::from(*cents));
            let insert = "INSERT INTO line VALUES ($1, $2, $3, $4)";
            transaction.execute(insert, &[&number, product, &quantity, &cents]).await?;
        }
        transaction.commit().await?;
        Ok(number)
    }

    async fn find(database: &Database, number: i64) -> Result<Option<Order>, DatabaseError> {
        let connection = database.connection().await?;
        let select = "SELECT customer, deliver FROM purchase WHERE number = $1";
        let Some(found) = connection.query_opt(select, &[&number]).await? else { return Ok(None) };
        let select = "SELECT product, quantity, cents FROM line WHERE number = $1";
        let lines = connection.query(select, &[&number]).await?;
        let lines = lines.iter().map(Line::read).collect::<Result<_, _>>()?;
        Ok(Some(Order { customer: found.try_get(0)?, deliver: found.try_get(1)?, lines }))
    }
}

impl Line {
    fn read(row: &Row) -> Result<Line, tokio_postgres::Error> {
        // The table contains what the type of an order allows.
        let (quantity, cents): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        Ok(Line { product: row.try_get(0)?, quantity: quantity as u32, cents: cents as u32 })
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
    let number = order.place(&database, first_number).await.map_err(failed)?;
    let number = format!("{}{number}", settings.order.number_prefix);
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
    let order = Order::find(&database, number).await.map_err(failed)?;
    Ok(Json(order.ok_or_else(unknown)?))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    start_logging();
    let settings = configured(validate).await?;
    let first = settings.current();
    let login = first.order.login();
    let database = Data::new(Database::open(&login, POOL_SIZE, SCHEMA).await?);
    database.follow(&settings, |settings| settings.order.login(), login);
    let health = Health::new(&settings);
    let settings = Data::new(settings);
    let routes = move |service: &mut ServiceConfig| {
        service.app_data(settings.clone()).app_data(database.clone());
        service.service(place).service(show);
    };
    serve(first.server.port, health, routes).await?;
    Ok(())
}
