//! The one task that changes a collection. It takes what has queued up while the last log object was written, writes it
//! as one durable batch, and only then shows it to readers and answers: acknowledged is durable and visible.

use std::sync::{Arc, PoisonError, Weak};

use custody_filter::Filter;
use slatedb::WriteBatch;
use tokio::sync::{mpsc, oneshot};

use super::Collection;
use crate::{
    EngineError, PrimaryKeys, Value, WriteResult,
    kv::Kv,
    memory::{Memory, Segment, collect_keys},
    rows::{self, Key, StoredRow},
};

type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// Rows of one durable batch at the most, so that one batch is not the whole of a bulk load.
const GROUP_ROWS: usize = 20_000;

/// What the writer is asked to do.
pub(super) enum Command {
    /// Write rows, each in place of the one with its key. Numbers, and keys made by the engine, are still to be given.
    Write { rows: Vec<StoredRow>, reply: Reply<WriteResult> },
    /// Change some fields of rows: `None` leaves a field as it is stored.
    Patch { rows: Vec<Vec<Option<Value>>>, partition: i64, reply: Reply<WriteResult> },
    /// Remove rows by key.
    Delete { keys: Vec<Key>, reply: Reply<WriteResult> },
    /// Remove the rows that match.
    DeleteWhere { filter: Filter, partitions: Vec<i64>, reply: Reply<WriteResult> },
    /// Take the rows into memory.
    Load { reply: Reply<()> },
    /// Let go of the rows in memory.
    Release { reply: Reply<()> },
    /// Panic, with memory half changed.
    #[cfg(test)]
    Panic { reply: Reply<()> },
}

/// Sees to it that a writer that panics takes the collection with it: its memory may be half changed. The next call opens
/// the collection again from what is durable.
struct Fault<'a>(&'a Weak<Collection>);

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(collection) = self.0.upgrade()
        {
            tracing::error!(collection = collection.id, "the writer ended in a fault: the collection is opened again");
            collection.fail(EngineError::Fault);
            collection.release_now();
        }
    }
}

/// The number of a collection's first row.
const FIRST_ROW: u64 = 1;

/// Begins the durable map of a new collection. From now on a map without a counter is one that lost its objects.
pub(super) async fn begin(kv: &Kv) -> Result<u64, EngineError> {
    kv.put(rows::NEXT_ROW, &rows::encode(&FIRST_ROW, "row counter")?).await?;
    Ok(FIRST_ROW)
}

/// The number of the next row, as the durable map has it.
pub(super) async fn next_row(kv: &Kv, id: i64) -> Result<u64, EngineError> {
    let bytes = kv.get(rows::NEXT_ROW).await?.ok_or(EngineError::RowsMissing(id))?;
    rows::decode_record(&bytes, "row counter")
}

/// A change that becomes durable with its group.
enum Change {
    Rows(Vec<StoredRow>),
    Keys(Vec<Key>),
}

struct Pending {
    change: Change,
    reply: Reply<WriteResult>,
}

/// Serves commands until the collection is dropped or a write fails.
pub(super) async fn run(collection: Weak<Collection>, mut queue: mpsc::Receiver<Command>, mut next_row: u64) {
    let _fault = Fault(&collection);
    let mut held = None;
    loop {
        let Some(first) = (match held.take() {
            Some(command) => Some(command),
            None => queue.recv().await,
        }) else {
            return;
        };
        let Some(collection) = collection.upgrade() else { return };
        let result = match first {
            Command::Load { reply } => {
                answer(reply, collection.load_now(next_row).await);
                Ok(())
            }
            Command::Release { reply } => {
                collection.release_now();
                answer(reply, Ok(()));
                Ok(())
            }
            #[cfg(test)]
            Command::Panic { reply: _reply } => {
                let mut memory = collection.memory.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(memory) = memory.as_mut() {
                    memory.lose_every_key();
                }
                panic!("as the test asked")
            }
            first => {
                let mut group = Vec::new();
                held = collection.gather(first, &mut queue, &mut group, next_row).await;
                collection.commit(group, &mut next_row).await
            }
        };
        if let Err(error) = result {
            tracing::warn!(collection = collection.id, %error, "a write failed: the collection will be opened again");
            collection.fail(error);
            collection.release_now();
            return;
        }
    }
}

impl Collection {
    /// Collects commands that can share a batch. A command that needs to see what came before it is held back unless it
    /// is the first.
    async fn gather(
        &self,
        first: Command,
        queue: &mut mpsc::Receiver<Command>,
        group: &mut Vec<Pending>,
        next_row: u64,
    ) -> Option<Command> {
        let mut next = Some(first);
        let mut rows = 0;
        while let Some(command) = next {
            match command {
                Command::Write { rows: new, reply } => match self.check_made_keys(&new, next_row) {
                    Ok(()) => {
                        rows += new.len();
                        group.push(Pending { change: Change::Rows(new), reply });
                    }
                    Err(error) => answer(reply, Err(error)),
                },
                Command::Delete { keys, reply } => {
                    rows += keys.len();
                    group.push(Pending { change: Change::Keys(keys), reply });
                }
                Command::Patch { .. } | Command::DeleteWhere { .. } if group.is_empty() => {
                    self.resolve(command, group, next_row).await;
                    return None;
                }
                barrier => return Some(barrier),
            }
            if rows >= GROUP_ROWS {
                return None;
            }
            next = queue.try_recv().ok();
        }
        None
    }

    /// Turns a command that depends on the stored rows into a plain change; one that can't be is answered here.
    async fn resolve(&self, command: Command, group: &mut Vec<Pending>, next_row: u64) {
        match command {
            Command::DeleteWhere { filter, partitions, reply } => match self.matching_keys(&filter, &partitions) {
                Ok(keys) => group.push(Pending { change: Change::Keys(keys), reply }),
                Err(error) => answer(reply, Err(error)),
            },
            Command::Patch { rows, partition, reply } => match self.patched(rows, partition, next_row).await {
                Ok(rows) => group.push(Pending { change: Change::Rows(rows), reply }),
                Err(error) => answer(reply, Err(error)),
            },
            _ => {}
        }
    }

    fn matching_keys(&self, filter: &Filter, partitions: &[i64]) -> Result<Vec<Key>, EngineError> {
        let view = self.view().ok_or_else(|| EngineError::NotLoaded(String::new()))?;
        let places: Vec<_> = view.select(Some(filter), partitions)?.places().collect();
        Ok(match view.keys(&places) {
            PrimaryKeys::Int(keys) => keys.into_iter().map(Key::Int).collect(),
            PrimaryKeys::Text(keys) => keys.into_iter().map(|key| Key::Text(key.into())).collect(),
        })
    }

    /// Completes partly given rows by the stored ones; a key that isn't stored must come with all that a row needs.
    async fn patched(
        &self,
        rows: Vec<Vec<Option<Value>>>,
        partition: i64,
        next_row: u64,
    ) -> Result<Vec<StoredRow>, EngineError> {
        let primary = self.primary_column()?;
        let mut patched = Vec::with_capacity(rows.len());
        for row in rows {
            let key = row[primary].as_ref().and_then(Key::from_value);
            let key = key.ok_or_else(|| EngineError::InvalidRows("a partial upsert needs the primary key".into()))?;
            let stored = match self.kv.get(&key.stored()).await? {
                Some(bytes) => Some(StoredRow::decode(&bytes)?),
                None => None,
            };
            let partition = stored.as_ref().map_or(partition, |stored| stored.partition);
            let mut old = stored.map(|stored| stored.values).unwrap_or_default().into_iter();
            let mut values = Vec::with_capacity(row.len());
            for (given, field) in row.into_iter().zip(self.fields.iter()) {
                let old = old.next().or_else(|| field.default.clone()).unwrap_or(Value::Null);
                let value = given.unwrap_or(old);
                value.check(field)?;
                values.push(value);
            }
            patched.push(StoredRow { number: 0, partition, values });
        }
        self.check_made_keys(&patched, next_row)?;
        Ok(patched)
    }

    /// In an autoID collection a given key must be one that was made: any other could be made later, for another row, which
    /// would then silently take the place of this one.
    fn check_made_keys(&self, rows: &[StoredRow], next_row: u64) -> Result<(), EngineError> {
        let primary = self.primary_column()?;
        let made = |value: &Value| match value {
            Value::Null => true,
            Value::Int(key) => u64::try_from(*key).is_ok_and(|number| (1..next_row).contains(&number)),
            Value::Text(key) => key.parse().is_ok_and(|number| (1..next_row).contains(&number)),
            _ => false,
        };
        if self.fields[primary].auto_id && !rows.iter().all(|row| made(&row.values[primary])) {
            return Err(EngineError::InvalidRows(format!(
                "field '{}' is made by autoID: an upsert can only name keys that were made here; leave the key out for new rows",
                self.fields[primary].name
            )));
        }
        Ok(())
    }

    /// Makes a group durable, shows it to readers, and answers. An error means that what is durable is unknown.
    async fn commit(&self, mut group: Vec<Pending>, next_row: &mut u64) -> Result<(), EngineError> {
        if group.is_empty() {
            return Ok(());
        }
        let batch = match self.batch(&mut group, *next_row) {
            Ok((batch, next)) => {
                *next_row = next;
                batch
            }
            Err(error) => return self.refuse(group, error),
        };
        if let Err(error) = self.kv.write(batch).await {
            let status = self.zone.status();
            return self.refuse(group, if status.is_usable() { error } else { EngineError::Sealed(status) });
        }
        let timestamp = self.clock.now();
        let mut answers = Vec::with_capacity(group.len());
        {
            let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
            for Pending { change, reply } in group {
                let keys = self.apply(&change, memory.as_mut())?;
                answers.push((reply, WriteResult { count: keys.len(), keys, timestamp }));
            }
        }
        self.grown.notify_one();
        for (reply, result) in answers {
            answer(reply, Ok(result));
        }
        Ok(())
    }

    /// Tells every waiting caller of a group that it failed.
    fn refuse(&self, group: Vec<Pending>, error: EngineError) -> Result<(), EngineError> {
        self.fail(error.clone());
        for pending in group {
            answer(pending.reply, Err(error.clone()));
        }
        Err(error)
    }

    /// The group as one batch; numbers the rows and makes the keys that the engine makes.
    fn batch(&self, group: &mut [Pending], mut next_row: u64) -> Result<(WriteBatch, u64), EngineError> {
        let primary = self.primary_column()?;
        let mut batch = WriteBatch::new();
        for pending in group {
            match &mut pending.change {
                Change::Rows(rows) => {
                    for row in rows {
                        row.number = next_row;
                        next_row += 1;
                        if self.fields[primary].auto_id && row.values[primary] == Value::Null {
                            row.values[primary] = self.made_key(row.number);
                        }
                        let key = Key::from_value(&row.values[primary]).ok_or(EngineError::Record("row"))?;
                        let mut value = rows::encode_values(&row.values)?;
                        rows::complete(&mut value, row.number, row.partition);
                        batch.put(key.stored(), value);
                    }
                }
                Change::Keys(keys) => keys.iter().for_each(|key| batch.delete(key.stored())),
            }
        }
        batch.put(rows::NEXT_ROW, rows::encode(&next_row, "row counter")?);
        Ok((batch, next_row))
    }

    /// A key made from a row's number, which is never used twice.
    fn made_key(&self, number: u64) -> Value {
        if self.primary().data_type == crate::DataType::Int64 {
            Value::Int(number.cast_signed())
        } else {
            Value::Text(number.to_string())
        }
    }

    fn apply(&self, change: &Change, memory: Option<&mut Memory>) -> Result<PrimaryKeys, EngineError> {
        let primary = self.primary_column()?;
        match change {
            Change::Rows(rows) => {
                if let Some(memory) = memory {
                    memory.append(Segment::from_stored(rows, &self.fields))?;
                }
                let keys = rows.iter().filter_map(|row| Key::from_value(&row.values[primary]));
                Ok(collect_keys(keys, self.primary()))
            }
            Change::Keys(keys) => {
                if let Some(memory) = memory {
                    memory.remove(keys);
                }
                Ok(collect_keys(keys.iter().cloned(), self.primary()))
            }
        }
    }

    async fn load_now(&self, next_row: u64) -> Result<(), EngineError> {
        if self.view().is_some() {
            return Ok(());
        }
        let started = std::time::Instant::now();
        let mut rows = Vec::new();
        self.kv
            .scan(&[rows::ROW_PREFIX], |_, value| {
                rows.push(StoredRow::decode(value)?);
                Ok(())
            })
            .await?;
        let fields = Arc::clone(&self.fields);
        let memory = tokio::task::spawn_blocking(move || Memory::load(fields, rows))
            .await
            .map_err(|_| EngineError::Storage("loading the rows failed".into()))??;
        let rows = memory.len();
        self.restore_graphs(next_row).await?;
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        self.grown.notify_one();
        tracing::info!(collection = self.id, rows, millis = started.elapsed().as_millis(), "collection loaded");
        Ok(())
    }

    fn release_now(&self) {
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.drop_graphs();
    }
}

/// Whoever asked may have gone away meanwhile; that is theirs to know.
fn answer<T>(reply: Reply<T>, result: Result<T, EngineError>) {
    drop(reply.send(result));
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
