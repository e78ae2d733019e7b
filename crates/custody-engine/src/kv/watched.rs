//! A map's view of its zone's objects, which notes what of it has become durable. `SlateDB` does not tell the number of its
//! newest durable log object; the storage's answer to its put does.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result, path::Path,
};

use crate::marks::Mark;

const LOG: &str = ".sst";
const MANIFEST: &str = ".manifest";

/// Where a map's log is.
pub(super) fn log_of(map: &Path) -> Path {
    map.clone().join("wal")
}

/// A log object, by its number.
pub(super) fn log_object(log: &Path, number: u64) -> Path {
    log.clone().join(file_name(number, LOG))
}

/// The number of a log object, by its place under the log.
pub(super) fn log_number(log: &Path, object: &Path) -> Option<u64> {
    number(log, object, LOG)
}

/// Only the one name under which SlateDB looks for a number counts: an object that was moved to another spelling of it is as
/// good as deleted.
fn number(directory: &Path, object: &Path, suffix: &str) -> Option<u64> {
    let mut parts = object.prefix_match(directory)?;
    let (name, None) = (parts.next()?, parts.next()) else { return None };
    let number = name.as_ref().strip_suffix(suffix)?.parse().ok()?;
    (name.as_ref() == file_name(number, suffix)).then_some(number)
}

fn file_name(number: u64, suffix: &str) -> String {
    format!("{number:020}{suffix}")
}

/// The objects of a zone, as one map in it sees them.
pub(super) struct Watched {
    inner: Arc<dyn ObjectStore>,
    mark: Arc<Mark>,
    log: Path,
    manifests: Path,
    wrote: Arc<AtomicBool>,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, map: &Path, mark: Arc<Mark>) -> Self {
        Self { inner, mark, log: log_of(map), manifests: map.clone().join("manifest"), wrote: Arc::default() }
    }

    /// Tells from then on whether a manifest was written through this view, and the storage has said so.
    pub(super) fn wrote_manifest(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.wrote)
    }

    fn note(&self, written: &Path) {
        if let Some(id) = log_number(&self.log, written) {
            self.mark.raise_log(id);
        } else if let Some(id) = number(&self.manifests, written, MANIFEST) {
            self.mark.raise_manifest(id);
            self.wrote.store(true, Ordering::Release);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let put = self.inner.put_opts(location, payload, opts).await?;
        self.note(location);
        Ok(put)
    }

    /// Sorted files alone come in parts.
    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_right_in_the_maps_own_log_is_an_object_of_it() {
        let log = log_of(&Path::from("zones/a/catalog"));
        assert_eq!(log_number(&log, &Path::from("zones/a/catalog/wal/00000000000000000017.sst")), Some(17));
        for other in [
            "zones/a/catalog/wal/17.manifest",
            "zones/a/catalog/wal/deeper/17.sst",
            "zones/b/catalog/wal/17.sst",
            "zones/a/catalog/compacted/17.sst",
            "zones/a/catalog/wal",
            "zones/a/catalog/wal/17.sst",
            "zones/a/catalog/wal/+0000000000000000017.sst",
            "zones/a/catalog/wal/000000000000000000017.sst",
        ] {
            assert_eq!(log_number(&log, &Path::from(other)), None, "{other}");
        }
    }
}
