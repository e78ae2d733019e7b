//! Looking at sealed files: without keys, and with them.

use custody_seal::{HEADER_LEN, Header, OpenError, Suite, ZoneId};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, Result};

use crate::sealed::SealedStore;

/// What a sealed file says of itself. Nothing of it is authentic: that takes the zone's key.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileInfo {
    /// The format's version.
    pub format: u16,
    /// The suite.
    pub suite: Suite,
    /// How many plaintext bytes a chunk holds.
    pub chunk_size: u32,
    /// The zone.
    pub zone: ZoneId,
    /// The version of the zone's key that the data key is wrapped under.
    pub key_version: u32,
    /// The file's random id, the same in all its copies.
    pub file_id: [u8; 16],
    /// The length of the sealed file.
    pub sealed_len: u64,
    /// The length of its plaintext, if the file is whole.
    pub plain_len: u64,
    /// How many chunks it has.
    pub chunks: u64,
}

/// How much of a file [`inspect`] has to be given, if the file is that long.
pub const INSPECTED: usize = HEADER_LEN;

/// Reads a sealed file's header, from its first bytes and its length. Needs no key, and proves nothing.
pub fn inspect(first: &[u8], sealed_len: u64) -> Result<FileInfo, OpenError> {
    let header = Header::parse(first)?;
    let file = header.layout().file(sealed_len)?;
    Ok(FileInfo {
        format: custody_seal::FORMAT_VERSION,
        suite: header.suite(),
        chunk_size: header.chunk_size().bytes(),
        zone: header.zone(),
        key_version: header.version(),
        file_id: header.file_id(),
        sealed_len,
        plain_len: file.plain_len(),
        chunks: file.chunks(),
    })
}

/// What verifying one object came to.
#[derive(Debug)]
pub struct Finding {
    /// The object.
    pub path: Path,
    /// Its sealed length.
    pub sealed_len: u64,
    /// The length of its plaintext, all of which was opened; or why it does not open, or could not be read.
    pub result: Result<u64>,
}

impl SealedStore {
    /// Opens and authenticates a whole object, its end included, and keeps nothing of it. Gives the plaintext's length.
    pub async fn verify(&self, location: &Path) -> Result<u64> {
        let result = self.get_opts(location, GetOptions::default()).await?;
        let claimed = result.meta.size;
        let opened = result.into_stream().try_fold(0, |sum, piece| std::future::ready(Ok(sum + piece.len() as u64)));
        // Every chunk was opened, the last one as the last: the length is proven, and `claimed` was computed from it.
        let opened = opened.await?;
        debug_assert_eq!(opened, claimed);
        Ok(opened)
    }

    /// Verifies every object under a prefix, or of the whole zone, one after the other. The stream's own errors are of the
    /// listing; whatever is wrong with an object is in its [`Finding`].
    pub fn verify_all(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<Finding>> {
        let store = self.clone();
        let prefix = match store.shared.scope.prefix(prefix) {
            Ok(prefix) => prefix,
            Err(error) => return futures::stream::once(std::future::ready(Err(error.into()))).boxed(),
        };
        // The raw listing: this store's own would end at the first object whose length is impossible.
        let listed = store.shared.inner.list(Some(&prefix));
        let keyring = store.shared.scope.clone();
        listed
            .try_filter(move |meta| std::future::ready(!keyring.is_keyring(&meta.location)))
            .and_then(move |meta| {
                let store = store.clone();
                async move { Ok(store.find(meta).await) }
            })
            .boxed()
    }

    async fn find(&self, meta: ObjectMeta) -> Finding {
        let result = self.verify(&meta.location).await;
        Finding { path: meta.location, sealed_len: meta.size, result }
    }
}
