//! Key derivation and message authentication: HKDF-SHA256 and HMAC-SHA256, each use under a label of its own.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

/// What a derived key is for. The label opens HKDF's `info`; what follows it has a fixed length, so that no two uses ever
/// share an `info`.
#[derive(Clone, Copy)]
pub(crate) enum Label {
    /// Authenticates a zone's keyring.
    Keyring,
    /// Wraps one file's data key.
    Wrap,
    /// Seals a file's chunks.
    Body,
    /// Commits a header to its data key.
    Commit,
    /// Binds a header to its cluster.
    Cluster,
    /// Binds a header to its path.
    Path,
}

impl Label {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Keyring => b"custody keyring v1",
            Self::Wrap => b"custody wrap v1",
            Self::Body => b"custody body v1",
            Self::Commit => b"custody commit v1",
            Self::Cluster => b"custody cluster v1",
            Self::Path => b"custody path v1",
        }
    }
}

/// A secret that keys are derived from.
pub(crate) struct Source(hkdf::Prk);

/// HKDF's first step.
pub(crate) fn extract(salt: &[u8], secret: &[u8]) -> Source {
    Source(hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret))
}

impl Source {
    /// HKDF's second step: 32 bytes for the use that the label names.
    pub(crate) fn key(&self, label: Label, rest: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        let info: Vec<&[u8]> = std::iter::once(label.bytes()).chain(rest.iter().copied()).collect();
        // HKDF-SHA256 gives up to 255 * 32 bytes, and the buffer has the 32 that are asked for: it can't refuse.
        self.0.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut_slice())).expect("32 bytes of HKDF");
        key
    }

    /// The same as a key for HMAC-SHA256.
    pub(crate) fn mac_key(&self, label: Label, rest: &[&[u8]]) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.key(label, rest).as_slice())
    }
}

/// HMAC-SHA256 over the parts, one after the other.
pub(crate) fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut mac = [0; 32];
    mac.copy_from_slice(context.sign().as_ref());
    mac
}

/// Compares in constant time.
pub(crate) fn verify_mac(key: &hmac::Key, parts: &[&[u8]], expected: &[u8]) -> Result<(), Unspecified> {
    verify_slices_are_equal(&mac(key, parts), expected)
}
