//! The zones of a cluster that is not encrypted.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use custody_seal::ZoneId;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use crate::scope::{KEYRING, Scope};
use crate::zones::{ZoneStore, Zones, ZonesError};

/// Zones of which nothing is sealed: prefixes of an object store.
///
/// A zone that has a keyring is refused: its data is sealed, and nothing may be stored beside it in the clear.
#[derive(Clone)]
pub struct PlainZones {
    inner: Arc<dyn ObjectStore>,
}

impl PlainZones {
    /// The zones in this store.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }

    async fn store(&self, zone: ZoneId, key: Option<&str>) -> Result<ZoneStore, ZonesError> {
        if key.is_some() {
            return Err(ZonesError::Misconfigured(
                "this cluster is not encrypted, so no key can be given for a part of it: create an encrypted cluster"
                    .into(),
            ));
        }
        let scope = Scope::new(zone);
        if self.inner.list(Some(&scope.keyring())).next().await.transpose()?.is_some() {
            return Err(ZonesError::Misconfigured(format!(
                "zone {zone} has a {KEYRING}, so its data is sealed, and this cluster was opened without encryption: open it with its \
                 key"
            )));
        }
        Ok(ZoneStore::plain(zone, Arc::clone(&self.inner)))
    }
}

#[async_trait]
impl Zones for PlainZones {
    fn encrypted(&self) -> bool {
        false
    }

    async fn create(&self, zone: ZoneId, key: Option<&str>) -> Result<ZoneStore, ZonesError> {
        let store = self.store(zone, key).await?;
        if self.inner.list(Some(&store.root())).next().await.transpose()?.is_some() {
            return Err(ZonesError::Exists(zone));
        }
        Ok(store)
    }

    /// A prefix comes into being with its first object, so a zone that holds none yet can be opened too.
    async fn open(&self, zone: ZoneId, key: Option<&str>) -> Result<ZoneStore, ZonesError> {
        self.store(zone, key).await
    }

    async fn delete(&self, zone: ZoneId) -> Result<(), ZonesError> {
        delete_under(&self.inner, &Scope::new(zone), |_| true).await
    }
}

impl fmt::Debug for PlainZones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainZones").field("inner", &self.inner).finish()
    }
}

/// Deletes the objects of a zone that `which` picks. An object that is gone already counts as deleted.
pub(crate) async fn delete_under(
    inner: &Arc<dyn ObjectStore>,
    scope: &Scope,
    which: impl Fn(&object_store::path::Path) -> bool + Send + 'static,
) -> Result<(), ZonesError> {
    let paths = inner
        .list(Some(scope.root()))
        .map_ok(|meta| meta.location)
        .try_filter(move |path| std::future::ready(which(path)))
        .boxed();
    let mut deleted = inner.delete_stream(paths);
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
