//! A session as it crosses the link.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use custody_kms::{HandedFailure, HandedFailureKind, HandedSession};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What becomes of an ask for a session.
pub type SessionAnswer = Result<SessionParts, SessionFailure>;

/// The credentials of a session. There is no `Debug`: it would print them.
#[derive(Serialize, Deserialize)]
pub struct SessionParts {
    access_key_id: String,
    #[serde(with = "crate::hidden")]
    secret_access_key: Zeroizing<String>,
    #[serde(with = "crate::hidden")]
    session_token: Zeroizing<String>,
    expires_unix_ms: u64,
    session: Option<String>,
}

impl From<HandedSession> for SessionParts {
    fn from(it: HandedSession) -> Self {
        Self {
            access_key_id: it.access_key_id,
            secret_access_key: it.secret_access_key,
            session_token: it.session_token,
            expires_unix_ms: unix_ms(it.expires),
            session: it.session,
        }
    }
}

impl From<SessionParts> for HandedSession {
    fn from(it: SessionParts) -> Self {
        Self {
            access_key_id: it.access_key_id,
            secret_access_key: it.secret_access_key,
            session_token: it.session_token,
            expires: UNIX_EPOCH + Duration::from_millis(it.expires_unix_ms),
            session: it.session,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Why there is no session; see [`HandedFailure`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFailure {
    /// What happened.
    pub kind: SessionFailureKind,
    /// AWS's text, or that of the layer below.
    pub text: String,
    /// AWS's request id.
    pub request_id: Option<String>,
}

/// See [`HandedFailureKind`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionFailureKind {
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
    /// A fault of our own.
    Credentials,
    /// The endpoint may not be used.
    Insecure(String),
}

impl From<HandedFailure> for SessionFailure {
    fn from(it: HandedFailure) -> Self {
        let kind = match it.kind {
            HandedFailureKind::Service { code, status } => SessionFailureKind::Service { code, status },
            HandedFailureKind::TimedOut => SessionFailureKind::TimedOut,
            HandedFailureKind::NoConnection => SessionFailureKind::NoConnection,
            HandedFailureKind::Credentials => SessionFailureKind::Credentials,
            HandedFailureKind::Insecure(endpoint) => SessionFailureKind::Insecure(endpoint),
        };
        Self { kind, text: it.text, request_id: it.request_id }
    }
}

impl From<SessionFailure> for HandedFailure {
    fn from(it: SessionFailure) -> Self {
        let kind = match it.kind {
            SessionFailureKind::Service { code, status } => HandedFailureKind::Service { code, status },
            SessionFailureKind::TimedOut => HandedFailureKind::TimedOut,
            SessionFailureKind::NoConnection => HandedFailureKind::NoConnection,
            SessionFailureKind::Credentials => HandedFailureKind::Credentials,
            SessionFailureKind::Insecure(endpoint) => HandedFailureKind::Insecure(endpoint),
        };
        Self { kind, text: it.text, request_id: it.request_id }
    }
}
