//! Opening sessions for others: the side of a link that holds base credentials, and never a zone key.

use std::sync::Arc;

use async_trait::async_trait;

use crate::aws::connector::AwsConnector;
use crate::aws::endpoint::InsecureEndpoint;
use crate::aws::handed::{HandedFailure, HandedSession, SessionSource};
use crate::aws::{AwsOptions, SessionName, check_endpoints};
use crate::gate::Line;
use crate::key_ref::{Provider, RootKeyRef};
use crate::ledger::{Ledger, Recorder};
use crate::retry::RetryPolicy;
use crate::root::Purpose;

/// Assumes roles for others, each session limited by an inline policy to the three actions on the one key. Every try is
/// recorded.
#[derive(Clone)]
pub struct AwsSessions {
    connector: Arc<AwsConnector>,
    name: SessionName,
    recorder: Recorder,
    retry: RetryPolicy,
}

impl AwsSessions {
    /// Prepares to assume roles under the session name of the options; nothing is sent yet. Endpoints are checked as for
    /// [`AwsKms`](crate::AwsKms).
    pub fn new(options: AwsOptions, ledger: Arc<dyn Ledger>) -> Result<Self, InsecureEndpoint> {
        check_endpoints(&options)?;
        let (name, retry) = (options.session_name.clone(), options.retry);
        Ok(Self { connector: Arc::new(AwsConnector::new(options)), name, recorder: Recorder(ledger), retry })
    }

    pub(super) fn connector(&self) -> &AwsConnector {
        &self.connector
    }

    pub(super) fn name(&self) -> &SessionName {
        &self.name
    }

    pub(super) fn retry(&self) -> RetryPolicy {
        self.retry
    }

    /// The same under another session name, recorded elsewhere: one for each cluster. Connections and base credentials
    /// are shared.
    #[must_use]
    pub fn named(&self, name: SessionName, ledger: Arc<dyn Ledger>) -> Self {
        Self { connector: Arc::clone(&self.connector), name, recorder: Recorder(ledger), retry: self.retry }
    }
}

#[async_trait]
impl SessionSource for AwsSessions {
    /// Assumes the key's role. A key without one is refused: what could be handed on would be our own credentials.
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<HandedSession, HandedFailure> {
        let Some(role) = key.role_arn() else {
            return Err(HandedFailure::ours(
                "a key under `custody serve` needs a role: a node is never given our own credentials",
            ));
        };
        if key.provider() != Provider::Aws {
            return Err(HandedFailure::ours(format!("keys of the provider {} have no AWS session", key.provider())));
        }
        let (recorder, retry) = (self.recorder.clone(), self.retry);
        let line = Line::of_key(key, purpose, recorder, retry);
        let opened = line.open(true, || self.connector.hand(key, role, &self.name)).await?;
        Ok(opened.value)
    }
}
