//! Changes of a database's collections, partitions, aliases and indexes. Each is one durable write to the catalog.

use std::collections::{BTreeMap, BTreeSet};

use super::OpenDatabase;
use crate::{
    CollectionInfo, EngineError, IndexKind, IndexProgress, IndexSpec, NewCollection, PartitionInfo, Schema,
    catalog::{CollectionRecord, DEFAULT_PARTITION, IndexRecord},
    schema::check_name,
};

/// Partitions of a collection, as in Milvus.
const MAX_PARTITIONS: usize = 1_024;

impl OpenDatabase {
    pub(crate) async fn create_collection(&self, new: NewCollection) -> Result<(), EngineError> {
        check_name("collection", &new.name)?;
        let schema: Schema = new.schema.validate()?;
        let _changing = self.changing.lock().await;
        self.require_free(&new.name)?;
        let id = self.next_id().await?;
        let created = self.clock.now();
        let default = PartitionInfo { id: self.next_id().await?, name: DEFAULT_PARTITION.into(), created };
        let record = CollectionRecord {
            id,
            name: new.name,
            schema,
            aliases: BTreeSet::new(),
            created,
            shards: new.shards,
            consistency: new.consistency,
            loaded: false,
            indexes: Vec::new(),
            partitions: vec![default],
        };
        self.begin(record).await
    }

    pub(super) fn require_free(&self, name: &str) -> Result<(), EngineError> {
        match self.find(name) {
            Ok(_) => Err(EngineError::CollectionExists(name.to_owned())),
            Err(_) => Ok(()),
        }
    }

    pub(crate) async fn drop_collection(&self, name: &str) -> Result<(), EngineError> {
        let _changing = self.changing.lock().await;
        let record = self.find(name)?;
        if record.name != name {
            return Err(EngineError::InvalidRequest(format!(
                "'{name}' is an alias: drop the collection by its own name"
            )));
        }
        self.forget(record.id).await
    }

    pub(crate) async fn rename_collection(&self, old: &str, new: &str) -> Result<(), EngineError> {
        check_name("collection", new)?;
        let _changing = self.changing.lock().await;
        let record = self.find(old)?;
        self.require_free(new)?;
        self.store(vec![CollectionRecord { name: new.to_owned(), ..(*record).clone() }]).await
    }

    pub(crate) async fn alter_properties(
        &self,
        name: &str,
        set: BTreeMap<String, String>,
        delete: &[String],
    ) -> Result<(), EngineError> {
        let _changing = self.changing.lock().await;
        let mut record = (*self.find(name)?).clone();
        record.schema.properties.extend(set);
        record.schema.properties.retain(|key, _| !delete.contains(key));
        self.store(vec![record]).await
    }

    /// Changes the database's own properties.
    pub(crate) async fn alter(&self, set: BTreeMap<String, String>, delete: &[String]) -> Result<(), EngineError> {
        let _changing = self.changing.lock().await;
        let mut record = self.record();
        record.properties.extend(set);
        record.properties.retain(|key, _| !delete.contains(key));
        self.set_record(record).await
    }

    /// Loads or releases a collection, and remembers it for the next start.
    pub(crate) async fn set_loaded(&self, name: &str, loaded: bool) -> Result<(), EngineError> {
        let changing = self.changing.lock().await;
        let record = self.find(name)?;
        if record.loaded != loaded {
            self.store(vec![CollectionRecord { loaded, ..(*record).clone() }]).await?;
        }
        drop(changing);
        let collection = self.collection(&record).await?;
        if loaded { collection.load().await } else { collection.release().await }
    }

    pub(crate) async fn create_partition(&self, name: &str, partition: &str) -> Result<(), EngineError> {
        check_name("partition", partition)?;
        let _changing = self.changing.lock().await;
        let mut record = (*self.find(name)?).clone();
        if record.partition_id(partition).is_ok() {
            return Err(EngineError::PartitionExists(partition.to_owned()));
        }
        if record.partitions.len() >= MAX_PARTITIONS {
            return Err(EngineError::InvalidPartition(format!("a collection has at most {MAX_PARTITIONS} partitions")));
        }
        let created = self.clock.now();
        record.partitions.push(PartitionInfo { id: self.next_id().await?, name: partition.to_owned(), created });
        self.store(vec![record]).await
    }

    /// Removes a partition with its rows: the rows first, so that none is left without a partition.
    pub(crate) async fn drop_partition(&self, name: &str, partition: &str) -> Result<(), EngineError> {
        if partition == DEFAULT_PARTITION {
            return Err(EngineError::InvalidPartition("the default partition can't be dropped".into()));
        }
        let _changing = self.changing.lock().await;
        let mut record = (*self.find(name)?).clone();
        let id = record.partition_id(partition)?;
        self.collection(&record).await?.clear_partition(id).await?;
        record.partitions.retain(|partition| partition.id != id);
        self.store(vec![record]).await
    }

    pub(crate) async fn create_alias(&self, name: &str, alias: &str) -> Result<(), EngineError> {
        check_name("alias", alias)?;
        let _changing = self.changing.lock().await;
        let mut record = (*self.find(name)?).clone();
        self.require_free(alias)?;
        record.aliases.insert(alias.to_owned());
        self.store(vec![record]).await
    }

    pub(crate) async fn drop_alias(&self, alias: &str) -> Result<(), EngineError> {
        let _changing = self.changing.lock().await;
        let mut record = self.aliased(alias)?;
        record.aliases.remove(alias);
        self.store(vec![record]).await
    }

    pub(crate) async fn alter_alias(&self, name: &str, alias: &str) -> Result<(), EngineError> {
        let _changing = self.changing.lock().await;
        let mut from = self.aliased(alias)?;
        let mut to = (*self.find(name)?).clone();
        if from.id == to.id {
            return Ok(());
        }
        from.aliases.remove(alias);
        to.aliases.insert(alias.to_owned());
        self.store(vec![from, to]).await
    }

    /// The collection that an alias names.
    pub(crate) fn aliased(&self, alias: &str) -> Result<CollectionRecord, EngineError> {
        let found = self.all().into_iter().find(|record| record.aliases.contains(alias));
        found.map(|record| (*record).clone()).ok_or_else(|| EngineError::AliasNotFound(alias.to_owned()))
    }

    pub(crate) async fn create_index(&self, name: &str, mut spec: IndexSpec) -> Result<(), EngineError> {
        let changing = self.changing.lock().await;
        let mut record = (*self.find(name)?).clone();
        if spec.name.is_empty() {
            spec.name.clone_from(&spec.field);
        }
        check_index(&record.schema, &spec)?;
        let same = |index: &&IndexRecord| index.spec.name == spec.name || index.spec.field == spec.field;
        if let Some(existing) = record.indexes.iter().find(same) {
            if existing.spec == spec {
                return Ok(());
            }
            return Err(EngineError::InvalidIndex(format!(
                "there is another index named '{}' or on field '{}': drop it first",
                spec.name, spec.field
            )));
        }
        record.indexes.push(IndexRecord { id: self.next_id().await?, spec });
        self.store(vec![record.clone()]).await?;
        drop(changing);
        self.collection(&record).await?.set_indexes(&record.indexes)
    }

    pub(crate) async fn drop_index(&self, name: &str, index: &str) -> Result<(), EngineError> {
        let changing = self.changing.lock().await;
        let mut record = (*self.find(name)?).clone();
        let before = record.indexes.len();
        record.indexes.retain(|record| record.spec.name != index && record.spec.field != index);
        if record.indexes.len() == before {
            return Err(EngineError::IndexNotFound(index.to_owned()));
        }
        self.store(vec![record.clone()]).await?;
        drop(changing);
        let collection = self.collection(&record).await?;
        collection.set_indexes(&record.indexes)?;
        collection.clear_snapshots(&record.indexes).await
    }

    /// Indexes and how far each is.
    pub(crate) async fn indexes(&self, name: &str) -> Result<Vec<(IndexSpec, IndexProgress)>, EngineError> {
        let record = self.find(name)?;
        let collection = self.collection(&record).await?;
        let total_rows = collection.row_count(None).await?;
        let progress = |index: &IndexRecord| {
            let (indexed_rows, pending_rows) = match (index.spec.kind, collection.view()) {
                (IndexKind::Scalar, _) | (_, None) => (total_rows, 0),
                _ => collection.index_progress(&index.spec.field),
            };
            (index.spec.clone(), IndexProgress { total_rows, indexed_rows, pending_rows })
        };
        Ok(record.indexes.iter().map(progress).collect())
    }

    /// What the outside learns of a collection.
    pub(crate) fn describe(record: &CollectionRecord) -> CollectionInfo {
        CollectionInfo {
            id: record.id,
            name: record.name.clone(),
            schema: record.schema.clone(),
            aliases: record.aliases.iter().cloned().collect(),
            created: record.created,
            shards: record.shards,
            consistency: record.consistency,
            loaded: record.loaded,
            indexes: record.indexes.iter().map(|index| index.spec.clone()).collect(),
            partitions: record.partitions.clone(),
        }
    }
}

fn check_index(schema: &Schema, spec: &IndexSpec) -> Result<(), EngineError> {
    let fail = |what: String| Err(EngineError::InvalidIndex(what));
    let Some(field) = schema.field(&spec.field) else {
        return fail(format!("field '{}' does not exist", spec.field));
    };
    match (field.data_type.is_vector(), spec.kind) {
        (true, IndexKind::Scalar) => {
            return fail(format!("field '{}' is a vector: use FLAT, HNSW or AUTOINDEX", field.name));
        }
        (false, IndexKind::Flat | IndexKind::Hnsw { .. }) => {
            return fail(format!("field '{}' is not a vector", field.name));
        }
        _ => {}
    }
    if field.data_type.is_vector() && spec.metric.is_none() {
        return fail("metric_type is missing: L2, IP or COSINE".into());
    }
    if let IndexKind::Hnsw { m, ef_construction } = spec.kind
        && (!(2..=2_048).contains(&m) || !(1..=65_536).contains(&ef_construction))
    {
        return fail("M must be 2 to 2048 and efConstruction 1 to 65536".into());
    }
    Ok(())
}
