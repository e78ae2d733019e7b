//! What is known of a key.

use std::fmt;

use custody_kms::{Cause, KmsError, Outcome, Probe, Step};
use serde::Serialize;

use crate::refusal::Refused;

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyStatus {
    /// It encrypts and decrypts.
    Available,
    /// KMS said no.
    Revoked,
    /// KMS gave no answer, or we could not ask: its clusters go on for the key's grace.
    Unreachable,
    /// It can't work as it is set up, whatever its owner allows.
    Misconfigured,
}

impl KeyStatus {
    pub(crate) const ALL: [Self; 4] = [Self::Available, Self::Revoked, Self::Unreachable, Self::Misconfigured];

    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "AVAILABLE",
            Self::Revoked => "REVOKED",
            Self::Unreachable => "UNREACHABLE",
            Self::Misconfigured => "MISCONFIGURED",
        }
    }

    pub(super) fn stored(text: &str) -> Result<Self, Refused> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| Refused::internal(format!("a key's stored status is {text:?}")))
    }

    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Denied | Outcome::Revoked => Self::Revoked,
            // Our own fault is never the key's: its clusters have their grace.
            Outcome::Unreachable | Outcome::Ours => Self::Unreachable,
            Outcome::Misconfigured => Self::Misconfigured,
        }
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a check of a key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) status: KeyStatus,
    pub(super) reason: Option<String>,
    /// Whether KMS will delete the key.
    pub(super) pending_deletion: bool,
    /// Whether it decrypts, which is what its clusters live by.
    pub(super) decrypts: bool,
}

impl Finding {
    pub(super) fn available() -> Self {
        Self { status: KeyStatus::Available, reason: None, pending_deletion: false, decrypts: true }
    }

    /// From a check of all that the service does with a key.
    pub(super) fn of(probe: &Probe) -> Self {
        match (&probe.describe, &probe.decrypt) {
            // It decrypts, so that its clusters serve; but what is missing has to be mended.
            (Step::Failed(error), Step::Passed) => {
                Self { status: KeyStatus::Misconfigured, decrypts: true, ..Self::because(error) }
            }
            _ => probe.result().map_or_else(|error| Self::because(&error), |()| Self::available()),
        }
    }

    fn because(error: &KmsError) -> Self {
        Self {
            status: KeyStatus::of(error.outcome()),
            reason: Some(error.to_string()),
            pending_deletion: *error.cause() == Cause::KeyPendingDeletion,
            decrypts: false,
        }
    }
}
