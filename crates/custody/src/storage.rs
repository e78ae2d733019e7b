//! From a storage URL to the object store of one cluster.

use std::{path::PathBuf, sync::Arc};

use custody_store::ClusterId;
use object_store::{ObjectStore, aws::AmazonS3Builder, local::LocalFileSystem, path::Path, prefix::PrefixStore};

use crate::Failure;

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
                // Without fsync an acknowledged write could come back as zeros after a power cut.
                let store = LocalFileSystem::new_with_prefix(&directory)?.with_fsync(true);
                Ok(Some(Arc::new(store.with_automatic_cleanup(false))))
            }
            Self::S3 { store, prefix } => {
                let prefix = prefix.join("clusters").join(cluster.as_str());
                Ok(Some(Arc::new(PrefixStore::new(store, prefix))))
            }
        }
    }
}
