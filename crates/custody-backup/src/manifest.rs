//! The manifests: JSON, sealed in the zone that they speak of. A database's names and schemas stand in its own zone's, so that
//! revoking a tenant's key hides them in backups, too.

use custody_engine::{CollectionImage, DatabaseImage, User};
use custody_store::ZoneId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{BackupError, BackupId, digest::Digest, layout::Attempt};

/// The version of the form that is written.
const FORM: u32 = 1;

/// The manifest of the cluster's own zone: what the backup consists of.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterManifest {
    pub(crate) custody_backup: u32,
    pub(crate) backup: String,
    /// The attempt that made it: what belongs to the other zones lies below it.
    pub(crate) attempt: Attempt,
    pub(crate) cluster: String,
    /// Milliseconds since 1970.
    pub(crate) taken_at: u64,
    /// The ARN of the cluster's root key; none if it is stored in plain text.
    pub(crate) key: Option<String>,
    pub(crate) keyring: Vec<KeyringObject>,
    /// Whether all collections were asked for.
    pub(crate) whole: bool,
    pub(crate) users: Vec<User>,
    pub(crate) zones: Vec<ZoneEntry>,
    pub(crate) omitted: Vec<OmittedZone>,
}

/// A database's zone in the cluster's manifest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZoneEntry {
    pub(crate) zone: ZoneText,
    /// The root key that it is pinned to, if not the cluster's.
    pub(crate) key: Option<String>,
    /// The newest version of its own key.
    pub(crate) key_version: Option<u32>,
    pub(crate) keyring: Vec<KeyringObject>,
    /// Of its manifest's plaintext.
    pub(crate) manifest: Digest,
}

/// A keyring object, as it lies beside the manifests.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyringObject {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
}

/// A database that could not be taken.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OmittedZone {
    pub(crate) zone: ZoneText,
    pub(crate) reason: String,
}

/// The manifest of a database's zone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DatabaseManifest {
    pub(crate) custody_backup: u32,
    pub(crate) backup: String,
    pub(crate) zone: ZoneText,
    pub(crate) database: DatabaseImage,
    pub(crate) collections: Vec<CollectionEntry>,
}

/// A collection in its database's manifest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectionEntry {
    pub(crate) image: CollectionImage,
    /// Where its objects were in the cluster.
    pub(crate) root: String,
    pub(crate) objects: Vec<ObjectEntry>,
}

/// An object of a collection.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectEntry {
    /// Below the collection's root.
    pub(crate) path: String,
    /// Its name in the pool.
    pub(crate) pool: String,
    /// As it is stored.
    pub(crate) size: u64,
    /// As it is stored.
    pub(crate) sha256: Digest,
}

/// A zone's id as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ZoneText(pub(crate) ZoneId);

impl Serialize for ZoneText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ZoneText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl ClusterManifest {
    pub(crate) const FORM: u32 = FORM;

    /// Reads one; refused where it is of another backup, cluster or form.
    pub(crate) fn read(bytes: &[u8], cluster: &str, backup: &BackupId) -> Result<Self, BackupError> {
        let manifest: Self = parse(bytes, ZoneId::CLUSTER)?;
        check(ZoneId::CLUSTER, manifest.custody_backup, &manifest.backup, backup)?;
        if manifest.cluster != cluster {
            return Err(BackupError::manifest(
                ZoneId::CLUSTER,
                format!("it is of cluster {}, not of {cluster}", manifest.cluster),
            ));
        }
        Ok(manifest)
    }
}

impl DatabaseManifest {
    pub(crate) const FORM: u32 = FORM;

    /// Reads the one that an entry of the cluster's manifest speaks of.
    pub(crate) fn read(bytes: &[u8], entry: &ZoneEntry, backup: &BackupId) -> Result<Self, BackupError> {
        let zone = entry.zone.0;
        if Digest::of(bytes) != entry.manifest {
            return Err(BackupError::manifest(zone, "it is not the one that the cluster's manifest speaks of"));
        }
        let manifest: Self = parse(bytes, zone)?;
        check(zone, manifest.custody_backup, &manifest.backup, backup)?;
        if manifest.zone != entry.zone {
            return Err(BackupError::manifest(zone, format!("it is of zone {}", manifest.zone.0)));
        }
        Ok(manifest)
    }
}

/// The form is looked at before the rest: a later one may have other fields.
fn parse<T: DeserializeOwned>(bytes: &[u8], zone: ZoneId) -> Result<T, BackupError> {
    #[derive(Deserialize)]
    struct Form {
        custody_backup: u32,
    }
    // The library's own text quotes what it stumbled over.
    let unreadable = |error: serde_json::Error| {
        BackupError::manifest(zone, format!("it can't be read: line {}, column {}", error.line(), error.column()))
    };
    let Form { custody_backup: form } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if form != FORM {
        return Err(BackupError::manifest(zone, format!("it has form {form}, and this version knows form {FORM}")));
    }
    serde_json::from_slice(bytes).map_err(unreadable)
}

fn check(zone: ZoneId, form: u32, found: &str, backup: &BackupId) -> Result<(), BackupError> {
    if form == FORM && found == backup.as_str() {
        return Ok(());
    }
    Err(BackupError::manifest(zone, format!("it is of backup {found}, not of {backup}")))
}
