//! The mark of a restore in a cluster's storage: a cluster that is being made from a backup is not to be taken for a whole one,
//! and one that was made to its end is not to be made again over rows that were written since.

use std::sync::Arc;

use custody_link::WorkDone;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Where it lies in the cluster. It holds ids and figures alone, in the clear.
const PLACE: &str = "restore";
/// Who restores where no control plane asked for it.
pub(crate) const BY_HAND: &str = "by-hand";

/// A restore that has begun.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The job that it is done for.
    job: String,
    /// What it came to; none while it is under way.
    done: Option<WorkDone>,
}

impl Mark {
    /// The mark in a cluster's storage.
    pub(crate) async fn find(store: &Arc<dyn ObjectStore>) -> Result<Option<Self>, Failure> {
        match store.get(&Path::from(PLACE)).await {
            Ok(found) => Ok(Some(serde_json::from_slice(&found.bytes().await?)?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Says that a restore is under way, or what it came to.
    pub(crate) async fn put(store: &Arc<dyn ObjectStore>, job: &str, done: Option<&WorkDone>) -> Result<(), Failure> {
        let mark = Self { job: job.to_owned(), done: done.cloned() };
        store.put(&Path::from(PLACE), serde_json::to_vec(&mark)?.into()).await?;
        Ok(())
    }

    /// What a job's restore came to, if this is its mark and it was done to its end.
    pub(crate) fn done(self, job: &str) -> Option<WorkDone> {
        self.done.filter(|_| self.job == job)
    }

    /// Whether the cluster is none that may be served.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.done.is_none()
    }
}

/// Refuses a cluster whose restore was cut short.
pub(crate) async fn must_be_whole(store: &Arc<dyn ObjectStore>) -> Result<(), Failure> {
    match Mark::find(store).await? {
        Some(mark) if mark.is_unfinished() => Err(
            "the restore that makes this cluster was cut short, and not all of it is there: run custody restore again, which \
             begins anew"
                .into(),
        ),
        _ => Ok(()),
    }
}

/// Removes all that lies in a cluster's storage: what a restore that was cut short has left, and nobody was ever served.
pub(crate) async fn clear(store: &Arc<dyn ObjectStore>) -> Result<(), Failure> {
    let mark = Path::from(PLACE);
    let others = store.list(None).map_ok(|meta| meta.location).try_filter({
        let mark = mark.clone();
        move |path| std::future::ready(*path != mark)
    });
    // The mark goes last: until then it says what this is.
    let all = others.chain(futures::stream::once(std::future::ready(Ok(mark))));
    let mut deleted = store.delete_stream(all.boxed());
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_cluster_is_whole_once_its_restore_has_said_so() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        must_be_whole(&store).await.unwrap();
        Mark::put(&store, "job-1", None).await.unwrap();
        store.put(&Path::from("zones/0/a"), "half".into()).await.unwrap();
        assert!(must_be_whole(&store).await.unwrap_err().to_string().contains("cut short"));
        clear(&store).await.unwrap();
        assert!(store.list(None).next().await.is_none());
        Mark::put(&store, "job-1", Some(&WorkDone { objects: 7, ..WorkDone::default() })).await.unwrap();
        must_be_whole(&store).await.unwrap();
        assert_eq!(Mark::find(&store).await.unwrap().unwrap().done("job-1").map(|done| done.objects), Some(7));
        assert!(Mark::find(&store).await.unwrap().unwrap().done("job-2").is_none());
    }
}
