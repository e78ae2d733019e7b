//! The names that a sealed file is bound to: its zone and its cluster.

use std::fmt;
use std::str::FromStr;

use crate::random::{self, RandomError};

/// The id of an encryption zone: sixteen bytes, opaque, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ZoneId([u8; 16]);

impl ZoneId {
    /// The zone of the cluster's own catalog.
    pub const CLUSTER: Self = Self([0; 16]);

    /// The id with these bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A fresh id. It is random so that it says nothing about the database it stands for.
    pub fn random() -> Result<Self, RandomError> {
        random::bytes().map(Self)
    }

    /// The id's bytes, as they stand in a header.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ZoneId {
    type Err = InvalidZoneId;

    fn from_str(text: &str) -> Result<Self, InvalidZoneId> {
        let digits = text.as_bytes();
        let mut bytes = [0; 16];
        if digits.len() != 2 * bytes.len() {
            return Err(InvalidZoneId);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = 16 * nibble(pair[0])? + nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, InvalidZoneId> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(InvalidZoneId),
    }
}

/// A text that is no zone id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a zone id: it has exactly 32 lower-case hexadecimal digits")]
pub struct InvalidZoneId;

/// The id of a cluster, as the control plane made it: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClusterId(String);

impl ClusterId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClusterId {
    type Err = InvalidClusterId;

    fn from_str(text: &str) -> Result<Self, InvalidClusterId> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = match text.as_bytes() {
            [first, rest @ ..] => {
                plain(*first) && rest.len() < 63 && rest.iter().all(|&byte| plain(byte) || byte == b'-')
            }
            [] => false,
        };
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidClusterId) }
    }
}

/// A text that is no cluster id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cluster id: it has 1 to 63 lower-case letters, digits or hyphens, and starts with a letter or digit")]
pub struct InvalidClusterId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_id_reads_back_what_it_writes() {
        let id = ZoneId::new(*b"\x00\x01\x0f\x10\x7f\x80\xa5\xff\x00\x00\x00\x00\x00\x00\x00\x09");
        assert_eq!(id.to_string(), "00010f107f80a5ff0000000000000009");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(ZoneId::CLUSTER.to_string(), "0".repeat(32));
    }

    #[test]
    fn a_zone_id_of_another_shape_is_refused() {
        let good = "00010f107f80a5ff0000000000000009";
        let wrong = [
            "",
            "0",
            &good[1..],
            &format!("{good}0"),
            &good.to_uppercase(),
            &good.replace('9', "g"),
            "é".repeat(16).as_str(),
        ]
        .map(str::to_owned);
        for text in wrong {
            assert_eq!(text.parse::<ZoneId>(), Err(InvalidZoneId), "{text:?}");
        }
    }

    #[test]
    fn two_random_zone_ids_differ() {
        assert_ne!(ZoneId::random().unwrap(), ZoneId::random().unwrap());
    }

    #[test]
    fn a_cluster_id_is_lower_case_letters_digits_and_hyphens() {
        for text in ["a", "0", "in01-0a1b2c", "c--", &"x".repeat(63)] {
            assert_eq!(text.parse::<ClusterId>().unwrap().as_str(), text);
        }
        for text in ["", "-a", "A", "a_b", "a/b", "a b", "a\n", "ä", &"x".repeat(64)] {
            assert_eq!(text.parse::<ClusterId>(), Err(InvalidClusterId), "{text:?}");
        }
    }
}
