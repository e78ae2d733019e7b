//! The header: 256 bytes that name a file's zone key, carry its wrapped data key, commit to it, and bind it to its place.

use crate::error::{HeaderError, UnsealError};
use crate::id::{ClusterId, ZoneId};
use crate::key::{BodyKey, DataKey};
use crate::layout::{ChunkSize, Layout};
use crate::random::{self, RandomError};
use crate::suite::{Suite, WRAPPED_LEN};
use crate::zone_key::ZoneKey;

/// The length of a header.
pub const HEADER_LEN: usize = 256;
/// The format version that this build writes and reads.
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"\x93CUSTODY";

/// Where each field stands; `docs/format.md` has the same table.
mod at {
    use std::ops::Range;

    pub(super) const MAGIC: Range<usize> = 0..8;
    pub(super) const FORMAT: Range<usize> = 8..10;
    pub(super) const SUITE: usize = 10;
    pub(super) const CHUNK_SIZE: usize = 11;
    pub(super) const RESERVED: Range<usize> = 12..16;
    pub(super) const ZONE: Range<usize> = 16..32;
    pub(super) const VERSION: Range<usize> = 32..36;
    /// Room for a suite whose wrapping nonce is not fixed.
    pub(super) const WRAP_NONCE: Range<usize> = 36..48;
    pub(super) const FILE_ID: Range<usize> = 48..64;
    pub(super) const SALT: Range<usize> = 64..96;
    /// All of the above: what the wrapped data key is authenticated with.
    pub(super) const FIELDS: Range<usize> = 0..96;
    pub(super) const WRAPPED: Range<usize> = 96..144;
    /// All of the above: what the commitment covers.
    pub(super) const COMMITTED: Range<usize> = 0..144;
    pub(super) const COMMITMENT: Range<usize> = 144..176;
    pub(super) const CLUSTER_MAC: Range<usize> = 176..208;
    pub(super) const PATH_MAC: Range<usize> = 208..240;
    pub(super) const TAIL: Range<usize> = 240..256;
}

/// What a file is bound to. The zone stands in the header; cluster and path don't, and have to be known to open it.
#[derive(Clone, Copy, Debug)]
pub struct FileContext<'a> {
    /// The cluster.
    pub cluster: &'a ClusterId,
    /// The encryption zone.
    pub zone: ZoneId,
    /// The object's full path within the cluster.
    pub path: &'a str,
}

/// A header that could be read. Nothing of it is authentic before [`unseal`](Self::unseal): it serves to look the zone
/// key up.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_LEN],
    suite: Suite,
    chunk_size: ChunkSize,
}

impl Header {
    /// Reads the header at the start of a file. Strict: whatever is not exactly as this build writes it is an error.
    pub fn parse(file: &[u8]) -> Result<Self, HeaderError> {
        let magic = MAGIC.len().min(file.len());
        if file[..magic] != MAGIC[..magic] {
            return Err(HeaderError::NotSealed);
        }
        let bytes: &[u8; HEADER_LEN] = file.first_chunk().ok_or(HeaderError::Short { length: file.len() })?;
        match u16::from_be_bytes(field(bytes, at::FORMAT)) {
            FORMAT_VERSION => {}
            other => return Err(HeaderError::Version(other)),
        }
        let suite = Suite::from_id(bytes[at::SUITE]).ok_or(HeaderError::Suite(bytes[at::SUITE]))?;
        let log2 = bytes[at::CHUNK_SIZE];
        let chunk_size = ChunkSize::from_log2(log2).ok_or(HeaderError::ChunkSize(log2))?;
        let mut zeros = at::RESERVED.chain(at::WRAP_NONCE).chain(at::TAIL);
        if let Some(offset) = zeros.find(|&offset| bytes[offset] != 0) {
            return Err(HeaderError::Reserved { offset });
        }
        Ok(Self { bytes: *bytes, suite, chunk_size })
    }

    /// The zone that the file says it belongs to.
    pub fn zone(&self) -> ZoneId {
        ZoneId::new(self.field(at::ZONE))
    }

    /// The version of the zone key that the data key is wrapped under.
    pub fn version(&self) -> u32 {
        u32::from_be_bytes(self.field(at::VERSION))
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The chunk size.
    pub fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// The arithmetic of files of this header's kind.
    pub fn layout(&self) -> Layout {
        Layout::new(self.suite, self.chunk_size)
    }

    /// The file's random id, which stays the same when it is copied, moved or re-keyed.
    pub fn file_id(&self) -> [u8; 16] {
        self.field(at::FILE_ID)
    }

    /// Opens the header with the zone key of [`version`](Self::version), and checks all that it is bound to, before it
    /// hands out the key that opens the body.
    pub fn unseal(&self, zone_key: &ZoneKey, context: &FileContext<'_>) -> Result<BodyKey, UnsealError> {
        self.data_key(zone_key, context).map(|key| key.body_key())
    }

    /// Opens the header as [`unseal`](Self::unseal) does, for a new header over the same body: a copy, a move, or another
    /// zone key.
    pub fn data_key(&self, zone_key: &ZoneKey, context: &FileContext<'_>) -> Result<DataKey, UnsealError> {
        let zone = self.zone();
        if zone != context.zone {
            return Err(UnsealError::OtherZone { expected: context.zone, found: zone });
        }
        let data_key = self
            .suite
            .wrapping_key(zone_key, &self.field(at::SALT), zone, self.version())
            .unwrap(&self.bytes[at::FIELDS], &self.field::<WRAPPED_LEN>(at::WRAPPED))
            .map_err(|_| UnsealError::DataKey)?;
        let data_key = DataKey::new(self.suite, self.chunk_size, self.file_id(), &data_key);
        let keys = data_key.header_keys();
        keys.verify_commitment(&self.bytes[at::COMMITTED], &self.bytes[at::COMMITMENT])?;
        keys.verify_cluster(&self.bytes[at::COMMITMENT], context.cluster, &self.bytes[at::CLUSTER_MAC])?;
        keys.verify_path(&self.bytes[at::COMMITMENT], context.path, &self.bytes[at::PATH_MAC])?;
        Ok(data_key)
    }

    fn field<const N: usize>(&self, range: std::ops::Range<usize>) -> [u8; N] {
        field(&self.bytes, range)
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("suite", &self.suite)
            .field("chunk_size", &self.chunk_size.bytes())
            .field("zone", &self.zone())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

impl DataKey {
    /// A header for this data key: for a new file, or for a copy, a move or another zone key over the body of an old one.
    /// It draws a fresh salt, so that no wrapping key ever meets its nonce twice.
    pub fn seal_header(
        &self,
        zone_key: &ZoneKey,
        version: u32,
        context: &FileContext<'_>,
    ) -> Result<[u8; HEADER_LEN], RandomError> {
        Ok(self.seal_header_with(zone_key, version, context, &random::bytes()?))
    }

    pub(crate) fn seal_header_with(
        &self,
        zone_key: &ZoneKey,
        version: u32,
        context: &FileContext<'_>,
        salt: &[u8; 32],
    ) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[at::MAGIC].copy_from_slice(&MAGIC);
        bytes[at::FORMAT].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes[at::SUITE] = self.suite().id();
        bytes[at::CHUNK_SIZE] = self.chunk_size().log2();
        bytes[at::ZONE].copy_from_slice(context.zone.as_bytes());
        bytes[at::VERSION].copy_from_slice(&version.to_be_bytes());
        bytes[at::FILE_ID].copy_from_slice(self.file_id());
        bytes[at::SALT].copy_from_slice(salt);
        let wrapped =
            self.suite().wrapping_key(zone_key, salt, context.zone, version).wrap(&bytes[at::FIELDS], self.secret());
        bytes[at::WRAPPED].copy_from_slice(&wrapped);
        let keys = self.header_keys();
        let commitment = keys.commitment(&bytes[at::COMMITTED]);
        bytes[at::COMMITMENT].copy_from_slice(&commitment);
        bytes[at::CLUSTER_MAC].copy_from_slice(&keys.cluster(&commitment, context.cluster));
        bytes[at::PATH_MAC].copy_from_slice(&keys.path(&commitment, context.path));
        bytes
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER_LEN], range: std::ops::Range<usize>) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[range]);
    field
}
