//! A collection that is brought from elsewhere: its objects are put in their place first, and then it is taken into the
//! catalog.

use std::sync::{Arc, PoisonError};

use custody_store::{ZoneId, ZoneStore};
use futures::future::BoxFuture;
use object_store::path::Path;

use super::{Database, OpenDatabase};
use crate::{
    CollectionImage, Engine, EngineError,
    catalog::CollectionRecord,
    collection::{self, Collection},
    kv::Kv,
    schema::check_name,
};

/// A place for a collection's objects in a database. It ends with [`finish`](Self::finish) or [`abandon`](Self::abandon).
pub struct Import {
    database: Arc<Database>,
    open: Arc<OpenDatabase>,
    name: String,
    id: i64,
}

impl Engine {
    /// Makes room for a collection of a name that is free in a database.
    pub async fn begin_import(&self, db: &str, name: &str) -> Result<Import, EngineError> {
        check_name("collection", name)?;
        let database = self.database(db)?;
        let open = database.open().await?;
        let id = {
            let _changing = open.changing.lock().await;
            open.require_free(name)?;
            let id = open.next_id().await?;
            open.marks.pin(open.zone.zone(), id);
            id
        };
        Ok(Import { database, open, name: name.to_owned(), id })
    }
}

impl Import {
    /// Where the collection's objects belong: what stood below its root before, stands below this.
    pub fn root(&self) -> Path {
        collection::root(&self.open.zone, self.id)
    }

    /// The root key that the database is pinned to, if not the cluster's.
    pub fn key(&self) -> Option<&str> {
        self.database.entry.key.as_deref()
    }

    /// The zone that it comes into, and the id that it will have there.
    pub(crate) fn place(&self) -> (ZoneId, i64) {
        (self.open.zone.zone(), self.id)
    }

    /// The zone that they lie in.
    pub fn zone(&self) -> ZoneStore {
        self.open.zone.clone()
    }

    /// Takes the collection into the catalog, once all its objects are there. Its aliases come along where they are free. On
    /// failure nothing of it stays.
    pub fn finish(self, image: CollectionImage, load: bool) -> BoxFuture<'static, Result<(), EngineError>> {
        Box::pin(async move {
            match self.take_in(image.0, load).await {
                Ok(()) => {
                    self.open.marks.unpin(self.open.zone.zone(), self.id);
                    Ok(())
                }
                Err(error) => {
                    self.abandon().await;
                    Err(error)
                }
            }
        })
    }

    async fn take_in(&self, image: CollectionRecord, load: bool) -> Result<(), EngineError> {
        let open = &self.open;
        let _changing = open.changing.lock().await;
        // A database that was opened again meanwhile has another catalog in memory, which would not hear of this.
        let current = self.database.seen().is_some_and(|seen| Arc::ptr_eq(&seen, open));
        if !current || open.is_broken() {
            return Err(EngineError::Storage("the database was opened again meanwhile: restore once more".into()));
        }
        open.require_free(&self.name)?;
        open.raise_next_id(newest_id(&image) + 1).await?;
        let aliases = image.aliases.iter().filter(|alias| open.find(alias).is_err()).cloned().collect();
        let loaded = load && image.loaded;
        let record = CollectionRecord { id: self.id, name: self.name.clone(), aliases, loaded, ..image };
        let mark = open.marks.collection(open.zone.zone(), self.id);
        Kv::forget_checkpoints(&open.zone, &collection::rows_root(&open.zone, self.id), &mark).await?;
        let opened = Collection::open(&open.zone, &record, Arc::clone(&open.clock), mark).await?;
        let slot = Arc::new(Some(Arc::clone(&opened)).into());
        open.slots.lock().unwrap_or_else(PoisonError::into_inner).insert(self.id, slot);
        if let Err(error) = open.store(vec![record]).await {
            open.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
            opened.close().await;
            // Whether the record is stored is unknown: the objects have to stay until the next open knows.
            open.marks.unpin(open.zone.zone(), self.id);
            return Err(error);
        }
        Ok(())
    }

    /// Gives the place up, with all that was put there.
    pub async fn abandon(self) {
        let (zone, id) = (self.open.zone.zone(), self.id);
        self.open.marks.forget_collection(zone, id);
        if let Err(error) = self.open.unpin(id).await {
            tracing::warn!(%zone, collection = id, %error, "what was begun to be restored is cleared away at the next open");
        }
    }
}

impl OpenDatabase {
    /// Drops a collection that was taken in, if it was, and is still there.
    pub(crate) async fn take_out(&self, id: i64) -> Result<(), EngineError> {
        let _changing = self.changing.lock().await;
        let known = self.records.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id);
        if known { self.forget(id).await } else { Ok(()) }
    }
}

/// The largest id that a collection's catalog entry has given to a part of it. Ids are never used twice in a database: an index
/// that is made later must not take the snapshots of one of these for its own.
fn newest_id(record: &CollectionRecord) -> i64 {
    let partitions = record.partitions.iter().map(|partition| partition.id);
    let indexes = record.indexes.iter().map(|index| index.id);
    partitions.chain(indexes).max().unwrap_or_default()
}
