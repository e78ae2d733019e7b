//! What one attempt at a backup writes. Nothing of one that failed stays, and nothing that another wrote goes: two may be at the
//! same backup at once, where a node was taken for dead and its successor has begun.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use custody_store::{ClusterId, ZoneId, ZoneStore};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, path::Path, prefix::PrefixStore};

use crate::{
    BackupError, BackupId, BackupStore,
    layout::{self, Attempt},
    open,
};

/// An attempt, and where it writes.
pub(crate) struct Writing {
    to: Arc<dyn ObjectStore>,
    backup: BackupId,
    cluster: ClusterId,
    /// The cluster's own zone.
    zone: ZoneStore,
    attempt: Attempt,
    /// What it has put into the pool.
    pooled: Mutex<Vec<Path>>,
}

impl Writing {
    pub(crate) fn new(to: Arc<dyn ObjectStore>, backup: BackupId, cluster: ClusterId, zone: ZoneStore) -> Self {
        Self { to, backup, cluster, zone, attempt: Attempt::new(), pooled: Mutex::default() }
    }

    pub(crate) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Refuses if the backup is there, whoever has made it.
    pub(crate) async fn must_be_new(&self) -> Result<(), BackupError> {
        if self.is_complete().await? { Err(BackupError::Exists(self.backup.clone())) } else { Ok(()) }
    }

    async fn is_complete(&self) -> Result<bool, BackupError> {
        let marker = layout::marker(&self.backup);
        match self.to.head(&marker).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(BackupError::backup(&marker, error)),
        }
    }

    /// The attempt that completed the backup, if one has. Only then it takes the zone's key.
    async fn completed_by(&self) -> Result<Option<Attempt>, BackupError> {
        if !self.is_complete().await? {
            return Ok(None);
        }
        let store = BackupStore::new(Arc::clone(&self.to), self.backup.clone());
        match open::cluster_manifest(&store, &self.zone, &self.cluster, None).await {
            Ok(manifest) => Ok(Some(manifest.attempt)),
            Err(BackupError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says what it needs of the pool. From here on a clean-up leaves that.
    pub(crate) async fn put_list(&self, names: impl Iterator<Item = &str>) -> Result<(), BackupError> {
        let list = layout::list(&self.backup, &self.attempt);
        let text: String = names.flat_map(|name| [name, "\n"]).collect();
        self.to.put(&list, text.into()).await.map(drop).map_err(|error| BackupError::backup(&list, error))
    }

    /// Remembers what goes into the pool, before it does.
    pub(crate) fn pools(&self, path: &Path) {
        self.pooled.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
    }

    /// Puts an object of a zone beside the manifests, as it is.
    pub(crate) async fn put(&self, zone: ZoneId, path: &Path, payload: PutPayload) -> Result<(), BackupError> {
        let target = layout::below(layout::root_of(zone, &self.backup, &self.attempt), path);
        self.to.put(&target, payload).await.map(drop).map_err(|error| BackupError::backup(path, error))
    }

    /// Seals a manifest in the zone that it speaks of.
    pub(crate) async fn put_manifest(&self, zone: &ZoneStore, bytes: Vec<u8>) -> Result<(), BackupError> {
        let path = layout::manifest(zone.zone(), &self.backup);
        self.create(zone, &path, bytes).await.map_err(|error| BackupError::backup(&path, error))
    }

    /// Completes the backup with the manifest of the cluster's own zone, unless another attempt has.
    pub(crate) async fn complete(&self, bytes: Vec<u8>) -> Result<(), BackupError> {
        let path = layout::manifest(ZoneId::CLUSTER, &self.backup);
        self.must_be_listed().await?;
        let Err(error) = self.create(&self.zone, &path, bytes).await else { return Ok(()) };
        // The answer may have been lost: then a repeated request finds what the first has written.
        match (self.completed_by().await, error) {
            (Ok(Some(attempt)), _) if attempt == self.attempt => Ok(()),
            (_, object_store::Error::AlreadyExists { .. }) => Err(BackupError::Exists(self.backup.clone())),
            (_, error) => Err(BackupError::backup(&path, error)),
        }
    }

    /// Refuses if its list was removed: another attempt has completed the backup, or somebody has given this one up, and what it
    /// needs is not safe any more.
    async fn must_be_listed(&self) -> Result<(), BackupError> {
        let list = layout::list(&self.backup, &self.attempt);
        match self.to.head(&list).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => {
                self.must_be_new().await?;
                Err(BackupError::Gone(list.to_string()))
            }
            Err(error) => Err(BackupError::backup(&list, error)),
        }
    }

    async fn create(&self, zone: &ZoneStore, path: &Path, bytes: Vec<u8>) -> object_store::Result<()> {
        let own = PrefixStore::new(Arc::clone(&self.to), layout::root_of(zone.zone(), &self.backup, &self.attempt));
        let objects = zone.elsewhere(Arc::new(own)).objects();
        objects.put_opts(path, bytes.into(), PutMode::Create.into()).await.map(drop)
    }

    /// Removes what other attempts at this backup have written, now that it is complete: one that still runs will be refused.
    pub(crate) async fn forget_others(&self) {
        let own = layout::attempt(&self.backup, &self.attempt);
        let all = self.to.list(Some(&layout::attempts(&self.backup))).map_ok(|meta| meta.location);
        let others = all.try_filter(move |path| std::future::ready(!path.prefix_matches(&own))).boxed();
        if let Err(error) = self.remove(others).await {
            tracing::warn!(%error, "what earlier attempts at a backup have left stays until the backup is deleted");
        }
    }

    /// Removes what this attempt has written, and no other needs. What can't be removed is found by the next clean-up.
    pub(crate) async fn undo(&self) {
        if let Err(error) = self.try_undo().await {
            tracing::warn!(%error, "what a backup that failed has left is removed by the next clean-up");
        }
    }

    async fn try_undo(&self) -> Result<(), BackupError> {
        let completed_by = self.completed_by().await?;
        if completed_by.as_ref() == Some(&self.attempt) {
            // It was given up at its last step. First it must be no backup any more.
            self.remove(stream::iter([Ok(layout::marker(&self.backup))]).boxed()).await?;
        }
        self.remove(below(&self.to, &layout::attempt(&self.backup, &self.attempt))).await?;
        // The keyring of the cluster's own zone is the same for all attempts. One that runs has its list there.
        let is_others = completed_by.is_some_and(|attempt| attempt != self.attempt);
        if !is_others && lists(&self.to, &self.backup).await?.is_empty() {
            self.remove(below(&self.to, &Path::from(self.backup.as_str()))).await?;
        }
        let needed = needed(&self.to).await?;
        let pooled = self.pooled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let pooled = pooled.into_iter().filter(|path| {
            let name = layout::within(&Path::from(layout::POOL), path).unwrap_or_default();
            !needed.contains(name.as_ref())
        });
        self.remove(stream::iter(pooled.map(Ok).collect::<Vec<_>>()).boxed()).await
    }

    /// Removes as many as it can; an error is the first of them.
    async fn remove(&self, paths: BoxStream<'static, object_store::Result<Path>>) -> Result<(), BackupError> {
        let mut deleted = self.to.delete_stream(paths);
        let mut failed = Ok(());
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => failed = failed.and(Err(BackupError::backup(&Path::default(), error))),
            }
        }
        failed
    }
}

/// The backups of which there is anything.
pub(crate) async fn backups(store: &Arc<dyn ObjectStore>) -> Result<Vec<BackupId>, BackupError> {
    let listed = store.list_with_delimiter(None).await;
    let listed = listed.map_err(|error| BackupError::backup(&Path::default(), error))?;
    Ok(listed.common_prefixes.iter().filter_map(|prefix| prefix.filename()?.parse().ok()).collect())
}

/// The names on an attempt's list.
pub async fn listed(store: &dyn ObjectStore, list: &Path) -> Result<Vec<String>, BackupError> {
    let found = async { store.get(list).await?.bytes().await };
    let bytes = found.await.map_err(|error| BackupError::backup(list, error))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| BackupError::Tampered {
        path: list.to_string(),
        why: "the list of what an attempt needs is no text".into(),
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What any attempt at any backup needs of the pool.
async fn needed(store: &Arc<dyn ObjectStore>) -> Result<HashSet<String>, BackupError> {
    let mut needed = HashSet::new();
    for backup in backups(store).await? {
        for list in lists(store, &backup).await? {
            match listed(store, &list).await {
                Ok(names) => needed.extend(names),
                // Its attempt has just been undone.
                Err(BackupError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(needed)
}

/// The lists of all attempts at a backup.
async fn lists(store: &Arc<dyn ObjectStore>, backup: &BackupId) -> Result<Vec<Path>, BackupError> {
    let lists = below(store, &layout::attempts(backup)).try_filter(|path| std::future::ready(layout::is_list(path)));
    lists.try_collect().await.map_err(|error| BackupError::backup(&layout::attempts(backup), error))
}

fn below(store: &Arc<dyn ObjectStore>, root: &Path) -> BoxStream<'static, object_store::Result<Path>> {
    store.list(Some(root)).map_ok(|meta| meta.location).boxed()
}
