//! Copies: a new header for the new path, over the same body.

use custody_seal::{ChunkError, HEADER_LEN};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetResult, MultipartUpload, ObjectStore, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, Result,
};

use crate::chunks::AT_ONCE;
use crate::error::StoreError;
use crate::parts::Upload;
use crate::sealed::Shared;

/// The parts in which a large body is copied: the whole copy holds one of them in memory.
const PART: usize = 8 << 20;

/// Where a copy comes from: the store of a zone, and the object's path there.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) store: &'a Shared,
    pub(crate) path: &'a Path,
}

impl Shared {
    /// Copies an object of this zone or another one here.
    pub(crate) async fn copy(&self, from: Origin<'_>, to: &Path, options: CopyOptions) -> Result<()> {
        let CopyOptions { mode, extensions } = options;
        let request = GetOptions { extensions: extensions.clone(), ..GetOptions::default() };
        let source = from.store.inner.get_opts(from.path, request).await?;
        let attributes = source.attributes.clone();
        // An upload in parts can't be made conditional, so what must not replace anything is put in one piece.
        if mode == CopyMode::Create || source.meta.size <= AT_ONCE {
            let mode = if mode == CopyMode::Create { PutMode::Create } else { PutMode::Overwrite };
            let options = PutOptions { mode, attributes, extensions, ..PutOptions::default() };
            return self.copy_at_once(source, from, to, options).await;
        }
        self.copy_in_parts(source, from, to, PutMultipartOptions { attributes, extensions, ..Default::default() }).await
    }

    async fn copy_at_once(&self, source: GetResult, from: Origin<'_>, to: &Path, options: PutOptions) -> Result<()> {
        let size = source.meta.size;
        let bytes = source.bytes().await?;
        if bytes.len() as u64 != size {
            return Err(cut(from.path).into());
        }
        let header = self.rebind(from, to, &bytes)?;
        let payload = PutPayload::from_iter([header.to_vec().into(), bytes.slice(HEADER_LEN..)]);
        self.inner.put_opts(to, payload, options).await.map(drop)
    }

    async fn copy_in_parts(
        &self,
        source: GetResult,
        from: Origin<'_>,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<()> {
        let mut upload = Upload::new(self.inner.put_multipart_opts(to, options).await?, to);
        let copied = self.upload_copy(source, from, to, &mut upload).await;
        if copied.is_err() {
            // The copy's own error says more than one of the clearing up.
            if let Err(error) = upload.abort().await {
                tracing::warn!(location = %to, %error, "a failed copy could not be aborted: its parts may be left in the object storage");
            }
        }
        copied
    }

    async fn upload_copy(&self, source: GetResult, from: Origin<'_>, to: &Path, upload: &mut Upload) -> Result<()> {
        let size = source.meta.size;
        let mut stream = source.into_stream();
        let (mut part, mut read, mut rebound) = (Vec::with_capacity(PART), 0, false);
        while let Some(piece) = stream.try_next().await? {
            read += piece.len() as u64;
            part.extend_from_slice(&piece);
            if !rebound && part.len() >= HEADER_LEN {
                let header = self.rebind(from, to, &part)?;
                part[..HEADER_LEN].copy_from_slice(&header);
                rebound = true;
            }
            while rebound && part.len() >= PART {
                let rest = part.split_off(PART);
                upload.put_part(std::mem::replace(&mut part, rest).into()).await?;
            }
        }
        // A source that ended early must not become a file that looks whole.
        if read != size || !rebound {
            return Err(cut(from.path).into());
        }
        if !part.is_empty() {
            upload.put_part(part.into()).await?;
        }
        upload.complete().await.map(drop)
    }

    /// The header of a file for its new place, under the newest version of this zone's key.
    fn rebind(&self, from: Origin<'_>, to: &Path, head: &[u8]) -> Result<[u8; HEADER_LEN], StoreError> {
        let Origin { store, path } = from;
        let header = store.header(path, head)?;
        let old = store.context(path);
        let data_key = store
            .zone
            .use_version(header.version(), |key| header.data_key(key, &old))?
            .map_err(|error| StoreError::tampered(path, error))?;
        let new = self.context(to);
        Ok(self.zone.use_current(|version, key| data_key.seal_header(key, version, &new))??)
    }
}

fn cut(from: &Path) -> StoreError {
    StoreError::tampered(from, ChunkError::Missing { index: 0 })
}
