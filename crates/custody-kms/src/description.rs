//! What DescribeKey tells about a key.

use std::fmt;
use std::time::SystemTime;

use crate::arn::KeyArn;
use crate::error::{Action, Cause, KmsError, Outcome};

/// The state of a key, in AWS's terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Usable.
    Enabled,
    /// Disabled by its owner.
    Disabled,
    /// Scheduled for deletion.
    PendingDeletion,
    /// A multi-region primary that is deleted once its replicas are.
    PendingReplicaDeletion,
    /// Without key material.
    PendingImport,
    /// Being made.
    Creating,
    /// Being changed.
    Updating,
    /// Its custom key store is not connected.
    Unavailable,
    /// A state that this version does not know.
    Unknown(String),
}

impl KeyState {
    /// As AWS spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
            Self::PendingImport => "PendingImport",
            Self::Creating => "Creating",
            Self::Updating => "Updating",
            Self::Unavailable => "Unavailable",
            Self::Unknown(text) => text,
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        [
            Self::Enabled,
            Self::Disabled,
            Self::PendingDeletion,
            Self::PendingReplicaDeletion,
            Self::PendingImport,
            Self::Creating,
            Self::Updating,
            Self::Unavailable,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
        .unwrap_or_else(|| Self::Unknown(text.to_owned()))
    }

    /// What a key in this state means for who needs it; `None` when it is usable.
    pub(crate) fn verdict(&self) -> Option<(Outcome, Cause)> {
        match self {
            Self::Enabled => None,
            Self::Disabled => Some((Outcome::Revoked, Cause::KeyDisabled)),
            Self::PendingDeletion | Self::PendingReplicaDeletion => Some((Outcome::Revoked, Cause::KeyPendingDeletion)),
            Self::PendingImport => Some((Outcome::Revoked, Cause::KeyPendingImport)),
            Self::Creating | Self::Updating | Self::Unavailable | Self::Unknown(_) => {
                Some((Outcome::Unreachable, Cause::KeyNotReady(self.clone())))
            }
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyUsage {
    /// `ENCRYPT_DECRYPT` with `SYMMETRIC_DEFAULT`: the only kind that wraps zone keys.
    SymmetricEncryption,
    /// Anything else, in AWS's words: usage and spec.
    Other {
        /// `GENERATE_VERIFY_MAC`, `SIGN_VERIFY`, …
        usage: String,
        /// `HMAC_256`, `RSA_2048`, …
        spec: String,
    },
}

/// A key as its KMS describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// Its full ARN.
    pub arn: KeyArn,
    /// Its state.
    pub state: KeyState,
    /// What it is made for.
    pub usage: KeyUsage,
    /// Whether it is a multi-region key.
    pub multi_region: bool,
    /// When it will be deleted, if that is scheduled.
    pub deletion_date: Option<SystemTime>,
}

impl KeyDescription {
    /// Refuses a key that could not wrap a zone key now.
    pub fn check_usable(&self) -> Result<(), KmsError> {
        let refuse = |outcome, cause| Err(KmsError::new(&self.arn, outcome, cause).during(Action::DescribeKey));
        if let KeyUsage::Other { usage, spec } = &self.usage {
            return refuse(Outcome::Misconfigured, Cause::WrongKeyUsage(format!("{usage}, {spec}")));
        }
        self.state.verdict().map_or(Ok(()), |(outcome, cause)| refuse(outcome, cause))
    }
}
