//! One KMS for everything that may hold any provider's key.

use std::sync::Arc;

use async_trait::async_trait;

use crate::arn::KeyArn;
use crate::clock::ClockSkew;
use crate::error::{Cause, KmsError, Outcome};
use crate::key_ref::{AliasRef, Provider, RootKeyRef};
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

    fn of(&self, provider: Provider) -> Option<&Arc<dyn RootKms>> {
        self.enabled.iter().find(|(enabled, _)| *enabled == provider).map(|(_, kms)| kms)
    }
}

#[async_trait]
impl RootKms for Providers {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        match self.of(key.provider()) {
            Some(kms) => kms.session(key, purpose).await,
            None => Err(KmsError::new(key.key_arn(), Outcome::Misconfigured, Cause::ProviderDisabled)),
        }
    }

    async fn resolve(&self, alias: &AliasRef) -> Result<KeyArn, KmsError> {
        match self.of(alias.provider()) {
            Some(kms) => kms.resolve(alias).await,
            None => Err(KmsError::of_alias(alias.alias(), Outcome::Misconfigured, Cause::ProviderDisabled)),
        }
    }

    fn clock_skew(&self, provider: Provider) -> Option<ClockSkew> {
        self.of(provider)?.clock_skew(provider)
    }
}
