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
use crate::sealed::Shared;

/// The parts in which a large body is copied: the whole copy holds one of them in memory.
const PART: usize = 8 << 20;

impl Shared {
    pub(crate) async fn copy(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let CopyOptions { mode, extensions } = options;
        let request = GetOptions { extensions: extensions.clone(), ..GetOptions::default() };
        let source = self.inner.get_opts(from, request).await?;
        let attributes = source.attributes.clone();
        // An upload in parts can't be made conditional, so what must not replace anything is put in one piece.
        if mode == CopyMode::Create || source.meta.size <= AT_ONCE {
            let mode = if mode == CopyMode::Create { PutMode::Create } else { PutMode::Overwrite };
            let options = PutOptions { mode, attributes, extensions, ..PutOptions::default() };
            return self.copy_at_once(source, from, to, options).await;
        }
        self.copy_in_parts(source, from, to, PutMultipartOptions { attributes, extensions, ..Default::default() }).await
    }

    async fn copy_at_once(&self, source: GetResult, from: &Path, to: &Path, options: PutOptions) -> Result<()> {
        let size = source.meta.size;
        let bytes = source.bytes().await?;
        if bytes.len() as u64 != size {
            return Err(cut(from).into());
        }
        let header = self.rebind(from, to, &bytes)?;
        let payload = PutPayload::from_iter([header.to_vec().into(), bytes.slice(HEADER_LEN..)]);
        self.inner.put_opts(to, payload, options).await.map(drop)
    }

    async fn copy_in_parts(
        &self,
        source: GetResult,
        from: &Path,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<()> {
        let mut upload = self.inner.put_multipart_opts(to, options).await?;
        let copied = self.upload_copy(source, from, to, upload.as_mut()).await;
        if copied.is_err() {
            // The copy's own error says more than one of the clearing up.
            if let Err(error) = upload.abort().await {
                tracing::warn!(location = %to, %error, "a failed copy could not be aborted: its parts may be left in the object storage");
            }
        }
        copied
    }

    async fn upload_copy(
        &self,
        source: GetResult,
        from: &Path,
        to: &Path,
        upload: &mut dyn MultipartUpload,
    ) -> Result<()> {
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
            return Err(cut(from).into());
        }
        if !part.is_empty() {
            upload.put_part(part.into()).await?;
        }
        upload.complete().await.map(drop)
    }

    /// The header of a file for another path, under the newest version of the zone's key.
    fn rebind(&self, from: &Path, to: &Path, head: &[u8]) -> Result<[u8; HEADER_LEN], StoreError> {
        let header = self.header(from, head)?;
        let old = self.context(from);
        let data_key = self
            .zone
            .use_version(header.version(), |key| header.data_key(key, &old))?
            .map_err(|error| StoreError::tampered(from, error))?;
        let new = self.context(to);
        Ok(self.zone.use_current(|version, key| data_key.seal_header(key, version, &new))??)
    }
}

fn cut(from: &Path) -> StoreError {
    StoreError::tampered(from, ChunkError::Missing { index: 0 })
}
