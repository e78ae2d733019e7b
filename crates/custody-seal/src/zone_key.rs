//! The key of an encryption zone.

use aws_lc_rs::hmac;
use zeroize::Zeroize;

use crate::derive::{self, Label};
use crate::random::{self, RandomError};

/// The secret of one version of a zone's key: 32 bytes, wrapped by the customer's root key wherever it is stored.
///
/// The bytes live on the heap and are zeroed on drop: moving the key moves a pointer and leaves no copy behind. The type can't
/// be printed, cloned, compared or serialized.
pub struct ZoneKey(Box<[u8; 32]>);

impl ZoneKey {
    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomError> {
        let mut key = Self(Box::new([0; 32]));
        random::fill(key.0.as_mut_slice())?;
        Ok(key)
    }

    /// The key with these bytes, as a KMS unwrapped them. The caller zeroes its own copy.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidZoneKey> {
        let mut key = Self(Box::new([0; 32]));
        if bytes.len() != key.0.len() {
            return Err(InvalidZoneKey { length: bytes.len() });
        }
        key.0.copy_from_slice(bytes);
        Ok(key)
    }

    /// The key's bytes, for one purpose only: to wrap them under the zone's root key.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Authenticates a keyring: HMAC-SHA256 of `message` under a key derived from the zone key for this purpose alone.
    pub fn keyring_mac(&self, message: &[u8]) -> [u8; 32] {
        derive::mac(&self.keyring_key(), &[message])
    }

    /// Checks a MAC of [`keyring_mac`](Self::keyring_mac) in constant time.
    pub fn verify_keyring_mac(&self, message: &[u8], mac: &[u8]) -> Result<(), ForgedKeyring> {
        derive::verify_mac(&self.keyring_key(), &[message], mac).map_err(|_| ForgedKeyring)
    }

    fn keyring_key(&self) -> hmac::Key {
        derive::extract(&[], self.0.as_slice()).mac_key(Label::Keyring, &[])
    }
}

impl Drop for ZoneKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Bytes that are no zone key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a zone key has 32 bytes, and these are {length}: the wrapped key is not one that Custody made")]
pub struct InvalidZoneKey {
    /// How many bytes there were.
    pub length: usize,
}

/// A keyring's MAC is not the zone key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keyring was not authenticated by the zone key it carries: it is damaged or forged")]
pub struct ForgedKeyring;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ZoneKey {
        ZoneKey::from_slice(&[byte; 32]).unwrap()
    }

    #[test]
    fn a_zone_key_has_exactly_32_bytes() {
        for length in [0, 1, 16, 31, 33, 64] {
            let error = ZoneKey::from_slice(&vec![7; length]).err();
            assert_eq!(error, Some(InvalidZoneKey { length }));
        }
        assert_eq!(key(7).expose(), &[7; 32]);
    }

    #[test]
    fn two_generated_keys_differ() {
        assert_ne!(ZoneKey::generate().unwrap().expose(), ZoneKey::generate().unwrap().expose());
    }

    #[test]
    fn a_keyring_mac_holds_for_its_message_and_key_alone() {
        let mac = key(1).keyring_mac(b"version 1");
        assert_eq!(key(1).verify_keyring_mac(b"version 1", &mac), Ok(()));
        assert_eq!(key(2).verify_keyring_mac(b"version 1", &mac), Err(ForgedKeyring));
        assert_eq!(key(1).verify_keyring_mac(b"version 2", &mac), Err(ForgedKeyring));
        assert_eq!(key(1).verify_keyring_mac(b"version 1", &mac[..31]), Err(ForgedKeyring));
        assert_eq!(key(1).verify_keyring_mac(b"version 1", &[]), Err(ForgedKeyring));
        for bit in 0..256 {
            let mut flipped = mac;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key(1).verify_keyring_mac(b"version 1", &flipped), Err(ForgedKeyring), "bit {bit}");
        }
    }
}
