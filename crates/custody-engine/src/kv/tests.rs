//! Who holds a map after the storage has failed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use custody_store::{PlainZones, ZoneId, ZoneStore, Zones};
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use super::Kv;
use crate::{Anchor, Below, EngineError, marks::Marks};

/// A store that takes no manifest while it is told so: no opening can take a map.
#[derive(Debug, Default)]
struct Reluctant {
    inner: InMemory,
    refuses: AtomicBool,
}

#[async_trait]
impl ObjectStore for Reluctant {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if self.refuses.load(Ordering::Acquire) && location.as_ref().ends_with(".manifest") {
            return Err(object_store::Error::Generic { store: "reluctant", source: "no manifest now".into() });
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Reluctant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reluctant")
    }
}

/// The map as a process opens it that never held it before.
async fn open_first(zone: &ZoneStore) -> Kv {
    let mark = Marks::new(&Anchor::default(), Below::Refuse).catalog(ZoneId::CLUSTER);
    Kv::open(zone, zone.root().join("catalog"), mark).await.unwrap()
}

#[tokio::test]
async fn whoever_lost_a_map_to_the_storage_does_not_take_it_from_its_new_holder() {
    let zones = PlainZones::new(Arc::new(InMemory::new()));
    let zone = zones.create(ZoneId::CLUSTER, None).await.unwrap();
    let first = open_first(&zone).await;
    first.close().await;
    let again = first.reopen(&zone).await.unwrap();
    again.close().await;
    let other = open_first(&zone).await;
    for lost in [&first, &again] {
        assert!(matches!(lost.reopen(&zone).await, Err(EngineError::Fenced)));
    }
    other.put(b"key", b"value").await.unwrap();
}

#[tokio::test]
async fn an_opening_that_failed_before_it_took_the_map_counts_for_nothing() {
    let store = Arc::new(Reluctant::default());
    let zones = PlainZones::new(Arc::clone(&store) as _);
    let zone = zones.create(ZoneId::CLUSTER, None).await.unwrap();
    let lost = open_first(&zone).await;
    lost.close().await;
    store.refuses.store(true, Ordering::Release);
    let failed = lost.reopen(&zone).await.err();
    assert!(matches!(&failed, Some(EngineError::Storage(why)) if why.contains("no manifest now")), "{failed:?}");
    store.refuses.store(false, Ordering::Release);
    // Whose opening it is that the manifest tells of can't be seen there: the failed one would have had the same number.
    let other = open_first(&zone).await;
    assert!(matches!(lost.reopen(&zone).await, Err(EngineError::Fenced)));
    other.put(b"key", b"value").await.unwrap();
}
