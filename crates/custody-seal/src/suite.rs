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
#[cfg(test)]
use crate::random;
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
    /// What a second suite could be, for tests alone: each chunk begins with its nonce, which is random.
    #[cfg(test)]
    RandomNonces,
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
            #[cfg(test)]
            Self::RandomNonces => 0xfe,
        }
    }

    /// The suite with this byte.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Aes256Gcm),
            #[cfg(test)]
            0xfe => Some(Self::RandomNonces),
            _ => None,
        }
    }

    /// By how many bytes a sealed chunk is longer than its plaintext.
    pub const fn overhead(self) -> usize {
        match self {
            Self::Aes256Gcm => 16,
            #[cfg(test)]
            Self::RandomNonces => 28,
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
            #[cfg(test)]
            Suite::RandomNonces => gcm_seal(&self.key, [1; 12], header, data_key, &mut wrapped),
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
            #[cfg(test)]
            Suite::RandomNonces => gcm_open(&self.key, [1; 12], header, wrapped, data_key.as_mut_slice())?,
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
            #[cfg(test)]
            Suite::RandomNonces => {
                let (nonce, sealed) = sealed.split_at_mut(12);
                nonce.copy_from_slice(&random::bytes::<12>().expect("random numbers"));
                let drawn = nonce.try_into().expect("12 bytes");
                gcm_seal(&self.key, drawn, &counted_nonce(at), plain, sealed);
            }
        }
    }

    /// `sealed` is longer than `plain` by the suite's overhead. On failure nothing useful is left in `plain`.
    pub(crate) fn open(&self, at: Position, sealed: &[u8], plain: &mut [u8]) -> Result<(), Unspecified> {
        match self.suite {
            Suite::Aes256Gcm => gcm_open(&self.key, counted_nonce(at), &[], sealed, plain),
            #[cfg(test)]
            Suite::RandomNonces => {
                let (nonce, sealed) = sealed.split_first_chunk().ok_or(Unspecified)?;
                gcm_open(&self.key, *nonce, &counted_nonce(at), sealed, plain)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{HeaderError, OpenError, UnsealError};
    use crate::header::{FileContext, HEADER_LEN, Header};
    use crate::id::ClusterId;
    use crate::key::DataKey;
    use crate::layout::Layout;
    use crate::sealer::{NewFile, open};

    const CHUNK: usize = 4096;
    const LENGTHS: [usize; 6] = [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5];

    struct Home {
        key: ZoneKey,
        cluster: ClusterId,
    }

    impl Home {
        fn new() -> Self {
            Self { key: ZoneKey::generate().unwrap(), cluster: "in01-test".parse().unwrap() }
        }

        fn context(&self) -> FileContext<'_> {
            FileContext { cluster: &self.cluster, zone: ZoneId::new([9; 16]), path: "zones/09/a" }
        }

        fn file(&self, suite: Suite) -> NewFile {
            let data_key = DataKey::generate(suite, ChunkSize::MIN).unwrap();
            let header = data_key.seal_header(&self.key, 1, &self.context()).unwrap();
            NewFile::with(&data_key, header)
        }

        fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
            open(sealed, &self.key, &self.context())
        }
    }

    fn plain(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    #[test]
    fn a_second_suite_with_another_nonce_and_overhead_needs_no_new_format() {
        let home = Home::new();
        for length in LENGTHS {
            let sealed = home.file(Suite::RandomNonces).seal(&plain(length)).unwrap();
            assert_eq!(sealed.len(), HEADER_LEN + length + 28 * length.div_ceil(CHUNK).max(1));
            assert_eq!(Header::parse(&sealed).unwrap().suite(), Suite::RandomNonces);
            assert_eq!(home.open(&sealed), Ok(plain(length)));

            let mut pieces = Vec::new();
            let mut writer = home.file(Suite::RandomNonces).sealer();
            plain(length).chunks(1000).for_each(|piece| writer.push(piece, &mut pieces).unwrap());
            writer.finish(&mut pieces).unwrap();
            assert_eq!(home.open(&pieces), Ok(plain(length)));
        }
    }

    #[test]
    fn a_second_suites_chunks_lie_where_its_overhead_puts_them() {
        let home = Home::new();
        let sealed = home.file(Suite::RandomNonces).seal(&plain(3 * CHUNK + 5)).unwrap();
        let layout = Layout::new(Suite::RandomNonces, ChunkSize::MIN);
        let file = layout.file(sealed.len() as u64).unwrap();
        let key = Header::parse(&sealed).unwrap().unseal(&home.key, &home.context()).unwrap();
        for index in 0..=3 {
            let at = file.sealed_chunk(index).unwrap();
            let mut chunk = vec![0; usize::try_from(at.end - at.start).unwrap() - 28];
            let at = usize::try_from(at.start).unwrap()..usize::try_from(at.end).unwrap();
            key.open_chunk(&file, index, &sealed[at], &mut chunk).unwrap();
            assert_eq!(chunk, plain(3 * CHUNK + 5).chunks(CHUNK).nth(index as usize).unwrap());
        }
    }

    #[test]
    fn a_file_opens_under_no_suite_but_its_own() {
        let home = Home::new();
        for (suite, other) in [(Suite::Aes256Gcm, Suite::RandomNonces), (Suite::RandomNonces, Suite::Aes256Gcm)] {
            let mut sealed = home.file(suite).seal(&plain(100)).unwrap();
            sealed[10] = other.id();
            assert_eq!(home.open(&sealed), Err(UnsealError::DataKey.into()));
            sealed[10] = 2;
            assert_eq!(home.open(&sealed), Err(HeaderError::Suite(2).into()));
        }
    }

    #[test]
    fn no_two_suites_derive_the_same_key() {
        let home = Home::new();
        let wrapped = |suite: Suite| {
            let key = suite.wrapping_key(&home.key, &[3; 32], ZoneId::new([9; 16]), 1);
            WrappingKey { suite: Suite::Aes256Gcm, ..key }.wrap(&[], &[7; DATA_KEY_LEN])
        };
        assert_ne!(wrapped(Suite::Aes256Gcm), wrapped(Suite::RandomNonces));
        let sealed = |suite: Suite| {
            let key = suite.chunk_key(&derive::extract(&[5; 16], &[7; DATA_KEY_LEN]), ChunkSize::MIN);
            let mut sealed = [0; 20];
            ChunkKey { suite: Suite::Aes256Gcm, ..key }.seal(Position { index: 0, last: true }, b"data", &mut sealed);
            sealed
        };
        assert_ne!(sealed(Suite::Aes256Gcm), sealed(Suite::RandomNonces));
    }
}
