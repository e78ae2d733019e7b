//! What can be wrong with a sealed file. One variant a fact, in the order in which the checks run.

use crate::id::ZoneId;
use crate::layout::ImpossibleLength;

/// The first 256 bytes are no header. No key was used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file does not begin like a sealed one: plaintext, or something else altogether.
    #[error("this is no sealed file, and it is never read as plaintext: something else was put in its place")]
    NotSealed,
    /// The file begins like a sealed one and ends within the header.
    #[error("the sealed file ends after {length} bytes, within its header: it was cut short")]
    Short {
        /// How many bytes there are.
        length: usize,
    },
    /// A format version that this build doesn't know.
    #[error(
        "sealed with format version {0}, which this build does not know: use a build that does, or the header was altered"
    )]
    Version(u16),
    /// A suite that this build doesn't know.
    #[error("sealed with suite {0}, which this build does not know: use a build that does, or the header was altered")]
    Suite(u8),
    /// A chunk size out of bounds.
    #[error("a chunk size of 2^{0} bytes is out of bounds (2^12 to 2^20): the header was altered")]
    ChunkSize(u8),
    /// A byte that has to be zero is not.
    #[error("the header's byte {offset} has to be zero and is not: the header was altered, or a newer build wrote it")]
    Reserved {
        /// Where it is.
        offset: usize,
    },
}

/// The header does not open: it gave no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// The header names another zone.
    #[error("the file belongs to zone {found}, not to zone {expected}: it was moved between zones")]
    OtherZone {
        /// The zone it was read in.
        expected: ZoneId,
        /// The zone it names.
        found: ZoneId,
    },
    /// The wrapped data key does not open under the zone key that the header names.
    #[error(
        "the wrapped data key does not open under the zone's key: the header was altered, or it was sealed under another key"
    )]
    DataKey,
    /// The header's commitment does not hold.
    #[error("the header does not commit to its data key: it was altered, or put together from other headers")]
    Commitment,
    /// An authentic header that is bound to another cluster.
    #[error("the file is bound to another cluster: it was moved between clusters, or its header was altered")]
    OtherCluster,
    /// An authentic header that is bound to another path.
    #[error("the file is bound to another path: it was moved or swapped, or its header was altered")]
    OtherPath,
}

/// A chunk does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// There is no such chunk, or its bytes have another length than the file's layout says.
    #[error("chunk {index} is not there in its full length: the file ended early while it was read")]
    Missing {
        /// The chunk's index.
        index: u32,
    },
    /// The file ends with a chunk that was not its last.
    #[error("the file ends after chunk {index}, and that was not its last: it was cut short")]
    Truncated {
        /// The chunk's index.
        index: u32,
    },
    /// More follows the chunk that was the file's last.
    #[error("chunk {index} was the file's last, and more follows it: something was appended")]
    Extended {
        /// The chunk's index.
        index: u32,
    },
    /// A chunk of the same file that belongs elsewhere in it.
    #[error(
        "where chunk {index} belongs stands chunk {found} of the same file: chunks were swapped, repeated or dropped"
    )]
    Moved {
        /// The chunk's index.
        index: u32,
        /// The index it was sealed with.
        found: u32,
    },
    /// The chunk is none of this file's.
    #[error("chunk {index} is damaged, or is not this file's")]
    Damaged {
        /// The chunk's index.
        index: u32,
    },
}

/// A sealed file does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its header can't be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Its length is impossible.
    #[error(transparent)]
    Length(#[from] ImpossibleLength),
    /// Its header gives no key.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// One of its chunks does not open.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}
