//! Sealing: piece by piece, or a whole file at once.

use std::ops::Range;

use crate::error::{ChunkError, OpenError};
use crate::header::{FileContext, HEADER_LEN, Header};
use crate::key::{BodyKey, DataKey};
use crate::layout::{ChunkSize, ImpossibleLength, Layout, TooLong};
use crate::random::RandomError;
use crate::suite::{Position, Suite};
use crate::zone_key::ZoneKey;

/// A file that is to be sealed: a fresh data key, and the header that wraps it.
///
/// Only making it needs the zone's key, and takes microseconds. Sealing consumes it, so that nothing else is ever sealed
/// under its data key.
pub struct NewFile {
    key: BodyKey,
    header: [u8; HEADER_LEN],
}

impl NewFile {
    /// Draws a data key, a file id and a salt, and seals the header under a version of the zone's key.
    pub fn new(
        zone_key: &ZoneKey,
        version: u32,
        context: &FileContext<'_>,
        chunk_size: ChunkSize,
    ) -> Result<Self, RandomError> {
        let data_key = DataKey::generate(Suite::Aes256Gcm, chunk_size)?;
        let header = data_key.seal_header(zone_key, version, context)?;
        Ok(Self::with(&data_key, header))
    }

    pub(crate) fn with(data_key: &DataKey, header: [u8; HEADER_LEN]) -> Self {
        Self { key: data_key.body_key(), header }
    }

    /// The arithmetic of the file's lengths.
    pub fn layout(&self) -> Layout {
        self.key.layout()
    }

    /// Seals a plaintext that is all there.
    pub fn seal(self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let too_long = TooLong { max: self.layout().max_plain_len() };
        let sealed_len = self.layout().sealed_len(plain.len() as u64)?;
        let mut sealed = vec![0; usize::try_from(sealed_len).map_err(|_| too_long)?];
        self.seal_into(plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Seals a plaintext that is all there into a buffer of exactly the length that [`Layout::sealed_len`] gives.
    pub fn seal_into(self, plain: &[u8], sealed: &mut [u8]) -> Result<(), SealError> {
        let layout = self.layout();
        let expected = layout.sealed_len(plain.len() as u64)?;
        if sealed.len() as u64 != expected {
            return Err(SealError::Buffer { expected });
        }
        let (header, body) = sealed.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&self.header);
        let chunk = layout.chunk_size().len();
        // An empty file has one chunk all the same.
        let pieces = plain.chunks(chunk).chain(plain.is_empty().then_some(&[][..]));
        let last = plain.len().saturating_sub(1) / chunk;
        for (at, (plain, sealed)) in pieces.zip(body.chunks_mut(chunk + layout.suite().overhead())).enumerate() {
            // `sealed_len` allows no more chunks than 32 bits count.
            let index = u32::try_from(at).map_err(|_| TooLong { max: layout.max_plain_len() })?;
            self.key.seal_chunk(Position { index, last: at == last }, plain, sealed);
        }
        Ok(())
    }

    /// Seals a plaintext as it comes in.
    pub fn sealer(self) -> Sealer {
        Sealer { file: self, started: false, held: Vec::new(), next: Some(0) }
    }
}

/// Seals one file as its plaintext comes in.
///
/// It always holds back the newest chunk, for it can't know whether that is the last. Only [`finish`](Self::finish) seals
/// it as the last; so what a dropped sealer has given out is never a valid file, not even an empty one.
pub struct Sealer {
    file: NewFile,
    started: bool,
    held: Vec<u8>,
    /// `None` once all indices are used up.
    next: Option<u32>,
}

impl Sealer {
    /// The arithmetic of the file's lengths.
    pub fn layout(&self) -> Layout {
        self.file.layout()
    }

    /// Takes more plaintext, and appends to `out` what of the file is certain by now.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<(), TooLong> {
        self.start(out);
        let chunk = self.layout().chunk_size().len();
        if !self.held.is_empty() {
            let (fill, rest) = plain.split_at(plain.len().min(chunk - self.held.len()));
            self.held.extend_from_slice(fill);
            plain = rest;
            if plain.is_empty() {
                return Ok(());
            }
            // Taken out for the call and put back: its allocation serves the next chunk.
            let mut held = std::mem::take(&mut self.held);
            self.seal(&held, false, out)?;
            held.clear();
            self.held = held;
        }
        while plain.len() > chunk {
            let (full, rest) = plain.split_at(chunk);
            self.seal(full, false, out)?;
            plain = rest;
        }
        self.held.extend_from_slice(plain);
        Ok(())
    }

    /// Ends the file: appends its last chunk to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        self.start(out);
        let held = std::mem::take(&mut self.held);
        self.seal(&held, true, out)
    }

    fn start(&mut self, out: &mut Vec<u8>) {
        if !self.started {
            out.extend_from_slice(&self.file.header);
            self.started = true;
        }
    }

    fn seal(&mut self, plain: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let index = self.next.ok_or(TooLong { max: self.layout().max_plain_len() })?;
        self.next = index.checked_add(1);
        let start = out.len();
        out.resize(start + plain.len() + self.layout().suite().overhead(), 0);
        self.file.key.seal_chunk(Position { index, last }, plain, &mut out[start..]);
        Ok(())
    }
}

/// Seals a whole file.
pub fn seal(
    plain: &[u8],
    zone_key: &ZoneKey,
    version: u32,
    context: &FileContext<'_>,
    chunk_size: ChunkSize,
) -> Result<Vec<u8>, SealError> {
    NewFile::new(zone_key, version, context, chunk_size)?.seal(plain)
}

/// Opens a whole file with the zone key of the version that its header names, and proves all of it.
pub fn open(sealed: &[u8], zone_key: &ZoneKey, context: &FileContext<'_>) -> Result<Vec<u8>, OpenError> {
    let header = Header::parse(sealed)?;
    let sealed_len = sealed.len() as u64;
    let file = header.layout().file(sealed_len)?;
    let key = header.unseal(zone_key, context)?;
    let mut plain = vec![0; usize::try_from(file.plain_len()).map_err(|_| ImpossibleLength { sealed_len })?];
    for index in 0..=file.last() {
        let missing = ChunkError::Missing { index };
        let sealed = file.sealed_chunk(index).and_then(|range| sealed.get(to_usize(range)?)).ok_or(missing)?;
        let plain = file.plain_chunk(index).and_then(|range| plain.get_mut(to_usize(range)?)).ok_or(missing)?;
        key.open_chunk(&file, index, sealed, plain)?;
    }
    Ok(plain)
}

fn to_usize(range: Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

/// Why a file was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No key could be made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The buffer is not as long as the sealed file.
    #[error("the sealed file has {expected} bytes, and the buffer has not: size it by `Layout::sealed_len`")]
    Buffer {
        /// The sealed file's length.
        expected: u64,
    },
    /// It is too long for one file.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}
