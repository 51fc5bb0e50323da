//! SQLite, as its address in the configuration says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

/// How long to wait for another instance that writes.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Some connections to one file, which several instances may share.
pub struct Database {
    connections: Vec<Mutex<Connection>>,
    next: AtomicUsize,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Its address is not `sqlite:` and a path.
    #[error("the address of the database does not begin with sqlite:")]
    Address,
    /// SQLite says why.
    #[error("the database cannot be opened: {0}")]
    Open(#[from] rusqlite::Error),
}

impl Database {
    /// Opens `sqlite:PATH`, and makes what the schema says in it if it is not there.
    ///
    /// # Errors
    /// When the address is another one, or SQLite refuses.
    pub fn open(url: &str, pool_size: usize, schema: &str) -> Result<Database, DatabaseError> {
        let path = url.strip_prefix("sqlite:").ok_or(DatabaseError::Address)?;
        let open = |_| {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY_MAX)?;
            // Who reads does not wait for who writes.
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "normal")?;
            connection.execute_batch(schema)?;
            Ok(Mutex::new(connection))
        };
        let connections = (0..pool_size.max(1)).map(open).collect::<Result<_, DatabaseError>>()?;
        Ok(Database { connections, next: AtomicUsize::new(0) })
    }

    /// Works with one of the connections; blocks until it is free.
    ///
    /// # Errors
    /// Those of the work.
    pub fn with<R>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<R> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        work(&mut self.connections[turn].lock().unwrap_or_else(PoisonError::into_inner))
    }
}
