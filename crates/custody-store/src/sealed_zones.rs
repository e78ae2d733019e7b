//! The zones of an encrypted cluster.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use custody_keyring::{CreateError, Keyring, OpenError, Outcome, SealReason, Zone, ZoneStatus};
use custody_seal::{ClusterId, ZoneId};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::plain::delete_under;
use crate::scope::Scope;
use crate::sealed::SealedStore;
use crate::zones::{ZoneStore, Zones, ZonesError};

/// The zones of one cluster, each under its own key.
#[derive(Clone)]
pub struct SealedZones {
    inner: Arc<dyn ObjectStore>,
    keyring: Arc<Keyring>,
    cluster: ClusterId,
}

impl SealedZones {
    /// The zones in this store, whose root is the cluster's prefix, under the keys of a keyring over the same store.
    pub fn new(inner: Arc<dyn ObjectStore>, keyring: Arc<Keyring>, cluster: ClusterId) -> Self {
        Self { inner, keyring, cluster }
    }

    /// The ids of all zones that are stored, keyring or not.
    pub async fn list(&self) -> Result<Vec<ZoneId>, ZonesError> {
        let listed = self.inner.list_with_delimiter(Some(&Path::from("zones"))).await?;
        let mut zones: Vec<ZoneId> =
            listed.common_prefixes.iter().filter_map(|prefix| prefix.filename()?.parse().ok()).collect();
        zones.sort_unstable();
        Ok(zones)
    }

    /// Opens a zone as [`Zones::open`] does, with what a sealed store can do beyond other object stores.
    pub async fn open_sealed(&self, zone: ZoneId, key: Option<&str>) -> Result<SealedStore, ZonesError> {
        let zone = self.keyring.open_zone(zone, key).await.map_err(|error| opening(zone, error))?;
        Ok(self.store(zone))
    }

    fn store(&self, zone: Arc<Zone>) -> SealedStore {
        SealedStore::new(Arc::clone(&self.inner), zone, self.cluster.clone())
    }
}

#[async_trait]
impl Zones for SealedZones {
    fn encrypted(&self) -> bool {
        true
    }

    async fn create(&self, zone: ZoneId, key: Option<&str>) -> Result<ZoneStore, ZonesError> {
        let scope = Scope::new(zone);
        // What lies there is another zone's data, or was never sealed: no key may be put over it.
        if self.inner.list(Some(scope.root())).next().await.transpose()?.is_some() {
            return Err(ZonesError::Exists(zone));
        }
        let zone = self.keyring.create_zone(zone, key).await.map_err(|error| creating(zone, error))?;
        Ok(ZoneStore::sealed(self.store(zone)))
    }

    /// A zone whose key can't be used now is opened all the same: it is sealed, its [`status`](ZoneStore::status) says why,
    /// and it recovers by itself.
    async fn open(&self, zone: ZoneId, key: Option<&str>) -> Result<ZoneStore, ZonesError> {
        Ok(ZoneStore::sealed(self.open_sealed(zone, key).await?))
    }

    async fn delete(&self, zone: ZoneId) -> Result<(), ZonesError> {
        let scope = Scope::new(zone);
        let keyring = scope.clone();
        delete_under(&self.inner, &scope, move |path| !keyring.is_keyring(path)).await?;
        self.keyring.delete_zone(zone).await.map_err(ZonesError::other)?;
        // What somebody still wrote meanwhile can't be opened any more; and nobody writes now, for the zone is sealed.
        delete_under(&self.inner, &scope, |_| true).await
    }
}

impl fmt::Debug for SealedZones {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedZones")
            .field("inner", &self.inner)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

fn creating(zone: ZoneId, error: CreateError) -> ZonesError {
    match error {
        CreateError::Key(error) => error.into(),
        CreateError::Exists { .. } => ZonesError::Exists(zone),
        CreateError::Sealed { reason, .. } => ZonesError::Sealed(ZoneStatus::Sealed(reason)),
        CreateError::Kms(error) if error.outcome() == Outcome::Misconfigured => {
            ZonesError::Misconfigured(error.to_string())
        }
        CreateError::Kms(error) => ZonesError::Sealed(ZoneStatus::Sealed(SealReason::Kms(error))),
        CreateError::Closed => ZonesError::Sealed(ZoneStatus::Sealed(SealReason::Closed)),
        CreateError::Store(error) => error.source.into(),
        error => ZonesError::other(error),
    }
}

fn opening(zone: ZoneId, error: OpenError) -> ZonesError {
    match error {
        OpenError::Key(error) => error.into(),
        OpenError::NoKeyring(_) => ZonesError::NotFound(zone),
        OpenError::Closed => ZonesError::Sealed(ZoneStatus::Sealed(SealReason::Closed)),
        OpenError::Store(error) => error.source.into(),
        OpenError::OtherKey { .. } | OpenError::Unusable(_) | OpenError::RolledBack { .. } => {
            ZonesError::Misconfigured(error.to_string())
        }
        error => ZonesError::other(error),
    }
}
