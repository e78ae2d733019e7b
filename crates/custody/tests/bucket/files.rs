//! The files of a cluster that the real program wrote, and opening them in this process, changed or not.

use std::{collections::BTreeMap, path::PathBuf, result::Result, sync::Arc};

use custody_engine::{Engine, EngineError};
use custody_keyring::{Keyring, LeasePolicy, SystemClock};
use custody_kms::{LocalKeys, LocalKms, MemoryLedger, RootKeyRef};
use custody_store::{ClusterId, SealedZones, Zones};
use milvus::v2::prelude::*;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use serde_json::{Value, json};

use crate::{
    common::{CLUSTER, Failure, Node, create_collection},
    contents::Contents,
};

/// Every object by its path in the cluster.
pub(crate) type Objects = BTreeMap<Path, Vec<u8>>;

/// Rows of the collection that is large enough for its index to be kept.
const MANY: i64 = 6_000;

/// A stopped cluster: its objects, and the key that opens them.
pub(crate) struct Stopped {
    pub(crate) objects: Objects,
    /// The same cluster before its last rows were written and its last changes of the catalog were made.
    pub(crate) earlier: Objects,
    pub(crate) key_arn: String,
    kms_file: PathBuf,
    /// Holds the keys.
    _node: Node,
}

impl Stopped {
    /// Fills a cluster through the SDK, so that it has files of every kind, and stops it: two databases, a collection
    /// of the same id in each, rows in the log and in sorted files, a kept index, deleted rows, several starts.
    pub(crate) async fn make() -> Result<Self, Failure> {
        let mut node = Node::start()?;
        let client = node.client().await?;
        create_collection(&client, "points", 64).await?;
        insert(&client, "points", 0..700, 64).await?;
        client.delete(DeleteRequest::builder().collection_name("points").filter("id < 20").build()?).await?;
        client.flush(FlushRequest::builder().collection_names(["points"]).build()?).await?;
        create_collection(&client, "many", 4).await?;
        insert(&client, "many", 0..MANY, 4).await?;
        client.create_database(CreateDatabaseRequest::builder().database_name("second").build()?).await?;
        client.use_database("second").await?;
        create_collection(&client, "others", 8).await?;
        insert(&client, "others", 0..40, 8).await?;
        wait_for_snapshot(&node).await?;
        node.stop()?;
        let earlier = node.objects()?;

        node.start_again()?;
        let client = node.client().await?;
        insert(&client, "points", 700..800, 64).await?;
        create_collection(&client, "late", 2).await?;
        insert(&client, "late", 0..3, 2).await?;
        // Killed: what was written last is in the logs alone.
        node.kill()?;
        let (objects, key_arn, kms_file) = (node.objects()?, node.key_arn().to_owned(), node.kms_file());
        Ok(Self { objects, earlier, key_arn, kms_file, _node: node })
    }

    /// The zones of some objects under this cluster's own id and key.
    pub(crate) async fn zones(&self, objects: &Objects) -> Result<Arc<SealedZones>, Failure> {
        self.zones_as(objects, CLUSTER, &self.key_arn).await
    }

    /// The zones of some objects, opened as those of a cluster under a key.
    pub(crate) async fn zones_as(
        &self,
        objects: &Objects,
        cluster: &str,
        key_arn: &str,
    ) -> Result<Arc<SealedZones>, Failure> {
        self.zones_over(store(objects).await?, cluster, key_arn)
    }

    /// The zones in a store, opened as those of a cluster under a key.
    pub(crate) fn zones_over(
        &self,
        store: Arc<dyn ObjectStore>,
        cluster: &str,
        key_arn: &str,
    ) -> Result<Arc<SealedZones>, Failure> {
        let cluster: ClusterId = cluster.parse()?;
        let kms = LocalKms::new(&self.kms_file, Arc::new(MemoryLedger::new(16)));
        let key = RootKeyRef::parse("local", key_arn, None, None)?;
        let (policy, clock) = (LeasePolicy::default(), Arc::new(SystemClock));
        let keyring = Keyring::new(Arc::clone(&store), cluster.clone(), Arc::new(kms), key, Vec::new(), policy, clock)?;
        Ok(Arc::new(SealedZones::new(store, Arc::new(keyring), cluster)))
    }

    /// Opens some objects as this cluster, and reads all that is in it.
    pub(crate) async fn read(&self, objects: &Objects) -> Result<Contents, EngineError> {
        let zones = self.zones(objects).await.map_err(|error| EngineError::Zone(error.to_string()))?;
        read(zones).await
    }

    /// Another key of the same KMS.
    pub(crate) fn another_key(&self) -> Result<String, Failure> {
        Ok(LocalKeys::new(&self.kms_file).create()?.to_string())
    }
}

/// Objects in a store of their own.
pub(crate) async fn store(objects: &Objects) -> Result<Arc<dyn ObjectStore>, Failure> {
    let store = InMemory::new();
    for (path, bytes) in objects {
        store.put(path, bytes.clone().into()).await?;
    }
    Ok(Arc::new(store))
}

/// Opens a cluster and reads all that is in it.
pub(crate) async fn read(zones: Arc<SealedZones>) -> Result<Contents, EngineError> {
    let engine = Engine::open(zones as Arc<dyn Zones>).await?;
    let contents = Contents::read(&engine).await;
    engine.close().await;
    contents
}

async fn insert(client: &ClientV2, name: &str, keys: std::ops::Range<i64>, dim: u32) -> Result<(), Failure> {
    let row = |key: i64| -> Value {
        let vector: Vec<i64> =
            (0..i64::from(dim)).map(|place| if place == 0 { key } else { (key * 31 + place * 7) % 101 }).collect();
        json!({ "id": key, "word": format!("{name} {key}"), "vector": vector })
    };
    let keys: Vec<i64> = keys.collect();
    for batch in keys.chunks(2_000) {
        let request = InsertRequest::builder().collection_name(name).rows(batch.iter().copied().map(row));
        client.insert(request.build()?).await?;
    }
    Ok(())
}

/// Waits until the index of the larger collection is kept with all its rows.
async fn wait_for_snapshot(node: &Node) -> Result<(), Failure> {
    let whole = format!("-{MANY}");
    for _ in 0..600 {
        if node.objects()?.keys().any(|path| path.as_ref().contains("/indexes/") && path.as_ref().ends_with(&whole)) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err("the index was not kept".into())
}
