//! One KMS for everything that may hold any provider's key.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Cause, KmsError, Outcome};
use crate::key_ref::{Provider, RootKeyRef};
use crate::root::{KmsSession, Purpose, RootKms};

/// Passes each key to its provider's adapter. A provider that is not enabled here refuses, and nothing is sent.
#[derive(Clone, Default)]
pub struct Providers {
    enabled: Vec<(Provider, Arc<dyn RootKms>)>,
}

impl Providers {
    /// None enabled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enables `provider`, in place of an earlier adapter of the same.
    #[must_use]
    pub fn with(mut self, provider: Provider, kms: Arc<dyn RootKms>) -> Self {
        self.enabled.retain(|(enabled, _)| *enabled != provider);
        self.enabled.push((provider, kms));
        self
    }
}

#[async_trait]
impl RootKms for Providers {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        match self.enabled.iter().find(|(provider, _)| *provider == key.provider()) {
            Some((_, kms)) => kms.session(key, purpose).await,
            None => Err(KmsError::new(key.key_arn(), Outcome::Misconfigured, Cause::ProviderDisabled)),
        }
    }
}
