//! Checking a backup in full, without restoring it.

use futures::TryStreamExt;
use object_store::{GetOptions, ObjectStore, path::Path};

use crate::{Backup, BackupError, Progress};

/// What was found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Objects that were read to their end.
    pub objects: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
    /// What is wrong.
    pub bad: Vec<BackupError>,
}

impl Backup {
    /// Reads every object to its end, opens all of it, and compares it with its manifest: the digest of what is stored, and the
    /// seal of what is sealed.
    pub async fn verify(&self, progress: &Progress) -> Result<Verified, BackupError> {
        let mut verified = Verified::default();
        let manifests = self.databases.iter().map(|database| &database.manifest);
        progress.expect(manifests.flat_map(|it| &it.collections).map(crate::manifest::CollectionEntry::bytes).sum());
        for (zone, error) in &self.closed {
            verified.bad.push(BackupError::Zone { zone: *zone, why: error.to_string() });
        }
        for database in &self.databases {
            let objects = database.zone.objects();
            for collection in &database.manifest.collections {
                let root = Path::from(collection.root.as_str());
                for object in &collection.objects {
                    let path = object.below(&root);
                    match progress.unless_canceled(read(&*objects, &path)).await {
                        Ok(()) => {
                            verified.objects += 1;
                            verified.bytes += object.size;
                        }
                        Err(BackupError::Canceled) => return Err(BackupError::Canceled),
                        Err(error) => verified.bad.push(error),
                    }
                    progress.advance(object.size);
                }
            }
        }
        self.verify_keyrings(&mut verified).await;
        self.verify_list(&mut verified).await;
        Ok(verified)
    }

    /// What the list does not name goes from the pool when another backup is deleted.
    async fn verify_list(&self, verified: &mut Verified) {
        let (list, listed) = match self.store.listed().await {
            Ok(found) => found,
            Err(error) => return verified.bad.push(error),
        };
        let collections = self.databases.iter().flat_map(|database| &database.manifest.collections);
        let objects = collections.flat_map(|collection| &collection.objects);
        let unlisted = objects.filter(|object| !listed.contains(&object.pool));
        verified.bad.extend(unlisted.map(|object| {
            let why = format!("it does not name {}, which may go with another backup", object.pool);
            BackupError::Tampered { path: list.to_string(), why }
        }));
    }

    /// A keyring that can be opened may have lost one of its copies.
    async fn verify_keyrings(&self, verified: &mut Verified) {
        let zones = self.manifest.zones.iter().flat_map(|zone| &zone.keyring);
        for object in self.manifest.keyring.iter().chain(zones) {
            let path = Path::from(object.path.as_str());
            let found = async { self.store.get_opts(&path, GetOptions::default()).await?.bytes().await };
            match found.await.map_err(|error| BackupError::backup(&path, error)) {
                Ok(bytes) if crate::digest::Digest::of(&bytes) == object.sha256 => {
                    verified.objects += 1;
                    verified.bytes += object.size;
                }
                Ok(_) => {
                    verified.bad.push(BackupError::Tampered { path: path.to_string(), why: "it was altered".into() });
                }
                Err(error) => verified.bad.push(error),
            }
        }
    }
}

/// Reads an object to its end. Where it lies in the storage of backups is not what its path says.
async fn read(objects: &dyn ObjectStore, path: &Path) -> Result<(), BackupError> {
    let found = async {
        let stream = objects.get_opts(path, GetOptions::default()).await?.into_stream();
        stream.try_for_each(|_| std::future::ready(Ok(()))).await
    };
    found.await.map_err(|error| BackupError::read(path, error))
}
