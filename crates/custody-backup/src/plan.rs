//! What has to be copied for a backup: each object's place in the pool, and what earlier backups have of it already.

use std::{collections::HashMap, sync::Arc};

use custody_engine::Checkpoint;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};

use crate::{BackupError, digest::Digest, layout};

/// Requests that are under way at once.
pub(crate) const AT_ONCE: usize = 8;
/// How much of an object's beginning tells it from others of its name. A sealed file's header is drawn at random for each.
const HEAD: u64 = 256;
/// In a cluster that is not encrypted, how much of its end does besides: a sorted file's checksums are there.
const TAIL: u64 = 4_096;

/// An object that belongs into the backup.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    /// The number of its database in the checkpoint, and of its collection there.
    pub(crate) collection: (usize, usize),
    /// In the cluster.
    pub(crate) path: Path,
    /// Its name in the pool.
    pub(crate) pool: String,
    pub(crate) size: u64,
}

/// Looks at every object of a checkpoint. A snapshot of a graph may have gone away: the graph is built anew then.
pub(crate) async fn plan(
    checkpoint: &Checkpoint,
    cluster: &Arc<dyn ObjectStore>,
    encrypted: bool,
) -> Result<Vec<Planned>, BackupError> {
    let mut wanted = Vec::new();
    for (number, database) in checkpoint.databases.iter().enumerate() {
        for (collection, taken) in database.collections.iter().enumerate() {
            let of = (number, collection);
            wanted.extend(taken.rows.iter().map(|path| (of, path.clone(), true)));
            wanted.extend(taken.snapshots.iter().map(|path| (of, path.clone(), false)));
        }
    }
    // Boxed one by one: the compiler does not see of a closure's futures that they may go to another thread.
    let looks: Vec<BoxFuture<'_, _>> = wanted
        .into_iter()
        .map(|(collection, path, needed)| {
            let look = async move {
                match look(cluster, &path, encrypted).await {
                    Ok((pool, size)) => Ok(Some(Planned { collection, path, pool, size })),
                    Err(object_store::Error::NotFound { .. }) if !needed => Ok(None),
                    Err(error) => Err(BackupError::cluster(error)),
                }
            };
            look.boxed()
        })
        .collect();
    let planned: Vec<Option<Planned>> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    Ok(planned.into_iter().flatten().collect())
}

/// An object's name in the pool, and its size.
async fn look(cluster: &Arc<dyn ObjectStore>, path: &Path, encrypted: bool) -> object_store::Result<(String, u64)> {
    let head = GetOptions { range: Some(GetRange::Bounded(0..HEAD)), ..GetOptions::default() };
    let head = cluster.get_opts(path, head).await?;
    let size = head.meta.size;
    let mut tag = head.bytes().await?.to_vec();
    if !encrypted {
        tag.extend_from_slice(&cluster.get_range(path, size.saturating_sub(TAIL)..size).await?);
        tag.extend_from_slice(&size.to_be_bytes());
    }
    Ok((format!("{path}.{}", Digest::of(&tag).short()), size))
}

/// What lies in the pool, by name, with its size. Uploads are atomic: what is there is whole.
pub(crate) async fn pool(backups: &Arc<dyn ObjectStore>) -> Result<HashMap<String, u64>, BackupError> {
    let root = Path::from(layout::POOL);
    let listed = backups.list(Some(&root));
    let named = listed.map_ok(|meta| {
        let name = layout::within(&root, &meta.location).unwrap_or_default();
        (name.to_string(), meta.size)
    });
    named.try_collect().await.map_err(|error| BackupError::backup(&root, error))
}
