//! Whether a map's log has all its objects, and how far the map has come.
//!
//! SlateDB looks for the end of a log object by object, and takes the first that is missing for the end. Where one in the
//! middle was deleted, it would open a state without all that follows, and say nothing.

use std::{collections::BTreeSet, time::Duration};

use custody_store::ZoneStore;
use futures::{TryStreamExt, future::BoxFuture};
use object_store::{ObjectStore, path::Path};
use slatedb::admin::Admin;

use super::{
    storage_error,
    watched::{log_number, log_object, log_of},
};
use crate::{EngineError, MapAnchor};

/// Looks at a log before it is called incomplete: another process that still has the map open may remove what it no
/// longer needs between the look at the manifest and the look at the log.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
/// How long looking may take. SlateDB's own reader of manifests tries a store that does not answer again without end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far a map has come, by what lies in the storage; one whose log has a hole is refused. The end of a log can't be known
/// here: what is cut off there shows only in what comes back, against what is `expected`.
pub(super) fn require_whole<'a>(
    zone: &'a ZoneStore,
    path: &'a Path,
    expected: MapAnchor,
) -> BoxFuture<'a, Result<MapAnchor, EngineError>> {
    Box::pin(within(PATIENCE, look(zone, path, expected)))
}

/// Under which opening a stored map is held now; `None` where there is no map.
pub(super) fn tenure<'a>(zone: &'a ZoneStore, path: &'a Path) -> BoxFuture<'a, Result<Option<u64>, EngineError>> {
    Box::pin(within(PATIENCE, async {
        let admin = Admin::builder(path.clone(), zone.objects()).build();
        let manifest = admin.read_manifest(None).await.map_err(storage_error)?;
        Ok(manifest.map(|manifest| manifest.writer_epoch()))
    }))
}

async fn within<T>(patience: Duration, look: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    tokio::time::timeout(patience, look).await.unwrap_or_else(|_| {
        Err(EngineError::Storage(format!(
            "it did not answer within {} s: look at it and try again",
            patience.as_secs()
        )))
    })
}

/// What one look finds.
struct Found {
    figures: MapAnchor,
    /// The oldest object that the log needs and doesn't have, although younger ones are there.
    missing: Option<Path>,
}

async fn look(zone: &ZoneStore, path: &Path, expected: MapAnchor) -> Result<MapAnchor, EngineError> {
    let mut found = look_once(zone, path).await?;
    for _ in 1..LOOKS {
        if found.missing.is_none() && found.figures.covers(expected) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        found = look_once(zone, path).await?;
    }
    match found.missing {
        Some(object) => Err(EngineError::LogIncomplete(object.to_string())),
        None => Ok(found.figures),
    }
}

async fn look_once(zone: &ZoneStore, path: &Path) -> Result<Found, EngineError> {
    let admin = Admin::builder(path.clone(), zone.objects()).build();
    let Some(manifest) = admin.read_manifest(None).await.map_err(storage_error)? else {
        return Ok(Found { figures: MapAnchor::default(), missing: None });
    };
    // What the log had up to here is in sorted files, and may have been collected.
    let sorted = manifest.replay_after_wal_id();
    let log = log_of(path);
    let listed: Vec<_> = zone.objects().list(Some(&log)).try_collect().await.map_err(crate::collection::store_error)?;
    let there: BTreeSet<u64> = listed
        .iter()
        .filter_map(|object| log_number(&log, &object.location))
        .filter(|number| *number > sorted)
        .collect();
    let gap = (sorted + 1..).zip(&there).find(|(expected, found)| expected != *found);
    let figures = MapAnchor { manifest: manifest.id(), log: there.last().copied().unwrap_or(sorted) };
    Ok(Found { figures, missing: gap.map(|(expected, _)| log_object(&log, expected)) })
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
    use crate::{Anchor, Below, kv::Kv, marks::Marks};

    fn mark() -> Arc<crate::marks::Mark> {
        Marks::new(&Anchor::default(), Below::Refuse).catalog(ZoneId::CLUSTER)
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_an_error_in_the_end() {
        let config = ThrottleConfig::default();
        let store = Arc::new(ThrottledStore::new(InMemory::new(), config));
        let zones = PlainZones::new(Arc::clone(&store) as _);
        let zone = zones.create(ZoneId::CLUSTER, None).await.unwrap();
        let path = zone.root().join("catalog");
        Kv::open(&zone, path.clone(), mark()).await.unwrap().close().await;
        require_whole(&zone, &path, MapAnchor::default()).await.unwrap();
        store.config_mut(|config| config.wait_get_per_call = Duration::from_secs(3_600));
        let error = within(Duration::from_millis(20), look(&zone, &path, MapAnchor::default())).await.unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
    }
}
