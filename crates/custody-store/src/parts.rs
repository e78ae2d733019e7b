//! Writing a large object in parts, none of which stays behind where the whole of it does not come to be.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::{
    Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, PutResult, Result, UploadPart, WriteMultipart,
    path::Path,
};

/// The parts in which a large object is written: the whole of it holds two of them in memory.
const PART: usize = 8 << 20;
/// How many parts may be on their way at once.
const PARTS: usize = 2;

/// Writes an object of a known size from a stream. Nothing is left of one whose stream fails, or that is given up.
pub async fn put_stream(
    store: &dyn ObjectStore,
    to: &Path,
    size: u64,
    stream: impl Stream<Item = Result<Bytes>> + Unpin,
) -> Result<()> {
    if size <= PART as u64 {
        let pieces: Vec<Bytes> = stream.try_collect().await?;
        return store.put(to, PutPayload::from_iter(pieces)).await.map(drop);
    }
    upload(store.put_multipart(to).await?, to, stream).await
}

/// Uploads a stream; aborts where it fails, or is given up.
pub(crate) async fn upload(
    upload: Box<dyn MultipartUpload>,
    to: &Path,
    stream: impl Stream<Item = Result<Bytes>> + Unpin,
) -> Result<()> {
    let upload = Upload { inner: Some(upload), to: to.clone() };
    let mut upload = WriteMultipart::new_with_chunk_size(Box::new(upload), PART);
    match fill(&mut upload, stream).await {
        Ok(()) => upload.finish().await.map(drop),
        Err(error) => {
            if let Err(error) = upload.abort().await {
                left(to, &error);
            }
            Err(error)
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

/// An upload that is aborted when it is dropped before its end. S3 keeps the parts of one that is forgotten.
#[derive(Debug)]
struct Upload {
    /// None once it has ended.
    inner: Option<Box<dyn MultipartUpload>>,
    to: Path,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        match &mut self.inner {
            Some(inner) => inner.put_part(data),
            None => Box::pin(std::future::ready(Err(ended()))),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let done = self.inner.as_mut().ok_or_else(ended)?.complete().await?;
        self.inner = None;
        Ok(done)
    }

    async fn abort(&mut self) -> Result<()> {
        match self.inner.take() {
            Some(mut inner) => inner.abort().await,
            None => Err(ended()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(mut inner), Ok(runtime)) = (self.inner.take(), tokio::runtime::Handle::try_current()) else { return };
        let to = std::mem::take(&mut self.to);
        runtime.spawn(async move {
            if let Err(error) = inner.abort().await {
                left(&to, &error);
            }
        });
    }
}

fn ended() -> Error {
    Error::Generic { store: "upload", source: "it has ended".into() }
}

fn left(to: &Path, error: &Error) {
    tracing::warn!(%to, %error, "a failed upload could not be aborted: its parts may be left in the object storage");
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use futures::stream;
    use object_store::memory::InMemory;

    use super::*;

    /// What became of an upload.
    #[derive(Clone, Debug, Default)]
    struct Seen(Arc<Mutex<Vec<&'static str>>>);

    impl Seen {
        fn take(&self) -> Vec<&'static str> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[async_trait]
    impl MultipartUpload for Seen {
        fn put_part(&mut self, _: PutPayload) -> UploadPart {
            self.0.lock().unwrap().push("part");
            Box::pin(std::future::ready(Ok(())))
        }

        async fn complete(&mut self) -> Result<PutResult> {
            self.0.lock().unwrap().push("complete");
            Ok(PutResult { e_tag: None, version: None, extensions: object_store::Extensions::default() })
        }

        async fn abort(&mut self) -> Result<()> {
            self.0.lock().unwrap().push("abort");
            Ok(())
        }
    }

    fn begun(seen: &Seen) -> Upload {
        Upload { inner: Some(Box::new(seen.clone())), to: Path::from("large") }
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_is_aborted_and_one_that_has_ended_is_not() {
        let seen = Seen::default();
        let mut one = begun(&seen);
        one.put_part(PutPayload::from_static(b"half")).await.unwrap();
        drop(one);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(seen.take(), ["part", "abort"]);
        let mut one = begun(&seen);
        one.complete().await.unwrap();
        assert!(one.put_part(PutPayload::from_static(b"late")).await.is_err());
        drop(one);
        let mut one = begun(&seen);
        one.abort().await.unwrap();
        drop(one);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(seen.take(), ["complete", "abort"]);
    }

    #[tokio::test]
    async fn a_stream_is_written_whole_or_not_at_all() {
        let store = InMemory::new();
        let (small, large) = (Path::from("small"), Path::from("large"));
        let pieces = |count: usize| (0..count).map(|_| Ok(Bytes::from(vec![7; 1 << 20])));
        put_stream(&store, &small, 1 << 20, stream::iter(pieces(1))).await.unwrap();
        put_stream(&store, &large, 17 << 20, stream::iter(pieces(17))).await.unwrap();
        assert_eq!(store.head(&small).await.unwrap().size, 1 << 20);
        assert_eq!(store.get(&large).await.unwrap().bytes().await.unwrap(), vec![7; 17 << 20]);
        let torn = pieces(16).chain([Err(ended())]);
        assert!(put_stream(&store, &Path::from("torn"), 17 << 20, stream::iter(torn)).await.is_err());
        assert!(store.head(&Path::from("torn")).await.is_err());
    }
}
