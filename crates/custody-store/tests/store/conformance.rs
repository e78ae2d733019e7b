//! `object_store`'s own suite, on a sealed store over memory, over local files, and over S3.

use std::sync::Arc;

use crate::common::{Cluster, ZONE, in_zone};
use custody_store::{SealedStore, ZoneId};
use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::integration::{
    copy_if_not_exists, copy_rename_nonexistent_object, get_nonexistent_object, get_opts,
    list_uses_directories_correctly, list_with_delimiter, list_with_offset_exclusivity, multipart_out_of_order,
    multipart_race_condition, put_get_attributes, put_get_delete_list, put_opts, rename_and_copy, stream_get,
};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;

/// The suite names its objects without a zone's prefix.
struct Suite {
    cluster: Cluster,
    store: PrefixStore<SealedStore>,
    updates: bool,
}

impl Suite {
    async fn new(inner: Arc<dyn ObjectStore>, updates: bool, zone: ZoneId) -> Self {
        let cluster = Cluster::over(inner);
        let store = PrefixStore::new(cluster.zone(zone).await, in_zone(zone, ""));
        Self { cluster, store, updates }
    }

    async fn run(&self) {
        let store = &self.store;
        put_get_delete_list(store).await;
        list_with_offset_exclusivity(store).await;
        get_opts(store).await;
        put_opts(store, self.updates).await;
        list_uses_directories_correctly(store).await;
        list_with_delimiter(store).await;
        rename_and_copy(store).await;
        copy_if_not_exists(store).await;
        copy_rename_nonexistent_object(store).await;
        stream_get(store).await;
        put_get_attributes(store).await;
        multipart_out_of_order(store).await;
        get_nonexistent_object(store, None).await.unwrap_err();
        self.nothing_is_plain().await;
    }

    async fn race(&self, last_writer_wins: bool) {
        multipart_race_condition(&self.store, last_writer_wins).await;
    }

    /// What the suite left behind is sealed.
    async fn nothing_is_plain(&self) {
        for path in self.cluster.objects().await {
            let bytes = self.cluster.stored(&path.clone().into()).await;
            custody_store::inspect(&bytes, bytes.len() as u64).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
}

#[tokio::test]
async fn it_is_an_object_store_over_memory() {
    let suite = Suite::new(Arc::new(InMemory::new()), true, ZONE).await;
    suite.run().await;
    suite.race(true).await;
}

#[tokio::test]
async fn it_is_an_object_store_over_local_files() {
    let directory = tempfile::tempdir().unwrap();
    let local = LocalFileSystem::new_with_prefix(directory.path()).unwrap();
    let suite = Suite::new(Arc::new(local), false, ZONE).await;
    suite.run().await;
    suite.race(true).await;
}

/// `CUSTODY_TEST_S3_ENDPOINT` names an S3 endpoint, `CUSTODY_TEST_S3_BUCKET` an existing bucket (default `custody-test`);
/// credentials come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (default `test`).
#[tokio::test]
async fn it_is_an_object_store_over_s3() {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let Ok(endpoint) = std::env::var("CUSTODY_TEST_S3_ENDPOINT") else {
        let why = "the conformance suite over S3 needs CUSTODY_TEST_S3_ENDPOINT";
        assert!(std::env::var_os("CUSTODY_TEST_NO_SKIPS").is_none(), "nothing may be skipped here, and {why}");
        eprintln!("SKIPPED: {why}");
        return;
    };
    let s3 = AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(variable("CUSTODY_TEST_S3_BUCKET", "custody-test"))
        .with_access_key_id(variable("AWS_ACCESS_KEY_ID", "test"))
        .with_secret_access_key(variable("AWS_SECRET_ACCESS_KEY", "test"))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .build()
        .unwrap();
    // A zone of its own, so that the test can be run again in the same bucket.
    let zone = ZoneId::random().unwrap();
    let inner = PrefixStore::new(s3, format!("conformance-{zone}"));
    let suite = Suite::new(Arc::new(inner), true, zone).await;
    suite.run().await;
    suite.race(true).await;
}
