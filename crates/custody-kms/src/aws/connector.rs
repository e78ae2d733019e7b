//! Sessions and bare calls through the AWS SDK.

use std::collections::BTreeMap;
use std::time::SystemTime;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::{Credentials, IdentityCache};
use aws_sdk_kms::error::SdkError;
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_sts::config::ProvideCredentials;
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::arn::{AliasArn, KeyArn, RoleArn};
use crate::aws::endpoint::{self, SecureTransport};
use crate::aws::failure::{chain, failure};
use crate::aws::handed::HandedSession;
use crate::aws::meter::Measure;
use crate::aws::{AwsOptions, SessionName};
use crate::clock::{ClockSkew, SkewMeter};
use crate::context::EncryptionContext;
use crate::description::{KeyState, KeyUsage};
use crate::error::Action;
use crate::key_ref::{AliasRef, ExternalId, Provider, RootKeyRef};
use crate::root::Purpose;
use crate::secret::Secret;
use crate::wire::{
    AliasConnector, AliasWire, Answer, Connected, Connector, Description, Failure, FailureKind, Opened, Reply, Wire,
};

/// The shortest session that STS gives.
const SESSION_SECONDS: i32 = 900;

pub(crate) struct AwsConnector {
    options: AwsOptions,
    /// The SDK's configuration per region: it holds the connections, never a session.
    regions: Mutex<BTreeMap<String, SdkConfig>>,
    meter: SkewMeter,
}

/// A role that is to be assumed.
pub(super) struct Assumed<'a> {
    pub(super) role: &'a RoleArn,
    pub(super) external_id: Option<&'a ExternalId>,
    /// What the session may do, whatever the role allows besides.
    pub(super) policy: String,
    pub(super) name: &'a SessionName,
    /// How long the session lasts.
    pub(super) seconds: i32,
}

impl AwsConnector {
    pub(crate) fn new(options: AwsOptions) -> Self {
        Self { options, regions: Mutex::default(), meter: SkewMeter::default() }
    }

    pub(super) fn skew(&self) -> Option<ClockSkew> {
        self.meter.newest()
    }

    pub(super) async fn region(&self, region: &str) -> Result<SdkConfig, Failure> {
        let mut regions = self.regions.lock().await;
        if let Some(config) = regions.get(region) {
            return Ok(config.clone());
        }
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.options.timeouts.connect)
            .operation_attempt_timeout(self.options.timeouts.call)
            .operation_timeout(self.options.timeouts.call)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .timeout_config(timeouts);
        if let Some(url) = &self.options.endpoint {
            loader = loader.endpoint_url(url);
        }
        if self.options.sessions.is_some() {
            loader = loader.no_credentials();
        } else if let Some(base) = &self.options.base {
            loader = loader.credentials_provider(base.clone());
        }
        let config = loader.load().await;
        endpoint::check_profile(&config)
            .map_err(|error| Failure::new(FailureKind::Insecure(error.endpoint.clone()), error.to_string()))?;
        regions.insert(region.to_owned(), config.clone());
        Ok(config)
    }

    /// Our own credentials, asked for outside of any call so that their failure can't be taken for the key owner's.
    pub(super) async fn base(&self, config: &SdkConfig) -> Result<Credentials, Failure> {
        let trouble = |text: String| Failure::new(FailureKind::Credentials, text);
        let provider = config.credentials_provider().ok_or_else(|| trouble("no provider of credentials".to_owned()))?;
        match tokio::time::timeout(self.options.timeouts.credentials, provider.provide_credentials()).await {
            Ok(credentials) => credentials.map_err(|error| trouble(chain(&error))),
            Err(_) => Err(trouble("the provider of our own credentials gave no answer in time".to_owned())),
        }
    }

    async fn assume(
        &self,
        config: &SdkConfig,
        base: Credentials,
        what: Assumed<'_>,
    ) -> Result<AssumeRoleOutput, Failure> {
        // Retries are the gate's, so that each try is recorded; no cache, so that nothing outlives its session.
        let sts = aws_sdk_sts::config::Builder::from(config)
            .credentials_provider(base)
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .interceptor(SecureTransport)
            .interceptor(Measure(self.meter.clone()))
            .build();
        aws_sdk_sts::Client::from_conf(sts)
            .assume_role()
            .role_arn(what.role.as_str())
            .role_session_name(what.name.as_str())
            .policy(what.policy)
            .set_external_id(what.external_id.map(|id| id.expose().to_owned()))
            .duration_seconds(what.seconds)
            .send()
            .await
            .map_err(|error| failure(&error))
    }

    /// Assumes the role for somebody else.
    pub(crate) async fn hand(
        &self,
        key: &RootKeyRef,
        role: &RoleArn,
        name: &SessionName,
    ) -> Result<Opened<HandedSession>, Failure> {
        let policy = session_policy(key.key_arn());
        let what = Assumed { role, external_id: key.external_id(), policy, name, seconds: SESSION_SECONDS };
        self.open(key.key_arn().region(), what).await
    }

    pub(super) async fn open(&self, region: &str, what: Assumed<'_>) -> Result<Opened<HandedSession>, Failure> {
        let config = self.region(region).await?;
        let base = self.base(&config).await?;
        let output = self.assume(&config, base, what).await?;
        let given = output.credentials().ok_or_else(|| no_answer("AssumeRole gave no credentials"))?;
        let unreadable = |_| no_answer("AssumeRole gave no time at which the session ends");
        let session = output.assumed_role_user().map(|user| user.arn().to_owned());
        let value = HandedSession {
            access_key_id: given.access_key_id().to_owned(),
            secret_access_key: Zeroizing::new(given.secret_access_key().to_owned()),
            session_token: Zeroizing::new(given.session_token().to_owned()),
            expires: SystemTime::try_from(*given.expiration()).map_err(unreadable)?,
            session: session.clone(),
        };
        Ok(Opened { value, session, request_id: output.request_id().map(ToOwned::to_owned) })
    }

    /// The credentials of a fresh session on the key, and the session's name where a role was assumed.
    async fn credentials(
        &self,
        config: &SdkConfig,
        key: &RootKeyRef,
        purpose: Purpose,
    ) -> Result<Opened<Credentials>, Failure> {
        if let Some(sessions) = &self.options.sessions {
            let handed = sessions.session(key, purpose).await?;
            let session = handed.session.clone();
            return Ok(Opened { value: handed_credentials(handed), session, request_id: None });
        }
        match key.role_arn() {
            None => Ok(Opened { value: self.base(config).await?, session: None, request_id: None }),
            Some(role) => {
                let handed = self.hand(key, role, &self.options.session_name).await?;
                Ok(Opened {
                    value: handed_credentials(handed.value),
                    session: handed.session,
                    request_id: handed.request_id,
                })
            }
        }
    }
}

/// What a session may do that asks for an alias's key, which can't be named yet.
fn alias_policy(alias: &AliasArn) -> String {
    let place = alias.as_str().rsplit_once(":alias/").map_or("", |(place, _)| place);
    let action = Action::DescribeKey.as_str();
    let statement = serde_json::json!({ "Effect": "Allow", "Action": action, "Resource": format!("{place}:*") });
    serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// What a session may do, whatever the role allows besides: the three actions, on the one key.
fn session_policy(key: &KeyArn) -> String {
    let actions = [Action::Encrypt, Action::Decrypt, Action::DescribeKey].map(Action::as_str);
    let statement = serde_json::json!({ "Effect": "Allow", "Action": actions, "Resource": key.as_str() });
    serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

#[async_trait]
impl Connector for AwsConnector {
    fn provider(&self) -> Provider {
        Provider::Aws
    }

    fn assumes(&self, key: &RootKeyRef) -> bool {
        self.options.sessions.is_none() && key.role_arn().is_some()
    }

    async fn connect(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Connected, Failure> {
        let config = self.region(key.key_arn().region()).await?;
        let Opened { value: credentials, session, request_id } = self.credentials(&config, key, purpose).await?;
        Ok(Connected { value: Box::new(self.wire(&config, credentials)), session, request_id })
    }
}

#[async_trait]
impl AliasConnector for AwsConnector {
    async fn connect_alias(&self, alias: &AliasRef) -> Result<Opened<Box<dyn AliasWire>>, Failure> {
        if self.options.sessions.is_some() {
            return Err(Failure::new(
                FailureKind::Credentials,
                "sessions that others open are for keys, not for aliases",
            ));
        }
        let region = alias.alias().region();
        let what = Assumed {
            role: alias.role_arn(),
            external_id: alias.external_id(),
            policy: alias_policy(alias.alias()),
            name: &self.options.session_name,
            seconds: SESSION_SECONDS,
        };
        let Opened { value, session, request_id } = self.open(region, what).await?;
        let wire = self.wire(&self.region(region).await?, handed_credentials(value));
        Ok(Opened { value: Box::new(wire), session, request_id })
    }
}

impl AwsConnector {
    fn wire(&self, config: &SdkConfig, credentials: Credentials) -> AwsWire {
        let kms = aws_sdk_kms::config::Builder::from(config)
            .credentials_provider(credentials)
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .interceptor(SecureTransport)
            .interceptor(Measure(self.meter.clone()))
            .build();
        AwsWire { client: aws_sdk_kms::Client::from_conf(kms) }
    }
}

fn handed_credentials(handed: HandedSession) -> Credentials {
    let (secret, token) = (handed.secret_access_key.as_str(), handed.session_token.to_string());
    Credentials::new(handed.access_key_id, secret, Some(token), Some(handed.expires), "AssumeRole")
}

struct AwsWire {
    client: aws_sdk_kms::Client,
}

#[async_trait]
impl Wire for AwsWire {
    async fn encrypt(&self, key: &KeyArn, secret: &Secret, context: &EncryptionContext) -> Reply<Vec<u8>> {
        let mut call = self.client.encrypt().key_id(key.as_str()).plaintext(Blob::new(secret.expose()));
        for (name, value) in context.pairs() {
            call = call.encryption_context(name, value);
        }
        let mut output = call.send().await.map_err(|error| failure(&error))?;
        let value = output.ciphertext_blob.take().ok_or_else(|| no_answer("Encrypt gave no ciphertext"))?.into_inner();
        answer(value, output.key_id(), &output)
    }

    async fn decrypt(&self, key: &KeyArn, wrapped: &[u8], context: &EncryptionContext) -> Reply<Secret> {
        let mut call = self.client.decrypt().key_id(key.as_str()).ciphertext_blob(Blob::new(wrapped));
        for (name, value) in context.pairs() {
            call = call.encryption_context(name, value);
        }
        let mut output = call.send().await.map_err(|error| failure(&error))?;
        let value = output.plaintext.take().ok_or_else(|| no_answer("Decrypt gave no plaintext"))?.into_inner();
        answer(Secret::new(value), output.key_id(), &output)
    }

    async fn describe(&self, key: &KeyArn) -> Reply<Description> {
        let result = self.client.describe_key().key_id(key.as_str()).send().await;
        let output = result.map_err(|error: SdkError<_, _>| failure(&error))?;
        let it = output.key_metadata().ok_or_else(|| no_answer("DescribeKey gave no description"))?;
        let usage = it.key_usage().map_or("", |usage| usage.as_str());
        let spec = it.key_spec().map_or("", |spec| spec.as_str());
        let usage = match (usage, spec) {
            ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT") => KeyUsage::SymmetricEncryption,
            _ => KeyUsage::Other { usage: usage.to_owned(), spec: spec.to_owned() },
        };
        let description = Description {
            state: KeyState::parse(it.key_state().map_or("", |state| state.as_str())),
            usage,
            multi_region: it.multi_region().unwrap_or_default(),
            deletion_date: it.deletion_date().and_then(|date| SystemTime::try_from(*date).ok()),
        };
        answer(description, it.arn(), &output)
    }
}

#[async_trait]
impl AliasWire for AwsWire {
    async fn describe(&self, alias: &AliasArn) -> Reply<()> {
        let output = self.client.describe_key().key_id(alias.as_str()).send().await.map_err(|error| failure(&error))?;
        answer((), output.key_metadata().and_then(|it| it.arn()), &output)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a call's answer is a reply")]
fn answer<T>(value: T, key: Option<&str>, output: &impl RequestId) -> Reply<T> {
    let key = key.unwrap_or_default().to_owned();
    Ok(Answer { value, key, request_id: output.request_id().map(ToOwned::to_owned) })
}

/// An answer that lacks what it must hold is none.
fn no_answer(text: &str) -> Failure {
    Failure::new(FailureKind::NoConnection, text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::aws::{AwsKms, HandedFailure, HandedFailureKind, SessionSource};
    use crate::error::{Cause, Outcome};
    use crate::ledger::MemoryLedger;
    use crate::retry::RetryPolicy;
    use crate::root::RootKms;

    #[tokio::test]
    async fn neither_sts_nor_kms_is_sent_a_request_over_plain_http_wherever_the_endpoint_came_from() {
        let arn = "arn:aws:kms:us-west-2:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let base = Credentials::new("AKIAIOSFODNN7EXAMPLE", "not-a-secret", None, None, "test");
        let name = SessionName::of(&"in01-test".parse().unwrap()).unwrap();
        let connector = AwsConnector::new(AwsOptions::new(name).with_base(base));
        let mut config = connector.region("us-west-2").await.unwrap_or_else(|failure| panic!("{}", failure.text));
        // Past every check of what was configured.
        config = config.into_builder().endpoint_url("http://192.0.2.1").build();
        connector.regions.lock().await.insert("us-west-2".to_owned(), config);

        let role = Some("arn:aws:iam::222222222222:role/custody");
        let failure =
            connector.connect(&RootKeyRef::parse("aws", arn, role, None).unwrap(), Purpose::Open).await.err().unwrap();
        assert!(matches!(failure.kind, FailureKind::Insecure(_)), "STS: {}", failure.text);
        let key = RootKeyRef::parse("aws", arn, None, None).unwrap();
        let connected =
            connector.connect(&key, Purpose::Open).await.unwrap_or_else(|failure| panic!("{}", failure.text));
        let failure = connected.value.describe(key.key_arn()).await.err().unwrap();
        assert!(matches!(failure.kind, FailureKind::Insecure(_)), "KMS: {}", failure.text);
    }

    /// Gives the same answer each time, and counts how often it was asked.
    struct Fake(Result<HandedSession, HandedFailure>, AtomicUsize);

    #[async_trait]
    impl SessionSource for Fake {
        async fn session(&self, _: &RootKeyRef, _: Purpose) -> Result<HandedSession, HandedFailure> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.clone()
        }
    }

    fn node(answer: Result<HandedSession, HandedFailure>) -> (AwsKms, Arc<Fake>, Arc<MemoryLedger>) {
        let (fake, ledger) = (Arc::new(Fake(answer, AtomicUsize::new(0))), Arc::new(MemoryLedger::new(9)));
        let name = SessionName::of(&"in01-test".parse().unwrap()).unwrap();
        let options = AwsOptions {
            // Nothing listens there.
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            retry: RetryPolicy { attempts: 2, base: Duration::ZERO, cap: Duration::ZERO },
            ..AwsOptions::new(name).with_sessions(fake.clone())
        };
        (AwsKms::new(options, ledger.clone()).unwrap(), fake, ledger)
    }

    fn key() -> RootKeyRef {
        let arn = "arn:aws:kms:us-west-2:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        RootKeyRef::parse("aws", arn, Some("arn:aws:iam::222222222222:role/custody"), None).unwrap()
    }

    #[tokio::test]
    async fn with_handed_sessions_sts_is_not_called_and_kms_is_called_in_them() {
        const SESSION: &str = "arn:aws:sts::222222222222:assumed-role/custody/custody-in01-test";
        let (kms, fake, ledger) = node(Ok(HandedSession {
            access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Zeroizing::new("not-a-secret".to_owned()),
            session_token: Zeroizing::new("not-a-token".to_owned()),
            expires: SystemTime::now() + Duration::from_mins(15),
            session: Some(SESSION.to_owned()),
        }));
        let session = kms.session(&key(), Purpose::Renew).await.map_err(|error| error.to_string()).ok().unwrap();
        assert!(ledger.entries().is_empty(), "STS was not called from here");
        let error = session.describe().await.unwrap_err();
        assert_eq!((error.outcome(), error.cause()), (Outcome::Unreachable, &Cause::NoConnection));
        assert_eq!(fake.1.load(Ordering::SeqCst), 1);
        let entries = ledger.entries();
        assert_eq!(entries.len(), 2, "KMS was, twice");
        assert!(entries.iter().all(|entry| entry.action == Action::DescribeKey));
        assert_eq!(entries[0].session.as_deref(), Some(SESSION));
    }

    #[tokio::test]
    async fn a_handed_failure_means_what_it_meant_where_it_came_about_and_is_not_tried_again() {
        let refused = HandedFailure {
            kind: HandedFailureKind::Service { code: Some("AccessDenied".to_owned()), status: Some(403) },
            text: "not authorized".to_owned(),
            request_id: Some("r-1".to_owned()),
        };
        let (kms, _, ledger) = node(Err(refused));
        let error = kms.session(&key(), Purpose::Renew).await.err().unwrap();
        assert_eq!((error.outcome(), error.cause()), (Outcome::Denied, &Cause::RoleRefused));
        assert_eq!((error.code(), error.request_id()), (Some("AccessDenied"), Some("r-1")));
        assert!(ledger.entries().is_empty());
        // A throttled call was tried again where it was made.
        let busy = HandedFailure { kind: HandedFailureKind::TimedOut, text: String::new(), request_id: None };
        let (kms, fake, _) = node(Err(busy));
        assert_eq!(kms.session(&key(), Purpose::Renew).await.err().unwrap().outcome(), Outcome::Unreachable);
        assert_eq!(fake.1.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_link_that_is_broken_is_our_own_fault_and_never_the_key_owners() {
        let (kms, ..) = node(Err(HandedFailure::ours("the control plane can't be reached")));
        let error = kms.session(&key(), Purpose::Renew).await.err().unwrap();
        assert_eq!((error.outcome(), error.cause()), (Outcome::Ours, &Cause::BaseCredential));
    }

    #[test]
    fn a_session_may_do_three_things_with_one_key() {
        let policy: serde_json::Value = serde_json::from_str(&session_policy(key().key_arn())).unwrap();
        let statement = &policy["Statement"];
        assert_eq!(statement.as_array().unwrap().len(), 1);
        assert_eq!(statement[0]["Action"], serde_json::json!(["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"]));
        assert_eq!(statement[0]["Resource"], key().key_arn().as_str());
    }

    #[test]
    fn a_session_that_asks_for_an_aliass_key_may_do_nothing_else() {
        let alias = "arn:aws:kms:us-west-2:222222222222:alias/team/x".parse().unwrap();
        let policy: serde_json::Value = serde_json::from_str(&alias_policy(&alias)).unwrap();
        assert_eq!(
            policy["Statement"],
            serde_json::json!([{
                "Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "arn:aws:kms:us-west-2:222222222222:*",
            }])
        );
    }
}
