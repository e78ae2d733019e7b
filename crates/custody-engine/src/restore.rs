//! Restores into a cluster that serves. What one makes is written down in the cluster's catalog before it is made: whenever the
//! process ends, all of it stays or nothing does. Ids alone stand there, never a name.

use std::sync::Arc;

use custody_store::ZoneId;
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError, Import, database::Database, kv::Kv, rows};

const RESTORES: &[u8] = b"r";
const RECORD: &str = "restore";

/// A restore in the cluster's catalog.
#[derive(Default, Serialize, Deserialize)]
struct RestoreRecord {
    /// The zones of the databases that it makes.
    databases: Vec<[u8; 16]>,
    /// The zones and ids of the collections that it takes in.
    collections: Vec<([u8; 16], i64)>,
    /// What it came to, in its caller's words; none while it is under way.
    done: Option<String>,
}

impl Engine {
    /// Begins a restore for a job: from now on whatever is made for it goes again, unless the restore is ended. What an earlier
    /// try of the job has left goes first.
    pub async fn begin_restore(&self, job: &str) -> Result<(), EngineError> {
        self.take_back_restore(job).await?;
        self.take_back_restores().await;
        let catalog = self.change().await?;
        for (other, record) in restores(&catalog).await? {
            if record.done.is_some() {
                // Whoever asked for it has heard of it, or would not ask for another.
                catalog.remove(&key(&other)).await?;
            }
        }
        put(&catalog, job, &RestoreRecord::default()).await
    }

    /// Writes down which collections a job's restore takes in, before the first of them is.
    pub async fn note_imports<'a>(
        &self,
        job: &str,
        imports: impl Iterator<Item = &'a Import> + Send,
    ) -> Result<(), EngineError> {
        let collections = imports.map(Import::place).map(|(zone, id)| (*zone.as_bytes(), id)).collect();
        let catalog = self.change().await?;
        let record = find(&catalog, job).await?;
        put(&catalog, job, &RestoreRecord { collections, ..record }).await
    }

    /// Ends a job's restore: from now on all of it stays. What it came to is kept for who asks again.
    pub async fn end_restore(&self, job: &str, done: String) -> Result<(), EngineError> {
        let catalog = self.change().await?;
        let record = find(&catalog, job).await?;
        put(&catalog, job, &RestoreRecord { done: Some(done), ..record }).await
    }

    /// What a job's restore came to, if it was ended.
    pub async fn restored(&self, job: &str) -> Result<Option<String>, EngineError> {
        Ok(find(&*self.change().await?, job).await?.done)
    }

    /// Takes back what a job's restore has made, unless it was ended.
    pub async fn take_back_restore(&self, job: &str) -> Result<(), EngineError> {
        let record = find(&*self.change().await?, job).await?;
        if record.done.is_some() {
            return Ok(());
        }
        for (zone, id) in &record.collections {
            if let Some(database) = self.of_zone(zone) {
                database.open().await?.take_out(*id).await?;
            }
        }
        for zone in &record.databases {
            if let Some(database) = self.of_zone(zone) {
                self.take_back_database(&database).await?;
            }
        }
        self.change().await?.remove(&key(job)).await
    }

    /// Takes back what restores that were cut short have left. What can't go now, for its zone is sealed, goes another time.
    pub(crate) async fn take_back_restores(&self) {
        let found = async { restores(&*self.change().await?).await };
        let found = match found.await {
            Ok(found) => found,
            Err(error) => return tracing::error!(%error, "what restores that were cut short have left can't be read"),
        };
        for (job, _) in found.iter().filter(|(_, record)| record.done.is_none()) {
            match self.take_back_restore(job).await {
                Ok(()) => tracing::info!(job, "what a restore that was cut short had made is taken back"),
                Err(error) => tracing::warn!(job, %error, "what a restore that was cut short has left stays for now"),
            }
        }
    }

    /// Notes a database that a job's restore is about to make. The caller holds the catalog.
    pub(crate) async fn note_database(catalog: &Kv, job: &str, zone: ZoneId) -> Result<(), EngineError> {
        let mut record = find(catalog, job).await?;
        record.databases.push(*zone.as_bytes());
        put(catalog, job, &record).await
    }

    /// Drops a database that a restore has made. One that somebody has made a collection in is theirs by now.
    async fn take_back_database(&self, database: &Arc<Database>) -> Result<(), EngineError> {
        let name = database.open().await?.record().name;
        match self.drop_database(&name).await {
            Err(EngineError::DatabaseNotEmpty(_)) => {
                tracing::warn!(zone = %database.zone(), "a database of a restore that failed is in use, and stays");
                Ok(())
            }
            dropped => dropped,
        }
    }

    fn of_zone(&self, zone: &[u8; 16]) -> Option<Arc<Database>> {
        self.all().into_iter().find(|database| database.entry.zone == *zone)
    }
}

/// A job's restore; an empty one where there is none.
async fn find(catalog: &Kv, job: &str) -> Result<RestoreRecord, EngineError> {
    match catalog.get(&key(job)).await? {
        Some(bytes) => rows::decode_record(&bytes, RECORD),
        None => Ok(RestoreRecord::default()),
    }
}

async fn restores(catalog: &Kv) -> Result<Vec<(String, RestoreRecord)>, EngineError> {
    let mut found = Vec::new();
    catalog
        .scan(RESTORES, |key, value| {
            let job = std::str::from_utf8(&key[RESTORES.len()..]).map_err(|_| EngineError::Record(RECORD))?;
            found.push((job.to_owned(), rows::decode_record(value, RECORD)?));
            Ok(())
        })
        .await?;
    Ok(found)
}

async fn put(catalog: &Kv, job: &str, record: &RestoreRecord) -> Result<(), EngineError> {
    catalog.put(&key(job), &rows::encode(record, RECORD)?).await
}

fn key(job: &str) -> Vec<u8> {
    [RESTORES, job.as_bytes()].concat()
}
