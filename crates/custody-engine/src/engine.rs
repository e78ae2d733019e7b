//! The engine: a cluster's databases and users, and the way from a request to the collection it is for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use custody_store::{ZoneId, ZoneStore, Zones};
use futures::future::BoxFuture;
use slatedb::WriteBatch;

use crate::{
    Anchor, Below, BelowAnchor, DatabaseInfo, EngineError, EngineStats, NewDatabase, User, ZoneHealth,
    catalog::{ClusterRecord, DEFAULT_DATABASE, DatabaseEntry, DatabaseRecord, Stage, UserRecord},
    clock::HybridClock,
    cluster::ClusterCatalog,
    database::{Database, OpenDatabase},
    graph::SEARCHES_PER_CORE,
    kv::Kv,
    marks::Marks,
    rows,
    schema::check_name,
};

const CLUSTER: &[u8] = b"s";
const DATABASES: &[u8] = b"d";
const USERS: &[u8] = b"u";

/// The property that says whether a database is encrypted.
const CIPHER_ENABLED: &str = "cipher.enabled";
/// The property that names a database's root key.
pub const CIPHER_KEY: &str = "cipher.key";

/// One cluster's databases, over the zones of its store.
pub struct Engine {
    zones: Arc<dyn Zones>,
    catalog: ClusterCatalog,
    tag_key: aws_lc_rs::hmac::Key,
    databases: RwLock<BTreeMap<[u8; 32], Arc<Database>>>,
    users: RwLock<BTreeMap<String, String>>,
    clock: Arc<HybridClock>,
    pub(crate) marks: Arc<Marks>,
    /// Searches that may run at once; the others wait, so that a flood does not fill the memory.
    pub(crate) searches: tokio::sync::Semaphore,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("encrypted", &self.zones.encrypted()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes a new cluster in an empty store. On failure nothing is left behind.
    pub async fn create(zones: Arc<dyn Zones>) -> Result<Arc<Self>, EngineError> {
        Self::create_above(zones, &Anchor::default(), Below::Refuse).await
    }

    /// The same where an anchor may say that there was a cluster: then none is made in its place.
    pub async fn create_above(zones: Arc<dyn Zones>, anchor: &Anchor, below: Below) -> Result<Arc<Self>, EngineError> {
        if !anchor.is_empty() {
            if below == Below::Refuse {
                return Err(BelowAnchor::Empty.into());
            }
            tracing::warn!("begun anew below its anchor, as was asked: {}", BelowAnchor::Empty);
        }
        let marks = Marks::new(&Anchor::default(), Below::Refuse);
        let zone = zones.create(ZoneId::CLUSTER, None).await?;
        match Self::start(Arc::clone(&zones), zone, marks, true).await {
            Ok(engine) => Ok(engine),
            Err(error) => {
                if let Err(error) = zones.delete(ZoneId::CLUSTER).await {
                    tracing::error!(%error, "a cluster that could not be made could not be removed either");
                }
                Err(error)
            }
        }
    }

    /// Opens a cluster. Whoever had it open before is fenced out. Databases whose key is out of reach stay dark, and the
    /// others serve.
    pub async fn open(zones: Arc<dyn Zones>) -> Result<Arc<Self>, EngineError> {
        Self::open_above(zones, &Anchor::default(), Below::Refuse).await
    }

    /// The same, and holds everything to what an anchor says was there: the cluster's catalog and those of its databases
    /// now, each collection and what is sealed when it is opened. What is older is refused with
    /// [`EngineError::BelowAnchor`], and nothing of it is changed; what the anchor does not name may be anything.
    pub async fn open_above(zones: Arc<dyn Zones>, anchor: &Anchor, below: Below) -> Result<Arc<Self>, EngineError> {
        let zone = zones.open(ZoneId::CLUSTER, None).await?;
        Self::start(zones, zone, Marks::new(anchor, below), false).await
    }

    fn start(
        zones: Arc<dyn Zones>,
        zone: ZoneStore,
        marks: Arc<Marks>,
        new: bool,
    ) -> BoxFuture<'static, Result<Arc<Self>, EngineError>> {
        Box::pin(async move {
            marks.take_zone(&zone)?;
            let status = zone.status();
            if !status.is_usable() {
                return Err(EngineError::Sealed(status));
            }
            let catalog = zone.root().join("catalog");
            if !new && !Kv::exists(&zone, &catalog).await? {
                return Err(EngineError::CatalogMissing(zone.zone()));
            }
            let kv = Kv::open(&zone, catalog, marks.catalog(zone.zone())).await?;
            let tag_key = tag_key(&kv, new).await?.ok_or_else(|| EngineError::CatalogMissing(zone.zone()))?;
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let engine = Arc::new(Self {
                zones,
                catalog: ClusterCatalog::new(zone, kv),
                tag_key,
                databases: RwLock::default(),
                users: RwLock::default(),
                clock: Arc::default(),
                marks,
                searches: tokio::sync::Semaphore::new(cores * SEARCHES_PER_CORE),
            });
            match engine.change().await {
                Ok(read) => drop(read),
                Err(error @ EngineError::BelowAnchor(_)) => {
                    engine.close().await;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
            if engine.database(DEFAULT_DATABASE).is_err() {
                engine.create_database(NewDatabase { name: DEFAULT_DATABASE.into(), ..NewDatabase::default() }).await?;
            }
            engine.take_back_restores().await;
            Ok(engine)
        })
    }

    /// The cluster's catalog, for a change. One that was opened again is read again first: only then is it known of a write
    /// that had failed whether it was kept.
    pub(crate) fn change(&self) -> BoxFuture<'_, Result<tokio::sync::MutexGuard<'_, Kv>, EngineError>> {
        Box::pin(async move {
            let catalog = self.catalog.change().await?;
            if self.catalog.is_unread() {
                self.read(&catalog).await?;
                self.catalog.set_read();
            }
            Ok(catalog)
        })
    }

    /// Takes on what the catalog has, and undoes what was left half done.
    async fn read(&self, catalog: &Kv) -> Result<(), EngineError> {
        let mut entries: Vec<DatabaseEntry> = Vec::new();
        catalog
            .scan(DATABASES, |_, value| {
                entries.push(rows::decode_record(value, "database entry")?);
                Ok(())
            })
            .await?;
        let mut users = BTreeMap::new();
        catalog
            .scan(USERS, |key, value| {
                let name = std::str::from_utf8(&key[USERS.len()..]).map_err(|_| EngineError::Record("user"))?;
                users.insert(name.to_owned(), rows::decode_record::<UserRecord>(value, "user")?.hash);
                Ok(())
            })
            .await?;
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users;
        let known = entries.iter().map(|entry| ZoneId::new(entry.zone)).chain([ZoneId::CLUSTER]);
        self.marks.keep_zones(&known.collect::<BTreeSet<_>>());
        for entry in entries {
            match entry.stage {
                Stage::Ready => self.adopt(entry).await?,
                Stage::Creating | Stage::Dropping => {
                    self.let_go(&entry).await;
                    self.unmake_database(catalog, &entry).await?;
                }
            }
        }
        Ok(())
    }

    /// Lets go of a database that is to be no more. It is in memory where its drop had failed, and was kept all the same.
    async fn let_go(&self, entry: &DatabaseEntry) {
        let known = {
            let mut databases = self.databases.write().unwrap_or_else(PoisonError::into_inner);
            let same = databases.get(&entry.tag).is_some_and(|known| known.entry.zone == entry.zone);
            if same { databases.remove(&entry.tag) } else { None }
        };
        if let Some(database) = known {
            database.close().await;
        }
    }

    /// Takes a database on, unless it is there already. One whose storage was rolled back puts all of the cluster in doubt.
    async fn adopt(&self, entry: DatabaseEntry) -> Result<(), EngineError> {
        let known = self.databases.read().unwrap_or_else(PoisonError::into_inner).get(&entry.tag).cloned();
        if known.is_some_and(|known| known.entry.zone == entry.zone) {
            return Ok(());
        }
        let tag = entry.tag;
        let database = self.dark(entry);
        match database.open().await {
            Ok(_) => {}
            Err(error @ EngineError::BelowAnchor(_)) => return Err(error),
            Err(error) => tracing::warn!(zone = %database.zone(), %error, "a database stays dark for now"),
        }
        self.databases.write().unwrap_or_else(PoisonError::into_inner).insert(tag, database);
        Ok(())
    }

    /// A database that is still to be opened.
    fn dark(&self, entry: DatabaseEntry) -> Arc<Database> {
        Database::new(entry, Arc::clone(&self.zones), Arc::clone(&self.clock), Arc::clone(&self.marks))
    }

    /// What is durable now of all that was ever opened, for the next opening to be held to. It takes no look at the storage
    /// and costs the same however many rows there are; it may still be asked for once the engine is closed.
    pub fn anchor(&self) -> Anchor {
        self.marks.anchor()
    }

    /// What was refused since the start because it is below the anchor, by its zone.
    pub fn below_anchor(&self) -> Vec<(ZoneId, BelowAnchor)> {
        self.marks.refused()
    }

    /// Whether the cluster is encrypted.
    pub fn encrypted(&self) -> bool {
        self.zones.encrypted()
    }

    /// A timestamp that no other call gets.
    pub fn next_timestamp(&self) -> u64 {
        self.clock.now()
    }

    /// The database of a name; the empty name is the default one's.
    pub(crate) fn database(&self, name: &str) -> Result<Arc<Database>, EngineError> {
        let name = if name.is_empty() { DEFAULT_DATABASE } else { name };
        let databases = self.databases.read().unwrap_or_else(PoisonError::into_inner);
        databases.get(&self.tag(name)).cloned().ok_or_else(|| EngineError::DatabaseNotFound(name.to_owned()))
    }

    /// Whether there is a database of a name, dark or not.
    pub fn has_database(&self, name: &str) -> bool {
        self.database(name).is_ok()
    }

    fn tag(&self, name: &str) -> [u8; 32] {
        let mut tag = [0; 32];
        tag.copy_from_slice(aws_lc_rs::hmac::sign(&self.tag_key, name.as_bytes()).as_ref());
        tag
    }

    /// Makes a database: a zone of its own, under the cluster's key or another one named by `cipher.key`. All or nothing.
    pub fn create_database(&self, new: NewDatabase) -> BoxFuture<'_, Result<(), EngineError>> {
        self.create_database_for(new, None)
    }

    /// The same; where a job's restore makes it, it goes again unless that is ended.
    pub fn create_database_for<'a>(
        &'a self,
        new: NewDatabase,
        restore: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            check_name("database", &new.name)?;
            let key = self.check_cipher(&new.properties)?;
            let catalog = self.change().await?;
            if self.database(&new.name).is_ok() {
                return Err(EngineError::DatabaseExists(new.name));
            }
            let zone = ZoneId::random().map_err(|_| EngineError::Storage("the system gave no random bytes".into()))?;
            let tag = self.tag(&new.name);
            let entry = DatabaseEntry { zone: *zone.as_bytes(), key, tag, stage: Stage::Creating };
            if let Some(job) = restore {
                Self::note_database(&catalog, job, zone).await?;
            }
            // The intent comes first: a crash from here on is undone at the next start.
            put_entry(&catalog, &entry).await?;
            match self.make_database(&catalog, &entry, new).await {
                Ok(database) => {
                    self.databases.write().unwrap_or_else(PoisonError::into_inner).insert(tag, database);
                    Ok(())
                }
                Err(error) => {
                    if let Err(error) = self.unmake_database(&catalog, &entry).await {
                        tracing::warn!(%zone, %error, "a database that could not be made is removed at the next start");
                    }
                    Err(error)
                }
            }
        })
    }

    async fn make_database(
        &self,
        catalog: &Kv,
        entry: &DatabaseEntry,
        new: NewDatabase,
    ) -> Result<Arc<Database>, EngineError> {
        let zone = self.zones.create(ZoneId::new(entry.zone), entry.key.as_deref()).await?;
        let record =
            DatabaseRecord { name: new.name, created: self.clock.now(), properties: new.properties, next_id: 1 };
        self.marks.take_zone(&zone)?;
        let open = OpenDatabase::create(zone.clone(), record, Arc::clone(&self.clock), Arc::clone(&self.marks)).await?;
        let entry = DatabaseEntry { stage: Stage::Ready, ..entry.clone() };
        put_entry(catalog, &entry).await?;
        let database = self.dark(entry);
        database.adopt(zone, open).await;
        Ok(database)
    }

    async fn unmake_database(&self, catalog: &Kv, entry: &DatabaseEntry) -> Result<(), EngineError> {
        let zone = ZoneId::new(entry.zone);
        self.zones.delete(zone).await?;
        catalog.remove(&database_key(&entry.zone)).await?;
        self.marks.forget_zone(zone);
        Ok(())
    }

    /// The root key that a database's properties name. Contradictions are refused.
    fn check_cipher(&self, properties: &BTreeMap<String, String>) -> Result<Option<String>, EngineError> {
        let refuse = |why: &str| Err(EngineError::InvalidDatabase(why.to_owned()));
        let enabled = match properties.get(CIPHER_ENABLED).map(|value| value.to_ascii_lowercase()) {
            None => None,
            Some(value) if value == "true" => Some(true),
            Some(value) if value == "false" => Some(false),
            Some(_) => return refuse("cipher.enabled must be true or false"),
        };
        let key = properties.get(CIPHER_KEY).filter(|key| !key.is_empty()).cloned();
        match (self.encrypted(), enabled, &key) {
            (true, Some(false), Some(_)) => refuse("cipher.enabled is false and yet cipher.key names a key"),
            (true, Some(false), None) => refuse("the cluster is encrypted: no database in it can be plain"),
            (false, Some(true), _) | (false, _, Some(_)) => {
                refuse("the cluster is not encrypted: create an encrypted cluster for encrypted databases")
            }
            _ => Ok(key),
        }
    }

    /// Removes an empty database and its zone.
    pub async fn drop_database(&self, name: &str) -> Result<(), EngineError> {
        if name == DEFAULT_DATABASE {
            return Err(EngineError::InvalidDatabase("the default database can't be dropped".into()));
        }
        let catalog = self.change().await?;
        let database = self.database(name)?;
        if !database.open().await?.all().is_empty() {
            return Err(EngineError::DatabaseNotEmpty(name.to_owned()));
        }
        if self.marks.has_pinned(database.zone()) {
            return Err(EngineError::InvalidDatabase(
                "a backup of it, or a restore into it, is under way: drop it when that has ended".into(),
            ));
        }
        put_entry(&catalog, &DatabaseEntry { stage: Stage::Dropping, ..database.entry.clone() }).await?;
        self.databases.write().unwrap_or_else(PoisonError::into_inner).remove(&self.tag(name));
        database.close().await;
        self.unmake_database(&catalog, &database.entry).await
    }

    /// All databases whose names can be read; a sealed one's can't.
    pub async fn list_databases(&self) -> Result<Vec<DatabaseInfo>, EngineError> {
        let mut infos = Vec::new();
        for database in self.all() {
            match database.info().await {
                Ok(info) => infos.push(info),
                Err(error @ EngineError::Sealed(_)) => {
                    tracing::debug!(zone = %database.zone(), %error, "a sealed database is left out of the list");
                }
                Err(error) => {
                    tracing::warn!(zone = %database.zone(), %error, "a database that can't be opened is left out of the list");
                }
            }
        }
        if infos.is_empty() {
            let status = self.catalog.zone().status();
            if !status.is_usable() {
                return Err(EngineError::Sealed(status));
            }
        }
        infos.sort_by_key(|info| info.created);
        Ok(infos)
    }

    /// All databases, dark ones too.
    pub(crate) fn all(&self) -> Vec<Arc<Database>> {
        self.databases.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A database.
    pub async fn describe_database(&self, name: &str) -> Result<DatabaseInfo, EngineError> {
        self.database(name)?.info().await
    }

    /// Sets and deletes a database's properties; those about its key can't be changed.
    pub async fn alter_database(
        &self,
        name: &str,
        set: BTreeMap<String, String>,
        delete: Vec<String>,
    ) -> Result<(), EngineError> {
        if set.keys().chain(&delete).any(|key| key.starts_with("cipher.")) {
            return Err(EngineError::InvalidDatabase("a database's key is chosen when it is created".into()));
        }
        self.database(name)?.open().await?.alter(set, &delete).await
    }

    /// Adds a user. The hash is kept as it is; it is for the caller to make and check.
    pub async fn create_user(&self, name: &str, hash: &str) -> Result<(), EngineError> {
        check_name("user", name)?;
        let catalog = self.change().await?;
        if self.user_hash(name).is_some() {
            return Err(EngineError::UserExists(name.to_owned()));
        }
        self.put_user(&catalog, name, hash).await
    }

    /// Changes a user's hash.
    pub async fn update_user(&self, name: &str, hash: &str) -> Result<(), EngineError> {
        let catalog = self.change().await?;
        if self.user_hash(name).is_none() {
            return Err(EngineError::UserNotFound(name.to_owned()));
        }
        self.put_user(&catalog, name, hash).await
    }

    async fn put_user(&self, catalog: &Kv, name: &str, hash: &str) -> Result<(), EngineError> {
        let record = rows::encode(&UserRecord { hash: hash.to_owned() }, "user")?;
        catalog.put(&user_key(name), &record).await?;
        self.users.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), hash.to_owned());
        Ok(())
    }

    /// Removes a user.
    pub async fn delete_user(&self, name: &str) -> Result<(), EngineError> {
        let catalog = self.change().await?;
        if self.user_hash(name).is_none() {
            return Err(EngineError::UserNotFound(name.to_owned()));
        }
        catalog.remove(&user_key(name)).await?;
        self.users.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    /// All users.
    pub fn list_users(&self) -> Vec<String> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// All users with their hashes.
    pub(crate) fn users_with_hashes(&self) -> Vec<User> {
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        users.iter().map(|(name, hash)| User { name: name.clone(), hash: hash.clone() }).collect()
    }

    /// A user's hash.
    pub fn user_hash(&self, name: &str) -> Option<String> {
        self.users.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The state of the cluster's own zone first, and of every database's that was opened.
    pub async fn zones(&self) -> Vec<ZoneHealth> {
        let mut health = vec![ZoneHealth { zone: ZoneId::CLUSTER, status: self.catalog.zone().status() }];
        for database in self.all() {
            if let Some(status) = database.status().await {
                health.push(ZoneHealth { zone: database.zone(), status });
            }
        }
        health
    }

    /// The cluster's own zone: when it is sealed, all of the cluster is.
    pub fn cluster_zone(&self) -> ZoneStore {
        self.catalog.zone().clone()
    }

    /// Completes when another process has taken the cluster over: this one must stop. To be awaited as long as the engine
    /// is used: it opens the cluster's catalog again where the storage was gone for a while.
    pub async fn fenced(&self) {
        self.catalog.fenced().await;
    }

    /// Figures for metrics.
    pub fn stats(&self) -> EngineStats {
        let databases = self.all();
        let collections: Vec<_> =
            databases.iter().filter_map(|database| database.seen()).flat_map(|open| open.open_collections()).collect();
        EngineStats {
            databases: databases.len() as u64,
            collections_open: collections.len() as u64,
            rows: collections.iter().map(|collection| collection.rows_in_memory()).sum(),
        }
    }

    /// Ends all tasks. What was acknowledged is durable already.
    pub async fn close(&self) {
        for database in self.all() {
            database.close().await;
        }
        self.catalog.close().await;
    }
}

/// The key of the databases' name tags, made when the cluster is; `None` where an old cluster has none.
async fn tag_key(kv: &Kv, new: bool) -> Result<Option<aws_lc_rs::hmac::Key>, EngineError> {
    let record = match kv.get(CLUSTER).await? {
        Some(bytes) => rows::decode_record(&bytes, "cluster record")?,
        None if !new => return Ok(None),
        None => {
            let mut tag_key = [0; 32];
            aws_lc_rs::rand::fill(&mut tag_key)
                .map_err(|_| EngineError::Storage("the system gave no random bytes".into()))?;
            let record = ClusterRecord { tag_key };
            let mut batch = WriteBatch::new();
            batch.put(CLUSTER, rows::encode(&record, "cluster record")?);
            kv.write(batch).await?;
            record
        }
    };
    Ok(Some(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &record.tag_key)))
}

async fn put_entry(catalog: &Kv, entry: &DatabaseEntry) -> Result<(), EngineError> {
    catalog.put(&database_key(&entry.zone), &rows::encode(entry, "database entry")?).await
}

fn database_key(zone: &[u8; 16]) -> Vec<u8> {
    [DATABASES, zone].concat()
}

fn user_key(name: &str) -> Vec<u8> {
    [USERS, name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use custody_store::PlainZones;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_database_whose_drop_failed_and_was_kept_all_the_same_is_gone() {
        let engine = Engine::create(Arc::new(PlainZones::new(Arc::new(InMemory::new())))).await.unwrap();
        let new = || NewDatabase { name: "a".into(), ..NewDatabase::default() };
        engine.create_database(new()).await.unwrap();
        let entry = engine.database("a").unwrap().entry.clone();
        {
            // As where the storage goes away after the record was written, and before anybody hears of that.
            let catalog = engine.change().await.unwrap();
            put_entry(&catalog, &DatabaseEntry { stage: Stage::Dropping, ..entry }).await.unwrap();
            catalog.close().await;
        }
        assert!(matches!(engine.drop_database("a").await, Err(EngineError::DatabaseNotFound(_))));
        engine.create_database(new()).await.unwrap();
        assert!(engine.has_database("a"));
    }
}
