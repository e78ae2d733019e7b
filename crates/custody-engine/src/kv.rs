//! A durable map on SlateDB: the log, its compaction and the fencing of a second writer come from there.
//!
//! What calls SlateDB returns a boxed future, here and above: it is compiled once then, and not in every program (ADR 0010).

mod checkpoint;
mod log;
mod watched;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use custody_store::{StoreError, ZoneStore};
use futures::{TryStreamExt, future::BoxFuture};
use object_store::{ObjectStore, path::Path};
use slatedb::{
    CloseReason, Db, ErrorKind, Settings, WriteBatch,
    config::{CompressionCodec, ScanOptions, SstBlockSize},
    db_cache::moka::{MokaCache, MokaCacheOptions},
};

use crate::{EngineError, marks::Mark};
pub(crate) use checkpoint::{Begun, Checkpoint};
use watched::Watched;

/// How long a write waits for others to share its log object. Each log object is one durable put.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);
/// Attempts of an operation on the store before its error is reported. SlateDB would otherwise try a sealed zone for ever.
const STORE_RETRIES: u32 = 6;
/// Blocks kept in memory for each map. A collection in memory rarely reads from below, so that a little is enough.
const BLOCK_CACHE: u64 = 8 << 20;
/// Scans read ahead this far: at SlateDB's default they fetch one small block at a time.
const READ_AHEAD: usize = 8 << 20;

/// What is called with a key and its value.
type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), EngineError> + Send + 'a;

/// A durable, ordered map of bytes in one zone; clones are handles of the same map.
#[derive(Clone)]
pub(crate) struct Kv {
    db: Db,
    path: Path,
    mark: Arc<Mark>,
}

impl Kv {
    /// Opens the map under a path, making it if there is none. One that is older than its mark is left as it is:
    /// [`EngineError::BelowAnchor`]. Whoever had it open before is fenced out, unless this process held it before, and lost it
    /// because the storage failed: then another one that has opened it meanwhile keeps it, [`EngineError::Fenced`].
    pub(crate) fn open(zone: &ZoneStore, path: Path, mark: Arc<Mark>) -> BoxFuture<'_, Result<Self, EngineError>> {
        Box::pin(async move {
            let held = mark.tenure();
            let stored = if held.is_some() { log::tenure(zone, &path).await? } else { None };
            if held.zip(stored).is_some_and(|(held, stored)| stored > held) {
                return Err(EngineError::Fenced);
            }
            Self::settle(zone, &path, &mark).await?;
            tracing::debug!(%path, "a map is opened");
            let settings = Settings {
                flush_interval: Some(FLUSH_INTERVAL),
                object_store_max_retries: Some(STORE_RETRIES),
                compression_codec: None::<CompressionCodec>,
                ..Settings::default()
            };
            let cache =
                MokaCache::new_with_opts(MokaCacheOptions { max_capacity: BLOCK_CACHE, ..MokaCacheOptions::default() });
            let objects = Watched::new(zone.objects(), &path, Arc::clone(&mark));
            let took = objects.wrote_manifest();
            let builder = Db::builder(path.clone(), Arc::new(objects))
                .with_settings(settings)
                .with_sst_block_size(SstBlockSize::Block64Kib)
                .with_db_cache(Arc::new(cache), 0);
            let builder = match stored {
                Some(stored) => builder.with_expected_epoch(stored),
                None => builder,
            };
            match builder.build().await.map_err(storage_error) {
                Ok(db) => {
                    mark.hold(db.manifest().writer_epoch());
                    Ok(Self { db, path, mark })
                }
                // Nobody was seen to open it before, and its log is fenced all the same.
                Err(EngineError::Fenced) if held.is_none() => Err(EngineError::ManifestBehind(path.to_string())),
                Err(error) => {
                    // The first manifest that an opening writes takes the map. One that fails after that must not be taken for
                    // another process at the next try; where it failed before, whoever takes the map is another.
                    if let Some(stored) = stored.filter(|_| took.load(Ordering::Acquire)) {
                        mark.hold(stored + 1);
                    }
                    Err(error)
                }
            }
        })
    }

    /// Compares what the storage has of a map with the map's mark, and changes nothing in the storage.
    pub(crate) async fn settle(zone: &ZoneStore, path: &Path, mark: &Mark) -> Result<(), EngineError> {
        let expected = mark.figures();
        Ok(mark.settle(expected, log::require_whole(zone, path, expected).await?)?)
    }

    /// The map once more, after the storage had failed.
    pub(crate) async fn reopen(&self, zone: &ZoneStore) -> Result<Self, EngineError> {
        Self::open(zone, self.path.clone(), Arc::clone(&self.mark)).await
    }

    /// Whether there is a map under a path. Opening where there is none makes one.
    pub(crate) async fn exists(zone: &ZoneStore, path: &Path) -> Result<bool, EngineError> {
        let first = zone.objects().list(Some(path)).try_next().await;
        Ok(first.map_err(|error| EngineError::Storage(error.to_string()))?.is_some())
    }

    /// Writes all of a batch or nothing of it; durable on return.
    pub(crate) fn write(&self, batch: WriteBatch) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let started = Instant::now();
            let handle = {
                let _moving = self.mark.moving().await;
                self.db.write(batch).await.map_err(storage_error)?
            };
            handle.await_durable().await.map_err(storage_error)?;
            tracing::trace!(micros = started.elapsed().as_micros(), "a batch is durable");
            Ok(())
        })
    }

    /// Writes one entry; durable on return.
    pub(crate) async fn put(&self, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        self.write(batch).await
    }

    /// Removes one entry; durable on return.
    pub(crate) async fn remove(&self, key: &[u8]) -> Result<(), EngineError> {
        let mut batch = WriteBatch::new();
        batch.delete(key);
        self.write(batch).await
    }

    /// One entry's value.
    pub(crate) fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>, EngineError>> {
        Box::pin(async move { self.db.get(key).await.map_err(storage_error) })
    }

    /// Calls back with each entry whose key starts with a prefix, in order.
    pub(crate) async fn scan(
        &self,
        prefix: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), EngineError> + Send,
    ) -> Result<(), EngineError> {
        self.visit(prefix, &mut each).await
    }

    fn visit<'a>(&'a self, prefix: &'a [u8], each: &'a mut Visitor<'_>) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let options = ScanOptions { read_ahead_bytes: READ_AHEAD, max_fetch_tasks: 4, ..ScanOptions::default() };
            let mut entries = self.db.scan_prefix_with_options(prefix, .., &options).await.map_err(storage_error)?;
            while let Some(entry) = entries.next().await.map_err(storage_error)? {
                each(&entry.key, &entry.value)?;
            }
            Ok(())
        })
    }

    /// Moves what is in the log to sorted files.
    pub(crate) fn flush(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            use slatedb::config::{FlushOptions, FlushType};
            let options = FlushOptions { flush_type: FlushType::MemTable };
            self.db.flush_with_options(options).await.map_err(storage_error)
        })
    }

    /// Whether the map can no longer be used: another writer took over, or its tasks ended with an error.
    pub(crate) fn is_closed(&self) -> bool {
        self.db.status().close_reason.is_some()
    }

    /// Completes when the map can no longer be used: whether another writer has taken it over.
    pub(crate) async fn ended(&self) -> bool {
        let mut status = self.db.subscribe();
        match status.wait_for(|status| status.close_reason.is_some()).await {
            Ok(status) => status.close_reason == Some(CloseReason::Fenced),
            // It was dropped without a word.
            Err(_) => false,
        }
    }

    /// Passes on what came of the first use of a map. Where that failed nobody will hold it, and its tasks end too: they would
    /// go on writing until the next opening fences them out.
    pub(crate) fn kept_if_ok<T>(&self, used: Result<T, EngineError>) -> Result<T, EngineError> {
        if used.is_err() {
            let kv = self.clone();
            tokio::spawn(async move { kv.close().await });
        }
        used
    }

    /// Ends the map's tasks. What was acknowledged is durable already, so that an error here loses nothing.
    pub(crate) fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.db.close().await {
                tracing::debug!(kind = ?error.kind(), "a map was already closed, or its zone is sealed");
            }
        })
    }
}

fn storage_error(error: slatedb::Error) -> EngineError {
    match error.kind() {
        ErrorKind::Closed(CloseReason::Fenced) => EngineError::Fenced,
        // What is wrong lies deep in SlateDB's error, whose own text tells the outermost two causes.
        _ => EngineError::Storage(StoreError::why(&error)),
    }
}

#[cfg(test)]
mod tests;
