//! Sealing with chosen secrets instead of random ones, for golden vectors.
//!
//! Never for data: a data key, file id or salt that is used twice breaks the seal. So the module exists only under the
//! feature `vectors`, which nothing but this crate's own tests, examples and fuzzers turns on.

use zeroize::Zeroizing;

use crate::header::FileContext;
use crate::key::DataKey;
use crate::layout::ChunkSize;
use crate::sealer::{NewFile, SealError};
use crate::suite::Suite;
use crate::zone_key::ZoneKey;

/// What a sealer would have drawn at random.
#[derive(Clone, Copy)]
pub struct Drawn {
    /// The file's data key.
    pub data_key: [u8; 32],
    /// The file's id.
    pub file_id: [u8; 16],
    /// The header's salt.
    pub salt: [u8; 32],
}

/// Seals a whole file with these secrets.
pub fn seal_with(
    drawn: &Drawn,
    plain: &[u8],
    zone_key: &ZoneKey,
    version: u32,
    context: &FileContext<'_>,
    chunk_size: ChunkSize,
) -> Result<Vec<u8>, SealError> {
    let secret = Zeroizing::new(drawn.data_key);
    let data_key = DataKey::new(Suite::Aes256Gcm, chunk_size, drawn.file_id, &secret);
    let header = data_key.seal_header_with(zone_key, version, context, &drawn.salt);
    NewFile::with(&data_key, header).seal(plain)
}
