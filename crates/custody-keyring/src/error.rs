//! What can go wrong, per operation.

use custody_kms::{ArnError, KeyArn, KmsError};
use custody_seal::{RandomError, ZoneId};
use object_store::path::Path;

use crate::copies::Unusable;
use crate::policy::PolicyError;
use crate::status::SealReason;
use crate::vault::StoreError;

/// A key that the operator has not allowed for this cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownKey {
    /// What was given is no key's ARN.
    #[error(transparent)]
    Arn(#[from] ArnError),
    /// The key is not one of this cluster's.
    #[error("key {0} is not one of this cluster's keys; add it to the project's keys first")]
    NotAllowed(KeyArn),
}

/// Why a keyring can't be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The policy makes no sense.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// One key was given twice, with different roles or external ids.
    #[error("key {0} is given twice, with different roles or external ids; give it once")]
    Contradiction(KeyArn),
    /// The cluster's id can't stand in an EncryptionContext.
    #[error("cluster id {0:?} can't stand in an EncryptionContext")]
    Cluster(String),
}

/// Why a zone or a version of its key was not made. Nothing of it is left in the storage, unless the error says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The key is not allowed.
    #[error(transparent)]
    Key(#[from] UnknownKey),
    /// There is such a zone, or such a version, already.
    #[error("zone {zone} already has version {version} of its key in the storage; nothing was changed")]
    Exists {
        /// The zone.
        zone: ZoneId,
        /// The version.
        version: u32,
    },
    /// The zone is not open.
    #[error("zone {0} is not open; open it first")]
    NotOpen(ZoneId),
    /// The zone, or everything, is sealed.
    #[error("zone {zone} can't be given a key: {reason}")]
    Sealed {
        /// The zone.
        zone: ZoneId,
        /// Why it is sealed.
        reason: SealReason,
    },
    /// KMS refused or could not be asked.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was written could not be read back or unwrapped.
    #[error("the new keyring was written but does not read back: {0}")]
    NotReadBack(#[source] Unusable),
    /// KMS made a ciphertext that no keyring object can hold.
    #[error("the KMS wrapped a zone key into {0} bytes, and a keyring object holds 1 to 6144")]
    Wrapped(usize),
    /// No more versions.
    #[error("zone {0} has used up its key versions")]
    Versions(ZoneId),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// It failed, and what had been written could not be removed.
    #[error("{cause}; and {} could not be removed, delete {} by hand", list(left), if left.len() == 1 { "it" } else { "them" })]
    Leftover {
        /// Why it failed.
        cause: Box<CreateError>,
        /// What is left.
        left: Vec<Path>,
    },
    /// The process is shutting down.
    #[error("the keyring is closed: this process is shutting down")]
    Closed,
}

fn list(paths: &[Path]) -> String {
    paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why a zone could not be opened at all. A key that can't be used now is none of these: the zone opens sealed then, and
/// recovers by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The key is not allowed.
    #[error(transparent)]
    Key(#[from] UnknownKey),
    /// The zone has no keyring.
    #[error("zone {0} has no keyring in the storage; check the storage's prefix, or restore zones/{0}/keyring/")]
    NoKeyring(ZoneId),
    /// The zone is open under another key.
    #[error("zone {zone} is already open under key {open}, not {asked}")]
    OtherKey {
        /// The zone.
        zone: ZoneId,
        /// The key it is open under.
        open: KeyArn,
        /// The key that was asked for.
        asked: KeyArn,
    },
    /// A version has no copy that can be used: lost, damaged, forged, or naming something else than what is pinned.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The storage holds an older keyring than what is known from outside.
    #[error(
        "the newest key version of zone {zone} in the storage is {found}, and version {expected} is known to exist: the \
         storage was rolled back; restore the newer keyring"
    )]
    RolledBack {
        /// The zone.
        zone: ZoneId,
        /// The newest version found.
        found: u32,
        /// The version that must be there.
        expected: u32,
    },
    /// The storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process is shutting down.
    #[error("the keyring is closed: this process is shutting down")]
    Closed,
}

/// Why a zone's keyring was not, or not wholly, deleted. Deleting can be tried again.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeleteError(#[from] pub(crate) StoreError);
