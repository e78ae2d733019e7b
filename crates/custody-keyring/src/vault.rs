//! Keyring objects in the object store.

use std::sync::Arc;

use custody_seal::ZoneId;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::copies::{CopyName, CopyProblem, Pins, Unusable, VersionCopies};
use crate::object::{LONGEST_OBJECT, ObjectError, Sealed};

/// An operation on the object store that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}")]
pub struct StoreError {
    /// What was tried.
    pub what: &'static str,
    /// On which object or prefix.
    pub path: Path,
    /// Why it failed.
    pub source: object_store::Error,
}

/// The keyrings of one cluster. Paths are relative to the cluster's prefix.
#[derive(Clone)]
pub(crate) struct Vault {
    store: Arc<dyn ObjectStore>,
}

impl Vault {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// The versions of which any copy is stored, oldest first.
    pub(crate) async fn versions(&self, zone: ZoneId) -> Result<Vec<u32>, StoreError> {
        let mut versions: Vec<u32> = self.copies(zone).await?.into_iter().map(|(version, _)| version).collect();
        versions.dedup();
        Ok(versions)
    }

    /// All stored copies, in order. Whatever else lies there is none of ours and is left alone.
    async fn copies(&self, zone: ZoneId) -> Result<Vec<(u32, Path)>, StoreError> {
        let prefix = Path::from(format!("zones/{zone}/keyring"));
        let listed = self.store.list_with_delimiter(Some(&prefix)).await;
        let listed = listed.map_err(|source| StoreError { what: "list", path: prefix, source })?;
        let mut copies = Vec::new();
        for object in listed.objects {
            if let Some(version) = object.location.filename().and_then(parse_name) {
                copies.push((version, object.location));
            } else {
                tracing::warn!(%zone, path = %object.location, "unknown object in a keyring, ignored");
            }
        }
        copies.sort();
        Ok(copies)
    }

    /// Reads both copies of one version. Whoever is not there, or does not name what is pinned, is sorted out.
    pub(crate) async fn read(&self, pins: &Pins, version: u32) -> Result<VersionCopies, Unusable> {
        let a = self.read_copy(&path(pins.zone, version, CopyName::A)).await;
        let b = self.read_copy(&path(pins.zone, version, CopyName::B)).await;
        VersionCopies::sort(pins, version, a, b)
    }

    async fn read_copy(&self, path: &Path) -> Result<Sealed, CopyProblem> {
        let trouble = |error: object_store::Error| match error {
            object_store::Error::NotFound { .. } => CopyProblem::Missing,
            error => CopyProblem::Unreadable(error.to_string()),
        };
        let object = self.store.get(path).await.map_err(trouble)?;
        // Looked at before the body: the storage is not trusted to send little.
        if object.meta.size > LONGEST_OBJECT {
            return Err(ObjectError::Long(object.meta.size).into());
        }
        Ok(Sealed::parse(&object.bytes().await.map_err(trouble)?)?)
    }

    /// Writes both copies, each of which must not be there yet, and reads them back.
    pub(crate) async fn create(&self, zone: ZoneId, sealed: &Sealed) -> Result<(), StoreError> {
        for copy in CopyName::BOTH {
            let path = path(zone, sealed.object.version, copy);
            let payload = PutPayload::from(sealed.bytes().to_vec());
            let result = self.store.put_opts(&path, payload, PutOptions::from(PutMode::Create)).await;
            result.map_err(|source| StoreError { what: "create", path, source })?;
        }
        Ok(())
    }

    /// Removes what [`create`](Self::create) has written, and nothing that another has; what could not be removed is
    /// returned.
    ///
    /// It goes by content, not by which writes were answered: one that timed out may have been done all the same, or half.
    pub(crate) async fn undo(&self, zone: ZoneId, sealed: &Sealed) -> Vec<Path> {
        let mut left = Vec::new();
        for copy in CopyName::BOTH {
            let path = path(zone, sealed.object.version, copy);
            let removed = match self.is_of(&path, sealed).await {
                Ok(true) => self.store.delete(&path).await.is_ok(),
                Ok(false) => true,
                Err(_) => false,
            };
            if !removed {
                left.push(path);
            }
        }
        left
    }

    /// Whether what lies at a path is this object, or the beginning of it.
    async fn is_of(&self, path: &Path, sealed: &Sealed) -> Result<bool, object_store::Error> {
        let object = match self.store.get(path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            object => object?,
        };
        if object.meta.size > LONGEST_OBJECT {
            return Ok(false);
        }
        Ok(sealed.bytes().starts_with(&object.bytes().await?))
    }

    /// Writes faulty copies anew from the authenticated one. What can't be mended now stays reported.
    pub(crate) async fn mend(&self, zone: ZoneId, mut copies: VersionCopies) -> VersionCopies {
        let Some(good) = copies.good().map(|sealed| sealed.bytes().to_vec()) else { return copies };
        for fault in &mut copies.faults {
            let mode = match fault.problem {
                CopyProblem::Missing => PutMode::Create,
                // It may be sound, and out of reach only now.
                CopyProblem::Unreadable(_) => continue,
                _ => PutMode::Overwrite,
            };
            let path = path(zone, fault.version, fault.copy);
            let put = self.store.put_opts(&path, PutPayload::from(good.clone()), PutOptions::from(mode)).await;
            fault.mended = put.is_ok();
            match put {
                Ok(_) => tracing::warn!(%zone, %path, problem = %fault.problem, "keyring copy mended from the other"),
                Err(error) => {
                    tracing::error!(%zone, %path, problem = %fault.problem, %error, "keyring copy can't be mended");
                }
            }
        }
        copies
    }

    /// Deletes all versions of a zone's key. Nothing sealed under them can be opened by anybody then.
    pub(crate) async fn delete(&self, zone: ZoneId) -> Result<(), StoreError> {
        for (_, path) in self.copies(zone).await? {
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(StoreError { what: "delete", path, source }),
            }
        }
        Ok(())
    }
}

/// `zones/<zone, hex>/keyring/<version, 10 digits>.<a or b>`
pub(crate) fn path(zone: ZoneId, version: u32, copy: CopyName) -> Path {
    Path::from(format!("zones/{zone}/keyring/{version:010}.{}", copy.suffix()))
}

fn parse_name(name: &str) -> Option<u32> {
    let (digits, suffix) = name.split_once('.')?;
    let known = CopyName::BOTH.iter().any(|copy| copy.suffix() == suffix);
    let plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|version| known && plain && *version > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_exactly_a_copys_are_not_taken_for_one() {
        assert_eq!(parse_name("0000000001.a"), Some(1));
        assert_eq!(parse_name("4294967295.b"), Some(u32::MAX));
        for name in
            ["1.a", "0000000000.a", "0000000001.c", "0000000001", "+000000001.a", "4294967296.a", "0000000001.a.b"]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
