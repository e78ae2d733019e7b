//! Copies: a new header for the new path, over the same body.

use bytes::Bytes;
use custody_seal::{ChunkError, HEADER_LEN};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetResult, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    Result,
};

use crate::chunks::AT_ONCE;
use crate::error::StoreError;
use crate::parts;
use crate::sealed::Shared;

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
        let upload = self.inner.put_multipart_opts(to, options).await?;
        parts::upload(upload, to, self.rebound(source, from, to)).await
    }

    /// The pieces of a file with the header for its new place. A source that ends early must not become a file that looks whole:
    /// then the last one is an error.
    fn rebound<'a>(&'a self, source: GetResult, from: Origin<'a>, to: &'a Path) -> BoxStream<'a, Result<Bytes>> {
        let size = source.meta.size;
        let state = (source.into_stream(), Some(Vec::new()), 0);
        let pieces = stream::try_unfold(state, move |(mut pieces, mut head, mut read)| async move {
            while let Some(piece) = pieces.try_next().await? {
                read += piece.len() as u64;
                let Some(mut begun) = head.take() else { return Ok(Some((piece, (pieces, None, read)))) };
                begun.extend_from_slice(&piece);
                if begun.len() < HEADER_LEN {
                    head = Some(begun);
                    continue;
                }
                let header = self.rebind(from, to, &begun)?;
                begun[..HEADER_LEN].copy_from_slice(&header);
                return Ok(Some((Bytes::from(begun), (pieces, None, read))));
            }
            if read == size && head.is_none() { Ok(None) } else { Err(cut(from.path).into()) }
        });
        pieces.boxed()
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
