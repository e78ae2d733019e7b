//! Sessions that somebody else opened: a process that holds zone keys need not hold the credentials that assume roles.

use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::key_ref::RootKeyRef;
use crate::root::Purpose;
use crate::wire::{Failure, FailureKind};

/// Opens sessions in another process's stead.
#[async_trait]
pub trait SessionSource: Send + Sync {
    /// A fresh session on `key`, as from `sts:AssumeRole`.
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<HandedSession, HandedFailure>;
}

/// The temporary credentials of a role's session.
#[derive(Clone)]
pub struct HandedSession {
    /// Names the credentials; no secret.
    pub access_key_id: String,
    /// Signs with them.
    pub secret_access_key: Zeroizing<String>,
    /// Goes with every call.
    pub session_token: Zeroizing<String>,
    /// When they end.
    pub expires: SystemTime,
    /// The session as it stands in CloudTrail: its assumed-role ARN.
    pub session: Option<String>,
}

impl fmt::Debug for HandedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedSession").field("session", &self.session).finish_non_exhaustive()
    }
}

/// Why no session could be had. It carries all that the classification of a failure looks at, so that it means the same
/// here as where it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedFailure {
    /// What happened.
    pub kind: HandedFailureKind,
    /// AWS's text, or that of the layer below.
    pub text: String,
    /// AWS's request id.
    pub request_id: Option<String>,
}

/// What happened where a session was to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandedFailureKind {
    /// STS answered with an error.
    Service {
        /// AWS's error code.
        code: Option<String>,
        /// The HTTP status.
        status: Option<u16>,
    },
    /// No answer in time.
    TimedOut,
    /// No connection, or a broken one.
    NoConnection,
    /// Our own credentials could not be had, or whoever has them could not be reached.
    Credentials,
    /// The endpoint may not be used.
    Insecure(String),
}

impl HandedFailure {
    /// A fault of our own: it never counts as a word of the key's owner.
    pub fn ours(text: impl Into<String>) -> Self {
        Self { kind: HandedFailureKind::Credentials, text: text.into(), request_id: None }
    }
}

impl From<Failure> for HandedFailure {
    fn from(failure: Failure) -> Self {
        let kind = match failure.kind {
            FailureKind::Service { code, status } => HandedFailureKind::Service { code, status },
            FailureKind::TimedOut => HandedFailureKind::TimedOut,
            FailureKind::NoConnection => HandedFailureKind::NoConnection,
            // STS has nothing to do with the file of development keys.
            FailureKind::Credentials | FailureKind::File => HandedFailureKind::Credentials,
            FailureKind::Insecure(endpoint) => HandedFailureKind::Insecure(endpoint),
        };
        Self { kind, text: failure.text, request_id: failure.request_id }
    }
}

impl From<HandedFailure> for Failure {
    fn from(failure: HandedFailure) -> Self {
        let kind = match failure.kind {
            HandedFailureKind::Service { code, status } => FailureKind::Service { code, status },
            HandedFailureKind::TimedOut => FailureKind::TimedOut,
            HandedFailureKind::NoConnection => FailureKind::NoConnection,
            HandedFailureKind::Credentials => FailureKind::Credentials,
            HandedFailureKind::Insecure(endpoint) => FailureKind::Insecure(endpoint),
        };
        Self { kind, text: failure.text, request_id: failure.request_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_a_session_are_not_in_debug_output() {
        let session = HandedSession {
            access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Zeroizing::new("hush-1".to_owned()),
            session_token: Zeroizing::new("hush-2".to_owned()),
            expires: SystemTime::UNIX_EPOCH,
            session: Some("arn:aws:sts::222222222222:assumed-role/custody/custody-in01".to_owned()),
        };
        let printed = format!("{session:?}");
        assert!(printed.contains("custody-in01") && !printed.contains("hush"), "{printed}");
    }

    #[test]
    fn a_failure_means_the_same_on_both_sides() {
        use crate::classify::classify;
        use crate::error::Action;
        let kinds = || {
            [
                FailureKind::Service { code: Some("AccessDenied".to_owned()), status: Some(403) },
                FailureKind::Service { code: None, status: Some(503) },
                FailureKind::TimedOut,
                FailureKind::NoConnection,
                FailureKind::Credentials,
                FailureKind::Insecure("http://192.0.2.1".to_owned()),
            ]
        };
        for (here, there) in kinds().into_iter().zip(kinds()) {
            let here = Failure::new(here, "text");
            let there = Failure::from(HandedFailure::from(Failure::new(there, "text")));
            assert_eq!(classify(Action::AssumeRole, &here), classify(Action::AssumeRole, &there));
        }
    }
}
