//! The PostgreSQL database of a service, with credentials that change while the service runs.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix_web::rt::spawn;
use actix_web::rt::time::timeout;
use deadpool_postgres::{
    BuildError, Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
};
use headwater_client::Live;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

/// The time limit for a new connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The pause before credentials that the database has rejected are tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The advisory lock under which one instance at a time executes the schema. The number is arbitrary.
const SCHEMA_LOCK: i64 = 17;

/// The address of a database, and the role with which a service connects to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// `postgresql://HOST:PORT/DATABASE`.
    pub url: String,
    /// The login role.
    pub username: String,
    /// The password of the role.
    pub password: String,
}

/// The reason for which a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL cannot be parsed.
    #[error("the URL of the database must have the form postgresql://HOST:PORT/DATABASE")]
    Address,
    /// The settings of the pool are not valid.
    #[error("no pool of connections: {0}")]
    Pool(#[from] BuildError),
    /// There is no connection to the database.
    #[error("no connection to the database: {0}")]
    Connection(#[from] PoolError),
    /// The database has rejected a statement.
    #[error("a statement failed: {0}")]
    Statement(#[from] tokio_postgres::Error),
}

/// A pool of connections, which is replaced when the credentials change.
pub struct Database {
    pool: RwLock<Arc<Pool>>,
    pool_size: usize,
}

impl Database {
    /// Connects and executes the schema, which creates missing tables.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn open(
        login: &Login,
        pool_size: usize,
        schema: &str,
    ) -> Result<Database, DatabaseError> {
        let pool = connect(login, pool_size)?;
        // PostgreSQL executes the statements of one text in one transaction, whose end releases the lock.
        let schema = format!("SELECT pg_advisory_xact_lock({SCHEMA_LOCK}); {schema}");
        pool.get().await?.batch_execute(&schema).await?;
        Ok(Database { pool: RwLock::new(Arc::new(pool)), pool_size })
    }

    /// Returns a connection with the present credentials. Waits until one is free.
    ///
    /// # Errors
    /// [`DatabaseError::Connection`] when the database cannot be reached or rejects the credentials.
    pub async fn connection(&self) -> Result<Object, DatabaseError> {
        let mut pool = self.pool();
        loop {
            let error = match pool.get().await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            // The credentials may have been replaced since this request has read the pool.
            let newest = self.pool();
            if Arc::ptr_eq(&pool, &newest) {
                return Err(error.into());
            }
            pool = newest;
        }
    }

    /// Uses new credentials as soon as the database accepts them, without an interruption. Call it in the runtime of the
    /// service. `used` are the credentials with which the database was opened.
    pub fn follow<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        live: &Live<T>,
        login: fn(&T) -> Login,
        mut used: Login,
    ) {
        let (database, mut live) = (Arc::clone(self), live.clone());
        spawn(async move {
            loop {
                let wanted = login(&live.current());
                let is_used = wanted == used || database.try_login(&wanted).await;
                let changed = if is_used {
                    used = wanted;
                    live.changed().await
                } else {
                    let changed = timeout(RETRY_PAUSE, live.changed()).await;
                    changed.unwrap_or_else(|_| Some(live.current()))
                };
                if changed.is_none() {
                    return;
                }
            }
        });
    }

    /// Returns whether the database accepts the credentials. They are then in use.
    async fn try_login(&self, login: &Login) -> bool {
        let username = &login.username;
        match self.replace_pool(login).await {
            Ok(()) => tracing::info!(username, "new credentials of the database are in use"),
            Err(ref error) => {
                tracing::warn!(%error, username, "new credentials of the database failed, the former ones stay in use");
                return false;
            }
        }
        true
    }

    /// Replaces the pool after a connection with the new credentials. The former pool closes its idle connections at once,
    /// and each other one when its request is answered.
    async fn replace_pool(&self, login: &Login) -> Result<(), DatabaseError> {
        let pool = connect(login, self.pool_size)?;
        drop(pool.get().await?);
        *self.pool.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pool);
        Ok(())
    }

    fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pool.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Creates a pool, which connects when it is used.
fn connect(login: &Login, pool_size: usize) -> Result<Pool, DatabaseError> {
    let mut config: Config = login.url.parse().map_err(|_| DatabaseError::Address)?;
    config.user(&login.username).password(&login.password).connect_timeout(CONNECT_MAX);
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_connect(config, InRuntime(Handle::current()), recycling);
    Ok(Pool::builder(manager).max_size(pool_size.max(1)).build()?)
}

/// Opens all connections in the runtime of the service. That of a worker, which may need the first one, ends earlier.
struct InRuntime(Handle);

type Connected = Result<(Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for InRuntime {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Connected> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            let mut connecting = Box::pin(config.connect(NoTls));
            let (client, connection) = poll_fn(|context| {
                let _entered = self.0.enter();
                connecting.as_mut().poll(context)
            })
            .await?;
            let task = self.0.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(%error, "a connection to the database was lost");
                }
            });
            Ok((client, task))
        })
    }
}
