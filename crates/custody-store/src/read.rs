//! Reading: the fewest requests that give a file's header and the chunks of a range, from one and the same object.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use custody_seal::{HEADER_LEN, Header, HeaderError, Span, UnsealError};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attributes, Error, Extensions, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore,
    ObjectStoreExt, Result,
};

use crate::cache::{Identity, OpenFile};
use crate::chunks::{AT_ONCE, Pieces, Reader, open_span, to_usize};
use crate::error::StoreError;
use crate::sealed::Shared;

/// A range that starts this near to the header is fetched together with it.
const NEAR: u64 = 64 << 10;
/// How often a read starts again when the object is replaced between its header and its chunks.
const ATTEMPTS: usize = 5;

impl Shared {
    pub(crate) async fn get(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        if options.head {
            return self.head(location, options).await;
        }
        match options.range.take() {
            None => self.get_whole(location, options).await,
            Some(range) => self.get_range(location, &range, options).await,
        }
    }

    async fn head(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        options.range = None;
        let mut result = self.inner.get_opts(location, options.clone()).await?;
        result.meta = self.plain_meta(result.meta)?;
        if result.meta.size == 0 {
            // Whoever hears of an empty object reads nothing more of it, and reading is what finds a cut: SlateDB would pass
            // over a log object that was cut to its header. So that it is empty has to be proven here.
            let whole = self.get_whole(location, GetOptions { head: false, ..options }).await?;
            result.meta = whole.meta.clone();
            whole.bytes().await?;
        }
        result.range = 0..result.meta.size;
        result.payload = GetResultPayload::Stream(futures::stream::empty().boxed());
        Ok(result)
    }

    /// One request, in which the header comes before the chunks.
    async fn get_whole(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let result = self.inner.get_opts(location, options).await?;
        let mut shell = Shell::of(&result);
        let mut pieces = Pieces::of(result).await?;
        let head = pieces.take(HEADER_LEN).await?;
        let file = Arc::new(self.open(location, &shell.meta, &head)?);
        let span = file.layout.whole();
        shell.meta = self.plain_meta(shell.meta)?;
        let range = 0..shell.meta.size;
        let payload = self.payload(location, file, span, pieces).await?;
        Ok(shell.result(range, payload))
    }

    async fn get_range(&self, location: &Path, range: &GetRange, options: GetOptions) -> Result<GetResult> {
        range.is_valid().map_err(invalid)?;
        for _ in 0..ATTEMPTS {
            // Of another version than the newest, the cache knows nothing.
            let known = if options.version.is_none() { self.cache.get(location) } else { None };
            if let Some(file) = known {
                if let Some(result) = self.get_known(location, &file, range, &options).await? {
                    return Ok(result);
                }
                self.cache.remove(location);
            }
            if let Some(result) = self.get_unknown(location, range, &options).await? {
                return Ok(result);
            }
        }
        Err(StoreError::Unsteady { path: location.to_string() }.into())
    }

    /// Reads a range of a file whose key is at hand: one request. `None` if another object is there by now.
    async fn get_known(
        &self,
        location: &Path,
        file: &Arc<OpenFile>,
        range: &GetRange,
        options: &GetOptions,
    ) -> Result<Option<GetResult>> {
        let Some((plain, span)) = range.as_range(file.layout.plain_len()).ok().and_then(|plain| {
            let span = file.layout.span(plain.clone())?;
            Some((plain, span))
        }) else {
            return Ok(None);
        };
        let options = GetOptions { range: Some(GetRange::Bounded(span.sealed.clone())), ..options.clone() };
        let result = match self.inner.get_opts(location, options).await {
            Ok(result) => result,
            // It may have become too short for the range. If it is anything else, the next request fails alike.
            Err(Error::Generic { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.finish(location, file, plain, &span, result).await
    }

    /// Reads a range of a file of which nothing is known: one request near the header, two elsewhere.
    async fn get_unknown(&self, location: &Path, range: &GetRange, options: &GetOptions) -> Result<Option<GetResult>> {
        let first = match range {
            GetRange::Bounded(range) => {
                let sealed = self.layout().sealed_range(range);
                let near = sealed.start <= NEAR && sealed.end <= AT_ONCE;
                0..if near { sealed.end } else { HEADER_LEN as u64 }
            }
            GetRange::Offset(_) | GetRange::Suffix(_) => 0..HEADER_LEN as u64,
        };
        let epoch = self.cache.epoch();
        let result = self.first_bytes(location, first, options).await?;
        let mut shell = Shell::of(&result);
        let bytes = result.bytes().await?;
        let file = Arc::new(self.open(location, &shell.meta, &bytes)?);
        if options.version.is_none() {
            self.cache.insert(epoch, location, Arc::clone(&file));
        }
        let plain = range.as_range(file.layout.plain_len());
        let wanted = plain.as_ref().ok().and_then(|plain| file.layout.span(plain.clone()));
        // No byte of the file is in the range. That says how long the file is, and so its end has to be proven.
        let span = wanted.clone().unwrap_or_else(|| file.layout.end());
        let plain_range = plain.as_ref().map_or(0..0, Range::clone);
        let found = match slice(&bytes, &span.sealed) {
            Some(sealed) => {
                let opened = open_span(&self.zone, location, &file, &span, &sealed)?;
                shell.meta = self.plain_meta(shell.meta)?;
                shell.result(plain_range, once(opened))
            }
            None => match self.get_rest(location, &file, plain_range, &span, options, shell.meta).await? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        plain.map_err(invalid)?;
        let nothing = || GetResultPayload::Stream(futures::stream::empty().boxed());
        Ok(Some(if wanted.is_some() { found } else { GetResult { payload: nothing(), ..found } }))
    }

    /// Reads the chunks of a file whose header was just read. `None` if another object is there by now.
    async fn get_rest(
        &self,
        location: &Path,
        file: &Arc<OpenFile>,
        plain: Range<u64>,
        span: &Span,
        options: &GetOptions,
        meta: ObjectMeta,
    ) -> Result<Option<GetResult>> {
        // The preconditions were looked at with the first request; now it has to be the same object.
        let options = GetOptions {
            range: Some(GetRange::Bounded(span.sealed.clone())),
            if_match: meta.e_tag,
            version: options.version.clone(),
            extensions: options.extensions.clone(),
            ..GetOptions::default()
        };
        match self.inner.get_opts(location, options).await {
            Ok(result) => self.finish(location, file, plain, span, result).await,
            Err(Error::Precondition { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens what a request for a span's chunks gave. `None` if it is another object than the one whose key this is.
    async fn finish(
        &self,
        location: &Path,
        file: &Arc<OpenFile>,
        plain: Range<u64>,
        span: &Span,
        result: GetResult,
    ) -> Result<Option<GetResult>> {
        if Identity::of(&result.meta) != file.identity {
            return Ok(None);
        }
        let mut shell = Shell::of(&result);
        shell.meta = self.plain_meta(shell.meta)?;
        let pieces = Pieces::of(result).await?;
        let payload = self.payload(location, Arc::clone(file), span.clone(), pieces).await?;
        Ok(Some(shell.result(plain, payload)))
    }

    /// Reads a header, so that ranges of the file can be read at once.
    pub(crate) async fn learn(&self, location: &Path) -> Result<()> {
        if self.cache.get(location).is_none() {
            let epoch = self.cache.epoch();
            let result = self.first_bytes(location, 0..HEADER_LEN as u64, &GetOptions::default()).await?;
            let meta = result.meta.clone();
            let file = self.open(location, &meta, &result.bytes().await?)?;
            self.cache.insert(epoch, location, Arc::new(file));
        }
        Ok(())
    }

    async fn first_bytes(&self, location: &Path, first: Range<u64>, options: &GetOptions) -> Result<GetResult> {
        let options = GetOptions { range: Some(GetRange::Bounded(first)), ..options.clone() };
        match self.inner.get_opts(location, options).await {
            Err(Error::Generic { store, source }) => {
                // A range can't be had of an object without bytes. That is no fault of the store below.
                if self.inner.head(location).await?.size == 0 {
                    return Err(StoreError::tampered(location, HeaderError::Short { length: 0 }).into());
                }
                Err(Error::Generic { store, source })
            }
            other => other,
        }
    }

    /// Opens a header with the version of the zone's key that it names.
    pub(crate) fn open(&self, location: &Path, meta: &ObjectMeta, head: &[u8]) -> Result<OpenFile, StoreError> {
        let header = self.header(location, head)?;
        let layout = header.layout().file(meta.size).map_err(|error| StoreError::tampered(location, error))?;
        let version = header.version();
        let context = self.context(location);
        let key = self
            .zone
            .use_version(version, |key| header.unseal(key, &context))?
            .map_err(|error| StoreError::tampered(location, error))?;
        Ok(OpenFile { key, version, layout, identity: Identity::of(meta) })
    }

    /// Reads a header that is to be one of this zone and store.
    pub(crate) fn header(&self, location: &Path, head: &[u8]) -> Result<Header, StoreError> {
        let header = Header::parse(head).map_err(|error| StoreError::tampered(location, error))?;
        if header.zone() != self.zone.id() {
            // Before its key's version is looked for: this zone may have no such version.
            let error = UnsealError::OtherZone { expected: self.zone.id(), found: header.zone() };
            return Err(StoreError::tampered(location, error));
        }
        if header.chunk_size() != self.chunk_size {
            return Err(StoreError::ChunkSize {
                path: location.to_string(),
                expected: self.chunk_size.bytes(),
                found: header.chunk_size().bytes(),
            });
        }
        Ok(header)
    }

    async fn payload(
        &self,
        location: &Path,
        file: Arc<OpenFile>,
        span: Span,
        mut pieces: Pieces,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let length = span.sealed.end - span.sealed.start;
        if length <= AT_ONCE {
            let sealed = pieces.take(to_usize(length)).await?;
            return Ok(once(open_span(&self.zone, location, &file, &span, &sealed)?));
        }
        Ok(Reader { zone: Arc::clone(&self.zone), location: location.clone(), file, span, pieces }.stream())
    }
}

/// A result without its bytes.
struct Shell {
    meta: ObjectMeta,
    attributes: Attributes,
    extensions: Extensions,
}

impl Shell {
    fn of(result: &GetResult) -> Self {
        Self { meta: result.meta.clone(), attributes: result.attributes.clone(), extensions: result.extensions.clone() }
    }

    fn result(self, range: Range<u64>, payload: BoxStream<'static, Result<Bytes>>) -> GetResult {
        GetResult {
            payload: GetResultPayload::Stream(payload),
            meta: self.meta,
            range,
            attributes: self.attributes,
            extensions: self.extensions,
        }
    }
}

fn once(bytes: Bytes) -> BoxStream<'static, Result<Bytes>> {
    futures::stream::once(std::future::ready(Ok(bytes))).boxed()
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    (range.end <= bytes.len() as u64).then(|| bytes.slice(to_usize(range.start)..to_usize(range.end)))
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic { store: StoreError::STORE, source: Box::new(error) }
}
