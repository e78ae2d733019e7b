//! The sealed store: an object store for the objects of one zone.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use custody_keyring::{Zone, ZoneStatus};
use custody_seal::{ChunkSize, ClusterId, FileContext, Layout, NewFile, Suite};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode, Result,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::cache::KeyCache;
use crate::copy::Origin;
use crate::error::StoreError;
use crate::scope::Scope;
use crate::unanswered::Unanswered;
use crate::upload::SealedUpload;

/// The objects of one encryption zone, sealed in the store below.
///
/// Sizes and ranges are the plaintext's everywhere. Each object is bound to its full path, so one that was copied, moved or
/// swapped below this store does not open, and neither does one that was altered, cut or never sealed. A copy or rename
/// through this store writes a new header over the same body.
///
/// While the zone is sealed, nothing at all is answered, not even a listing.
///
/// What it does not hide: paths, sizes, times, and the attributes and tags that a caller gives an object. A size that
/// [`head`](ObjectStoreExt::head) or a listing tells is computed from the sealed object's length, and a read in the middle of
/// an object proves the bytes it returns, not the length; a read that reaches the end proves that too.
#[derive(Clone)]
pub struct SealedStore {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) zone: Arc<Zone>,
    pub(crate) cluster: ClusterId,
    pub(crate) scope: Scope,
    pub(crate) chunk_size: ChunkSize,
    pub(crate) cache: KeyCache,
    pub(crate) unanswered: Unanswered,
    /// The task that empties the cache when the zone is sealed.
    guard: AbortHandle,
}

impl SealedStore {
    /// The store of a zone's objects over the cluster's store.
    ///
    /// Has to be called within a Tokio runtime: a task watches the zone, and drops all file keys when it is sealed.
    pub fn new(inner: Arc<dyn ObjectStore>, zone: Arc<Zone>, cluster: ClusterId) -> Self {
        Self::with_chunk_size(inner, zone, cluster, ChunkSize::DEFAULT)
    }

    /// The same with another chunk size than the default. All objects of a zone have to be of one chunk size, for a listing
    /// computes plaintext sizes by it.
    pub fn with_chunk_size(
        inner: Arc<dyn ObjectStore>,
        zone: Arc<Zone>,
        cluster: ClusterId,
        chunk_size: ChunkSize,
    ) -> Self {
        let scope = Scope::new(zone.id());
        // Subscribed here and not in the task: it must not miss what happens before it first runs.
        let status = zone.subscribe();
        let shared = Arc::new_cyclic(|shared| {
            let guard = tokio::spawn(empty_when_sealed(Weak::clone(shared), status)).abort_handle();
            let (cache, unanswered) = (KeyCache::default(), Unanswered::default());
            Shared { inner, zone, cluster, scope, chunk_size, cache, unanswered, guard }
        });
        Self { shared }
    }

    /// The objects of the same zone in another place, such as a backup of it.
    #[must_use]
    pub fn elsewhere(&self, inner: Arc<dyn ObjectStore>) -> Self {
        let shared = &self.shared;
        Self::with_chunk_size(inner, Arc::clone(&shared.zone), shared.cluster.clone(), shared.chunk_size)
    }

    /// Copies an object of another zone here: a new header over the same body, under this zone's key. It costs what a copy
    /// costs. Whoever has the old header and the old zone's key opens the new body with them.
    pub async fn rekey(&self, from: &Self, source: &Path, to: &Path) -> Result<()> {
        from.shared.check(source)?;
        self.shared.check(to)?;
        tracing::trace!(from = %source, %to, "rekey");
        self.shared.copy(Origin { store: &from.shared, path: source }, to, CopyOptions::new()).await
    }

    /// The zone.
    pub fn zone(&self) -> &Arc<Zone> {
        &self.shared.zone
    }
}

/// Ends with the zone; the store's drop aborts it before that.
async fn empty_when_sealed(shared: Weak<Shared>, mut status: watch::Receiver<ZoneStatus>) {
    while status.changed().await.is_ok() {
        let sealed = !status.borrow_and_update().is_usable();
        match shared.upgrade() {
            Some(shared) if sealed => shared.cache.clear(),
            Some(_) => {}
            None => return,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.guard.abort();
    }
}

impl Shared {
    /// Refuses while the zone is sealed. Where a use finds that first, it does not wait for the task that empties the cache.
    pub(crate) fn check_zone(&self) -> Result<(), StoreError> {
        Ok(self.zone.use_current(|_, _| ()).inspect_err(|_| self.cache.clear())?)
    }

    /// Refuses while the zone is sealed, and a path that is none of its objects'.
    pub(crate) fn check(&self, location: &Path) -> Result<(), StoreError> {
        self.scope.check(location)?;
        self.check_zone()
    }

    pub(crate) fn context<'a>(&'a self, location: &'a Path) -> FileContext<'a> {
        FileContext { cluster: &self.cluster, zone: self.zone.id(), path: location.as_ref() }
    }

    /// Only the header is sealed while the zone's key is held: its sealing waits for that.
    pub(crate) fn new_file(&self, location: &Path) -> Result<(u32, NewFile), StoreError> {
        let context = self.context(location);
        let (version, file) =
            self.zone.use_current(|version, key| (version, NewFile::new(key, version, &context, self.chunk_size)))?;
        Ok((version, file?))
    }

    fn seal(&self, location: &Path, payload: &PutPayload) -> Result<Vec<u8>, StoreError> {
        let (_, file) = self.new_file(location)?;
        if let [whole] = payload.as_ref() {
            return Ok(file.seal(whole)?);
        }
        let length = file.layout().sealed_len(payload.content_length() as u64)?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let mut sealer = file.sealer();
        for piece in payload {
            sealer.push(piece, &mut bytes)?;
        }
        sealer.finish(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(Suite::Aes256Gcm, self.chunk_size)
    }

    /// The same with the plaintext's size.
    pub(crate) fn plain_meta(&self, mut meta: ObjectMeta) -> Result<ObjectMeta, StoreError> {
        meta.size = self.layout().plain_len(meta.size).map_err(|error| StoreError::tampered(&meta.location, error))?;
        Ok(meta)
    }

    fn listed(
        self: &Arc<Self>,
        list: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let shared = Arc::clone(self);
        list.try_filter_map(move |meta| std::future::ready(shared.listed_meta(meta))).boxed()
    }

    fn listed_meta(&self, meta: ObjectMeta) -> Result<Option<ObjectMeta>> {
        if self.scope.is_keyring(&meta.location) {
            return Ok(None);
        }
        self.check_zone()?;
        Ok(Some(self.plain_meta(meta)?))
    }

    fn list_prefix(&self, prefix: Option<&Path>) -> Result<Path, StoreError> {
        self.check_zone()?;
        let prefix = self.scope.prefix(prefix)?;
        tracing::trace!(%prefix, "list");
        Ok(prefix)
    }
}

fn failed<T: Send + 'static>(error: StoreError) -> BoxStream<'static, Result<T>> {
    futures::stream::once(std::future::ready(Err(error.into()))).boxed()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for SealedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.shared.check(location)?;
        let sealed = self.shared.seal(location, &payload)?;
        tracing::trace!(%location, plain = payload.content_length(), sealed = sealed.len(), "put");
        drop(payload);
        self.shared.put(location, sealed.into(), opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.shared.check(location)?;
        let (version, file) = self.shared.new_file(location)?;
        tracing::trace!(%location, version, "upload begun");
        let inner = self.shared.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(SealedUpload::new(inner, file.sealer(), Arc::clone(&self.shared.zone), version, location)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.shared.check(location)?;
        tracing::trace!(%location, range = ?options.range, head = options.head, "get");
        self.shared.get(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.shared.check(location)?;
        if ranges.len() > 1 {
            self.shared.learn(location).await?;
        }
        let fetch = |range| self.get_range(location, range);
        object_store::coalesce_ranges(ranges, fetch, object_store::OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let shared = Arc::clone(&self.shared);
        let checked = locations.map(move |location| {
            let location = location?;
            shared.check(&location)?;
            shared.cache.remove(&location);
            tracing::trace!(%location, "delete");
            Ok(location)
        });
        self.shared.inner.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.shared.list_prefix(prefix) {
            Ok(prefix) => self.shared.listed(self.shared.inner.list(Some(&prefix))),
            Err(error) => failed(error),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.shared.list_prefix(prefix) {
            Ok(prefix) => self.shared.listed(self.shared.inner.list_with_offset(Some(&prefix), offset)),
            Err(error) => failed(error),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = self.shared.list_prefix(prefix)?;
        let mut result = self.shared.inner.list_with_delimiter(Some(&prefix)).await?;
        result.common_prefixes.retain(|prefix| !self.shared.scope.is_keyring(prefix));
        result.objects = result
            .objects
            .into_iter()
            .filter_map(|meta| self.shared.listed_meta(meta).transpose())
            .collect::<Result<_>>()?;
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.shared.check(from)?;
        self.shared.check(to)?;
        tracing::trace!(%from, %to, "copy");
        self.shared.copy(Origin { store: &self.shared, path: from }, to, options).await
    }

    /// A copy, and then a deletion: between them both are there, and a failure leaves both.
    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        if from == to {
            self.shared.check(from)?;
            return self.shared.inner.head(from).await.map(drop);
        }
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => object_store::CopyMode::Overwrite,
            RenameTargetMode::Create => object_store::CopyMode::Create,
        };
        self.copy_opts(from, to, CopyOptions { mode, extensions: options.extensions }).await?;
        self.delete(from).await
    }
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStore")
            .field("inner", &self.shared.inner)
            .field("zone", &self.shared.zone.id())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {})", self.shared.zone.id(), self.shared.inner)
    }
}

#[cfg(test)]
mod tests {
    use custody_keyring::{Keyring, LeasePolicy, SystemClock};
    use custody_kms::scripted::ScriptedKms;
    use custody_seal::ZoneId;
    use object_store::memory::InMemory;

    use super::*;

    async fn zone() -> (Keyring, SealedStore) {
        let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let kms = Arc::new(ScriptedKms::new());
        let key = kms.create_key();
        let cluster: ClusterId = "in01-test".parse().unwrap();
        let (policy, clock) = (LeasePolicy::default(), Arc::new(SystemClock));
        let keyring = Keyring::new(Arc::clone(&inner), cluster.clone(), kms, key, Vec::new(), policy, clock).unwrap();
        let zone = keyring.create_zone(ZoneId::CLUSTER, None).await.unwrap();
        let store = SealedStore::new(inner, zone, cluster);
        let path = store.shared.scope.root().clone().join("a");
        store.put(&path, "row".into()).await.unwrap();
        store.get_range(&path, 0..1).await.unwrap();
        (keyring, store)
    }

    async fn empties(store: &SealedStore) {
        while store.shared.cache.len() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn no_file_key_is_kept_in_a_sealed_zone_even_if_nobody_asks() {
        let (keyring, store) = zone().await;
        assert_eq!(store.shared.cache.len(), 1);
        keyring.seal(ZoneId::CLUSTER);
        let emptied = tokio::time::timeout(std::time::Duration::from_secs(10), empties(&store));
        emptied.await.expect("the cache is emptied by itself");
    }

    #[tokio::test]
    async fn a_use_of_a_sealed_zone_drops_every_file_key_at_once() {
        let (keyring, store) = zone().await;
        keyring.seal(ZoneId::CLUSTER);
        store.shared.check_zone().unwrap_err();
        assert_eq!(store.shared.cache.len(), 0);
    }

    #[tokio::test]
    async fn a_store_that_is_dropped_leaves_no_task_behind() {
        let (_keyring, store) = zone().await;
        let guard = store.shared.guard.clone();
        assert!(!guard.is_finished());
        drop(store);
        let finished = async {
            while !guard.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), finished).await.expect("the task ends");
    }
}
