//! The anchor of any moment holds after a crash in that moment.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use custody_engine::{Anchor, Below, Engine, NewDatabase};
use custody_store::{PlainZones, ZoneId};
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

use crate::{common::*, new_collection};

/// What was durable at a moment, and the anchor just before it.
type Moment = (Anchor, InMemory);

/// A store that keeps what it held around each put, with the anchor that the engine would have told.
struct Moments {
    inner: InMemory,
    engine: OnceLock<Arc<Engine>>,
    kept: Mutex<Vec<Moment>>,
}

impl Moments {
    fn keep(&self) {
        let Some(engine) = self.engine.get() else { return };
        // In this order: what is durable may have grown meanwhile, and the anchor may not.
        let anchor = engine.anchor();
        let moment = (anchor, self.inner.fork());
        self.kept.lock().unwrap().push(moment);
    }
}

#[async_trait]
impl ObjectStore for Moments {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.keep();
        // Whoever tells too early does so while the put is under way.
        tokio::task::yield_now().await;
        self.keep();
        let put = self.inner.put_opts(location, payload, opts).await;
        self.keep();
        put
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
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

impl fmt::Debug for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for Moments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A life with every kind of change.
async fn live(engine: &Engine) {
    loaded(engine).await;
    for batch in 0..4 {
        engine.insert("", NAME, rows(batch * 10..batch * 10 + 10)).await.unwrap();
    }
    engine.flush("", NAME).await.unwrap();
    engine.insert("", NAME, rows([100])).await.unwrap();
    engine.create_database(NewDatabase { name: "second".into(), ..NewDatabase::default() }).await.unwrap();
    engine.create_collection("second", new_collection("there")).await.unwrap();
    engine.create_collection("", new_collection("other")).await.unwrap();
    engine.create_user("somebody", "hash").await.unwrap();
    engine.drop_collection("second", "there").await.unwrap();
    engine.drop_database("second").await.unwrap();
    engine.drop_collection("", "other").await.unwrap();
    engine.insert("", NAME, rows([101])).await.unwrap();
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anchor_of_any_moment_holds_after_a_crash_in_that_moment() {
    let store = Arc::new(Moments { inner: InMemory::new(), engine: OnceLock::new(), kept: Mutex::default() });
    let engine = Engine::create(Arc::new(PlainZones::new(Arc::clone(&store) as _))).await.unwrap();
    store.engine.set(Arc::clone(&engine)).unwrap();
    live(&engine).await;
    let kept = std::mem::take(&mut *store.kept.lock().unwrap());
    assert!(kept.len() > 60, "{}", kept.len());
    let last = engine.anchor();
    assert!(last.zones[&ZoneId::CLUSTER].catalog.unwrap().log > 5, "{last:?}");
    for (number, (anchor, left)) in kept.into_iter().enumerate() {
        let zones = Arc::new(PlainZones::new(Arc::new(left)));
        let opened = Engine::open_above(zones, &anchor, Below::Refuse).await;
        let engine = opened.unwrap_or_else(|error| panic!("moment {number}: {error}"));
        for database in engine.list_databases().await.unwrap() {
            for collection in engine.list_collections(&database.name).await.unwrap() {
                let counted = engine.row_count(&database.name, &collection.name).await;
                counted.unwrap_or_else(|error| panic!("moment {number}: {error}"));
            }
        }
        assert!(engine.below_anchor().is_empty(), "moment {number}");
        engine.close().await;
    }
}
