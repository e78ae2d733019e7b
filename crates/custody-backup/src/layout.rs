//! Where what lies in the storage of a cluster's backups. All paths are below `backups/<cluster>`.
//!
//! - `<backup>/zones/<cluster's zone>/keyring/…`: the keyring of the cluster's own zone, as it was in the cluster.
//! - `<backup>/zones/<cluster's zone>/backups/<backup>.json`: its manifest, sealed. The backup's id is in the path that it is bound
//!   to. It is written last, and only once: a backup is complete exactly if it is there. It names the attempt that made it.
//! - `<backup>/attempts/<attempt>/zones/<zone>/…`: the same of every other zone.
//! - `<backup>/attempts/<attempt>/objects`: the names below `pool` that the attempt needs, in the clear: what is needed by none may
//!   be deleted, by somebody without any key.
//! - `pool/…`: the objects, each once for all the backups that have it.
//!
//! What two attempts at one backup write is never the same object, but for what is the same to the byte.

use std::{fmt, str::FromStr};

use custody_store::ZoneId;
use object_store::path::Path;
use serde::{Deserialize, Serialize, de::Error};

/// A backup's id: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupId(String);

impl BackupId {
    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BackupId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && text != POOL {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no id of a backup: it has lower case letters, digits and dashes, 63 at most"))
        }
    }
}

/// One try at making a backup: 16 random hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Attempt(String);

impl Attempt {
    pub(crate) fn new() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }
}

impl<'de> Deserialize<'de> for Attempt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 16 && text.bytes().all(is_digit) {
            Ok(Self(text))
        } else {
            Err(D::Error::custom("no attempt: 16 hexadecimal digits are expected"))
        }
    }
}

/// The directory of the objects that backups share. No backup has this id.
pub const POOL: &str = "pool";
/// What attempts at a backup have written, each in a directory of its own.
const ATTEMPTS: &str = "attempts";
/// An attempt's list of what it needs of the pool.
const OBJECTS: &str = "objects";

/// The manifest of the cluster's own zone. A backup is complete exactly if it is there.
pub fn marker(backup: &BackupId) -> Path {
    below(Path::from(backup.as_str()), &manifest(ZoneId::CLUSTER, backup))
}

/// Whether an object is an attempt's list of what it needs of the pool: one name a line.
pub fn is_list(path: &Path) -> bool {
    let parts: Vec<_> = path.parts().collect();
    matches!(parts.as_slice(), [_, attempts, _, objects] if attempts.as_ref() == ATTEMPTS && objects.as_ref() == OBJECTS)
}

/// The list of an attempt.
pub(crate) fn list(backup: &BackupId, attempt: &Attempt) -> Path {
    self::attempt(backup, attempt).join(OBJECTS)
}

/// All attempts at a backup.
pub(crate) fn attempts(backup: &BackupId) -> Path {
    Path::from_iter([backup.as_str(), ATTEMPTS])
}

/// What an attempt has written.
pub(crate) fn attempt(backup: &BackupId, attempt: &Attempt) -> Path {
    attempts(backup).join(attempt.0.as_str())
}

/// Below which root a backup has a zone's keyring and manifest.
pub(crate) fn root_of(zone: ZoneId, backup: &BackupId, attempt: &Attempt) -> Path {
    if zone == ZoneId::CLUSTER { Path::from(backup.as_str()) } else { self::attempt(backup, attempt) }
}

/// Whether an object of the cluster belongs to its own zone.
pub(crate) fn is_clusters(path: &Path) -> bool {
    path.prefix_matches(&zone_root(ZoneId::CLUSTER))
}

/// A zone's manifest, as an object of the zone.
pub(crate) fn manifest(zone: ZoneId, backup: &BackupId) -> Path {
    zone_root(zone).join("backups").join(format!("{backup}.json"))
}

/// A zone's keyring.
pub(crate) fn keyring(zone: ZoneId) -> Path {
    zone_root(zone).join("keyring")
}

fn zone_root(zone: ZoneId) -> Path {
    Path::from_iter(["zones".to_owned(), zone.to_string()])
}

/// An object of the pool.
pub(crate) fn pooled(name: &str) -> Path {
    below(Path::from(POOL), &Path::from(name))
}

/// The path of `path` below a root.
pub(crate) fn below(root: Path, path: &Path) -> Path {
    path.parts().fold(root, Path::join)
}

/// The rest of a path below a root; `None` where it does not lie there.
pub(crate) fn within(root: &Path, path: &Path) -> Option<Path> {
    path.prefix_match(root).map(Path::from_iter)
}
