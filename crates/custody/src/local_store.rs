//! A directory as an object store, with the one thing that the library's lacks: an update that happens only if the object is
//! still the one that was read. SlateDB's garbage collector moves its boundary that way; without it, a cluster on local files
//! would keep every manifest that it ever wrote.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::OpenOptionsExt,
    path::{Path as FilePath, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UpdateVersion,
    local::LocalFileSystem, path::Path,
};

/// The files of one cluster.
#[derive(Debug)]
pub(crate) struct LocalStore {
    files: LocalFileSystem,
    /// Held while an object is compared and replaced, by whichever process does so. It lies beside the directory, not in it.
    lock: PathBuf,
}

impl LocalStore {
    /// The store of a directory that is there.
    pub(crate) fn new(directory: &FilePath) -> Result<Self> {
        let files = LocalFileSystem::new_with_prefix(directory)?
            // Without fsync an acknowledged write could come back as zeros after a power cut.
            .with_fsync(true)
            // Else every collection that was dropped would leave its directories.
            .with_automatic_cleanup(true);
        Ok(Self { files, lock: lock_file(directory) })
    }

    async fn update(
        &self,
        path: &Path,
        payload: PutPayload,
        was: UpdateVersion,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let lock = self.lock.clone();
        let locked =
            tokio::task::spawn_blocking(move || take(&lock)).await.map_err(|source| Error::JoinError { source })?;
        // Given back when it is dropped.
        let _lock = locked.map_err(|error| Error::Generic { store: "local files", source: error.into() })?;
        let now = self.files.head(path).await?.e_tag;
        if now != was.e_tag {
            let source = format!("it is {now:?}, and was to be {:?}", was.e_tag).into();
            return Err(Error::Precondition { path: path.to_string(), source });
        }
        self.files.put_opts(path, payload, PutOptions { mode: PutMode::Overwrite, ..opts }).await
    }
}

/// The file beside a cluster's directory that is locked while an object is updated.
pub(crate) fn lock_file(directory: &FilePath) -> PathBuf {
    directory.with_extension("lock")
}

fn take(path: &FilePath) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

impl std::fmt::Display for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.files.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match opts.mode.clone() {
            PutMode::Update(was) => self.update(location, payload, was, opts).await,
            PutMode::Overwrite | PutMode::Create => self.files.put_opts(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(put: PutResult) -> PutOptions {
        PutOptions::from(PutMode::Update(put.into()))
    }

    #[tokio::test]
    async fn of_many_who_update_what_they_read_one_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = directory.path().join("in01-a");
        std::fs::create_dir(&cluster).unwrap();
        let path = Path::from("gc/manifest.boundary");
        let first = LocalStore::new(&cluster).unwrap().put(&path, "0".into()).await.unwrap();
        let tries = (1..=8).map(|number| {
            let (store, opts) = (LocalStore::new(&cluster).unwrap(), version(first.clone()));
            let path = path.clone();
            async move { store.put_opts(&path, number.to_string().into(), opts).await }
        });
        let done = futures::future::join_all(tries).await;
        let (won, lost): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7));
        assert!(lost.into_iter().all(|it| matches!(it, Err(Error::Precondition { .. }))));
        let store = LocalStore::new(&cluster).unwrap();
        store.put_opts(&path, "9".into(), version(won.into_iter().next().unwrap().unwrap())).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "9");
        assert_eq!(store.list_with_delimiter(None).await.unwrap().common_prefixes.len(), 1, "the lock is no object");
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_updated() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::new(directory.path()).unwrap();
        let put = store.put(&Path::from("a"), "0".into()).await.unwrap();
        let error = store.put_opts(&Path::from("b"), "1".into(), version(put)).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }

    #[tokio::test]
    async fn the_directories_of_what_is_deleted_go_too() {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::new(directory.path()).unwrap();
        store.put(&Path::from("zones/a/collections/1/wal/1.sst"), "0".into()).await.unwrap();
        store.delete(&Path::from("zones/a/collections/1/wal/1.sst")).await.unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
