//! The keys of one file: its data key, and what is derived from it.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::derive::{self, Label};
use crate::error::{ChunkError, UnsealError};
use crate::id::ClusterId;
use crate::layout::{ChunkSize, FileLayout, Layout};
use crate::random::{self, RandomError};
use crate::suite::{ChunkKey, DATA_KEY_LEN, Position, Suite};

/// How many places are tried to tell a moved chunk from a damaged one. Only an error's text hangs on it.
const MOVED_CHUNK_SEARCH: u32 = 1024;

/// A file's data key, between an old header and a new one. Its secret stays in this crate.
pub struct DataKey {
    suite: Suite,
    chunk_size: ChunkSize,
    file_id: [u8; 16],
    secret: Box<Zeroizing<[u8; DATA_KEY_LEN]>>,
}

impl DataKey {
    pub(crate) fn new(suite: Suite, chunk_size: ChunkSize, file_id: [u8; 16], secret: &[u8; DATA_KEY_LEN]) -> Self {
        Self { suite, chunk_size, file_id, secret: Box::new(Zeroizing::new(*secret)) }
    }

    /// A data key for a new file.
    pub(crate) fn generate(suite: Suite, chunk_size: ChunkSize) -> Result<Self, RandomError> {
        let mut secret = Box::new(Zeroizing::new([0; DATA_KEY_LEN]));
        random::fill(secret.as_mut_slice())?;
        Ok(Self { suite, chunk_size, file_id: random::bytes()?, secret })
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    pub(crate) fn file_id(&self) -> &[u8; 16] {
        &self.file_id
    }

    pub(crate) fn secret(&self) -> &[u8; DATA_KEY_LEN] {
        &self.secret
    }

    pub(crate) fn header_keys(&self) -> HeaderKeys {
        let source = self.source();
        let suite = [self.suite.id()];
        HeaderKeys {
            commit: source.mac_key(Label::Commit, &[&suite]),
            cluster: source.mac_key(Label::Cluster, &[&suite]),
            path: source.mac_key(Label::Path, &[&suite]),
        }
    }

    pub(crate) fn body_key(&self) -> BodyKey {
        BodyKey {
            chunks: self.suite.chunk_key(&self.source(), self.chunk_size),
            layout: Layout::new(self.suite, self.chunk_size),
        }
    }

    fn source(&self) -> derive::Source {
        derive::extract(&self.file_id, self.secret.as_slice())
    }
}

/// What a header's three MACs are made with.
pub(crate) struct HeaderKeys {
    commit: hmac::Key,
    cluster: hmac::Key,
    path: hmac::Key,
}

impl HeaderKeys {
    pub(crate) fn commitment(&self, fields: &[u8]) -> [u8; 32] {
        derive::mac(&self.commit, &[fields])
    }

    pub(crate) fn cluster(&self, commitment: &[u8], cluster: &ClusterId) -> [u8; 32] {
        derive::mac(&self.cluster, &[commitment, cluster.as_str().as_bytes()])
    }

    pub(crate) fn path(&self, commitment: &[u8], path: &str) -> [u8; 32] {
        derive::mac(&self.path, &[commitment, path.as_bytes()])
    }

    pub(crate) fn verify_commitment(&self, fields: &[u8], mac: &[u8]) -> Result<(), UnsealError> {
        derive::verify_mac(&self.commit, &[fields], mac).map_err(|_| UnsealError::Commitment)
    }

    pub(crate) fn verify_cluster(&self, commitment: &[u8], cluster: &ClusterId, mac: &[u8]) -> Result<(), UnsealError> {
        let parts = [commitment, cluster.as_str().as_bytes()];
        derive::verify_mac(&self.cluster, &parts, mac).map_err(|_| UnsealError::OtherCluster)
    }

    pub(crate) fn verify_path(&self, commitment: &[u8], path: &str, mac: &[u8]) -> Result<(), UnsealError> {
        derive::verify_mac(&self.path, &[commitment, path.as_bytes()], mac).map_err(|_| UnsealError::OtherPath)
    }
}

/// Opens the chunks of one file, in any order.
///
/// It can't seal: chunks are sealed by a [`Sealer`](crate::Sealer), which never seals two at one position.
pub struct BodyKey {
    chunks: ChunkKey,
    layout: Layout,
}

impl BodyKey {
    /// The arithmetic of the file's lengths.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Opens one chunk of a file with this layout into `plain`, which has the length of the chunk's plaintext.
    ///
    /// On an error `plain` holds nothing that may be used.
    pub fn open_chunk(&self, file: &FileLayout, index: u32, sealed: &[u8], plain: &mut [u8]) -> Result<(), ChunkError> {
        let range = file.plain_chunk(index).ok_or(ChunkError::Missing { index })?;
        let length = usize::try_from(range.end - range.start).map_err(|_| ChunkError::Missing { index })?;
        if plain.len() != length || sealed.len() != length + self.layout.suite().overhead() {
            return Err(ChunkError::Missing { index });
        }
        let at = Position { index, last: index == file.last() };
        self.chunks.open(at, sealed, plain).map_err(|_| self.explain(file, at, sealed, plain))
    }

    pub(crate) fn seal_chunk(&self, at: Position, plain: &[u8], sealed: &mut [u8]) {
        self.chunks.seal(at, plain, sealed);
    }

    /// Why a chunk did not open where it stands: finds out where it would have. An error stays an error whatever it finds.
    fn explain(&self, file: &FileLayout, at: Position, sealed: &[u8], scratch: &mut [u8]) -> ChunkError {
        let index = at.index;
        let mut opens = |index, last| self.chunks.open(Position { index, last }, sealed, scratch).is_ok();
        let error = if opens(index, !at.last) {
            if at.last { ChunkError::Truncated { index } } else { ChunkError::Extended { index } }
        } else {
            // One place beyond the end: where the last chunk stood before another was dropped.
            let end = file.last().saturating_add(1).min(MOVED_CHUNK_SEARCH);
            match (0..=end).find(|&other| opens(other, false) || opens(other, true)) {
                Some(found) => ChunkError::Moved { index, found },
                None => ChunkError::Damaged { index },
            }
        };
        scratch.fill(0);
        error
    }
}
