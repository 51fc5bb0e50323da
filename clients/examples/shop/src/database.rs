//! The SQLite database that the configuration names.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

/// The time to wait while another instance writes.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// A pool of connections to one file, which several instances may share.
pub struct Database {
    connections: Vec<Mutex<Connection>>,
    next: AtomicUsize,
}

/// The reason for which a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL has another scheme.
    #[error("the URL of the database must begin with sqlite:")]
    Address,
    /// SQLite cannot open the file.
    #[error("the database cannot be opened: {0}")]
    Open(#[from] rusqlite::Error),
}

impl Database {
    /// Opens `sqlite:PATH` and executes the schema, which creates missing tables.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub fn open(url: &str, pool_size: usize, schema: &str) -> Result<Database, DatabaseError> {
        let path = url.strip_prefix("sqlite:").ok_or(DatabaseError::Address)?;
        let open = |_| {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY_MAX)?;
            // In this mode readers do not wait for a writer.
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "normal")?;
            connection.execute_batch(schema)?;
            Ok(Mutex::new(connection))
        };
        let connections = (0..pool_size.max(1)).map(open).collect::<Result<_, DatabaseError>>()?;
        Ok(Database { connections, next: AtomicUsize::new(0) })
    }

    /// Calls `work` with one of the connections. Blocks until the connection is free.
    ///
    /// # Errors
    /// The error of `work`.
    pub fn with<R>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<R> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        work(&mut self.connections[turn].lock().unwrap_or_else(PoisonError::into_inner))
    }
}
