//! Opening a backup: its keyrings, and its manifests, each authenticated by the zone that it is sealed in.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use custody_store::{ClusterId, ZoneId, ZoneStore, Zones};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use crate::{
    BackupError, BackupStore, Sealed,
    digest::Digest,
    layout,
    manifest::{ClusterManifest, CollectionEntry, DatabaseManifest, ObjectEntry, ZoneEntry},
    store::Known,
};

/// A backup whose manifests are proven.
pub struct Backup {
    pub(crate) store: Arc<BackupStore>,
    pub(crate) manifest: ClusterManifest,
    pub(crate) databases: Vec<Database>,
    /// Databases whose zone can't be opened now.
    pub(crate) closed: Vec<(ZoneId, BackupError)>,
}

/// A database of a backup whose zone is open.
pub(crate) struct Database {
    pub(crate) zone: ZoneStore,
    /// The root key that it is pinned to, if not the cluster's.
    pub(crate) key: Option<String>,
    pub(crate) manifest: DatabaseManifest,
}

impl Backup {
    /// Opens a backup of a cluster. `zones` are over `store`; `expected` is what its manifest was when it was made, if that is
    /// known. A database whose key can't be used is an error only for who needs it.
    pub async fn open(
        store: Arc<BackupStore>,
        cluster: &ClusterId,
        zones: &dyn Zones,
        expected: Option<&str>,
    ) -> Result<Self, BackupError> {
        let zone = usable(zones, ZoneId::CLUSTER, None, &store).await?;
        let manifest = cluster_manifest(&store, &zone, cluster, expected).await?;
        if manifest.key.is_some() != zones.encrypted() {
            let (is, given) = if zones.encrypted() { ("not encrypted", "with") } else { ("encrypted", "without") };
            return Err(BackupError::Request(format!("the backup is {is}: open it {given} its key")));
        }
        let (mut databases, mut closed) = (Vec::new(), Vec::new());
        for entry in &manifest.zones {
            match database(&store, zones, entry).await {
                Ok(database) => databases.push(database),
                Err(error @ (BackupError::Key { .. } | BackupError::Zone { .. })) => closed.push((entry.zone.0, error)),
                Err(error) => return Err(error),
            }
        }
        let backup = Self { store, manifest, databases, closed };
        backup.learn()?;
        Ok(backup)
    }

    /// The moment that it shows.
    pub fn taken_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.manifest.taken_at)
    }

    /// Databases that are missing in it, for their zones were sealed.
    pub fn omitted(&self) -> Vec<Sealed> {
        let omitted = self.manifest.omitted.iter();
        omitted.map(|it| Sealed { zone: it.zone.0, reason: it.reason.clone() }).collect()
    }

    /// Tells the store where the objects are, and what they have to be.
    fn learn(&self) -> Result<(), BackupError> {
        for database in &self.databases {
            let zone = database.zone.zone();
            for collection in &database.manifest.collections {
                let root = Path::from(collection.root.as_str());
                for object in &collection.objects {
                    let path = object.below(&root);
                    if !path.prefix_matches(&database.zone.root()) {
                        return Err(BackupError::manifest(zone, format!("{path} is no object of the zone")));
                    }
                    let (pool, size, sha256) = (layout::pooled(&object.pool), object.size, object.sha256);
                    self.store.learn(path, Known { pool, size, sha256 });
                }
            }
        }
        Ok(())
    }

    /// Refuses while a database of it can't be opened.
    pub(crate) fn must_be_open(&mut self) -> Result<(), BackupError> {
        match self.closed.pop() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

impl CollectionEntry {
    /// Its bytes, as they are stored.
    pub(crate) fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size).sum()
    }
}

impl ObjectEntry {
    /// Its path below a root.
    pub(crate) fn below(&self, root: &Path) -> Path {
        layout::below(root.clone(), &Path::from(self.path.as_str()))
    }
}

/// A zone of the backup whose key is at hand.
async fn usable(
    zones: &dyn Zones,
    zone: ZoneId,
    key: Option<&str>,
    store: &BackupStore,
) -> Result<ZoneStore, BackupError> {
    let opened = match zones.open(zone, key).await {
        Ok(opened) => opened,
        // Without its keyring there is nothing of it.
        Err(custody_store::ZonesError::NotFound(_)) if zone == ZoneId::CLUSTER => {
            return Err(BackupError::NotFound(store.backup().clone()));
        }
        Err(error) => return Err(BackupError::zone(zone, error)),
    };
    let status = opened.status();
    if status.is_usable() { Ok(opened) } else { Err(BackupError::Key { zone, status }) }
}

/// The cluster's manifest, read through the cluster's own zone.
pub(crate) async fn cluster_manifest(
    store: &Arc<BackupStore>,
    zone: &ZoneStore,
    cluster: &ClusterId,
    expected: Option<&str>,
) -> Result<ClusterManifest, BackupError> {
    let bytes = match read(store, zone).await {
        Err(BackupError::Missing(_)) => return Err(BackupError::NotFound(store.backup().clone())),
        other => other?,
    };
    if expected.is_some_and(|expected| Digest::of(&bytes).to_string() != expected) {
        return Err(BackupError::manifest(ZoneId::CLUSTER, "it is not the one that was made with this backup"));
    }
    let manifest = ClusterManifest::read(&bytes, cluster.as_str(), store.backup())?;
    store.made_by(manifest.attempt.clone());
    Ok(manifest)
}

async fn database(store: &Arc<BackupStore>, zones: &dyn Zones, entry: &ZoneEntry) -> Result<Database, BackupError> {
    let zone = usable(zones, entry.zone.0, entry.key.as_deref(), store).await?;
    if entry.key_version != zone.key_version() {
        return Err(BackupError::manifest(entry.zone.0, "its keyring has not the versions that it had in the cluster"));
    }
    let manifest = database_manifest(store, &zone, entry).await?;
    Ok(Database { zone, key: entry.key.clone(), manifest })
}

/// A database's manifest, read through its zone.
pub(crate) async fn database_manifest(
    store: &Arc<BackupStore>,
    zone: &ZoneStore,
    entry: &ZoneEntry,
) -> Result<DatabaseManifest, BackupError> {
    DatabaseManifest::read(&read(store, zone).await?, entry, store.backup())
}

async fn read(store: &Arc<BackupStore>, zone: &ZoneStore) -> Result<bytes::Bytes, BackupError> {
    let path = layout::manifest(zone.zone(), store.backup());
    let objects = zone.elsewhere(Arc::clone(store) as Arc<dyn ObjectStore>).objects();
    let found = async { objects.get(&path).await?.bytes().await };
    found.await.map_err(|error| BackupError::backup(&path, error))
}
