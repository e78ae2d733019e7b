//! A cluster as of one moment, for a backup: what its catalogs say, and the objects that its rows are in, which stay until the
//! checkpoint is given back. The cluster goes on serving.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use custody_store::{ZoneId, ZoneStatus};
use futures::future::BoxFuture;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::{
    Engine, EngineError,
    catalog::{CollectionRecord, DatabaseRecord},
    collection::{self, Collection},
    database::{Database, OpenDatabase},
    kv,
};

/// What of a cluster is taken.
#[derive(Clone, Debug, Default)]
pub struct CheckpointRequest {
    /// Collections by the name of their database; none named is all of it. `None` is everything.
    pub only: Option<BTreeMap<String, Vec<String>>>,
}

/// A cluster as of one moment. To be given back with [`release`](Self::release).
pub struct Checkpoint {
    /// The moment.
    pub taken_at: SystemTime,
    /// The users.
    pub users: Vec<User>,
    /// The databases.
    pub databases: Vec<DatabaseCheckpoint>,
    /// Databases that could not be taken, for their zones are sealed.
    pub sealed: Vec<(ZoneId, ZoneStatus)>,
    held: Vec<Held>,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password's hash, as the adapter made it.
    pub hash: String,
}

/// A database as of the moment.
pub struct DatabaseCheckpoint {
    /// Its zone.
    pub zone: ZoneId,
    /// The root key that it is pinned to, if not the cluster's.
    pub key: Option<String>,
    /// What its catalog says of it.
    pub image: DatabaseImage,
    /// Its collections.
    pub collections: Vec<CollectionCheckpoint>,
}

/// A collection as of the moment.
pub struct CollectionCheckpoint {
    /// Its id.
    pub id: i64,
    /// What its catalog says of it.
    pub image: CollectionImage,
    /// Where its objects are; all of the others are below this.
    pub root: Path,
    /// The objects that its rows are in.
    pub rows: Vec<Path>,
    /// Snapshots of its graphs. They save time when it is loaded, and may go away at any moment.
    pub snapshots: Vec<Path>,
}

/// What a catalog says of a database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseImage(DatabaseRecord);

impl DatabaseImage {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its properties.
    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.0.properties
    }
}

/// What a catalog says of a collection: its schema, indexes, partitions, aliases.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionImage(pub(crate) CollectionRecord);

impl CollectionImage {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

/// A collection whose objects are kept.
struct Held {
    database: Arc<OpenDatabase>,
    id: i64,
    checkpoint: Option<kv::Checkpoint>,
}

/// A collection of which a checkpoint is taken.
struct Taken {
    record: Arc<CollectionRecord>,
    collection: Arc<Collection>,
    snapshots: Vec<Path>,
    begun: Option<kv::Begun>,
}

/// A database of which a checkpoint is taken.
struct TakenDatabase {
    database: Arc<Database>,
    open: Arc<OpenDatabase>,
    image: DatabaseImage,
    collections: Vec<Taken>,
}

impl Engine {
    /// Takes the cluster as of one moment: every row that was acknowledged before this call is in it, and no row that was
    /// deleted before. All writes wait while the moment is settled, which takes no look at the storage.
    pub fn checkpoint<'a>(&'a self, request: &'a CheckpointRequest) -> BoxFuture<'a, Result<Checkpoint, EngineError>> {
        Box::pin(async move {
            let mut databases = Vec::new();
            let mut sealed = Vec::new();
            let (taken_at, users);
            {
                // No database comes or goes.
                let _catalog = self.change().await?;
                let mut opened = Vec::new();
                for database in self.asked(request)? {
                    match database.open().await {
                        Ok(open) => opened.push((database, open)),
                        Err(EngineError::Sealed(status)) if request.only.is_none() => {
                            sealed.push((database.zone(), status));
                        }
                        Err(error) => return Err(error),
                    }
                }
                // And in none of them a collection.
                let mut changing = Vec::new();
                for (_, open) in &opened {
                    changing.push(open.changing.lock().await);
                }
                for (database, open) in &opened {
                    databases.push(take(Arc::clone(database), Arc::clone(open), request).await?);
                }
                let _still = self.marks.hold_still().await;
                taken_at = SystemTime::now();
                users = self.users_with_hashes();
                for taken in databases.iter_mut().flat_map(|database| &mut database.collections) {
                    taken.begun = Some(taken.collection.begin_checkpoint().await?);
                }
                for database in &databases {
                    let zone = database.open.zone.zone();
                    database.collections.iter().for_each(|taken| self.marks.pin(zone, taken.record.id));
                }
            }
            let mut checkpoint = Checkpoint { taken_at, users, databases: Vec::new(), sealed, held: Vec::new() };
            match checkpoint.finish(databases).await {
                Ok(()) => Ok(checkpoint),
                Err(error) => {
                    checkpoint.release().await;
                    Err(error)
                }
            }
        })
    }

    /// The databases that a request is for, by their zones.
    fn asked(&self, request: &CheckpointRequest) -> Result<Vec<Arc<Database>>, EngineError> {
        let mut asked = match &request.only {
            None => self.all(),
            Some(only) => only.keys().map(|name| self.database(name)).collect::<Result<_, _>>()?,
        };
        asked.sort_by_key(|database| database.zone());
        Ok(asked)
    }
}

/// What of a database is taken, opened. The caller holds its catalog.
async fn take(
    database: Arc<Database>,
    open: Arc<OpenDatabase>,
    request: &CheckpointRequest,
) -> Result<TakenDatabase, EngineError> {
    let image = open.record();
    let chosen = request.only.as_ref().and_then(|only| {
        // The default database may be meant by no name.
        only.get(&image.name).or_else(|| only.get("")).filter(|names| !names.is_empty())
    });
    let records = match chosen {
        None => open.all(),
        Some(names) => names.iter().map(|name| open.find(name)).collect::<Result<_, _>>()?,
    };
    let mut collections: Vec<Taken> = Vec::new();
    for record in records {
        if collections.iter().any(|taken| taken.record.id == record.id) {
            continue;
        }
        let collection = open.collection(&record).await?;
        // Before the moment: a graph must not cover rows that the checkpoint has not.
        let snapshots = collection.newest_snapshots().await?;
        collections.push(Taken { record, collection, snapshots, begun: None });
    }
    Ok(TakenDatabase { database, open, image: DatabaseImage(image), collections })
}

impl Checkpoint {
    /// Waits until all of the moment is in the storage, and lists its objects. What is pinned is noted first, so that it is
    /// given back whatever fails.
    async fn finish(&mut self, databases: Vec<TakenDatabase>) -> Result<(), EngineError> {
        let mut waiting = Vec::new();
        for TakenDatabase { database, open, image, collections } in databases {
            for taken in &collections {
                self.held.push(Held { database: Arc::clone(&open), id: taken.record.id, checkpoint: None });
            }
            waiting.push((database, open, image, collections));
        }
        let mut held = self.held.iter_mut();
        for (database, open, image, taken) in waiting {
            let mut collections = Vec::new();
            for Taken { record, snapshots, begun, .. } in taken {
                let (Some(begun), Some(held)) = (begun, held.next()) else { continue };
                let made = begun.wait().await?;
                let rows = made.objects(&open.zone).await?;
                held.checkpoint = Some(made);
                let root = collection::root(&open.zone, record.id);
                let (id, image) = (record.id, CollectionImage((*record).clone()));
                collections.push(CollectionCheckpoint { id, image, root, rows, snapshots });
            }
            let (zone, key) = (database.zone(), database.entry.key.clone());
            self.databases.push(DatabaseCheckpoint { zone, key, image, collections });
        }
        Ok(())
    }

    /// Gives all of it back: what it kept may be collected. What can't be given back now, because its zone was sealed, ends by
    /// itself.
    pub fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for held in &self.held {
                if let Some(checkpoint) = &held.checkpoint
                    && let Err(error) = checkpoint.release(&held.database.zone).await
                {
                    tracing::warn!(collection = held.id, %error, "a checkpoint could not be given back: it ends by itself");
                }
                if let Err(error) = held.database.unpin(held.id).await {
                    tracing::warn!(collection = held.id, %error, "what a dropped collection left is cleared away at the next open");
                }
            }
        })
    }
}
