//! The objects of a backup at the paths that they had in their cluster, for keyrings and sealed stores to look at.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::Range,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, path::Path,
};

use crate::{
    BackupError, BackupId, attempt,
    digest::{Digest, Digesting},
    error::BACKUP,
    layout::{self, Attempt},
};

/// An object of the pool, as a manifest tells.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) pool: Path,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
}

/// A backup's objects. Nothing can be written to it.
///
/// The keyring and the manifest of the cluster's own zone are there from the beginning, those of the others once it was opened,
/// and the rest once they were. An object that a manifest tells of is compared with it: its length at once, and its digest when
/// it was read to its end, which is an error of the stream then.
pub struct BackupStore {
    backups: Arc<dyn ObjectStore>,
    backup: BackupId,
    attempt: OnceLock<Attempt>,
    known: RwLock<HashMap<Path, Known>>,
}

impl BackupStore {
    /// A backup of the cluster whose backups are in this store.
    pub fn new(backups: Arc<dyn ObjectStore>, backup: BackupId) -> Arc<Self> {
        Arc::new(Self { backups, backup, attempt: OnceLock::new(), known: RwLock::default() })
    }

    /// The backup.
    pub fn backup(&self) -> &BackupId {
        &self.backup
    }

    /// Takes in which attempt made the backup.
    pub(crate) fn made_by(&self, attempt: Attempt) {
        self.attempt.get_or_init(|| attempt);
    }

    /// The list of what the attempt that made the backup needs of the pool, and the names on it.
    pub(crate) async fn listed(&self) -> Result<(Path, HashSet<String>), BackupError> {
        let attempt = self.attempt.get().ok_or_else(|| BackupError::NotFound(self.backup.clone()))?;
        let list = layout::list(&self.backup, attempt);
        let names = attempt::listed(&*self.backups, &list).await?;
        Ok((list, names.into_iter().collect()))
    }

    /// Takes in what a manifest tells of an object.
    pub(crate) fn learn(&self, path: Path, known: Known) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(path, known);
    }

    fn known(&self, path: &Path) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn refused<T>(path: &Path) -> Result<T> {
        Err(Error::PermissionDenied { path: path.to_string(), source: "a backup is not written to".into() })
    }

    /// Below which root the backup has an object of its own.
    fn root(&self, path: &Path) -> Path {
        match self.attempt.get() {
            Some(attempt) if !layout::is_clusters(path) => layout::attempt(&self.backup, attempt),
            _ => Path::from(self.backup.as_str()),
        }
    }

    /// Where the backup has an object of its own.
    fn own(&self, path: &Path) -> Path {
        layout::below(self.root(path), path)
    }
}

/// The path in the cluster of what lies below a root.
fn outer(root: &Path, path: Path) -> Path {
    layout::within(root, &path).unwrap_or(path)
}

/// Compares what is read of an object with what a manifest tells of it.
fn compared(path: &Path, known: &Known, result: GetResult, whole: bool) -> Result<GetResult> {
    let altered = |why: String| Error::Generic { store: BACKUP, source: why.into() };
    if result.meta.size != known.size {
        return Err(altered(format!("it has {} bytes, and {} were backed up", result.meta.size, known.size)));
    }
    let GetResult { payload: _, meta, range, attributes, extensions } = &result;
    let (mut meta, range, attributes, extensions) =
        (meta.clone(), range.clone(), attributes.clone(), extensions.clone());
    meta.location = path.clone();
    let stream = result.into_stream();
    let payload = if whole { digested(stream, known.sha256, altered("it was altered".to_owned())) } else { stream };
    Ok(GetResult { payload: GetResultPayload::Stream(payload), meta, range, attributes, extensions })
}

/// The same stream, with an error at its end where it was not what it should be.
fn digested(
    stream: BoxStream<'static, Result<Bytes>>,
    expected: Digest,
    altered: Error,
) -> BoxStream<'static, Result<Bytes>> {
    let state = Some((stream, Digesting::new(), altered));
    futures::stream::try_unfold(state, move |state| async move {
        let Some((mut stream, mut digesting, altered)) = state else { return Ok(None) };
        match stream.try_next().await? {
            Some(piece) => {
                digesting.take(&piece);
                Ok(Some((piece, Some((stream, digesting, altered)))))
            }
            None if digesting.finish() == expected => Ok(None),
            None => Err(altered),
        }
    })
    .boxed()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for BackupStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let whole = options.range.is_none() && !options.head;
        match self.known(location) {
            Some(known) => {
                let result = self.backups.get_opts(&known.pool, options).await?;
                compared(location, &known, result, whole)
            }
            None => {
                let mut result = self.backups.get_opts(&self.own(location), options).await?;
                result.meta.location = location.clone();
                Ok(result)
            }
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.known(location) {
            Some(known) => self.backups.get_ranges(&known.pool, ranges).await,
            None => self.backups.get_ranges(&self.own(location), ranges).await,
        }
    }

    /// What belongs to this backup alone: keyrings and manifests.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        let root = self.root(&prefix);
        let listed = self.backups.list(Some(&self.own(&prefix)));
        listed
            .map_ok(move |mut meta| {
                meta.location = outer(&root, meta.location);
                meta
            })
            .boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let offset = offset.clone();
        self.list(prefix).try_filter(move |meta| std::future::ready(meta.location > offset)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let root = self.root(&prefix);
        let mut result = self.backups.list_with_delimiter(Some(&self.own(&prefix))).await?;
        for meta in &mut result.objects {
            meta.location = outer(&root, std::mem::take(&mut meta.location));
        }
        result.common_prefixes = result.common_prefixes.into_iter().map(|prefix| outer(&root, prefix)).collect();
        Ok(result)
    }

    async fn put_opts(&self, location: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Self::refused(location)
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Self::refused(location)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.map(|location| Self::refused(&location?)).boxed()
    }

    async fn copy_opts(&self, _: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        Self::refused(to)
    }

    async fn rename_opts(&self, _: &Path, to: &Path, _: RenameOptions) -> Result<()> {
        Self::refused(to)
    }
}

impl fmt::Debug for BackupStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupStore")
            .field("backups", &self.backups)
            .field("backup", &self.backup)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for BackupStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backup({}, {})", self.backup, self.backups)
    }
}
