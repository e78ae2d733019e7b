//! The EncryptionContext: what a wrapped key is bound to, in plain sight of the customer's CloudTrail.

use std::fmt;
use std::str::FromStr;

use crate::hex;

/// An opaque id in an EncryptionContext: 1 to 63 letters, digits, `-` or `_`.
///
/// Opaque ids only, never names: the context stands in plain text in the customer's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContextId(String);

/// Text that is no [`ContextId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an opaque id of 1 to 63 letters, digits, '-' or '_'")]
pub struct InvalidContextId(String);

impl ContextId {
    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<[u8; 16]> for ContextId {
    /// 32 lower-case hex digits.
    fn from(id: [u8; 16]) -> Self {
        Self(hex::encode(&id))
    }
}

impl FromStr for ContextId {
    type Err = InvalidContextId;

    fn from_str(text: &str) -> Result<Self, InvalidContextId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=63).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidContextId(text.to_owned()))
        }
    }
}

impl fmt::Display for ContextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a wrapped key is for; bound into its ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContextPurpose {
    /// A zone key, `zone-key`.
    ZoneKey,
    /// A throw-away value that proves a key usable, `validate`.
    Validate,
}

impl ContextPurpose {
    /// As it stands in the context.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ZoneKey => "zone-key",
            Self::Validate => "validate",
        }
    }
}

/// The EncryptionContext of one wrapped key. Its four keys are fixed, so that customers can put conditions on them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EncryptionContext {
    cluster: ContextId,
    zone: ContextId,
    version: u32,
    purpose: ContextPurpose,
}

impl EncryptionContext {
    /// Key of the cluster's id.
    pub const CLUSTER: &'static str = "custody:cluster";
    /// Key of the zone's id.
    pub const ZONE: &'static str = "custody:zone";
    /// Key of the zone key's version, in decimal.
    pub const VERSION: &'static str = "custody:version";
    /// Key of the purpose.
    pub const PURPOSE: &'static str = "custody:purpose";

    /// The context of version `version` of a zone's key.
    pub fn zone_key(cluster: ContextId, zone: ContextId, version: u32) -> Self {
        Self { cluster, zone, version, purpose: ContextPurpose::ZoneKey }
    }

    /// The context of a probe on behalf of `cluster`: zone of zeros, version 0, purpose `validate`.
    pub fn validate(cluster: ContextId) -> Self {
        Self { cluster, zone: ContextId::from([0; 16]), version: 0, purpose: ContextPurpose::Validate }
    }

    /// The cluster's id.
    pub fn cluster(&self) -> &ContextId {
        &self.cluster
    }

    /// The zone's id.
    pub fn zone(&self) -> &ContextId {
        &self.zone
    }

    /// The zone key's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What the wrapped key is for.
    pub fn purpose(&self) -> ContextPurpose {
        self.purpose
    }

    /// The pairs as KMS gets them, sorted by key.
    pub fn pairs(&self) -> [(&'static str, String); 4] {
        [
            (Self::CLUSTER, self.cluster.to_string()),
            (Self::PURPOSE, self.purpose.as_str().to_owned()),
            (Self::VERSION, self.version.to_string()),
            (Self::ZONE, self.zone.to_string()),
        ]
    }

    /// One unambiguous byte string for the pairs: each key and value after its length (32 bits, big-endian), sorted.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in self.pairs() {
            for text in [key, &value] {
                // Ids are at most 63 bytes long, the keys fixed: a length always fits.
                bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
                bytes.extend(text.as_bytes());
            }
        }
        bytes
    }
}

impl fmt::Display for EncryptionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.pairs().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(cluster: &str, zone: &str, version: u32) -> EncryptionContext {
        EncryptionContext::zone_key(cluster.parse().unwrap(), zone.parse().unwrap(), version)
    }

    #[test]
    fn the_context_has_exactly_the_four_documented_keys() {
        assert_eq!(
            context("c1", "z1", 7).to_string(),
            "custody:cluster=c1,custody:purpose=zone-key,custody:version=7,custody:zone=z1"
        );
        assert_eq!(
            EncryptionContext::validate("c1".parse().unwrap()).to_string(),
            "custody:cluster=c1,custody:purpose=validate,custody:version=0,custody:zone=00000000000000000000000000000000"
        );
    }

    #[test]
    fn contexts_that_differ_anywhere_differ_in_canonical_form() {
        let base = context("c1", "z1", 1).canonical();
        for other in [context("c2", "z1", 1), context("c1", "z2", 1), context("c1", "z1", 2), context("c1z", "1", 1)] {
            assert_ne!(base, other.canonical());
        }
    }

    #[test]
    fn ids_that_could_break_out_of_a_context_or_session_name_are_refused() {
        for text in ["", "a b", "a:b", "a,b", "ä", &"x".repeat(64)] {
            assert!(text.parse::<ContextId>().is_err(), "{text:?}");
        }
        assert_eq!(ContextId::from([0xab; 16]).as_str(), "ab".repeat(16));
    }
}
