//! Bringing an object from one zone into another: a backup's into a cluster.

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload, Result, WriteMultipart};

use crate::zones::ZoneStore;

/// The parts in which a large object is written: the whole of it holds two of them in memory.
const PART: usize = 8 << 20;
/// How many parts may be on their way at once.
const PARTS: usize = 2;

/// How a sealed object becomes one of another zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bring {
    /// By a new header over the same body.
    Rekey,
    /// By sealing it anew, under a data key of its own.
    Anew,
}

impl ZoneStore {
    /// Brings an object of another zone here, all of it. Into or out of a zone that is not encrypted it is sealed or opened,
    /// whatever `how` says.
    pub async fn bring(&self, from: &Self, source: &Path, to: &Path, how: Bring) -> Result<()> {
        match (from.as_sealed(), self.as_sealed(), how) {
            (Some(from), Some(here), Bring::Rekey) => here.rekey(from, source, to).await,
            _ => self.pass(from, source, to).await,
        }
    }

    async fn pass(&self, from: &Self, source: &Path, to: &Path) -> Result<()> {
        let object = from.objects().get(source).await?;
        let (size, stream) = (object.meta.size, object.into_stream());
        if size <= PART as u64 {
            let pieces: Vec<Bytes> = stream.try_collect().await?;
            return self.objects().put(to, PutPayload::from_iter(pieces)).await.map(drop);
        }
        let mut upload = WriteMultipart::new_with_chunk_size(self.objects().put_multipart(to).await?, PART);
        match fill(&mut upload, stream).await {
            Ok(()) => upload.finish().await.map(drop),
            Err(error) => {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%to, %error, "a failed upload could not be aborted: its parts may be left in the object storage");
                }
                Err(error)
            }
        }
    }
}

async fn fill(upload: &mut WriteMultipart, mut stream: impl Stream<Item = Result<Bytes>> + Unpin) -> Result<()> {
    while let Some(piece) = stream.next().await {
        upload.wait_for_capacity(PARTS).await?;
        upload.put(piece?);
    }
    Ok(())
}
