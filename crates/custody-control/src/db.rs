//! The database: one SQLite file, opened by one process, changed in transactions alone.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::refusal::Refused;

/// A database that can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or the file can't be made.
    #[error("{file}: {error}: the control plane needs a directory of its own that it may write to")]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// SQLite could not open it.
    #[error("{file} can't be opened as the control plane's database: {error}")]
    Sqlite {
        /// Which.
        file: PathBuf,
        /// Why.
        error: sqlx::Error,
    },
    /// It was made by a newer version, or changed by hand.
    #[error("{file} does not fit this version: {error}; start the version that wrote it last, or restore a copy")]
    Migration {
        /// Which.
        file: PathBuf,
        /// Why.
        error: sqlx::migrate::MigrateError,
    },
}

/// The control plane's database.
#[derive(Clone, Debug)]
pub struct Db(SqlitePool);

impl Db {
    /// Opens the file, or makes it, and brings it up to this version. Nobody but its owner can read it.
    pub async fn open(file: &Path) -> Result<Self, OpenError> {
        make_private(file).map_err(|error| OpenError::File { file: file.to_owned(), error })?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What was answered must not be lost with the power.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(|error| OpenError::Sqlite { file: file.to_owned(), error })?;
        sqlx::migrate!().run(&pool).await.map_err(|error| OpenError::Migration { file: file.to_owned(), error })?;
        Ok(Self(pool))
    }

    /// For reads that need not agree with each other.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.0
    }

    /// Begins a change. It has the right to write from the start, so that what it reads stays true until it commits.
    pub(crate) async fn change(&self) -> Result<Change, Refused> {
        Ok(self.0.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Waits until all is written, and closes the file.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// A change under way: all of it, or none.
pub(crate) type Change = Transaction<'static, Sqlite>;

fn make_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(directory) = file.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
    Ok(())
}

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> i64 {
    at(SystemTime::now())
}

/// A time, in milliseconds since 1970.
pub(crate) fn at(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time in milliseconds since 1970 as people and other programs write it: UTC, RFC 3339.
pub fn rfc3339(at: i64) -> String {
    let since = Duration::from_millis(u64::try_from(at).unwrap_or_default());
    humantime_serde::re::humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}

/// A length of time in milliseconds.
pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A new database that goes with its directory.
    pub(crate) async fn fresh() -> (Db, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (Db::open(&directory.path().join("control.db")).await.unwrap(), directory)
    }

    #[tokio::test]
    async fn the_file_is_its_owners_alone_and_opens_again() {
        use std::os::unix::fs::PermissionsExt;
        let (db, directory) = fresh().await;
        db.close().await;
        let file = directory.path().join("control.db");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        Db::open(&file).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_database_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("control.db");
        std::fs::write(&file, [7; 4096]).unwrap();
        let error = Db::open(&file).await.unwrap_err().to_string();
        assert!(error.contains("control.db") && error.contains("can't be opened"), "{error}");
    }
}
