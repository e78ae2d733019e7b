//! Making a backup: a checkpoint, copies of what no earlier backup has, and the manifests, the cluster's own last.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::UNIX_EPOCH,
};

use custody_engine::{Checkpoint, CheckpointRequest, DatabaseCheckpoint, Engine};
use custody_store::{ClusterId, ZoneId, ZoneStore, Zones};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::{
    BackupError, BackupId, BackupStore, Progress,
    attempt::{self, Writing},
    digest::Digest,
    layout,
    manifest::{
        ClusterManifest, CollectionEntry, DatabaseManifest, KeyringObject, ObjectEntry, OmittedZone, ZoneEntry,
        ZoneText,
    },
    open, plan,
    pooling::{Pooled, Pooling},
};

/// A backup that is to be made.
pub struct Order<'a> {
    /// The cluster.
    pub engine: &'a Engine,
    /// Its zones.
    pub zones: &'a dyn Zones,
    /// Its id.
    pub cluster: ClusterId,
    /// The ARN of its root key.
    pub key: Option<String>,
    /// The store that it lies in, whose root is the cluster's prefix.
    pub from: Arc<dyn ObjectStore>,
    /// The store of the cluster's backups.
    pub to: Arc<dyn ObjectStore>,
    /// The backup's id.
    pub backup: BackupId,
    /// What is taken.
    pub request: CheckpointRequest,
}

/// A backup that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Databases that were taken.
    pub databases: u64,
    /// Their collections.
    pub collections: u64,
    /// Their objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, the bytes that no earlier backup had.
    pub copied: u64,
    /// The ARNs of the root keys that open it, the cluster's own first.
    pub keys: Vec<String>,
    /// Databases that could not be taken.
    pub omitted: Vec<Sealed>,
    /// SHA-256 of the cluster's manifest, as hex.
    pub manifest: String,
}

/// A database that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its zone.
    pub zone: ZoneId,
    /// Why.
    pub reason: String,
}

/// Makes a backup: every row that was acknowledged before this call is in it, and none that was deleted before. The cluster
/// goes on serving. On failure nothing of it is left; after a crash what was copied is found by the next try.
pub async fn make(order: &Order<'_>, progress: &Progress) -> Result<Made, BackupError> {
    let zone =
        order.zones.open(ZoneId::CLUSTER, None).await.map_err(|error| BackupError::zone(ZoneId::CLUSTER, error))?;
    let writing = Writing::new(Arc::clone(&order.to), order.backup.clone(), order.cluster.clone(), zone.clone());
    writing.must_be_new().await?;
    // Not given up half way: what it has pinned by then would stay so.
    let checkpoint = order.engine.checkpoint(&order.request).await?;
    let making = Making { order, zone, checkpoint: &checkpoint, writing: &writing, progress };
    let made = progress.unless_canceled(making.run()).await;
    match &made {
        Ok(_) => writing.forget_others().await,
        Err(_) => writing.undo().await,
    }
    checkpoint.release().await;
    made
}

struct Making<'a> {
    order: &'a Order<'a>,
    /// The cluster's own zone.
    zone: ZoneStore,
    checkpoint: &'a Checkpoint,
    writing: &'a Writing,
    progress: &'a Progress,
}

impl Making<'_> {
    async fn run(&self) -> Result<Made, BackupError> {
        let Order { zones, from, to, .. } = self.order;
        let planned = plan::plan(self.checkpoint, from, zones.encrypted()).await?;
        self.progress.expect(planned.iter().map(|planned| planned.size).sum());
        // Before anything of them is copied, or found in the pool.
        self.writing.put_list(planned.iter().map(|planned| planned.pool.as_str())).await?;
        let (checkpoint, writing, progress) = (self.checkpoint, self.writing, self.progress);
        let pooling = Pooling { checkpoint, from, to, writing, progress, earlier: self.earlier().await };
        let mut made = Made::default();
        let mut entries: BTreeMap<(usize, usize), Vec<ObjectEntry>> = BTreeMap::new();
        for Pooled { collection, entry, copied } in pooling.all(&planned).await? {
            made.objects += 1;
            made.bytes += entry.size;
            made.copied += copied;
            entries.entry(collection).or_default().push(entry);
        }
        self.manifests(entries, &mut made).await?;
        Ok(made)
    }

    /// What the newest complete backup has, by its name in the pool.
    async fn earlier(&self) -> HashMap<String, ObjectEntry> {
        match self.newest().await {
            Ok(objects) => objects.into_iter().map(|object| (object.pool.clone(), object)).collect(),
            Err(error) => {
                tracing::warn!(%error, "the newest backup can't be read: what it shares with this one is read again");
                HashMap::new()
            }
        }
    }

    async fn newest(&self) -> Result<Vec<ObjectEntry>, BackupError> {
        let mut newest = None;
        for id in attempt::backups(&self.order.to).await? {
            let marker = layout::marker(&id);
            match self.order.to.head(&marker).await {
                Ok(meta) => newest = newest.max(Some((meta.last_modified, id))),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(BackupError::backup(&marker, error)),
            }
        }
        let Some((_, id)) = newest else { return Ok(Vec::new()) };
        let store = BackupStore::new(Arc::clone(&self.order.to), id);
        let manifest = open::cluster_manifest(&store, &self.zone, &self.order.cluster, None).await?;
        let mut objects = Vec::new();
        for entry in &manifest.zones {
            let zone = self.order.zones.open(entry.zone.0, entry.key.as_deref()).await;
            // A database that was dropped since shares nothing with this backup.
            let Ok(zone) = zone else { continue };
            let database = open::database_manifest(&store, &zone, entry).await?;
            objects.extend(database.collections.into_iter().flat_map(|collection| collection.objects));
        }
        Ok(objects)
    }

    async fn manifests(
        &self,
        mut entries: BTreeMap<(usize, usize), Vec<ObjectEntry>>,
        made: &mut Made,
    ) -> Result<(), BackupError> {
        let mut zones = Vec::new();
        for (number, database) in self.checkpoint.databases.iter().enumerate() {
            let taken = database.collections.iter().enumerate();
            let collections = taken.map(|(collection, taken)| CollectionEntry {
                image: taken.image.clone(),
                root: taken.root.to_string(),
                objects: entries.remove(&(number, collection)).unwrap_or_default(),
            });
            let collections: Vec<_> = collections.collect();
            made.databases += 1;
            made.collections += collections.len() as u64;
            zones.push(self.zone_entry(database, collections).await?);
        }
        made.keys = self.keys();
        let omitted = self.checkpoint.sealed.iter();
        made.omitted = omitted.map(|(zone, status)| Sealed { zone: *zone, reason: status.to_string() }).collect();
        let manifest = self.cluster_manifest(zones, made).await?;
        let bytes = serde_json::to_vec(&manifest).map_err(|error| unwritable(ZoneId::CLUSTER, &error))?;
        made.manifest = Digest::of(&bytes).to_string();
        self.writing.complete(bytes).await
    }

    async fn zone_entry(
        &self,
        database: &DatabaseCheckpoint,
        collections: Vec<CollectionEntry>,
    ) -> Result<ZoneEntry, BackupError> {
        let zone = self.order.zones.open(database.zone, database.key.as_deref()).await;
        let zone = zone.map_err(|error| BackupError::zone(database.zone, error))?;
        let text = ZoneText(database.zone);
        let manifest = DatabaseManifest {
            custody_backup: DatabaseManifest::FORM,
            backup: self.order.backup.to_string(),
            zone: text,
            database: database.image.clone(),
            collections,
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| unwritable(database.zone, &error))?;
        let sha256 = Digest::of(&bytes);
        let keyring = self.keyring(database.zone).await?;
        self.writing.put_manifest(&zone, bytes).await?;
        let (key, key_version) = (database.key.clone(), zone.key_version());
        Ok(ZoneEntry { zone: text, key, key_version, keyring, manifest: sha256 })
    }

    async fn cluster_manifest(&self, zones: Vec<ZoneEntry>, made: &Made) -> Result<ClusterManifest, BackupError> {
        let taken_at = self.checkpoint.taken_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let omitted = made.omitted.iter();
        Ok(ClusterManifest {
            custody_backup: ClusterManifest::FORM,
            backup: self.order.backup.to_string(),
            attempt: self.writing.attempt().clone(),
            cluster: self.order.cluster.to_string(),
            taken_at: u64::try_from(taken_at.as_millis()).unwrap_or(u64::MAX),
            key: self.order.key.clone(),
            keyring: self.keyring(ZoneId::CLUSTER).await?,
            whole: self.order.request.only.is_none(),
            users: self.checkpoint.users.clone(),
            zones,
            omitted: omitted.map(|it| OmittedZone { zone: ZoneText(it.zone), reason: it.reason.clone() }).collect(),
        })
    }

    /// The root keys that open it, the cluster's own first.
    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.order.key.iter().cloned().collect();
        for key in self.checkpoint.databases.iter().filter_map(|database| database.key.clone()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Copies a zone's keyring. Its objects are small, authenticated by themselves, and never change.
    async fn keyring(&self, zone: ZoneId) -> Result<Vec<KeyringObject>, BackupError> {
        let root = layout::keyring(zone);
        let listed: Vec<_> = self.order.from.list(Some(&root)).try_collect().await.map_err(BackupError::cluster)?;
        let mut objects = Vec::new();
        for meta in listed {
            let object = self.order.from.get(&meta.location).await.map_err(BackupError::cluster)?;
            let bytes = object.bytes().await.map_err(BackupError::cluster)?;
            let (path, size, sha256) = (meta.location.to_string(), bytes.len() as u64, Digest::of(&bytes));
            self.writing.put(zone, &meta.location, bytes.into()).await?;
            objects.push(KeyringObject { path, size, sha256 });
        }
        Ok(objects)
    }
}

fn unwritable(zone: ZoneId, error: &serde_json::Error) -> BackupError {
    BackupError::manifest(zone, format!("it can't be written: line {}", error.line()))
}
