//! Bringing what a backup needs into the pool that it shares with others.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use custody_engine::Checkpoint;
use custody_store::put_stream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{GetResult, ObjectStore, ObjectStoreExt, path::Path};

use crate::{
    BackupError, Progress,
    attempt::Writing,
    digest::{Digest, Digesting},
    error::BACKUP,
    layout,
    manifest::ObjectEntry,
    plan::{self, Planned},
};

/// Objects that are copied at once.
const COPIES: usize = 3;

/// Copies of what is not in the pool.
pub(crate) struct Pooling<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) from: &'a Arc<dyn ObjectStore>,
    pub(crate) to: &'a Arc<dyn ObjectStore>,
    pub(crate) writing: &'a Writing,
    pub(crate) progress: &'a Progress,
    /// What an earlier backup tells of its objects, by their names in the pool: these need not be read to be described.
    pub(crate) earlier: HashMap<String, ObjectEntry>,
}

/// An object that is in the pool.
pub(crate) struct Pooled {
    /// The numbers of its database and collection in the checkpoint.
    pub(crate) collection: (usize, usize),
    pub(crate) entry: ObjectEntry,
    /// How many of its bytes were copied.
    pub(crate) copied: u64,
}

impl Pooling<'_> {
    /// Sees to it that all of them are in the pool, but for snapshots that went away meanwhile.
    pub(crate) async fn all(&self, planned: &[Planned]) -> Result<Vec<Pooled>, BackupError> {
        let pool = plan::pool(self.to).await?;
        let copies: Vec<_> = planned.iter().map(|planned| self.object(planned, &pool).boxed()).collect();
        let there: Vec<Option<Pooled>> = stream::iter(copies).buffered(COPIES).try_collect().await?;
        let there: Vec<Pooled> = there.into_iter().flatten().collect();
        // What was there at the beginning may have gone with the attempt that had put it there.
        let pool = plan::pool(self.to).await?;
        match there.iter().find(|it| pool.get(&it.entry.pool) != Some(&it.entry.size)) {
            Some(gone) => Err(BackupError::Gone(layout::pooled(&gone.entry.pool).to_string())),
            None => Ok(there),
        }
    }

    async fn object(&self, planned: &Planned, pool: &HashMap<String, u64>) -> Result<Option<Pooled>, BackupError> {
        let Planned { collection, path, pool: name, size } = planned;
        let taken = &self.checkpoint.databases[collection.0].collections[collection.1];
        let within = layout::within(&taken.root, path).unwrap_or_default().to_string();
        let pooled = |sha256, copied| {
            let entry = ObjectEntry { path: within, pool: name.clone(), size: *size, sha256 };
            Ok(Some(Pooled { collection: *collection, entry, copied }))
        };
        let target = layout::pooled(name);
        let is_there = pool.get(name) == Some(size);
        let known = self.earlier.get(name).filter(|known| known.size == *size);
        if let Some(known) = known.filter(|_| is_there) {
            self.progress.advance(*size);
            return pooled(known.sha256, 0);
        }
        let object = match self.from.get(path).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) if taken.snapshots.contains(path) => return Ok(None),
            Err(error) => return Err(BackupError::cluster(error)),
        };
        if !is_there {
            return pooled(self.copy(object, path, &target, *size).await?, *size);
        }
        // What it is, the cluster says: what lies in the pool may have been altered there.
        let sha256 = digest(object).await.map_err(BackupError::cluster)?;
        if self.has(&target, sha256).await? {
            self.progress.advance(*size);
            return pooled(sha256, 0);
        }
        tracing::warn!(pool = name, "an object that backups share was not what the cluster has, and is copied again");
        let object = self.from.get(path).await.map_err(BackupError::cluster)?;
        pooled(self.copy(object, path, &target, *size).await?, *size)
    }

    /// Whether an object of the pool is what it should be.
    async fn has(&self, target: &Path, sha256: Digest) -> Result<bool, BackupError> {
        let found = async { digest(self.to.get(target).await?).await };
        match found.await {
            Ok(found) => Ok(found == sha256),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(BackupError::backup(target, error)),
        }
    }

    /// Copies an object as it is stored.
    async fn copy(&self, object: GetResult, from: &Path, to: &Path, size: u64) -> Result<Digest, BackupError> {
        let (mut digesting, mut unread) = (Digesting::new(), false);
        let pieces = whole(object, from.clone(), size).inspect(|piece| match piece {
            Ok(piece) => {
                digesting.take(piece);
                self.progress.advance(piece.len() as u64);
            }
            Err(_) => unread = true,
        });
        self.writing.pools(to);
        let copied = put_stream(self.to, to, size, pieces).await;
        match (copied, unread) {
            (Ok(()), _) => Ok(digesting.finish()),
            (Err(error), true) => Err(BackupError::cluster(error)),
            (Err(error), false) => Err(BackupError::backup(from, error)),
        }
    }
}

/// The pieces of an object; an error at its end where it has not the size that it had.
fn whole(object: GetResult, path: Path, size: u64) -> BoxStream<'static, object_store::Result<Bytes>> {
    let state = (object.into_stream(), path, 0);
    let pieces = stream::try_unfold(state, move |(mut pieces, path, read)| async move {
        match pieces.try_next().await? {
            Some(piece) => {
                let read = read + piece.len() as u64;
                Ok(Some((piece, (pieces, path, read))))
            }
            None if read == size => Ok(None),
            None => {
                let source = format!("{path} changed while it was copied").into();
                Err(object_store::Error::Generic { store: BACKUP, source })
            }
        }
    });
    pieces.boxed()
}

/// SHA-256 of an object as it is stored.
async fn digest(object: GetResult) -> object_store::Result<Digest> {
    let mut stream = object.into_stream();
    let mut digesting = Digesting::new();
    while let Some(piece) = stream.try_next().await? {
        digesting.take(&piece);
    }
    Ok(digesting.finish())
}
