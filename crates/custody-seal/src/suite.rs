//! Suites: how keys are derived, how a data key is wrapped, and how a chunk is sealed.
//!
//! Everything that a second suite would do otherwise is behind [`Suite`]: the header only stores its id, and the rest
//! of the crate asks it for its overhead and leaves nonces and tags to it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use zeroize::Zeroizing;

use crate::derive::{self, Label};
use crate::id::ZoneId;
use crate::layout::ChunkSize;
use crate::zone_key::ZoneKey;

/// The length of a data key, before it is wrapped.
pub(crate) const DATA_KEY_LEN: usize = 32;
/// The length of a wrapped data key.
pub(crate) const WRAPPED_LEN: usize = DATA_KEY_LEN + 16;

/// A set of algorithms, named by one byte in the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Suite {
    /// Suite 1: AES-256-GCM with counted nonces, keys by HKDF-SHA256, commitment and binding by HMAC-SHA256.
    Aes256Gcm,
}

/// Where a chunk stands in its file: the whole of its nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) index: u32,
    pub(crate) last: bool,
}

impl Suite {
    /// The suite's byte in the header.
    pub const fn id(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
        }
    }

    /// The suite with this byte.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// By how many bytes a sealed chunk is longer than its plaintext.
    pub const fn overhead(self) -> usize {
        match self {
            Self::Aes256Gcm => 16,
        }
    }

    /// The key that wraps one file's data key. The salt makes it new for every header, so it is used once to wrap.
    pub(crate) fn wrapping_key(self, zone_key: &ZoneKey, salt: &[u8; 32], zone: ZoneId, version: u32) -> WrappingKey {
        let source = derive::extract(salt, zone_key.expose());
        let info: [&[u8]; 3] = [&[self.id()], zone.as_bytes(), &version.to_be_bytes()];
        WrappingKey { suite: self, key: gcm(&source.key(Label::Wrap, &info)) }
    }

    /// The key of a file's chunks.
    pub(crate) fn chunk_key(self, data_key: &derive::Source, chunk_size: ChunkSize) -> ChunkKey {
        let info: [&[u8]; 2] = [&[self.id()], &chunk_size.bytes().to_be_bytes()];
        ChunkKey { suite: self, key: gcm(&data_key.key(Label::Body, &info)) }
    }
}

/// Wraps one data key, and unwraps it.
pub(crate) struct WrappingKey {
    suite: Suite,
    key: LessSafeKey,
}

impl WrappingKey {
    /// Consumes the key: a second wrapping under its one nonce would be fatal.
    pub(crate) fn wrap(self, header: &[u8], data_key: &[u8; DATA_KEY_LEN]) -> [u8; WRAPPED_LEN] {
        let mut wrapped = [0; WRAPPED_LEN];
        match self.suite {
            Suite::Aes256Gcm => gcm_seal(&self.key, [0; 12], header, data_key, &mut wrapped),
        }
        wrapped
    }

    pub(crate) fn unwrap(
        self,
        header: &[u8],
        wrapped: &[u8; WRAPPED_LEN],
    ) -> Result<Zeroizing<[u8; DATA_KEY_LEN]>, Unspecified> {
        let mut data_key = Zeroizing::new([0; DATA_KEY_LEN]);
        match self.suite {
            Suite::Aes256Gcm => gcm_open(&self.key, [0; 12], header, wrapped, data_key.as_mut_slice())?,
        }
        Ok(data_key)
    }
}

/// Seals and opens the chunks of one file.
pub(crate) struct ChunkKey {
    suite: Suite,
    key: LessSafeKey,
}

impl ChunkKey {
    /// `sealed` is longer than `plain` by the suite's overhead.
    pub(crate) fn seal(&self, at: Position, plain: &[u8], sealed: &mut [u8]) {
        match self.suite {
            Suite::Aes256Gcm => gcm_seal(&self.key, counted_nonce(at), &[], plain, sealed),
        }
    }

    /// `sealed` is longer than `plain` by the suite's overhead. On failure nothing useful is left in `plain`.
    pub(crate) fn open(&self, at: Position, sealed: &[u8], plain: &mut [u8]) -> Result<(), Unspecified> {
        match self.suite {
            Suite::Aes256Gcm => gcm_open(&self.key, counted_nonce(at), &[], sealed, plain),
        }
    }
}

/// Seven zero bytes, the index, and 1 for the last chunk.
fn counted_nonce(at: Position) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&at.index.to_be_bytes());
    nonce[11] = u8::from(at.last);
    nonce
}

fn gcm(key: &[u8; 32]) -> LessSafeKey {
    // AES-256 takes any 32 bytes.
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes"))
}

fn gcm_seal(key: &LessSafeKey, nonce: [u8; 12], aad: &[u8], plain: &[u8], sealed: &mut [u8]) {
    let (body, tag) = sealed.split_at_mut(plain.len());
    // It refuses only buffers of the wrong lengths, which every caller in this crate sizes by the suite's overhead, and
    // messages beyond 64 GiB, where a chunk has at most 1 MiB.
    key.seal_out_of_place_scatter(Nonce::assume_unique_for_key(nonce), Aad::from(aad), plain, body, &[], tag)
        .expect("buffers of matching lengths");
}

fn gcm_open(
    key: &LessSafeKey,
    nonce: [u8; 12],
    aad: &[u8],
    sealed: &[u8],
    plain: &mut [u8],
) -> Result<(), Unspecified> {
    let (body, tag) = sealed.split_at_checked(plain.len()).ok_or(Unspecified)?;
    key.open_separate_gather(Nonce::assume_unique_for_key(nonce), Aad::from(aad), body, tag, plain)
}
