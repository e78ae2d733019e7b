//! AWS KMS, reached by assuming the key owner's role.

mod bucket;
mod connector;
mod endpoint;
mod failure;
mod handed;
mod identity;
mod meter;
mod sessions;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_sts::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};

use crate::arn::KeyArn;
pub use crate::aws::bucket::{BucketPart, BucketPartError};
use crate::aws::connector::AwsConnector;
pub use crate::aws::endpoint::InsecureEndpoint;
#[cfg(feature = "fuzzing")]
pub(crate) use crate::aws::endpoint::is_secure;
pub use crate::aws::handed::{HandedFailure, HandedFailureKind, HandedSession, SessionSource};
pub use crate::aws::identity::IdentityError;
pub use crate::aws::sessions::AwsSessions;
use crate::clock::ClockSkew;
use crate::context::ContextId;
use crate::error::KmsError;
use crate::gate::Gate;
use crate::key_ref::{AliasRef, Provider, RootKeyRef};
use crate::ledger::Ledger;
use crate::retry::RetryPolicy;
use crate::root::{KmsSession, Purpose, RootKms};

/// The name under which a role is assumed; it stands in the key owner's CloudTrail: `custody-<cluster id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionName(String);

/// An id too long to stand in a session name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is too long for the name of an STS session (64 with \"custody-\" before it); use an id of at most 56")]
pub struct SessionNameTooLong(String);

impl SessionName {
    /// The session name of a cluster, or of another opaque id that acts for one.
    pub fn of(id: &ContextId) -> Result<Self, SessionNameTooLong> {
        let name = format!("custody-{id}");
        if name.len() <= 64 { Ok(Self(name)) } else { Err(SessionNameTooLong(id.to_string())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Longest waits for AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwsTimeouts {
    /// For a connection.
    pub connect: Duration,
    /// For one try of one call, connection included.
    pub call: Duration,
    /// For our own base credentials.
    pub credentials: Duration,
}

impl Default for AwsTimeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), call: Duration::from_secs(8), credentials: Duration::from_secs(10) }
    }
}

/// The region that this machine's AWS settings name: the variables, or else the profile. An instance's own metadata is
/// not asked: off AWS that costs seconds.
pub async fn configured_region() -> Option<String> {
    let profile = ProfileFileRegionProvider::new();
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile);
    chain.region().await.map(|region| region.as_ref().to_owned())
}

/// How AWS is used.
#[derive(Clone)]
pub struct AwsOptions {
    /// The name of every session opened.
    pub session_name: SessionName,
    /// Tries per call.
    pub retry: RetryPolicy,
    /// Longest waits.
    pub timeouts: AwsTimeouts,
    /// One endpoint for KMS and STS in place of AWS's, from the operator's configuration. Without it, the SDK's own
    /// settings count (`AWS_ENDPOINT_URL` and its kin).
    pub endpoint: Option<String>,
    /// Where our base credentials come from, in place of the SDK's standard chain.
    pub base: Option<SharedCredentialsProvider>,
    /// Where sessions come from, if others assume the roles for us. No base credentials are looked for then.
    pub sessions: Option<Arc<dyn SessionSource>>,
}

impl AwsOptions {
    /// The standard chain, AWS's endpoints, default retries and waits.
    pub fn new(session_name: SessionName) -> Self {
        Self {
            session_name,
            retry: RetryPolicy::default(),
            timeouts: AwsTimeouts::default(),
            endpoint: None,
            base: None,
            sessions: None,
        }
    }

    /// The same with one access key as base credentials.
    #[must_use]
    pub fn with_base_keys(self, access_key_id: &str, secret_access_key: &str) -> Self {
        self.with_base(Credentials::new(access_key_id, secret_access_key, None, None, "given"))
    }

    /// The same with other base credentials.
    #[must_use]
    pub fn with_base(mut self, provider: impl ProvideCredentials + 'static) -> Self {
        self.base = Some(SharedCredentialsProvider::new(provider));
        self
    }

    /// The same with sessions that others open: no base credentials are used, and STS is never called from here.
    #[must_use]
    pub fn with_sessions(mut self, sessions: Arc<dyn SessionSource>) -> Self {
        self.sessions = Some(sessions);
        self
    }
}

impl fmt::Debug for AwsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsOptions")
            .field("session_name", &self.session_name)
            .field("retry", &self.retry)
            .field("timeouts", &self.timeouts)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Refuses plain http off loopback, in the options or in one of the SDK's variables.
fn check_endpoints(options: &AwsOptions) -> Result<(), InsecureEndpoint> {
    if let Some(endpoint) = &options.endpoint {
        endpoint::check("the configured KMS endpoint", endpoint)?;
    }
    endpoint::check_environment(|name| std::env::var(name).ok())
}

/// AWS KMS.
pub struct AwsKms(Gate<AwsConnector>);

impl AwsKms {
    /// Prepares to use AWS; nothing is sent before the first session.
    ///
    /// Plain http off loopback is refused: here, if the options or one of the SDK's variables names such an endpoint,
    /// and again before every request, wherever its endpoint came from.
    pub fn new(options: AwsOptions, ledger: Arc<dyn Ledger>) -> Result<Self, InsecureEndpoint> {
        check_endpoints(&options)?;
        let retry = options.retry;
        Ok(Self(Gate::new(AwsConnector::new(options), ledger, retry)))
    }
}

#[async_trait]
impl RootKms for AwsKms {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        self.0.session(key, purpose).await
    }

    async fn resolve(&self, alias: &AliasRef) -> Result<KeyArn, KmsError> {
        self.0.resolve(alias).await
    }

    fn clock_skew(&self, _: Provider) -> Option<ClockSkew> {
        self.0.connector().skew()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_after_the_cluster_and_fits_what_sts_allows() {
        let name = |id: &str| SessionName::of(&id.parse().unwrap());
        assert_eq!(name("in01-abc").unwrap().as_str(), "custody-in01-abc");
        assert_eq!(name(&"x".repeat(56)).unwrap().as_str().len(), 64);
        assert!(name(&"x".repeat(57)).is_err());
    }
}
