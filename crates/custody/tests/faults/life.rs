//! A cluster's life from its making to a restart, whatever its storage does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array,
    cast::AsArray,
    types::{Float32Type, Int64Type},
};
use custody_engine::{
    DataType, DeleteRequest, Engine, EngineError, Field, IndexKind, IndexSpec, Metric, NewCollection, NewDatabase,
    PrimaryKeys, QueryRequest, QueryResult, Schema, SearchRequest, WriteRequest,
};
use custody_keyring::{Keyring, LeasePolicy, SystemClock};
use custody_kms::{RootKeyRef, scripted::ScriptedKms};
use custody_seal::ClusterId;
use custody_store::{SealedZones, Zones};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::{
    expected::{Change, Expected, Thing},
    store::FaultyStore,
};

/// Tries of a call whose storage is well again.
const TRIES: usize = 4;
/// A zone that could not be opened is tried again after a second.
const PAUSE: Duration = Duration::from_millis(1_100);
const MAIN: &str = "points";
const BRIEF: &str = "brief";
const PARTITION: &str = "part";
const ALIAS: &str = "alias";
const SECOND: &str = "second";
const INSIDE: &str = "inside";

/// An open cluster.
struct Cluster {
    engine: Arc<Engine>,
    /// Held so that its zones stay open.
    _keyring: Arc<Keyring>,
}

/// A cluster, its storage and its key.
pub(crate) struct Life {
    store: FaultyStore,
    kms: Arc<ScriptedKms>,
    key: RootKeyRef,
    expected: Expected,
    cluster: Option<Cluster>,
}

impl Life {
    pub(crate) fn new(store: FaultyStore) -> Self {
        let kms = Arc::new(ScriptedKms::new());
        let key = kms.create_key();
        Self { store, kms, key, expected: Expected::default(), cluster: None }
    }

    /// All of it. Panics where something is lost, wrong, half made or does not recover.
    pub(crate) async fn live(mut self) {
        self.create().await;
        self.make_and_write().await;
        self.check().await;
        self.change_and_drop().await;
        self.check().await;
        self.restart().await;
        self.check().await;
        self.step("insert after the restart", rows(30..33, 7), async |engine| insert(engine, 30..33, 7).await).await;
        self.store.heal_for_good();
        // Not closed: as if the process had been killed.
        self.cluster = None;
        self.restart().await;
        self.check().await;
        self.nothing_is_left_over().await;
    }

    fn zones(&self) -> (Arc<dyn Zones>, Arc<Keyring>) {
        let store: Arc<dyn ObjectStore> = Arc::new(self.store.clone());
        let cluster: ClusterId = "in01-faults".parse().expect("an id");
        let (policy, clock) = (LeasePolicy::default(), Arc::new(SystemClock));
        let (kms, key) = (Arc::clone(&self.kms), self.key.clone());
        let keyring = Keyring::new(Arc::clone(&store), cluster.clone(), kms, key, Vec::new(), policy, clock);
        let keyring = Arc::new(keyring.expect("a keyring"));
        (Arc::new(SealedZones::new(store, Arc::clone(&keyring), cluster)), keyring)
    }

    /// Makes the cluster; where that fails, nothing of it may be left.
    async fn create(&mut self) {
        let mut tries = 0;
        self.cluster = Some(loop {
            let (zones, keyring) = self.zones();
            match Engine::create(zones).await {
                Ok(engine) => break Cluster { engine, _keyring: keyring },
                Err(error) => {
                    // The process has ended before anybody clears up: what it had begun would write on into an open zone.
                    drop(keyring);
                    self.failed("create the cluster", &error, &mut tries);
                    self.clear_what_an_outage_left().await;
                }
            }
        });
    }

    /// What could not be removed because the storage was gone is removed as the operator is told to. After any other fault
    /// there must be nothing.
    async fn clear_what_an_outage_left(&self) {
        let left: Vec<_> = self.store.beneath().list(None).try_collect().await.expect("a listing");
        if self.store.is_outage() {
            for object in left {
                self.store.beneath().delete(&object.location).await.expect("a deletion");
            }
            return;
        }
        let left: Vec<_> = left.iter().map(|object| object.location.as_ref()).collect();
        assert!(left.is_empty(), "{}: a cluster that was not made left {left:?}", self.store.hit());
    }

    async fn restart(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            cluster.engine.close().await;
        }
        let mut tries = 0;
        self.cluster = Some(loop {
            let (zones, keyring) = self.zones();
            match Engine::open(zones).await {
                Ok(engine) => break Cluster { engine, _keyring: keyring },
                Err(error) => {
                    self.failed("open the cluster", &error, &mut tries);
                    self.remove_what_is_torn(&error).await;
                }
            }
        });
    }

    /// What was torn when nobody was left to try again is refused by name, as what somebody tampered with. It was never
    /// acknowledged: without it everything that was is there.
    async fn remove_what_is_torn(&self, error: &EngineError) {
        let said = error.to_string();
        if let Some(torn) =
            self.store.torn().filter(|torn| said.contains(torn.as_ref()) && said.contains("does not open"))
        {
            self.store.beneath().delete(&torn).await.expect("a deletion");
        }
    }

    /// A failure is one more try, with a storage that is there again; too many are the end.
    fn failed(&self, what: &str, error: &EngineError, tries: &mut usize) {
        assert!(self.store.was_hit(), "{what}: {error}, and nothing was wrong with the storage");
        self.store.heal();
        *tries += 1;
        assert!(*tries < TRIES, "{}: {what} still fails: {error}", self.store.hit());
    }

    /// Makes a call until it is acknowledged. One that had failed and finds its work done is done too.
    async fn step(&mut self, what: &str, change: Change, call: impl AsyncFn(&Engine) -> Result<(), EngineError>) {
        let mut tries = 0;
        loop {
            let engine = Arc::clone(&self.cluster.as_ref().expect("an open cluster").engine);
            match call(&engine).await {
                Ok(()) => break,
                Err(error) if tries > 0 && says_done(&error) => break,
                Err(error) => {
                    self.expected.in_doubt(&change);
                    self.failed(what, &error, &mut tries);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.expected.done(&change);
    }

    async fn make_and_write(&mut self) {
        self.step("create a database", there(SECOND), async |engine| {
            engine.create_database(NewDatabase { name: SECOND.into(), ..NewDatabase::default() }).await
        })
        .await;
        self.step("create a collection", there(MAIN), async |engine| create(engine, "", MAIN).await).await;
        self.step("create an index", vec![], async |engine| index(engine, "", MAIN).await).await;
        self.step("load", vec![], async |engine| engine.load_collection("", MAIN).await).await;
        self.step("insert", rows(0..20, 1), async |engine| insert(engine, 0..20, 1).await).await;
        self.step("flush", vec![], async |engine| engine.flush("", MAIN).await).await;
        self.step("upsert", rows(5..10, 2), async |engine| insert(engine, 5..10, 2).await).await;
        self.step("delete by key", no_rows([1, 3]), async |engine| delete(engine, "id in [1, 3]").await).await;
        self.step("delete by filter", no_rows([18, 19]), async |engine| delete(engine, "id > 17").await).await;
    }

    async fn change_and_drop(&mut self) {
        self.step("create a partition", there(PARTITION), async |engine| {
            engine.create_partition("", MAIN, PARTITION).await
        })
        .await;
        self.step("insert into it", rows(20..25, 3), async |engine| {
            let request = WriteRequest { partition: Some(PARTITION.into()), ..request(20..25, 3) };
            engine.insert("", MAIN, request).await.map(drop)
        })
        .await;
        self.step("create an alias", there(ALIAS), async |engine| engine.create_alias("", MAIN, ALIAS).await).await;
        self.step("create a brief collection", there(BRIEF), async |engine| create(engine, "", BRIEF).await).await;
        self.step("insert into it", vec![], async |engine| engine.insert("", BRIEF, request(0..5, 1)).await.map(drop))
            .await;
        self.step("drop it", gone(BRIEF), async |engine| engine.drop_collection("", BRIEF).await).await;
        self.step("release", vec![], async |engine| engine.release_collection("", MAIN).await).await;
        self.step("load again", vec![], async |engine| engine.load_collection("", MAIN).await).await;
        self.step("create in the second", there(INSIDE), async |engine| create(engine, SECOND, INSIDE).await).await;
        self.step("drop in the second", gone(INSIDE), async |engine| engine.drop_collection(SECOND, INSIDE).await)
            .await;
        self.step("drop the second", gone(SECOND), async |engine| engine.drop_database(SECOND).await).await;
        let dropped: Change = [gone(PARTITION), no_rows(20..25)].concat();
        self.step("release for the drop", vec![], async |engine| engine.release_collection("", MAIN).await).await;
        self.step("drop the partition", dropped, async |engine| engine.drop_partition("", MAIN, PARTITION).await).await;
        self.step("load after the drop", vec![], async |engine| engine.load_collection("", MAIN).await).await;
    }

    /// Compares what the cluster holds with what it may hold.
    async fn check(&mut self) {
        let mut tries = 0;
        let found = loop {
            let engine = Arc::clone(&self.cluster.as_ref().expect("an open cluster").engine);
            match read(&engine).await {
                Ok(found) => break found,
                Err(error) => {
                    self.failed("read", &error, &mut tries);
                    self.remove_what_is_torn(&error).await;
                }
            }
            tokio::time::sleep(PAUSE).await;
        };
        let wrong = self.expected.compare(&found);
        assert!(wrong.is_empty(), "{}: {wrong:?}", self.store.hit());
    }

    /// No zone without its database and no collection's objects without the collection.
    async fn nothing_is_left_over(&self) {
        let engine = &self.cluster.as_ref().expect("an open cluster").engine;
        let databases = engine.list_databases().await.expect("the databases");
        let (mut zones, mut collections) = (BTreeSet::new(), BTreeSet::new());
        let objects: Vec<_> = self.store.beneath().list(None).try_collect().await.expect("a listing");
        for object in objects {
            let parts: Vec<_> = object.location.parts().map(|part| part.as_ref().to_owned()).collect();
            zones.insert(parts[1].clone());
            if parts[2] == "collections" {
                collections.insert(parts[..4].join("/"));
            }
        }
        let mut known = 0;
        for database in &databases {
            known += engine.list_collections(&database.name).await.expect("the collections").len();
        }
        assert_eq!(zones.len(), 1 + databases.len(), "{}: zones {zones:?}", self.store.hit());
        assert_eq!(collections.len(), known, "{}: {collections:?}", self.store.hit());
    }
}

/// Whether a call that is tried again is told that it was done the first time.
fn says_done(error: &EngineError) -> bool {
    use EngineError as E;
    matches!(
        error,
        E::DatabaseExists(_)
            | E::DatabaseNotFound(_)
            | E::CollectionExists(_)
            | E::CollectionNotFound(_)
            | E::PartitionExists(_)
            | E::PartitionNotFound(_)
    )
}

fn there(name: &'static str) -> Change {
    vec![(Thing::Named(name), Some(0))]
}

fn gone(name: &'static str) -> Change {
    vec![(Thing::Named(name), None)]
}

fn rows(keys: impl IntoIterator<Item = i64>, version: i64) -> Change {
    keys.into_iter().map(|key| (Thing::Row(key), Some(version))).collect()
}

fn no_rows(keys: impl IntoIterator<Item = i64>) -> Change {
    keys.into_iter().map(|key| (Thing::Row(key), None)).collect()
}

async fn create(engine: &Engine, database: &str, name: &str) -> Result<(), EngineError> {
    let schema = Schema {
        description: String::new(),
        fields: vec![
            Field::primary("id", DataType::Int64),
            Field::new("version", DataType::Int64),
            Field::new("vector", DataType::FloatVector { dim: 2 }),
        ],
        dynamic: false,
        properties: BTreeMap::new(),
    };
    let new = NewCollection { name: name.into(), schema, shards: 1, consistency: 0 };
    engine.create_collection(database, new).await
}

async fn index(engine: &Engine, database: &str, name: &str) -> Result<(), EngineError> {
    let spec = IndexSpec {
        name: String::new(),
        field: "vector".into(),
        kind: IndexKind::Auto,
        metric: Some(Metric::L2),
        params: BTreeMap::new(),
    };
    engine.create_index(database, name, spec).await
}

/// The vector of a row: it tells the key and the version.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn vector(key: i64, version: i64) -> [f32; 2] {
    [key as f32, version as f32]
}

fn request(keys: impl IntoIterator<Item = i64>, version: i64) -> WriteRequest {
    let keys: Vec<i64> = keys.into_iter().collect();
    let floats: Float32Array = keys.iter().flat_map(|key| vector(*key, version)).collect();
    let item = Arc::new(arrow_schema::Field::new("item", arrow_schema::DataType::Float32, false));
    let vectors: ArrayRef = Arc::new(FixedSizeListArray::new(item, 2, Arc::new(floats), None));
    WriteRequest {
        len: keys.len(),
        columns: vec![
            ("version".into(), Arc::new(Int64Array::from(vec![version; keys.len()]))),
            ("vector".into(), vectors),
            ("id".into(), Arc::new(Int64Array::from(keys))),
        ],
        ..WriteRequest::default()
    }
}

async fn insert(engine: &Engine, keys: std::ops::Range<i64>, version: i64) -> Result<(), EngineError> {
    engine.upsert("", MAIN, request(keys, version)).await.map(drop)
}

async fn delete(engine: &Engine, filter: &str) -> Result<(), EngineError> {
    engine.delete("", MAIN, DeleteRequest { filter: filter.into(), ..DeleteRequest::default() }).await.map(drop)
}

/// All that is there.
async fn read(engine: &Engine) -> Result<BTreeMap<Thing, i64>, EngineError> {
    let mut found = BTreeMap::new();
    for name in [MAIN, BRIEF] {
        if engine.has_collection("", name).await? {
            found.insert(Thing::Named(name), 0);
        }
    }
    if engine.has_partition("", MAIN, PARTITION).await? {
        found.insert(Thing::Named(PARTITION), 0);
    }
    match engine.describe_alias("", ALIAS).await {
        Ok(_) => drop(found.insert(Thing::Named(ALIAS), 0)),
        Err(EngineError::AliasNotFound(_)) => {}
        Err(error) => return Err(error),
    }
    match engine.has_collection(SECOND, INSIDE).await {
        Ok(inside) => {
            found.insert(Thing::Named(SECOND), 0);
            found.extend(inside.then_some((Thing::Named(INSIDE), 0)));
        }
        Err(EngineError::DatabaseNotFound(_)) => {}
        Err(error) => return Err(error),
    }
    read_rows(engine, &mut found).await?;
    Ok(found)
}

async fn read_rows(engine: &Engine, found: &mut BTreeMap<Thing, i64>) -> Result<(), EngineError> {
    let request = QueryRequest { output_fields: vec!["*".into()], ..QueryRequest::default() };
    let QueryResult::Rows(rows) = engine.query("", MAIN, request).await? else { panic!("rows were asked for") };
    let column = |name: &str| {
        let (_, column) = rows.columns.iter().find(|(field, _)| field.name == name).expect("a column");
        Arc::clone(column)
    };
    let (keys, versions, vectors) = (column("id"), column("version"), column("vector"));
    let vectors = vectors.as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec();
    let keys = keys.as_primitive::<Int64Type>().values().to_vec();
    let versions = versions.as_primitive::<Int64Type>().values().to_vec();
    for ((key, version), stored) in keys.iter().zip(versions).zip(vectors.chunks(2)) {
        assert_eq!(stored, vector(*key, version), "half a row");
        found.insert(Thing::Row(*key), version);
        let search = SearchRequest { vectors: vec![stored.to_vec()], limit: 1, ..SearchRequest::default() };
        let nearest = engine.search("", MAIN, search).await?;
        assert_eq!(nearest.keys, PrimaryKeys::Int(vec![*key]), "a row that is there is not found");
    }
    Ok(())
}
