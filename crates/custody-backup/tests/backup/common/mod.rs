//! Clusters in memory with a scripted KMS, with rows in them, and their backups.

pub(crate) mod halting;
pub(crate) mod unanswered;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, StringArray, cast::AsArray, types::Float32Type,
};
use custody_backup::{
    Backup, BackupError, BackupId, BackupStore, Made, Order, Progress, Restored, Restoring, Target, make,
};
use custody_engine::{
    CheckpointRequest, DataType, DeleteRequest, Engine, EngineError, Field, IndexKind, IndexSpec, Metric,
    NewCollection, NewDatabase, QueryRequest, QueryResult, Rows, Schema, SearchRequest, WriteRequest,
};
use custody_keyring::{Keyring, LeasePolicy, SystemClock};
use custody_kms::{RootKeyRef, scripted::ScriptedKms};
use custody_store::{Bring, ClusterId, PlainZones, SealedZones, Zones};
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

pub(crate) type Store = Arc<dyn ObjectStore>;

/// A collection of the tests.
pub(crate) const POINTS: &str = "points";
/// The job of a restore into a cluster that serves.
pub(crate) const JOB: &str = "job-1";
/// A database of the tests.
pub(crate) const SHOP: &str = "shop";
/// A database under a key of its own.
pub(crate) const TENANT: &str = "tenant";
/// What is never to be seen in a sealed store.
pub(crate) const CANARY: &str = "canary-7f3a9c";

pub(crate) fn store() -> Store {
    Arc::new(InMemory::new())
}

/// An open cluster.
pub(crate) struct Cluster {
    pub(crate) id: ClusterId,
    pub(crate) key: Option<RootKeyRef>,
    pub(crate) tenants: Vec<RootKeyRef>,
    pub(crate) store: Store,
    pub(crate) zones: Arc<dyn Zones>,
    pub(crate) keyring: Option<Arc<Keyring>>,
    pub(crate) engine: Arc<Engine>,
}

pub(crate) fn keyring(
    store: &Store,
    id: &ClusterId,
    kms: &Arc<ScriptedKms>,
    key: &RootKeyRef,
    tenants: &[RootKeyRef],
) -> Arc<Keyring> {
    let policy = LeasePolicy { deny_confirm_delay: Duration::from_millis(1), ..LeasePolicy::default() };
    let (store, clock) = (Arc::clone(store), Arc::new(SystemClock));
    Arc::new(Keyring::new(store, id.clone(), kms.clone(), key.clone(), tenants.to_vec(), policy, clock).unwrap())
}

fn zones(
    store: &Store,
    id: &ClusterId,
    kms: &Arc<ScriptedKms>,
    key: Option<&RootKeyRef>,
    tenants: &[RootKeyRef],
) -> (Arc<dyn Zones>, Option<Arc<Keyring>>) {
    match key {
        None => (Arc::new(PlainZones::new(Arc::clone(store))), None),
        Some(key) => {
            let keyring = keyring(store, id, kms, key, tenants);
            (Arc::new(SealedZones::new(Arc::clone(store), Arc::clone(&keyring), id.clone())), Some(keyring))
        }
    }
}

impl Cluster {
    /// A new cluster: under a key, or in plain text.
    pub(crate) async fn new(id: &str, kms: &Arc<ScriptedKms>, key: Option<RootKeyRef>, tenants: &[RootKeyRef]) -> Self {
        Self::over(store(), id, kms, key, tenants, true).await
    }

    pub(crate) async fn over(
        store: Store,
        id: &str,
        kms: &Arc<ScriptedKms>,
        key: Option<RootKeyRef>,
        tenants: &[RootKeyRef],
        new: bool,
    ) -> Self {
        let id: ClusterId = id.parse().unwrap();
        let (zones, keyring) = zones(&store, &id, kms, key.as_ref(), tenants);
        let engine =
            if new { Engine::create(Arc::clone(&zones)).await } else { Engine::open(Arc::clone(&zones)).await };
        Self { id, key, tenants: tenants.to_vec(), store, zones, keyring, engine: engine.unwrap() }
    }

    /// The same after its process has ended.
    pub(crate) async fn reopened(self, kms: &Arc<ScriptedKms>) -> Self {
        self.engine.close().await;
        let Self { id, key, tenants, store, zones, keyring, engine } = self;
        drop((zones, keyring, engine));
        Self::over(store, id.as_str(), kms, key, &tenants, false).await
    }

    pub(crate) fn order<'a>(&'a self, to: &Store, backup: &str) -> Order<'a> {
        Order {
            engine: &self.engine,
            zones: &*self.zones,
            cluster: self.id.clone(),
            key: self.key.as_ref().map(|key| key.key_arn().to_string()),
            from: Arc::clone(&self.store),
            to: Arc::clone(to),
            backup: backup.parse().unwrap(),
            request: CheckpointRequest::default(),
        }
    }

    pub(crate) async fn back_up(&self, to: &Store, backup: &str) -> Result<Made, BackupError> {
        make(&self.order(to, backup), &Progress::default()).await
    }

    /// Two databases, three collections, an alias, a partition, an index with a graph, users.
    pub(crate) async fn fill(&self) {
        let engine = &self.engine;
        collection(engine, "", POINTS).await;
        engine.create_index("", POINTS, index(IndexKind::Auto)).await.unwrap();
        engine.load_collection("", POINTS).await.unwrap();
        engine.insert("", POINTS, rows(0..300)).await.unwrap();
        engine.delete("", POINTS, delete("id < 10")).await.unwrap();
        engine.upsert("", POINTS, rows_of("changed", [20, 21])).await.unwrap();
        engine.create_alias("", POINTS, "dots").await.unwrap();
        engine.create_partition("", POINTS, "part").await.unwrap();
        let partition = Some("part".to_owned());
        engine.insert("", POINTS, WriteRequest { partition, ..rows(1_000..1_010) }).await.unwrap();
        engine.create_database(NewDatabase { name: SHOP.into(), ..NewDatabase::default() }).await.unwrap();
        collection(engine, SHOP, POINTS).await;
        engine.insert(SHOP, POINTS, rows(0..5)).await.unwrap();
        collection(engine, SHOP, "empty").await;
        engine.create_user("reader", "a-hash").await.unwrap();
        engine.create_user("root", "roots-old-hash").await.unwrap();
    }

    /// A database under a key of its own, with a collection.
    pub(crate) async fn fill_tenant(&self, key: &RootKeyRef) {
        let properties = BTreeMap::from([("cipher.key".to_owned(), key.key_arn().to_string())]);
        self.engine.create_database(NewDatabase { name: TENANT.into(), properties }).await.unwrap();
        collection(&self.engine, TENANT, POINTS).await;
        self.engine.insert(TENANT, POINTS, rows(0..7)).await.unwrap();
    }
}

/// Opens a backup with its keys.
pub(crate) async fn open(
    backups: &Store,
    backup: &str,
    of: &Cluster,
    kms: &Arc<ScriptedKms>,
) -> Result<(Backup, Option<Arc<Keyring>>), BackupError> {
    let store = BackupStore::new(Arc::clone(backups), backup.parse::<BackupId>().unwrap());
    let objects = Arc::clone(&store) as Store;
    let (zones, keyring) = zones(&objects, &of.id, kms, of.key.as_ref(), &of.tenants);
    Ok((Backup::open(store, &of.id, &*zones, None).await?, keyring))
}

pub(crate) fn everything(how: Bring) -> Restoring {
    Restoring { how, anew_across_accounts: false, into: Target::New, only: None, keep_database_keys: false, load: true }
}

/// What restores into a cluster that serves.
pub(crate) fn serving() -> Target {
    Target::Serving { job: JOB.to_owned() }
}

/// Restores all of a backup into a cluster that is new.
pub(crate) async fn restore(
    backups: &Store,
    backup: &str,
    of: &Cluster,
    into: &Cluster,
    kms: &Arc<ScriptedKms>,
    what: &Restoring,
) -> Result<Restored, BackupError> {
    let (backup, _keyring) = open(backups, backup, of, kms).await?;
    backup.restore(&into.engine, what, &Progress::default()).await
}

pub(crate) fn schema() -> Schema {
    Schema {
        description: CANARY.into(),
        fields: vec![
            Field::primary("id", DataType::Int64),
            Field::new("text", DataType::VarChar { max_length: 60 }),
            Field::new("vector", DataType::FloatVector { dim: 2 }),
        ],
        dynamic: false,
        properties: BTreeMap::new(),
    }
}

pub(crate) async fn collection(engine: &Engine, db: &str, name: &str) {
    let new = NewCollection { name: name.into(), schema: schema(), shards: 1, consistency: 0 };
    engine.create_collection(db, new).await.unwrap();
}

pub(crate) fn index(kind: IndexKind) -> IndexSpec {
    IndexSpec { name: String::new(), field: "vector".into(), kind, metric: Some(Metric::L2), params: BTreeMap::new() }
}

pub(crate) fn delete(filter: &str) -> DeleteRequest {
    DeleteRequest { filter: filter.into(), ..DeleteRequest::default() }
}

pub(crate) fn rows(keys: impl IntoIterator<Item = i64>) -> WriteRequest {
    rows_of(CANARY, keys)
}

/// Rows whose text and vector follow from a word and the key.
#[expect(clippy::cast_precision_loss, reason = "keys are small")]
pub(crate) fn rows_of(word: &str, keys: impl IntoIterator<Item = i64>) -> WriteRequest {
    let keys: Vec<i64> = keys.into_iter().collect();
    let floats: Float32Array = keys.iter().flat_map(|key| [*key as f32 / 3.0, 0.1]).collect();
    let item = Arc::new(arrow_schema::Field::new("item", arrow_schema::DataType::Float32, false));
    let vectors: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, Arc::new(floats), None));
    WriteRequest {
        len: keys.len(),
        columns: vec![
            ("text".into(), Arc::new(StringArray::from_iter_values(keys.iter().map(|key| format!("{word} {key}"))))),
            ("vector".into(), vectors),
            ("id".into(), Arc::new(Int64Array::from(keys))),
        ],
        ..WriteRequest::default()
    }
}

/// All rows of a collection, vectors as their bits.
pub(crate) async fn contents(engine: &Engine, db: &str, name: &str) -> Result<Vec<String>, EngineError> {
    engine.load_collection(db, name).await?;
    let request = QueryRequest { output_fields: vec!["*".into()], ..QueryRequest::default() };
    let QueryResult::Rows(rows) = engine.query(db, name, request).await? else { panic!("rows expected") };
    Ok((0..rows.len).map(|row| text_of(&rows, row)).collect())
}

fn text_of(rows: &Rows, row: usize) -> String {
    let mut texts: Vec<String> = rows
        .columns
        .iter()
        .map(|(field, column)| {
            let value = match &field.data_type {
                DataType::FloatVector { .. } => {
                    let list = column.as_fixed_size_list().value(row);
                    format!(
                        "{:?}",
                        list.as_primitive::<Float32Type>().values().iter().map(|it| it.to_bits()).collect::<Vec<_>>()
                    )
                }
                DataType::VarChar { .. } => column.as_string::<i32>().value(row).to_owned(),
                _ => format!("{:?}", column.slice(row, 1)),
            };
            format!("{}={value}", field.name)
        })
        .collect();
    texts.sort();
    texts.join(" ")
}

/// The nearest rows to a point, with their scores. They lie at both sides of it in pairs: the limit parts none.
pub(crate) async fn nearest(engine: &Engine, db: &str, name: &str) -> (Vec<i64>, Vec<u32>) {
    let request = SearchRequest { vectors: vec![vec![50.0, 0.0]], limit: 19, ..SearchRequest::default() };
    let found = engine.search(db, name, request).await.unwrap();
    let custody_engine::PrimaryKeys::Int(keys) = found.keys else { panic!("ints expected") };
    (keys, found.scores.iter().map(|score| score.to_bits()).collect())
}

/// All objects of a store.
pub(crate) async fn objects(store: &Store) -> Vec<ObjectMeta> {
    let mut objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    objects.sort_by(|a: &ObjectMeta, b| a.location.cmp(&b.location));
    objects
}

/// The objects of a store, each with its bytes.
pub(crate) async fn files(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for object in objects(store).await {
        files.insert(object.location.to_string(), read(store, &object.location).await);
    }
    files
}

pub(crate) async fn read(store: &Store, path: &Path) -> Vec<u8> {
    store.get(path).await.unwrap().bytes().await.unwrap().to_vec()
}
