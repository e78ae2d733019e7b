//! The engine's calls on collections. Each finds the database and the collection, does its work there, and says "sealed"
//! where a failure came of the zone going dark meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    CollectionInfo, DeleteRequest, Engine, EngineError, IndexProgress, IndexSpec, NewCollection, PartitionInfo,
    QueryRequest, QueryResult, SearchRequest, SearchResult, WriteRequest, WriteResult,
    catalog::{CollectionRecord, DEFAULT_PARTITION},
    collection::Collection,
    database::{Database, OpenDatabase},
    memory::View,
};

/// What a call works on.
struct Target {
    record: Arc<CollectionRecord>,
    collection: Arc<Collection>,
}

impl Target {
    /// The rows in memory.
    fn view(&self) -> Result<View, EngineError> {
        self.collection.view().ok_or_else(|| EngineError::NotLoaded(self.record.name.clone()))
    }
}

impl Engine {
    /// Makes a collection.
    pub async fn create_collection(&self, db: &str, new: NewCollection) -> Result<(), EngineError> {
        self.on(db, async |database| database.create_collection(new).await).await
    }

    /// Removes a collection and its rows.
    pub async fn drop_collection(&self, db: &str, name: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.drop_collection(name).await).await
    }

    /// Whether there is a collection (or alias) of a name.
    pub async fn has_collection(&self, db: &str, name: &str) -> Result<bool, EngineError> {
        self.on(db, async |database| Ok(database.find(name).is_ok())).await
    }

    /// A collection.
    pub async fn describe_collection(&self, db: &str, name: &str) -> Result<CollectionInfo, EngineError> {
        self.on(db, async |database| Ok(OpenDatabase::describe(&*database.find(name)?))).await
    }

    /// All collections of a database.
    pub async fn list_collections(&self, db: &str) -> Result<Vec<CollectionInfo>, EngineError> {
        self.on(db, async |database| Ok(database.all().iter().map(|record| OpenDatabase::describe(record)).collect()))
            .await
    }

    /// Renames a collection within its database. Another database is another zone: refused.
    pub async fn rename_collection(
        &self,
        db: &str,
        old: &str,
        new: &str,
        new_db: Option<&str>,
    ) -> Result<(), EngineError> {
        let plain = |name: &str| if name.is_empty() { "default".to_owned() } else { name.to_owned() };
        if new_db.is_some_and(|new_db| plain(new_db) != plain(db)) {
            return Err(EngineError::InvalidRequest(
                "a collection can't move to another database: each database is an encryption zone of its own".into(),
            ));
        }
        self.on(db, async |database| database.rename_collection(old, new).await).await
    }

    /// Sets and deletes a collection's properties.
    pub async fn alter_collection_properties(
        &self,
        db: &str,
        name: &str,
        set: BTreeMap<String, String>,
        delete: Vec<String>,
    ) -> Result<(), EngineError> {
        self.on(db, async |database| database.alter_properties(name, set, &delete).await).await
    }

    /// Takes a collection into memory.
    pub async fn load_collection(&self, db: &str, name: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.set_loaded(name, true).await).await
    }

    /// Lets a collection go from memory.
    pub async fn release_collection(&self, db: &str, name: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.set_loaded(name, false).await).await
    }

    /// How many rows a collection has.
    pub async fn row_count(&self, db: &str, name: &str) -> Result<u64, EngineError> {
        self.with(db, name, async |target| target.collection.row_count(None).await).await
    }

    /// How many rows a partition has.
    pub async fn partition_row_count(&self, db: &str, name: &str, partition: &str) -> Result<u64, EngineError> {
        self.with(db, name, async |target| {
            let partition = target.record.partition_id(partition)?;
            target.collection.row_count(Some(partition)).await
        })
        .await
    }

    /// Makes a partition.
    pub async fn create_partition(&self, db: &str, name: &str, partition: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.create_partition(name, partition).await).await
    }

    /// Removes a partition and its rows.
    pub async fn drop_partition(&self, db: &str, name: &str, partition: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.drop_partition(name, partition).await).await
    }

    /// Whether a collection has a partition.
    pub async fn has_partition(&self, db: &str, name: &str, partition: &str) -> Result<bool, EngineError> {
        self.on(db, async |database| Ok(database.find(name)?.partition_id(partition).is_ok())).await
    }

    /// A collection's partitions.
    pub async fn list_partitions(&self, db: &str, name: &str) -> Result<Vec<PartitionInfo>, EngineError> {
        self.on(db, async |database| Ok(database.find(name)?.partitions.clone())).await
    }

    /// Gives a collection another name.
    pub async fn create_alias(&self, db: &str, name: &str, alias: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.create_alias(name, alias).await).await
    }

    /// Takes an alias away.
    pub async fn drop_alias(&self, db: &str, alias: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.drop_alias(alias).await).await
    }

    /// Lets an alias name another collection.
    pub async fn alter_alias(&self, db: &str, name: &str, alias: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.alter_alias(name, alias).await).await
    }

    /// The collection that an alias names.
    pub async fn describe_alias(&self, db: &str, alias: &str) -> Result<String, EngineError> {
        self.on(db, async |database| Ok(database.aliased(alias)?.name)).await
    }

    /// Aliases with their collections; of one collection, if one is named.
    pub async fn list_aliases(&self, db: &str, name: Option<&str>) -> Result<Vec<(String, String)>, EngineError> {
        self.on(db, async |database| {
            let records = match name {
                Some(name) => vec![database.find(name)?],
                None => database.all(),
            };
            let pairs = |record: Arc<CollectionRecord>| {
                let name = record.name.clone();
                record.aliases.clone().into_iter().map(move |alias| (alias, name.clone()))
            };
            Ok(records.into_iter().flat_map(pairs).collect())
        })
        .await
    }

    /// Makes an index.
    pub async fn create_index(&self, db: &str, name: &str, spec: IndexSpec) -> Result<(), EngineError> {
        self.on(db, async |database| database.create_index(name, spec).await).await
    }

    /// Removes an index, by its name or its field's.
    pub async fn drop_index(&self, db: &str, name: &str, index: &str) -> Result<(), EngineError> {
        self.on(db, async |database| database.drop_index(name, index).await).await
    }

    /// A collection's indexes and how far each is.
    pub async fn describe_indexes(&self, db: &str, name: &str) -> Result<Vec<(IndexSpec, IndexProgress)>, EngineError> {
        self.on(db, async |database| database.indexes(name).await).await
    }

    /// Adds rows; durable and visible on return. A row takes the place of the one with its key.
    pub async fn insert(&self, db: &str, name: &str, request: WriteRequest) -> Result<WriteResult, EngineError> {
        self.write(db, name, request, false).await
    }

    /// Adds or replaces rows; durable and visible on return.
    pub async fn upsert(&self, db: &str, name: &str, request: WriteRequest) -> Result<WriteResult, EngineError> {
        self.write(db, name, request, true).await
    }

    async fn write(
        &self,
        db: &str,
        name: &str,
        request: WriteRequest,
        upsert: bool,
    ) -> Result<WriteResult, EngineError> {
        self.with(db, name, async |target| {
            let partition = request.partition.as_deref().filter(|partition| !partition.is_empty());
            let partition = target.record.partition_id(partition.unwrap_or(DEFAULT_PARTITION))?;
            target.collection.write(&request, partition, upsert).await
        })
        .await
    }

    /// Removes the rows that match; durable and visible on return.
    pub async fn delete(&self, db: &str, name: &str, request: DeleteRequest) -> Result<WriteResult, EngineError> {
        self.with(db, name, async |target| {
            let partition = request.partition.as_deref().filter(|partition| !partition.is_empty());
            let partition = partition.map(|partition| target.record.partition_id(partition)).transpose()?;
            match target.collection.delete(&request.filter, &request.params, partition).await {
                // The collection itself does not know its name.
                Err(EngineError::NotLoaded(_)) => Err(EngineError::NotLoaded(target.record.name.clone())),
                result => result,
            }
        })
        .await
    }

    /// Moves a collection's log into sorted files. Nothing depends on it: what was acknowledged is durable already.
    pub async fn flush(&self, db: &str, name: &str) -> Result<(), EngineError> {
        self.with(db, name, async |target| target.collection.flush().await).await
    }

    /// Asks for compaction. It runs by itself in the background over sorted files; this sees to it that the log is among
    /// them.
    pub async fn compact(&self, db: &str, name: &str) -> Result<(), EngineError> {
        self.flush(db, name).await
    }

    /// Reads the rows that match.
    pub async fn query(&self, db: &str, name: &str, request: QueryRequest) -> Result<QueryResult, EngineError> {
        self.with(db, name, async |target| {
            let partitions = target.record.partition_ids(&request.partitions)?;
            let view = target.view()?;
            let collection = Arc::clone(&target.collection);
            self.compute(move || collection.query(&view, &request, &partitions)).await
        })
        .await
    }

    /// Finds the nearest rows.
    pub async fn search(&self, db: &str, name: &str, request: SearchRequest) -> Result<SearchResult, EngineError> {
        self.with(db, name, async |target| {
            let partitions = target.record.partition_ids(&request.partitions)?;
            let view = target.view()?;
            let collection = Arc::clone(&target.collection);
            self.compute(move || collection.search(&view, &request, &partitions)).await
        })
        .await
    }

    /// Runs work that keeps a processor busy off the threads that serve connections.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let _permit = self.searches.acquire().await.map_err(|_| EngineError::Closing)?;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| EngineError::Fault)?
    }

    async fn on<T>(
        &self,
        db: &str,
        work: impl AsyncFnOnce(&OpenDatabase) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let database = self.database(db)?;
        let open = database.open().await?;
        let result = work(&open).await;
        explain(&database, result).await
    }

    async fn with<T>(
        &self,
        db: &str,
        name: &str,
        work: impl AsyncFnOnce(Target) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.on(db, async |database| {
            let record = database.find(name)?;
            let collection = database.collection(&record).await?;
            work(Target { record, collection }).await
        })
        .await
    }
}

/// A failure while the zone is dark came of that, whatever it looks like from below.
async fn explain<T>(database: &Arc<Database>, result: Result<T, EngineError>) -> Result<T, EngineError> {
    match (result, database.status().await) {
        (Err(_), Some(status)) if !status.is_usable() => Err(EngineError::Sealed(status)),
        (result, _) => result,
    }
}
