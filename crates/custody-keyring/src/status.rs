//! What a zone's user is told about it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use custody_kms::{KmsError, Outcome};

/// Whether a zone can be used, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneStatus {
    /// Its key was proven within the check interval.
    Available,
    /// The last check had no answer; the zone is served until its lease ends.
    Grace {
        /// When the zone seals, unless the key is proven before.
        until: SystemTime,
        /// Why the last check failed.
        reason: KmsError,
    },
    /// Nothing can be read or written, and no key of it is in memory.
    Sealed(SealReason),
}

impl ZoneStatus {
    /// Whether the zone can be used.
    pub fn is_usable(&self) -> bool {
        !matches!(self, Self::Sealed(_))
    }

    /// What the failure behind this status says about the key, if there is one.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Available => None,
            Self::Grace { reason, .. } => Some(reason.outcome()),
            Self::Sealed(reason) => reason.outcome(),
        }
    }
}

impl fmt::Display for ZoneStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("available"),
            Self::Grace { reason, .. } => write!(f, "served on grace, because its key can't be reached: {reason}"),
            Self::Sealed(reason) => write!(f, "sealed: {reason}"),
        }
    }
}

/// Why a zone is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealReason {
    /// What KMS answered, or that it gave no answer when the zone was to be opened.
    Kms(KmsError),
    /// The lease ended before the key was proven again.
    Expired {
        /// Why the last check failed; `None` if none had ended, as after a suspend, or while one hangs.
        last: Option<KmsError>,
    },
    /// No stored copy of a version of its key can be authenticated any more.
    Keyring(Arc<str>),
    /// Sealed by hand, until it is unsealed by hand.
    Manual,
    /// The zone was deleted.
    Deleted,
    /// This process is shutting down.
    Closed,
}

impl SealReason {
    /// What the failure says about the key, if KMS had a part in it.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Kms(error) => Some(error.outcome()),
            Self::Expired { last } => Some(last.as_ref().map_or(Outcome::Unreachable, KmsError::outcome)),
            Self::Keyring(_) => Some(Outcome::Misconfigured),
            Self::Manual | Self::Deleted | Self::Closed => None,
        }
    }
}

impl fmt::Display for SealReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kms(error) => write!(f, "its key is {}: {error}", word(error.outcome())),
            Self::Expired { last: Some(error) } => {
                write!(f, "its key could not be proven before the grace period was over: {error}")
            }
            Self::Expired { last: None } => f.write_str(
                "its key was not proven in time (KMS has not answered yet, or the machine slept, or its clock jumped); it \
                 is being checked now",
            ),
            Self::Keyring(text) => f.write_str(text),
            Self::Manual => f.write_str("sealed by hand; unseal it to use it again"),
            Self::Deleted => f.write_str("the zone was deleted"),
            Self::Closed => f.write_str("the keyring is closed: this process is shutting down"),
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Denied | Outcome::Revoked => "revoked",
        Outcome::Unreachable => "unreachable",
        Outcome::Ours => "not reached by our own fault",
        Outcome::Misconfigured => "misconfigured",
    }
}
