//! Opening chunks: a span at once, or as its bytes come in.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use custody_keyring::Zone;
use custody_seal::{ChunkError, Span};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetResult, Result};

use crate::cache::OpenFile;
use crate::error::StoreError;

/// Up to here an answer is collected and opened in one go; beyond, as it streams in.
pub(crate) const AT_ONCE: u64 = 8 << 20;

/// Opens the chunks of a span, and cuts out its range. The lease is asked each time.
pub(crate) fn open_span(
    zone: &Zone,
    location: &Path,
    file: &OpenFile,
    span: &Span,
    sealed: &[u8],
) -> Result<Bytes, StoreError> {
    zone.use_version(file.version, |_| ())?;
    let tampered = |error| StoreError::tampered(location, error);
    let missing = |index| tampered(ChunkError::Missing { index });
    let base = file.layout.plain_chunk(span.first).ok_or_else(|| missing(span.first))?.start;
    let end = file.layout.plain_chunk(span.last).ok_or_else(|| missing(span.last))?.end;
    let mut plain = BytesMut::zeroed(to_usize(end - base));
    for index in span.first..=span.last {
        let from = file.layout.sealed_chunk(index).ok_or_else(|| missing(index))?;
        let to = file.layout.plain_chunk(index).ok_or_else(|| missing(index))?;
        let from = to_usize(from.start - span.sealed.start)..to_usize(from.end - span.sealed.start);
        let to = to_usize(to.start - base)..to_usize(to.end - base);
        let from = sealed.get(from).ok_or_else(|| missing(index))?;
        let to = plain.get_mut(to).ok_or_else(|| missing(index))?;
        file.key.open_chunk(&file.layout, index, from, to).map_err(tampered)?;
    }
    let skip = to_usize(span.skip);
    Ok(plain.freeze().slice(skip..skip + to_usize(span.plain_len)))
}

/// A read that is opened as it streams in.
pub(crate) struct Reader {
    pub(crate) zone: Arc<Zone>,
    pub(crate) location: Path,
    pub(crate) file: Arc<OpenFile>,
    pub(crate) span: Span,
    pub(crate) pieces: Pieces,
}

impl Reader {
    pub(crate) fn stream(self) -> BoxStream<'static, Result<Bytes>> {
        futures::stream::try_unfold(Some(self), Self::step).boxed()
    }

    /// Gives the next chunks: at least one, and as many as are there, within bounds.
    async fn step(this: Option<Self>) -> Result<Option<(Bytes, Option<Self>)>> {
        let Some(mut this) = this else { return Ok(None) };
        let layout = this.file.layout;
        let missing = |index| StoreError::tampered(&this.location, ChunkError::Missing { index });
        let first = this.span.first;
        let chunk = layout.sealed_chunk(first).ok_or_else(|| missing(first))?;
        this.pieces.fill(to_usize(chunk.end - chunk.start)).await?;
        let there = (this.pieces.len() as u64).min(AT_ONCE);
        let mut last = first;
        while last < this.span.last && layout.sealed_chunk(last + 1).is_some_and(|next| next.end - chunk.start <= there)
        {
            last += 1;
        }
        let sealed = chunk.start..layout.sealed_chunk(last).ok_or_else(|| missing(last))?.end;
        let plain = layout.plain_chunk(last).ok_or_else(|| missing(last))?.end
            - layout.plain_chunk(first).ok_or_else(|| missing(first))?.start
            - this.span.skip;
        let part = Span {
            first,
            last,
            skip: this.span.skip,
            plain_len: plain.min(this.span.plain_len),
            proves_end: last == layout.last(),
            sealed: sealed.clone(),
        };
        let bytes = this.pieces.take(to_usize(sealed.end - sealed.start)).await?;
        let opened = open_span(&this.zone, &this.location, &this.file, &part, &bytes)?;
        let done = last == this.span.last;
        this.span.first = last.saturating_add(1);
        this.span.skip = 0;
        this.span.plain_len -= part.plain_len;
        Ok(Some((opened, (!done).then_some(this))))
    }
}

/// What a request gives, in the lengths that are asked for.
pub(crate) struct Pieces {
    stream: BoxStream<'static, Result<Bytes>>,
    buffer: BytesMut,
}

impl Pieces {
    /// A short answer is collected at once: a local file gives it in one read instead of many.
    pub(crate) async fn of(result: GetResult) -> Result<Self> {
        if result.range.end - result.range.start <= AT_ONCE {
            let bytes = result.bytes().await?;
            return Ok(Self { stream: futures::stream::empty().boxed(), buffer: BytesMut::from(bytes) });
        }
        Ok(Self { stream: result.into_stream(), buffer: BytesMut::new() })
    }

    fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Waits until this much is there, or the end.
    async fn fill(&mut self, length: usize) -> Result<()> {
        while self.buffer.len() < length {
            match self.stream.try_next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => break,
            }
        }
        Ok(())
    }

    /// The next bytes: fewer at the end, which whoever opens them finds out.
    pub(crate) async fn take(&mut self, length: usize) -> Result<Bytes> {
        self.fill(length).await?;
        let length = length.min(self.buffer.len());
        Ok(self.buffer.split_to(length).freeze())
    }
}

/// For lengths of what is in memory or is about to be; beyond a 32-bit machine's memory the allocation fails.
pub(crate) fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
