//! A KMS whose calls end: each is given up after a while on the keyring's own clock, whatever the adapter does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use custody_kms::{
    Cause, EncryptionContext, KeyArn, KeyDescription, KmsError, KmsSession, Outcome, Purpose, RootKeyRef, RootKms,
    Secret,
};

use crate::clock::Clock;

#[derive(Clone)]
struct Limit {
    clock: Arc<dyn Clock>,
    time: Duration,
}

impl Limit {
    async fn on<T>(&self, key: &KeyArn, call: impl Future<Output = Result<T, KmsError>>) -> Result<T, KmsError> {
        tokio::select! {
            biased;
            done = call => done,
            () = self.clock.sleep_until(self.clock.now().after(self.time)) => {
                Err(KmsError::new(key, Outcome::Unreachable, Cause::TimedOut))
            }
        }
    }
}

/// A KMS with a limit on each call.
pub(crate) struct Limited {
    kms: Arc<dyn RootKms>,
    limit: Limit,
}

impl Limited {
    pub(crate) fn new(kms: Arc<dyn RootKms>, clock: Arc<dyn Clock>, time: Duration) -> Self {
        Self { kms, limit: Limit { clock, time } }
    }
}

#[async_trait]
impl RootKms for Limited {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        let session = self.limit.on(key.key_arn(), self.kms.session(key, purpose)).await?;
        Ok(Box::new(LimitedSession { session, key: key.key_arn().clone(), limit: self.limit.clone() }))
    }
}

struct LimitedSession {
    session: Box<dyn KmsSession>,
    key: KeyArn,
    limit: Limit,
}

#[async_trait]
impl KmsSession for LimitedSession {
    async fn encrypt(&self, secret: &Secret, context: &EncryptionContext) -> Result<Vec<u8>, KmsError> {
        self.limit.on(&self.key, self.session.encrypt(secret, context)).await
    }

    async fn decrypt(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<Secret, KmsError> {
        self.limit.on(&self.key, self.session.decrypt(wrapped, context)).await
    }

    async fn describe(&self) -> Result<KeyDescription, KmsError> {
        self.limit.on(&self.key, self.session.describe()).await
    }
}
