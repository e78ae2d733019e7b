//! An object store that fails on a script, and remembers what it was asked.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

#[derive(Default, Debug)]
struct Script {
    fail_puts: usize,
    tear_puts: usize,
    fail_parts: VecDeque<usize>,
    fail_completes: usize,
    /// Put in place after a read was served, one after each read.
    replace_after_get: VecDeque<(Path, Bytes)>,
    /// Ends the streams of reads after this many bytes.
    cut_gets: Option<u64>,
}

/// What was asked.
#[derive(Default, Debug, Clone)]
pub(crate) struct Log {
    pub(crate) gets: Vec<Option<Range<u64>>>,
    pub(crate) parts: Vec<usize>,
    pub(crate) completes: usize,
    pub(crate) aborts: usize,
    pub(crate) puts: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    inner: Arc<InMemory>,
    script: Arc<Mutex<Script>>,
    log: Arc<Mutex<Log>>,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::new(InMemory::new()), script: Arc::default(), log: Arc::default() }
    }

    pub(crate) fn fail_next_put(&self) {
        self.script.lock().unwrap().fail_puts += 1;
    }

    /// Stores only half of what is put, and says that it failed.
    pub(crate) fn tear_next_put(&self) {
        self.script.lock().unwrap().tear_puts += 1;
    }

    pub(crate) fn fail_part(&self, number: usize) {
        self.script.lock().unwrap().fail_parts.push_back(number);
    }

    pub(crate) fn fail_next_complete(&self) {
        self.script.lock().unwrap().fail_completes += 1;
    }

    pub(crate) fn replace_after_get(&self, path: &Path, bytes: impl Into<Bytes>) {
        self.script.lock().unwrap().replace_after_get.push_back((path.clone(), bytes.into()));
    }

    pub(crate) fn cut_gets(&self, after: Option<u64>) {
        self.script.lock().unwrap().cut_gets = after;
    }

    /// What was asked since the last time this was called.
    pub(crate) fn take_log(&self) -> Log {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

fn fault() -> Error {
    Error::Generic { store: "scripted", source: "as the script says".into() }
}

fn used_up(count: &mut usize) -> bool {
    let there = *count > 0;
    *count -= usize::from(there);
    there
}

#[async_trait]
impl ObjectStore for Scripted {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.log.lock().unwrap().puts += 1;
        let (fail, tear) = {
            let mut script = self.script.lock().unwrap();
            (used_up(&mut script.fail_puts), used_up(&mut script.tear_puts))
        };
        if fail {
            return Err(fault());
        }
        if tear {
            let whole: Vec<u8> = payload.iter().flatten().copied().collect();
            let half = whole[..whole.len() / 2].to_vec();
            self.inner.put_opts(location, half.into(), opts).await?;
            return Err(fault());
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(ScriptedUpload { inner, store: self.clone(), parts: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let range = match &options.range {
            Some(GetRange::Bounded(range)) => Some(range.clone()),
            _ => None,
        };
        if !options.head {
            self.log.lock().unwrap().gets.push(range);
        }
        let head = options.head;
        let mut result = self.inner.get_opts(location, options).await;
        let (replace, cut) = {
            let mut script = self.script.lock().unwrap();
            (if head { None } else { script.replace_after_get.pop_front() }, script.cut_gets)
        };
        if let Some((path, bytes)) = replace {
            self.inner.put(&path, bytes.into()).now_or_never().unwrap().unwrap();
        }
        if let (Ok(found), Some(cut)) = (&mut result, cut) {
            let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
            let bytes = result?.bytes().await?;
            let bytes = bytes.slice(..bytes.len().min(usize::try_from(cut).unwrap()));
            let stream = Box::pin(futures::stream::iter([Ok(bytes)]));
            let payload = object_store::GetResultPayload::Stream(stream);
            return Ok(GetResult { payload, meta, range, attributes, extensions: object_store::Extensions::new() });
        }
        result
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
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

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted")
    }
}

#[derive(Debug)]
struct ScriptedUpload {
    inner: Box<dyn MultipartUpload>,
    store: Scripted,
    parts: usize,
}

#[async_trait]
impl MultipartUpload for ScriptedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.store.log.lock().unwrap().parts.push(data.content_length());
        let number = self.parts;
        self.parts += 1;
        let mut script = self.store.script.lock().unwrap();
        if script.fail_parts.front() == Some(&number) {
            script.fail_parts.pop_front();
            return std::future::ready(Err(fault())).boxed();
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.log.lock().unwrap().completes += 1;
        if used_up(&mut self.store.script.lock().unwrap().fail_completes) {
            return Err(fault());
        }
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.log.lock().unwrap().aborts += 1;
        self.inner.abort().await
    }
}
