//! Secrets as JSON: for the fields that say so with `#[serde(with = "custody_link::hidden")]`, and for no others.

use serde::{Deserialize, Deserializer, Serializer};
use zeroize::Zeroizing;

/// Writes the secret as text.
pub fn serialize<S: Serializer>(secret: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret)
}

/// Reads it.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}
