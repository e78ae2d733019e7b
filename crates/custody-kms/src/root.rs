//! The traits through which everything else meets a KMS.

use async_trait::async_trait;

use crate::arn::KeyArn;
use crate::clock::ClockSkew;
use crate::context::EncryptionContext;
use crate::description::KeyDescription;
use crate::error::{Cause, KmsError, Outcome};
use crate::key_ref::{AliasRef, Provider, RootKeyRef};
use crate::secret::Secret;

/// Why a session is opened; recorded with each of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A new zone, or a new version of a zone's key.
    Create,
    /// A zone's keys are unwrapped.
    Open,
    /// A lease is renewed.
    Renew,
    /// A key is probed.
    Validate,
}

impl Purpose {
    /// One word for logs and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Renew => "renew",
            Self::Validate => "validate",
        }
    }

    /// The purpose of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Create, Self::Open, Self::Renew, Self::Validate].into_iter().find(|purpose| purpose.as_str() == word)
    }
}

/// A KMS that keeps root keys.
#[async_trait]
pub trait RootKms: Send + Sync {
    /// Opens a fresh session on `key`: where the key has a role, the role is assumed anew for 900 seconds. Sessions are
    /// never cached or shared, because one outlives an edit of the trust policy.
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError>;

    /// Asks in a fresh session, which can do nothing else, for the key that an alias points to now.
    async fn resolve(&self, alias: &AliasRef) -> Result<KeyArn, KmsError> {
        Err(KmsError::of_alias(alias.alias(), Outcome::Misconfigured, Cause::NoAliases))
    }

    /// How far our clock is from that of a provider's KMS, by its newest answer; `None` where no answer told a time.
    fn clock_skew(&self, provider: Provider) -> Option<ClockSkew> {
        let _ = provider;
        None
    }
}

/// A session on one key. Every call names the full ARN of that key and refuses an answer from another.
#[async_trait]
pub trait KmsSession: Send + Sync {
    /// Wraps `secret`, bound to `context`.
    async fn encrypt(&self, secret: &Secret, context: &EncryptionContext) -> Result<Vec<u8>, KmsError>;

    /// Unwraps what [`encrypt`](Self::encrypt) made under the same context.
    async fn decrypt(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<Secret, KmsError>;

    /// Asks for the key's state and kind.
    async fn describe(&self) -> Result<KeyDescription, KmsError>;
}

/// Runs `work` in a fresh session. A denial is tried once more in another fresh session after `pause`, and only a second
/// one becomes [`Outcome::Revoked`].
///
/// This is the only place that confirms a denial. It never returns [`Outcome::Denied`]. `pause` is a few seconds on the
/// caller's clock; it is only awaited after a denial.
pub async fn confirmed<T, W, F>(
    kms: &dyn RootKms,
    key: &RootKeyRef,
    purpose: Purpose,
    pause: impl Future<Output = ()> + Send,
    mut work: W,
) -> Result<T, KmsError>
where
    T: Send,
    W: FnMut(Box<dyn KmsSession>) -> F + Send,
    F: Future<Output = Result<T, KmsError>> + Send,
{
    let first = match kms.session(key, purpose).await {
        Ok(session) => work(session).await,
        Err(error) => Err(error),
    };
    match first {
        Err(error) if error.outcome() == Outcome::Denied => {}
        settled => return settled,
    }
    pause.await;
    let second = match kms.session(key, purpose).await {
        Ok(session) => work(session).await,
        Err(error) => Err(error),
    };
    second.map_err(KmsError::confirm)
}
