//! Uploads in parts: sealed as they come in, and aborted unless they are completed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use custody_keyring::Zone;
use custody_seal::Sealer;
use futures::FutureExt;
use futures::future::try_join_all;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use tokio::runtime::Handle;

use crate::error::StoreError;

/// What S3 demands of every part but the last.
const SMALLEST_PART: usize = 5 << 20;

/// An upload that seals.
///
/// Sealing holds the newest chunk back and adds to the length, so the parts below are not the parts above: they are cut
/// anew, all of one size, which S3 and its like ask for.
pub(crate) struct SealedUpload {
    /// `None` once it was completed or aborted.
    inner: Option<Box<dyn MultipartUpload>>,
    /// `None` once the file is finished, or sealing failed: nothing can be added.
    sealer: Option<Sealer>,
    zone: Arc<Zone>,
    version: u32,
    location: Path,
    sealed: Vec<u8>,
    /// The size of the parts below; 0 before the first one above.
    part_size: usize,
    /// Parts below that were not yet uploaded, or failed.
    open_parts: Arc<AtomicUsize>,
}

impl SealedUpload {
    pub(crate) fn new(
        inner: Box<dyn MultipartUpload>,
        sealer: Sealer,
        zone: Arc<Zone>,
        version: u32,
        location: &Path,
    ) -> Self {
        Self {
            inner: Some(inner),
            sealer: Some(sealer),
            zone,
            version,
            location: location.clone(),
            sealed: Vec::new(),
            part_size: 0,
            open_parts: Arc::default(),
        }
    }

    fn seal(&mut self, data: &PutPayload) -> Result<(), StoreError> {
        self.zone.use_version(self.version, |_| ())?;
        let sealer =
            self.sealer.as_mut().ok_or_else(|| refused(&self.location, "it is over, or a part of it failed"))?;
        for piece in data {
            sealer.push(piece, &mut self.sealed)?;
        }
        Ok(())
    }

    /// Hands over what fills whole parts, and at the end the rest.
    fn parts(&mut self, end: bool) -> Vec<UploadPart> {
        let Some(inner) = &mut self.inner else { return Vec::new() };
        let mut parts = Vec::new();
        while self.sealed.len() >= self.part_size.max(1) {
            let rest = self.sealed.split_off(self.part_size.min(self.sealed.len()));
            let part = std::mem::replace(&mut self.sealed, rest);
            parts.push(counted(inner.put_part(part.into()), &self.open_parts));
        }
        if end && !self.sealed.is_empty() {
            let part = std::mem::take(&mut self.sealed);
            parts.push(counted(inner.put_part(part.into()), &self.open_parts));
        }
        parts
    }

    /// Seals the last chunk. Up to here, what was uploaded is no file that would open.
    async fn finish(&mut self) -> Result<()> {
        self.zone.use_version(self.version, |_| ()).map_err(StoreError::from)?;
        if self.open_parts.load(Ordering::Acquire) > 0 {
            return Err(refused(&self.location, "parts of it failed, or were not waited for").into());
        }
        let sealer = self.sealer.take().ok_or_else(|| refused(&self.location, "it is over, or a part of it failed"))?;
        sealer.finish(&mut self.sealed).map_err(StoreError::from)?;
        self.part_size = self.part_size.max(SMALLEST_PART);
        try_join_all(self.parts(true)).await.map(drop)
    }
}

#[async_trait]
impl MultipartUpload for SealedUpload {
    /// Seals at once, so that the parts keep their order whatever order they are waited for in.
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        if self.part_size == 0 {
            self.part_size = data.content_length().max(SMALLEST_PART);
        }
        if let Err(error) = self.seal(&data) {
            self.sealer = None;
            return std::future::ready(Err(error.into())).boxed();
        }
        try_join_all(self.parts(false)).map(|parts| parts.map(drop)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.finish().await?;
        let mut inner = self.inner.take().ok_or_else(|| refused(&self.location, "it is over"))?;
        let result = inner.complete().await;
        if result.is_err() {
            self.inner = Some(inner);
        }
        result
    }

    async fn abort(&mut self) -> Result<()> {
        self.sealer = None;
        match self.inner.take() {
            Some(mut inner) => inner.abort().await,
            None => Ok(()),
        }
    }
}

/// What is dropped before it was completed is aborted, so that nothing is left in the store below.
impl Drop for SealedUpload {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else { return };
        let location = std::mem::take(&mut self.location);
        let Ok(runtime) = Handle::try_current() else {
            tracing::warn!(%location, "an upload was dropped outside the runtime: its parts may be left in the object storage");
            return;
        };
        runtime.spawn(async move {
            if let Err(error) = inner.abort().await {
                tracing::warn!(%location, %error, "a dropped upload could not be aborted: its parts may be left in the object storage");
            }
        });
    }
}

impl fmt::Debug for SealedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedUpload").field("location", &self.location).finish_non_exhaustive()
    }
}

/// Counts a part as open until it is there. One that fails or is never waited for stays open, and bars the completion.
fn counted(part: UploadPart, open: &Arc<AtomicUsize>) -> UploadPart {
    open.fetch_add(1, Ordering::AcqRel);
    let open = Arc::clone(open);
    part.inspect(move |result| {
        if result.is_ok() {
            open.fetch_sub(1, Ordering::AcqRel);
        }
    })
    .boxed()
}

fn refused(location: &Path, why: &'static str) -> StoreError {
    StoreError::Upload { path: location.to_string(), why }
}
