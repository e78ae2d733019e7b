//! A cluster with a scripted KMS over any store, and a store that fails on a script.

pub(crate) mod scripted;

use std::sync::Arc;
use std::time::Duration;

use custody_keyring::{Keyring, LeasePolicy, SystemClock};
use custody_kms::RootKeyRef;
use custody_kms::scripted::ScriptedKms;
use custody_store::{ClusterId, SealedStore, SealedZones, StoreError, ZoneId, Zones};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

pub(crate) const ZONE: ZoneId = ZoneId::new([0xa5; 16]);
pub(crate) const CHUNK: usize = 32 << 10;

pub(crate) struct Cluster {
    pub(crate) kms: Arc<ScriptedKms>,
    pub(crate) key: RootKeyRef,
    pub(crate) tenant_key: RootKeyRef,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) id: ClusterId,
}

impl Cluster {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Self {
        let kms = Arc::new(ScriptedKms::new());
        let (key, tenant_key) = (kms.create_key(), kms.create_key());
        Self::reopened(inner, kms, key, tenant_key, "in01-test")
    }

    pub(crate) fn in_memory() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    pub(crate) fn reopened(
        inner: Arc<dyn ObjectStore>,
        kms: Arc<ScriptedKms>,
        key: RootKeyRef,
        tenant_key: RootKeyRef,
        id: &str,
    ) -> Self {
        let id: ClusterId = id.parse().unwrap();
        // A denial is confirmed at once: no test waits for that.
        let policy = LeasePolicy { deny_confirm_delay: Duration::ZERO, ..LeasePolicy::default() };
        let keyring = Keyring::new(
            Arc::clone(&inner),
            id.clone(),
            Arc::clone(&kms) as _,
            key.clone(),
            vec![tenant_key.clone()],
            policy,
            Arc::new(SystemClock),
        );
        Self { kms, key, tenant_key, keyring: Arc::new(keyring.unwrap()), inner, id }
    }

    pub(crate) fn zones(&self) -> SealedZones {
        SealedZones::new(Arc::clone(&self.inner), Arc::clone(&self.keyring), self.id.clone())
    }

    /// Makes a zone and opens its store.
    pub(crate) async fn zone(&self, zone: ZoneId) -> SealedStore {
        self.zones().create(zone, None).await.unwrap();
        self.zones().open_sealed(zone, None).await.unwrap()
    }

    /// An object as it is stored.
    pub(crate) async fn stored(&self, path: &Path) -> Vec<u8> {
        self.inner.get(path).await.unwrap().bytes().await.unwrap().to_vec()
    }

    /// Writes below the sealed store, as an attacker would.
    pub(crate) async fn overwrite(&self, path: &Path, bytes: Vec<u8>) {
        self.inner.put(path, bytes.into()).await.unwrap();
    }

    /// The objects that are stored, without keyrings.
    pub(crate) async fn objects(&self) -> Vec<String> {
        use futures::TryStreamExt;
        let mut paths: Vec<String> = self
            .inner
            .list(None)
            .map_ok(|meta| meta.location.to_string())
            .try_filter(|path| std::future::ready(!path.contains("/keyring/")))
            .try_collect()
            .await
            .unwrap();
        paths.sort();
        paths
    }
}

/// A path in the zone of these tests.
pub(crate) fn at(name: &str) -> Path {
    in_zone(ZONE, name)
}

pub(crate) fn in_zone(zone: ZoneId, name: &str) -> Path {
    Path::from(format!("zones/{zone}/{name}"))
}

pub(crate) fn rows(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

pub(crate) async fn read(store: &dyn ObjectStore, path: &Path) -> object_store::Result<Vec<u8>> {
    Ok(store.get(path).await?.bytes().await?.to_vec())
}

/// The sealed store's own error in one of `object_store`.
pub(crate) fn cause(error: &object_store::Error) -> &StoreError {
    StoreError::find(error).unwrap_or_else(|| panic!("not the sealed store's own: {error}"))
}
