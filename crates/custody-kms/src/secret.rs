//! Plaintext key material on its way to or from a KMS.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

/// Plaintext key bytes.
///
/// Zeroized when dropped. There is no `Debug`, `Display`, `Clone` or `Serialize`: what can't be printed or copied
/// can't leak by accident.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of `bytes`; the vector's memory is zeroized when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Copy them nowhere that outlives their use.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether two secrets are the same, in time that does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.expose(), other.expose()).is_ok()
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_match_only_when_every_byte_and_the_length_agree() {
        let secret = Secret::from(&b"0123"[..]);
        assert!(secret.matches(&Secret::from(&b"0123"[..])));
        assert!(!secret.matches(&Secret::from(&b"0124"[..])));
        assert!(!secret.matches(&Secret::from(&b"012"[..])));
    }
}
