//! From a storage URL to the object store of one cluster, and the end of it.

use std::{path::PathBuf, sync::Arc};

use custody_control::Destroyed;
use custody_store::ClusterId;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, path::Path, prefix::PrefixStore};

use crate::{
    Failure,
    local_store::{LocalStore, lock_file},
};

/// Where clusters are stored.
pub(crate) enum Storage {
    /// A directory on this machine.
    Local(PathBuf),
    /// An S3 bucket, reached with the usual AWS variables, and the prefix in it.
    S3 { store: Box<dyn ObjectStore>, prefix: Path },
}

impl Storage {
    /// Understands `file:///DIR`, a plain directory, and `s3://BUCKET/PREFIX`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
            // The SDK's variable, which the KMS side obeys too; object_store's own takes precedence.
            if let (Ok(endpoint), Err(_)) = (std::env::var("AWS_ENDPOINT_URL"), std::env::var("AWS_ENDPOINT")) {
                let plain = endpoint.starts_with("http://");
                builder = builder.with_endpoint(endpoint).with_allow_http(plain);
            }
            let store = builder.build().map_err(|error| format!("storage {text}: {error}"))?;
            return Ok(Self::S3 { store: Box::new(store), prefix: Path::parse(prefix)? });
        }
        let directory = match text.strip_prefix("file://") {
            Some(path) => PathBuf::from(path),
            None if text.contains("://") => {
                return Err(format!("storage {text}: only file:// and s3:// are known").into());
            }
            None => PathBuf::from(text),
        };
        Ok(Self::Local(std::path::absolute(directory)?))
    }

    /// The store of one cluster. With `create` a local directory is made; without, a missing one gives `None`.
    pub(crate) fn cluster(self, cluster: &ClusterId, create: bool) -> Result<Option<Arc<dyn ObjectStore>>, Failure> {
        match self {
            Self::Local(root) => {
                let directory = root.join("clusters").join(cluster.as_str());
                if create {
                    std::fs::create_dir_all(&directory)
                        .map_err(|error| format!("storage {}: {error}", directory.display()))?;
                } else if !directory.exists() {
                    return Ok(None);
                }
                Ok(Some(Arc::new(LocalStore::new(&directory)?)))
            }
            Self::S3 { store, prefix } => {
                let prefix = prefix.join("clusters").join(cluster.as_str());
                Ok(Some(Arc::new(PrefixStore::new(store, prefix))))
            }
        }
    }
}

/// Leaves a text beside the clusters, in place of an older one.
pub(crate) async fn keep(url: &str, name: &str, text: String) -> Result<(), Failure> {
    let (store, path): (Box<dyn ObjectStore>, Path) = match Storage::parse(url)? {
        Storage::Local(root) => {
            std::fs::create_dir_all(&root)?;
            (Box::new(LocalStore::new(&root)?), Path::parse(name)?)
        }
        Storage::S3 { store, prefix } => (store, Path::parse(format!("{prefix}/{name}"))?),
    };
    store.put(&path, text.into()).await?;
    Ok(())
}

/// Destroys what is stored of a cluster: its keyrings first, so that from that moment nobody opens any of it, and then
/// everything else. Can be repeated.
pub(crate) async fn destroy(url: &str, cluster: &ClusterId) -> Result<Destroyed, Failure> {
    let storage = Storage::parse(url)?;
    let (directory, remains) = match &storage {
        Storage::Local(root) => (Some(root.join("clusters").join(cluster.as_str())), LOCAL_REMAINS),
        Storage::S3 { .. } => (None, S3_REMAINS),
    };
    let mut destroyed =
        Destroyed { remains: remains.iter().map(ToString::to_string).collect(), ..Destroyed::default() };
    let Some(store) = storage.cluster(cluster, false)? else { return Ok(destroyed) };
    let objects: Vec<ObjectMeta> = store.list(None).try_collect().await?;
    let (keyrings, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_keyring);
    destroyed.bytes = keyrings.iter().chain(&others).map(|object| object.size).sum();
    destroyed.keyrings = delete(&*store, keyrings).await?;
    destroyed.objects = delete(&*store, others).await?;
    if let Some(directory) = directory {
        // Empty directories, and files that a crash left half written.
        gone(&directory, std::fs::remove_dir_all(&directory))?;
        let lock = lock_file(&directory);
        gone(&lock, std::fs::remove_file(&lock))?;
    }
    Ok(destroyed)
}

/// Takes what is gone already for removed.
fn gone(path: &std::path::Path, removed: std::io::Result<()>) -> Result<(), Failure> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What may still open the data of a cluster whose files are destroyed, where they lay on local disks.
const LOCAL_REMAINS: [&str; 2] = [
    "copies of the directory that were made outside of this service (file system snapshots, disk images, copies for another \
     machine), together with the KMS key",
    "blocks that the file system has freed and not overwritten: they are ciphertext, and their wrapped zone keys may lie among \
     them; the KMS key opens these",
];
/// The same, in S3.
const S3_REMAINS: [&str; 2] = [
    "older versions of the objects, if the bucket keeps versions (aws s3api list-object-versions shows them), together with the \
     KMS key",
    "copies that the bucket's owner made: replication, backups, inventories, together with the KMS key",
];

fn is_keyring(object: &ObjectMeta) -> bool {
    object.location.parts().any(|part| part.as_ref() == "keyring")
}

async fn delete(store: &dyn ObjectStore, objects: Vec<ObjectMeta>) -> Result<u64, Failure> {
    let paths = futures::stream::iter(objects.into_iter().map(|object| Ok(object.location))).boxed();
    let mut deleted = store.delete_stream(paths);
    let mut count = 0;
    while let Some(done) = deleted.next().await {
        match done {
            // Gone already: an earlier try was here.
            Ok(_) | Err(object_store::Error::NotFound { .. }) => count += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}
