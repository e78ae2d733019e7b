//! From a storage URL to the object store of one cluster, and the end of it.

use std::{path::PathBuf, sync::Arc};

use custody_control::{Counts, Destroyed};
use custody_store::ClusterId;
use futures::{StreamExt, TryStreamExt};
use object_store::{
    CredentialProvider, ObjectMeta, ObjectStore, ObjectStoreExt,
    aws::{AmazonS3Builder, AwsCredential},
    path::Path,
    prefix::PrefixStore,
};

use crate::{
    Failure,
    local_store::{LocalStore, lock_file},
};

/// Below which clusters are stored.
const CLUSTERS: &str = "clusters";
/// Below which clusters' backups are kept.
pub(crate) const BACKUPS: &str = "backups";

/// Where the credentials for a bucket come from, if not from this process's own settings.
pub(crate) type Sessions = Arc<dyn CredentialProvider<Credential = AwsCredential>>;

/// Where clusters are stored.
pub(crate) enum Storage {
    /// A directory on this machine.
    Local(PathBuf),
    /// An S3 bucket, reached with the usual AWS variables, and the prefix in it.
    S3 { store: Box<dyn ObjectStore>, prefix: Path },
}

impl Storage {
    /// Understands `file:///DIR`, a plain directory, and `s3://BUCKET/PREFIX`. A bucket is reached as the usual AWS variables
    /// say.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        Self::within(text, None)
    }

    /// The same; a bucket is reached in these sessions, if there are any, and by nothing else.
    pub(crate) fn within(text: &str, sessions: Option<Sessions>) -> Result<Self, Failure> {
        if let Some((bucket, prefix)) = bucket(text) {
            let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
            // The SDK's variables, which the KMS side obeys too; object_store's own takes precedence.
            let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").or_else(|_| std::env::var("AWS_ENDPOINT_URL"));
            if let (Ok(endpoint), Err(_)) = (endpoint, std::env::var("AWS_ENDPOINT")) {
                let plain = endpoint.starts_with("http://");
                builder = builder.with_endpoint(endpoint).with_allow_http(plain);
            }
            if let Some(sessions) = sessions {
                builder = builder.with_credentials(sessions);
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
        self.below(CLUSTERS, cluster, create)
    }

    /// The same of one cluster's backups.
    pub(crate) fn backups(self, cluster: &ClusterId, create: bool) -> Result<Option<Arc<dyn ObjectStore>>, Failure> {
        self.below(BACKUPS, cluster, create)
    }

    fn below(self, of: &str, cluster: &ClusterId, create: bool) -> Result<Option<Arc<dyn ObjectStore>>, Failure> {
        match self {
            Self::Local(root) => {
                let directory = root.join(of).join(cluster.as_str());
                if create {
                    std::fs::create_dir_all(&directory)
                        .map_err(|error| format!("storage {}: {error}", directory.display()))?;
                } else if !directory.exists() {
                    return Ok(None);
                }
                Ok(Some(Arc::new(LocalStore::new(&directory)?)))
            }
            Self::S3 { store, prefix } => {
                let prefix = prefix.join(of).join(cluster.as_str());
                Ok(Some(Arc::new(PrefixStore::new(store, prefix))))
            }
        }
    }
}

/// The bucket and the prefix that a storage URL names, if it names a bucket.
pub(crate) fn bucket(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("s3://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    Some((bucket, prefix.trim_end_matches('/')))
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

/// What is stored of a cluster.
pub(crate) async fn count(url: &str, cluster: &ClusterId) -> Result<Counts, Failure> {
    let Some(store) = Storage::parse(url)?.cluster(cluster, false)? else { return Ok(Counts::default()) };
    let count = |counts: Counts, object: ObjectMeta| async move { Ok(counts_with(counts, &object)) };
    Ok(store.list(None).try_fold(Counts::default(), count).await?)
}

fn counts_with(counts: Counts, object: &ObjectMeta) -> Counts {
    let keyrings = u64::from(is_keyring(object));
    Counts {
        keyrings: counts.keyrings + keyrings,
        objects: counts.objects + 1 - keyrings,
        bytes: counts.bytes + object.size,
    }
}

/// Destroys what is stored of a cluster: its keyrings first, so that from that moment nobody opens any of it, and then
/// everything else. Can be repeated.
pub(crate) async fn destroy(url: &str, cluster: &ClusterId) -> Result<Destroyed, Failure> {
    let storage = Storage::parse(url)?;
    let (directory, remains) = match &storage {
        Storage::Local(root) => (Some(root.join(CLUSTERS).join(cluster.as_str())), LOCAL_REMAINS),
        Storage::S3 { .. } => (None, S3_REMAINS),
    };
    let mut destroyed =
        Destroyed { remains: remains.iter().map(ToString::to_string).collect(), ..Destroyed::default() };
    let Some(store) = storage.cluster(cluster, false)? else { return Ok(destroyed) };
    let objects = store.list(None).try_collect().await?;
    keyrings_first(objects, &mut destroyed, |objects| delete(Arc::clone(&store), objects)).await?;
    if let Some(directory) = directory {
        // Empty directories, and files that a crash left half written.
        gone(&directory, std::fs::remove_dir_all(&directory))?;
        let lock = lock_file(&directory);
        gone(&lock, std::fs::remove_file(&lock))?;
    }
    Ok(destroyed)
}

/// Deletes the keyrings, and only when all of them are gone the rest.
async fn keyrings_first<Deleted: Future<Output = Result<u64, Failure>>>(
    objects: Vec<ObjectMeta>,
    destroyed: &mut Destroyed,
    delete: impl Fn(Vec<ObjectMeta>) -> Deleted,
) -> Result<(), Failure> {
    let (keyrings, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_keyring);
    let counts = &mut destroyed.counts;
    counts.bytes = keyrings.iter().chain(&others).map(|object| object.size).sum();
    counts.keyrings = delete(keyrings).await?;
    counts.objects = delete(others).await?;
    Ok(())
}

/// Takes what is gone already for removed.
pub(crate) fn gone(path: &std::path::Path, removed: std::io::Result<()>) -> Result<(), Failure> {
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

/// Deletes objects; returns how many.
pub(crate) async fn delete(store: Arc<dyn ObjectStore>, objects: Vec<ObjectMeta>) -> Result<u64, Failure> {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use object_store::memory::InMemory;

    use super::*;

    async fn cluster() -> (Arc<dyn ObjectStore>, Vec<ObjectMeta>) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for path in ["a/data/1", "a/keyring/1/0", "catalog/wal/1", "keyring/1/1", "z/keyring/2/0"] {
            store.put(&path.into(), path.into()).await.unwrap();
        }
        let objects = store.list(None).try_collect().await.unwrap();
        (store, objects)
    }

    #[tokio::test]
    async fn keyrings_go_before_everything_else() {
        let (store, objects) = cluster().await;
        let counted = objects.iter().fold(Counts::default(), counts_with);
        let (mut destroyed, order) = (Destroyed::default(), Mutex::new(Vec::new()));
        let deleting = |objects: Vec<ObjectMeta>| {
            order.lock().unwrap().extend(objects.iter().map(|object| object.location.to_string()));
            delete(Arc::clone(&store), objects)
        };
        keyrings_first(objects, &mut destroyed, deleting).await.unwrap();
        let order = order.into_inner().unwrap();
        assert_eq!(order[..3], ["a/keyring/1/0", "keyring/1/1", "z/keyring/2/0"]);
        assert_eq!((destroyed.counts.keyrings, destroyed.counts.objects, order.len()), (3, 2, 5));
        assert_eq!(destroyed.counts, counted);
        assert_eq!(counted.bytes, order.iter().map(|path| path.len() as u64).sum::<u64>());
        assert!(store.list(None).next().await.is_none());
    }

    #[tokio::test]
    async fn where_a_keyring_can_not_be_deleted_nothing_else_is() {
        let (_, objects) = cluster().await;
        let calls = Mutex::new(0);
        let failing = |_| {
            *calls.lock().unwrap() += 1;
            std::future::ready(Err("no".into()))
        };
        assert!(keyrings_first(objects, &mut Destroyed::default(), failing).await.is_err());
        assert_eq!(*calls.lock().unwrap(), 1);
    }

    #[test]
    fn a_bucket_is_named_by_its_url() {
        assert_eq!(bucket("s3://vectors/prod/a/"), Some(("vectors", "prod/a")));
        assert_eq!(bucket("s3://vectors"), Some(("vectors", "")));
        assert_eq!(bucket("/srv/vectors"), None);
    }
}
