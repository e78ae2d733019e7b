//! Whether a map's log has all its objects.
//!
//! SlateDB looks for the end of a log object by object, and takes the first that is missing for the end. Where one in the
//! middle was deleted, it would open a state without all that follows, and say nothing.

use std::{collections::BTreeSet, time::Duration};

use custody_store::ZoneStore;
use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use slatedb::admin::Admin;

use super::{Tenure, storage_error};
use crate::EngineError;

/// Looks at a log before it is called incomplete: another process that still has the map open may remove what it no
/// longer needs between the look at the manifest and the look at the log.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
/// How long looking may take. SlateDB's own reader of manifests tries a store that does not answer again without end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Refuses a map whose log has a hole. The end of a log can't be known here: what is cut off there goes unnoticed.
pub(super) async fn require_whole(zone: &ZoneStore, path: &Path) -> Result<(), EngineError> {
    within(PATIENCE, look(zone, path)).await
}

/// Under which opening a stored map is held now; `None` where there is no map.
pub(super) async fn tenure(zone: &ZoneStore, path: &Path) -> Result<Option<Tenure>, EngineError> {
    within(PATIENCE, async {
        let admin = Admin::builder(path.clone(), zone.objects()).build();
        let manifest = admin.read_manifest(None).await.map_err(storage_error)?;
        Ok(manifest.map(|manifest| Tenure(manifest.writer_epoch())))
    })
    .await
}

async fn within<T>(patience: Duration, look: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    tokio::time::timeout(patience, look).await.unwrap_or_else(|_| {
        Err(EngineError::Storage(format!(
            "it did not answer within {} s: look at it and try again",
            patience.as_secs()
        )))
    })
}

async fn look(zone: &ZoneStore, path: &Path) -> Result<(), EngineError> {
    let mut missing = None;
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        missing = first_missing(zone, path).await?;
        if missing.is_none() {
            return Ok(());
        }
    }
    match missing {
        Some(object) => Err(EngineError::LogIncomplete(object.to_string())),
        None => Ok(()),
    }
}

/// The oldest object that the log needs and doesn't have, although younger ones are there.
async fn first_missing(zone: &ZoneStore, path: &Path) -> Result<Option<Path>, EngineError> {
    let admin = Admin::builder(path.clone(), zone.objects()).build();
    let Some(manifest) = admin.read_manifest(None).await.map_err(storage_error)? else { return Ok(None) };
    let first = manifest.replay_after_wal_id() + 1;
    let log = path.clone().join("wal");
    let listed: Vec<_> = zone.objects().list(Some(&log)).try_collect().await.map_err(crate::collection::store_error)?;
    let number = |name: &str| name.strip_suffix(".sst")?.parse::<u64>().ok();
    let there: BTreeSet<u64> = listed
        .iter()
        .filter_map(|object| number(object.location.filename()?))
        .filter(|number| *number >= first)
        .collect();
    let gap = (first..).zip(&there).find(|(expected, found)| expected != *found);
    Ok(gap.map(|(expected, _)| log.join(format!("{expected:020}.sst"))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use custody_store::{PlainZones, ZoneId, Zones};
    use object_store::{
        memory::InMemory,
        throttle::{ThrottleConfig, ThrottledStore},
    };

    use super::*;
    use crate::kv::Kv;

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_an_error_in_the_end() {
        let config = ThrottleConfig::default();
        let store = Arc::new(ThrottledStore::new(InMemory::new(), config));
        let zones = PlainZones::new(Arc::clone(&store) as _);
        let zone = zones.create(ZoneId::CLUSTER, None).await.unwrap();
        let path = zone.root().join("catalog");
        Kv::open(&zone, path.clone()).await.unwrap().close().await;
        require_whole(&zone, &path).await.unwrap();
        store.config_mut(|config| config.wait_get_per_call = Duration::from_secs(3_600));
        let error = within(Duration::from_millis(20), look(&zone, &path)).await.unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
    }

    #[tokio::test]
    async fn whoever_lost_a_map_to_the_storage_does_not_take_it_from_its_new_holder() {
        let zones = PlainZones::new(Arc::new(InMemory::new()));
        let zone = zones.create(ZoneId::CLUSTER, None).await.unwrap();
        let first = Kv::open(&zone, zone.root().join("catalog")).await.unwrap();
        first.close().await;
        let again = first.reopen(&zone).await.unwrap();
        again.close().await;
        let other = Kv::open(&zone, zone.root().join("catalog")).await.unwrap();
        for lost in [&first, &again] {
            assert!(matches!(lost.reopen(&zone).await, Err(EngineError::Fenced)));
        }
        other.put(b"key", b"value").await.unwrap();
    }
}
