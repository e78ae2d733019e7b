//! Checkpoints: a map as of one moment, whose objects stay until the checkpoint is given back.

use std::{sync::Arc, time::Duration};

use custody_store::ZoneStore;
use futures::future::BoxFuture;
use object_store::path::Path;
use slatedb::{
    CheckpointCreateResult, CheckpointHandle, PathResolver,
    admin::{Admin, AdminBuilder},
    config::{CheckpointOptions, CheckpointScope},
};

use super::{Kv, storage_error, watched::Watched};
use crate::{EngineError, marks::Mark};

/// Whose checkpoints these are. There is one backup of a cluster at a time: others of this name were left by a crash.
const NAME: &str = "backup";
/// For how long a checkpoint keeps objects from being collected if nobody gives it back. A backup has to be over by then.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// A checkpoint that has begun: it has all that was written before, and nothing that is written after.
pub(crate) struct Begun {
    kv: Kv,
    handle: CheckpointHandle,
}

/// A checkpoint.
pub(crate) struct Checkpoint {
    kv: Kv,
    made: CheckpointCreateResult,
}

impl Kv {
    /// Begins a checkpoint. It returns soon: what is in memory is brought to the storage meanwhile.
    pub(crate) fn begin_checkpoint(&self) -> BoxFuture<'_, Result<Begun, EngineError>> {
        Box::pin(async move {
            let options = CheckpointOptions {
                lifetime: Some(LIFETIME),
                name: Some(NAME.to_owned()),
                ..CheckpointOptions::default()
            };
            let handle = self.db.begin_checkpoint(CheckpointScope::All, &options).await.map_err(storage_error)?;
            Ok(Begun { kv: self.clone(), handle })
        })
    }

    /// Forgets the checkpoints that came with a map from elsewhere: what they name was not brought along.
    pub(crate) fn forget_checkpoints<'a>(
        zone: &'a ZoneStore,
        path: &'a Path,
        mark: &'a Arc<Mark>,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let admin = admin(zone, path, mark);
            for checkpoint in admin.list_checkpoints(None).await.map_err(storage_error)? {
                admin.delete_checkpoint(checkpoint.id).await.map_err(storage_error)?;
            }
            Ok(())
        })
    }
}

impl Begun {
    /// Waits until all of it is in the storage.
    pub(crate) fn wait(self) -> BoxFuture<'static, Result<Checkpoint, EngineError>> {
        Box::pin(async move {
            let made = self.handle.wait().await.map_err(storage_error)?;
            Ok(Checkpoint { kv: self.kv, made })
        })
    }
}

impl Checkpoint {
    /// The map's objects: a manifest and the sorted files that it names. The log is not needed, for all of it went into them.
    pub(crate) fn objects<'a>(&'a self, zone: &'a ZoneStore) -> BoxFuture<'a, Result<Vec<Path>, EngineError>> {
        Box::pin(async move {
            let (path, id) = (&self.kv.path, self.made.manifest_id);
            let admin = admin(zone, path, &self.kv.mark);
            let manifest = admin.read_manifest(Some(id)).await.map_err(storage_error)?;
            let manifest = manifest.ok_or_else(|| EngineError::Storage(format!("manifest {id} of {path} is gone")))?;
            if !manifest.external_dbs().is_empty() {
                return Err(EngineError::Storage(format!("manifest {id} of {path} names files of another map")));
            }
            let resolver = PathResolver::new(path.clone(), &manifest);
            let mut objects: Vec<Path> = manifest.all_sst_views().map(|view| resolver.sst_path(&view.sst.id)).collect();
            // A file that a compaction has cut in two views is one file.
            objects.sort();
            objects.dedup();
            objects.push(path.clone().join("manifest").join(format!("{id:020}.manifest")));
            Ok(objects)
        })
    }

    /// Gives the checkpoint back, and those that a crash has left: what they kept may be collected.
    pub(crate) fn release<'a>(&'a self, zone: &'a ZoneStore) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let admin = admin(zone, &self.kv.path, &self.kv.mark);
            for checkpoint in admin.list_checkpoints(Some(NAME)).await.map_err(storage_error)? {
                admin.delete_checkpoint(checkpoint.id).await.map_err(storage_error)?;
            }
            Ok(())
        })
    }
}

fn admin(zone: &ZoneStore, path: &Path, mark: &Arc<Mark>) -> Admin {
    let objects = Watched::new(zone.objects(), path, Arc::clone(mark));
    AdminBuilder::new(path.clone(), Arc::new(objects)).build()
}
