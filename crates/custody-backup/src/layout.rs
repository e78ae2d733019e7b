//! Where what lies in the storage of a cluster's backups. All paths are below `backups/<cluster>`.
//!
//! - `<backup>/zones/<zone>/keyring/…`: the zone's keyring, as it was in the cluster.
//! - `<backup>/zones/<zone>/backups/<backup>.json`: the zone's manifest, sealed. The backup's id is in the path that it is bound
//!   to. The one of the cluster's own zone is written last: a backup is complete exactly if it is there.
//! - `<backup>/objects`: the names below `pool` that the backup needs, in the clear: what is needed by none may be deleted, by
//!   somebody without any key.
//! - `pool/…`: the objects, each once for all the backups that have it.

use std::{fmt, str::FromStr};

use custody_store::ZoneId;
use object_store::path::Path;

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

/// The directory of the objects that backups share. No backup has this id.
pub(crate) const POOL: &str = "pool";
/// The list of a backup's objects in the pool.
pub(crate) const OBJECTS: &str = "objects";

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

/// An object that belongs to one backup alone.
pub(crate) fn own(backup: &BackupId, path: &Path) -> Path {
    below(Path::from(backup.as_str()), path)
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
