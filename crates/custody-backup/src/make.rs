//! Making a backup: a checkpoint, copies of what no earlier backup has, and the manifests, the cluster's own last.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::UNIX_EPOCH,
};

use bytes::Bytes;
use custody_engine::{Checkpoint, CheckpointRequest, DatabaseCheckpoint, Engine};
use custody_store::{ClusterId, ZoneId, ZoneStore, Zones};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, WriteMultipart, path::Path, prefix::PrefixStore};

use crate::{
    BackupError, BackupId, BackupStore, Progress,
    digest::{Digest, Digesting},
    layout,
    manifest::{
        ClusterManifest, CollectionEntry, DatabaseManifest, KeyringObject, ObjectEntry, OmittedZone, ZoneEntry,
        ZoneText,
    },
    open,
    plan::{self, Planned},
};

/// The parts in which a large object is copied.
const PART: usize = 8 << 20;
/// Objects that are copied at once.
const COPIES: usize = 3;

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
    let marker = layout::own(&order.backup, &layout::manifest(ZoneId::CLUSTER, &order.backup));
    match order.to.head(&marker).await {
        Ok(_) => return Err(BackupError::Exists(order.backup.clone())),
        Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(BackupError::backup(&marker, error)),
    }
    let checkpoint = progress.unless_canceled(async { Ok(order.engine.checkpoint(&order.request).await?) }).await?;
    let making = Making { order, zone, checkpoint: &checkpoint, progress, written: std::sync::Mutex::default() };
    let made = progress.unless_canceled(making.run()).await;
    if made.is_err() {
        making.undo().await;
    }
    checkpoint.release().await;
    made
}

struct Making<'a> {
    order: &'a Order<'a>,
    /// The cluster's own zone.
    zone: ZoneStore,
    checkpoint: &'a Checkpoint,
    progress: &'a Progress,
    /// What this try has put into the pool.
    written: std::sync::Mutex<Vec<Path>>,
}

impl Making<'_> {
    async fn run(&self) -> Result<Made, BackupError> {
        let encrypted = self.order.zones.encrypted();
        let planned = plan::plan(self.checkpoint, &self.order.from, encrypted).await?;
        self.progress.expect(planned.iter().map(|planned| planned.size).sum());
        let pool = plan::pool(&self.order.to).await?;
        let earlier = self.earlier().await;
        // Before the first of them is copied: from here on a clean-up leaves them.
        let names: Vec<&str> = planned.iter().map(|planned| planned.pool.as_str()).collect();
        self.put_own(&Path::from(layout::OBJECTS), format!("{}\n", names.join("\n")).into()).await?;
        let copies: Vec<_> = planned.iter().map(|planned| self.object(planned, &pool, &earlier).boxed()).collect();
        let there: Vec<Option<(ObjectEntry, u64)>> = stream::iter(copies).buffered(COPIES).try_collect().await?;
        let mut made = Made::default();
        let mut entries: BTreeMap<(usize, usize), Vec<ObjectEntry>> = BTreeMap::new();
        for (planned, (entry, bytes)) in planned.iter().zip(there).filter_map(|(planned, it)| Some((planned, it?))) {
            made.objects += 1;
            made.bytes += entry.size;
            made.copied += bytes;
            entries.entry(planned.collection).or_default().push(entry);
        }
        self.manifests(entries, &mut made).await?;
        Ok(made)
    }

    /// What the newest complete backup has, by its name in the pool: these need not be read to be described.
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
        let root = Path::default();
        let listed =
            self.order.to.list_with_delimiter(None).await.map_err(|error| BackupError::backup(&root, error))?;
        let mut newest = None;
        for id in listed.common_prefixes.iter().filter_map(|prefix| prefix.filename()?.parse::<BackupId>().ok()) {
            let marker = layout::own(&id, &layout::manifest(ZoneId::CLUSTER, &id));
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

    /// Sees to it that an object is in the pool; tells what it is, and how many of its bytes were copied. `None` for a snapshot
    /// that went away meanwhile.
    async fn object(
        &self,
        planned: &Planned,
        pool: &HashMap<String, u64>,
        earlier: &HashMap<String, ObjectEntry>,
    ) -> Result<Option<(ObjectEntry, u64)>, BackupError> {
        let Planned { collection: (database, collection), path, pool: name, size } = planned;
        let taken = &self.checkpoint.databases[*database].collections[*collection];
        let within = layout::within(&taken.root, path).unwrap_or_default().to_string();
        let entry = |sha256| ObjectEntry { path: within, pool: name.clone(), size: *size, sha256 };
        let target = layout::pooled(name);
        if pool.get(name) == Some(size) {
            let sha256 = match earlier.get(name).filter(|known| known.size == *size) {
                Some(known) => known.sha256,
                None => digest(&self.order.to, &target).await.map_err(|error| BackupError::backup(path, error))?,
            };
            self.progress.advance(*size);
            return Ok(Some((entry(sha256), 0)));
        }
        match self.copy(path, &target, *size).await {
            Ok(sha256) => Ok(Some((entry(sha256), *size))),
            Err(object_store::Error::NotFound { .. }) if taken.snapshots.contains(path) => Ok(None),
            Err(error) => Err(BackupError::cluster(error)),
        }
    }

    /// Copies an object as it is stored.
    async fn copy(&self, from: &Path, to: &Path, size: u64) -> object_store::Result<Digest> {
        let object = self.order.from.get(from).await?;
        if object.meta.size != size {
            return Err(changed(from));
        }
        let mut stream = object.into_stream();
        let (mut digesting, mut read) = (Digesting::new(), 0);
        self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(to.clone());
        if size <= PART as u64 {
            let mut pieces: Vec<Bytes> = Vec::new();
            while let Some(piece) = stream.try_next().await? {
                digesting.take(&piece);
                read += piece.len() as u64;
                self.progress.advance(piece.len() as u64);
                pieces.push(piece);
            }
            if read != size {
                return Err(changed(from));
            }
            self.order.to.put(to, PutPayload::from_iter(pieces)).await?;
            return Ok(digesting.finish());
        }
        let mut upload = WriteMultipart::new_with_chunk_size(self.order.to.put_multipart(to).await?, PART);
        let filled = async {
            while let Some(piece) = stream.try_next().await? {
                digesting.take(&piece);
                read += piece.len() as u64;
                upload.wait_for_capacity(2).await?;
                self.progress.advance(piece.len() as u64);
                upload.put(piece);
            }
            if read == size { Ok(()) } else { Err(changed(from)) }
        };
        match filled.await {
            Ok(()) => upload.finish().await?,
            Err(error) => {
                upload.abort().await?;
                return Err(error);
            }
        };
        Ok(digesting.finish())
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
        // From here on it is complete.
        self.put_manifest(&self.zone, bytes, PutMode::Create).await
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
        self.put_manifest(&zone, bytes, PutMode::Overwrite).await?;
        let (key, key_version) = (database.key.clone(), zone.key_version());
        Ok(ZoneEntry { zone: text, key, key_version, keyring, manifest: sha256 })
    }

    async fn cluster_manifest(&self, zones: Vec<ZoneEntry>, made: &Made) -> Result<ClusterManifest, BackupError> {
        let taken_at = self.checkpoint.taken_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let omitted = made.omitted.iter();
        Ok(ClusterManifest {
            custody_backup: ClusterManifest::FORM,
            backup: self.order.backup.to_string(),
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
            self.put_own(&meta.location, bytes.into()).await?;
            objects.push(KeyringObject { path, size, sha256 });
        }
        Ok(objects)
    }

    async fn put_own(&self, path: &Path, payload: PutPayload) -> Result<(), BackupError> {
        let target = layout::own(&self.order.backup, path);
        self.order.to.put(&target, payload).await.map(drop).map_err(|error| BackupError::backup(path, error))
    }

    /// Seals a manifest in the zone that it speaks of, among the backup's own objects.
    async fn put_manifest(&self, zone: &ZoneStore, bytes: Vec<u8>, mode: PutMode) -> Result<(), BackupError> {
        let own = PrefixStore::new(Arc::clone(&self.order.to), self.order.backup.as_str());
        let path = layout::manifest(zone.zone(), &self.order.backup);
        let put = zone.elsewhere(Arc::new(own)).objects().put_opts(&path, bytes.into(), mode.into()).await;
        match put {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => Err(BackupError::Exists(self.order.backup.clone())),
            Err(error) => Err(BackupError::backup(&path, error)),
        }
    }

    /// Removes what this try has made. What can't be removed is found by the next clean-up: no manifest speaks of it.
    async fn undo(&self) {
        let written = self.written.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let own = self.order.to.list(Some(&Path::from(self.order.backup.as_str()))).map_ok(|meta| meta.location);
        let all = own.chain(stream::iter(written.into_iter().map(Ok))).boxed();
        let mut deleted = self.order.to.delete_stream(all);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, "what a backup that failed has left is removed by the next clean-up");
                }
            }
        }
    }
}

/// SHA-256 of an object as it is stored.
async fn digest(store: &Arc<dyn ObjectStore>, path: &Path) -> object_store::Result<Digest> {
    let mut stream = store.get(path).await?.into_stream();
    let mut digesting = Digesting::new();
    while let Some(piece) = stream.try_next().await? {
        digesting.take(&piece);
    }
    Ok(digesting.finish())
}

fn changed(path: &Path) -> object_store::Error {
    object_store::Error::Generic {
        store: crate::error::BACKUP,
        source: format!("{path} changed while it was copied").into(),
    }
}

fn unwritable(zone: ZoneId, error: &serde_json::Error) -> BackupError {
    BackupError::manifest(zone, format!("it can't be written: line {}", error.line()))
}
