//! Where plaintext lies in a sealed file: arithmetic on lengths alone, no key needed.

use std::ops::Range;

use crate::header::HEADER_LEN;
use crate::suite::Suite;

/// How many plaintext bytes a chunk holds: a power of two from 4 KiB to 1 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkSize(u8);

impl ChunkSize {
    /// 4 KiB, the smallest.
    pub const MIN: Self = Self(12);
    /// 1 MiB, the largest.
    pub const MAX: Self = Self(20);
    /// What files are written with; ADR 0002 has the measurements.
    pub const DEFAULT: Self = Self(15);

    /// The chunk size of this many bytes.
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() { Self::from_log2(bytes.trailing_zeros().to_le_bytes()[0]) } else { None }
    }

    /// The chunk size of `2^log2` bytes, as the header has it.
    pub const fn from_log2(log2: u8) -> Option<Self> {
        if log2 >= Self::MIN.0 && log2 <= Self::MAX.0 { Some(Self(log2)) } else { None }
    }

    /// The exponent, as the header has it.
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        1 << self.0
    }

    pub(crate) const fn len(self) -> usize {
        1 << self.0
    }
}

/// The lengths of all files of one suite and chunk size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    suite: Suite,
    chunk_size: ChunkSize,
}

impl Layout {
    /// The layout of files of this suite and chunk size.
    pub const fn new(suite: Suite, chunk_size: ChunkSize) -> Self {
        Self { suite, chunk_size }
    }

    /// The suite.
    pub const fn suite(self) -> Suite {
        self.suite
    }

    /// The chunk size.
    pub const fn chunk_size(self) -> ChunkSize {
        self.chunk_size
    }

    /// The longest plaintext that a file can hold: 2^32 chunks.
    pub const fn max_plain_len(self) -> u64 {
        self.chunk() << 32
    }

    /// How long the sealed file of a plaintext is. An empty file has one empty chunk.
    pub fn sealed_len(self, plain_len: u64) -> Result<u64, TooLong> {
        if plain_len > self.max_plain_len() {
            return Err(TooLong { max: self.max_plain_len() });
        }
        Ok(HEADER_LEN as u64 + plain_len + self.overhead() * plain_len.div_ceil(self.chunk()).max(1))
    }

    /// The plaintext and the chunks of a sealed file, from its length. Refuses every length that no plaintext gives.
    pub fn file(self, sealed_len: u64) -> Result<FileLayout, ImpossibleLength> {
        let impossible = ImpossibleLength { sealed_len };
        let body = sealed_len.checked_sub(HEADER_LEN as u64).ok_or(impossible)?;
        let chunks = body.div_ceil(self.sealed_chunk());
        let last = u32::try_from(chunks.checked_sub(1).ok_or(impossible)?).map_err(|_| impossible)?;
        let rest = body - u64::from(last) * self.sealed_chunk();
        // Only the empty file has an empty chunk: elsewhere a full chunk is the last one.
        if rest < self.overhead() || (rest == self.overhead() && last > 0) {
            return Err(impossible);
        }
        Ok(FileLayout { layout: self, plain_len: body - chunks * self.overhead(), last })
    }

    /// How long the plaintext of a sealed file is, by the file's length.
    pub fn plain_len(self, sealed_len: u64) -> Result<u64, ImpossibleLength> {
        self.file(sealed_len).map(|file| file.plain_len)
    }

    /// Where to look for the plaintext in `range` before the file's length is known: from the start of the range's first
    /// chunk to the end of its last one, if the file is that long.
    pub fn sealed_range(self, range: &Range<u64>) -> Range<u64> {
        let last = range.end.saturating_sub(1).max(range.start) / self.chunk();
        self.sealed_offset(range.start / self.chunk())..self.sealed_offset(last.saturating_add(1))
    }

    const fn chunk(self) -> u64 {
        self.chunk_size.bytes() as u64
    }

    const fn overhead(self) -> u64 {
        self.suite.overhead() as u64
    }

    const fn sealed_chunk(self) -> u64 {
        self.chunk_size.bytes() as u64 + self.overhead()
    }

    const fn sealed_offset(self, index: u64) -> u64 {
        index.saturating_mul(self.sealed_chunk()).saturating_add(HEADER_LEN as u64)
    }
}

/// One file's layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileLayout {
    layout: Layout,
    plain_len: u64,
    last: u32,
}

impl FileLayout {
    /// How long the plaintext is, if the file is whole. Only opening the last chunk proves that.
    pub const fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// The index of the last chunk.
    pub const fn last(&self) -> u32 {
        self.last
    }

    /// How many chunks there are: at least one.
    pub const fn chunks(&self) -> u64 {
        self.last as u64 + 1
    }

    /// Where a chunk lies in the sealed file. `None` beyond the last one.
    pub fn sealed_chunk(&self, index: u32) -> Option<Range<u64>> {
        let start = self.layout.sealed_offset(u64::from(index));
        let plain = self.plain_chunk(index)?;
        Some(start..start + (plain.end - plain.start) + self.layout.overhead())
    }

    /// Where a chunk's bytes lie in the plaintext. `None` beyond the last one.
    pub fn plain_chunk(&self, index: u32) -> Option<Range<u64>> {
        let start = u64::from(index) * self.layout.chunk();
        (index <= self.last).then(|| start..(start + self.layout.chunk()).min(self.plain_len))
    }

    /// All chunks.
    pub fn whole(&self) -> Span {
        let start = self.layout.sealed_offset(0);
        let sealed = start..start + self.plain_len + self.chunks() * self.layout.overhead();
        Span { first: 0, last: self.last, sealed, skip: 0, plain_len: self.plain_len, proves_end: true }
    }

    /// The last chunk alone, whose opening proves the file's length.
    pub fn end(&self) -> Span {
        let whole = self.whole();
        let start = self.layout.sealed_offset(u64::from(self.last));
        let plain_start = u64::from(self.last) * self.layout.chunk();
        Span { first: self.last, sealed: start..whole.sealed.end, plain_len: self.plain_len - plain_start, ..whole }
    }

    /// The chunks that hold a range of the plaintext. `None` if the range is empty or ends beyond the plaintext.
    pub fn span(&self, range: Range<u64>) -> Option<Span> {
        if range.start >= range.end || range.end > self.plain_len {
            return None;
        }
        // Below `plain_len`, an index is at most `last`.
        let first = u32::try_from(range.start / self.layout.chunk()).ok()?;
        let last = u32::try_from((range.end - 1) / self.layout.chunk()).ok()?;
        let sealed = self.sealed_chunk(first)?.start..self.sealed_chunk(last)?.end;
        let skip = range.start - self.plain_chunk(first)?.start;
        Some(Span { first, last, sealed, skip, plain_len: range.end - range.start, proves_end: last == self.last })
    }
}

/// The chunks that a ranged read opens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first chunk.
    pub first: u32,
    /// The last chunk, inclusive.
    pub last: u32,
    /// Where the chunks lie in the sealed file.
    pub sealed: Range<u64>,
    /// How many bytes of the first chunk's plaintext come before the range.
    pub skip: u64,
    /// How long the range is.
    pub plain_len: u64,
    /// Whether the file's last chunk is among them, whose opening proves the file's length. Without it the read proves
    /// the bytes it returns, and says nothing of what follows them.
    pub proves_end: bool,
}

/// A length that no plaintext gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no plaintext gives a sealed file of {sealed_len} bytes: it was cut short, or something was appended")]
pub struct ImpossibleLength {
    /// The length.
    pub sealed_len: u64,
}

/// A plaintext that does not fit into one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed file holds at most {max} bytes: split the data")]
pub struct TooLong {
    /// The longest plaintext.
    pub max: u64,
}
