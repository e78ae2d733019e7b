//! What an adapter has to bring: the bare calls. Everything the rules demand of a call is added by [`Gate`](crate::gate::Gate).

use async_trait::async_trait;

use crate::arn::{AliasArn, KeyArn};
use crate::context::EncryptionContext;
use crate::description::{KeyState, KeyUsage};
use crate::key_ref::{AliasRef, Provider, RootKeyRef};
use crate::root::Purpose;
use crate::secret::Secret;

/// A call's answer.
pub(crate) struct Answer<T> {
    pub(crate) value: T,
    /// The ARN of the key that answered.
    pub(crate) key: String,
    pub(crate) request_id: Option<String>,
}

/// A call's failure, before anything is concluded from it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) text: String,
    pub(crate) request_id: Option<String>,
}

#[derive(Debug)]
pub(crate) enum FailureKind {
    /// The service answered with an error.
    Service { code: Option<String>, status: Option<u16> },
    /// No answer in time.
    TimedOut,
    /// No connection, or a broken one, or an answer that is not the service's.
    NoConnection,
    /// Our own credentials could not be had.
    Credentials,
    /// The endpoint may not be used.
    Insecure(String),
    /// The file of development keys.
    File,
}

impl FailureKind {
    /// Whether anything may have left this machine for KMS or STS.
    pub(crate) fn was_sent(&self) -> bool {
        !matches!(self, Self::Credentials | Self::Insecure(_))
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), request_id: None }
    }

    /// An answer with an AWS error code.
    pub(crate) fn code(code: &str, text: impl Into<String>) -> Self {
        Self::new(FailureKind::Service { code: Some(code.to_owned()), status: None }, text)
    }
}

pub(crate) type Reply<T> = Result<Answer<T>, Failure>;

/// DescribeKey's answer.
pub(crate) struct Description {
    pub(crate) state: KeyState,
    pub(crate) usage: KeyUsage,
    pub(crate) multi_region: bool,
    pub(crate) deletion_date: Option<std::time::SystemTime>,
}

/// The bare calls of one session.
#[async_trait]
pub(crate) trait Wire: Send + Sync {
    async fn encrypt(&self, key: &KeyArn, secret: &Secret, context: &EncryptionContext) -> Reply<Vec<u8>>;
    async fn decrypt(&self, key: &KeyArn, wrapped: &[u8], context: &EncryptionContext) -> Reply<Secret>;
    async fn describe(&self, key: &KeyArn) -> Reply<Description>;
}

/// A session that was opened, to be used here or to be handed on.
pub(crate) struct Opened<T> {
    pub(crate) value: T,
    /// The session's assumed-role ARN, where a role was assumed.
    pub(crate) session: Option<String>,
    pub(crate) request_id: Option<String>,
}

pub(crate) type Connected = Opened<Box<dyn Wire>>;

/// Opens sessions; assumes the key's role where it has one.
#[async_trait]
pub(crate) trait Connector: Send + Sync {
    fn provider(&self) -> Provider;

    /// Whether opening a session on `key` calls STS from here. If not, there is nothing to record or to try again.
    fn assumes(&self, key: &RootKeyRef) -> bool {
        key.role_arn().is_some()
    }

    async fn connect(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Connected, Failure>;
}

/// The one bare call that is made by an alias.
#[async_trait]
pub(crate) trait AliasWire: Send + Sync {
    /// DescribeKey; the answer's key is the alias's.
    async fn describe(&self, alias: &AliasArn) -> Reply<()>;
}

/// Where keys have aliases: opens a session that can do nothing but ask for an alias's key.
#[async_trait]
pub(crate) trait AliasConnector: Connector {
    async fn connect_alias(&self, alias: &AliasRef) -> Result<Opened<Box<dyn AliasWire>>, Failure>;
}
