//! A store whose writes come to a halt: as where the process ends between two of them, or where the storage is slow.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use tokio::sync::watch;

use super::Store;

/// A store that writes so many times more, and waits then until it may go on.
#[derive(Clone, Debug)]
pub(crate) struct Halting {
    store: Store,
    left: Arc<AtomicUsize>,
    /// Whether a write waits; and whether none is to wait any more.
    halted: watch::Sender<bool>,
    goes_on: watch::Sender<bool>,
}

impl Halting {
    /// One that does not halt yet.
    pub(crate) fn new(store: Store) -> Self {
        let (halted, goes_on) = (watch::Sender::new(false), watch::Sender::new(false));
        Self { store, left: Arc::new(AtomicUsize::new(usize::MAX)), halted, goes_on }
    }

    /// Has it halt after so many writes.
    pub(crate) fn halt_after(&self, writes: usize) {
        self.left.store(writes, Ordering::SeqCst);
    }

    /// Returns once a write waits.
    pub(crate) async fn halted(&self) {
        self.halted.subscribe().wait_for(|halted| *halted).await.unwrap();
    }

    /// Lets all writes go on.
    pub(crate) fn go_on(&self) {
        self.goes_on.send_replace(true);
    }

    async fn write(&self) {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            self.halted.send_replace(true);
            self.goes_on.subscribe().wait_for(|goes_on| *goes_on).await.unwrap();
        }
    }
}

impl fmt::Display for Halting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Halting {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.write().await;
        self.store.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.write().await;
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let halting = self.clone();
        let deleted = locations.then(move |location| {
            let halting = halting.clone();
            async move {
                let location = location?;
                halting.write().await;
                halting.store.delete(&location).await?;
                Ok(location)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.write().await;
        self.store.copy_opts(from, to, options).await
    }
}
