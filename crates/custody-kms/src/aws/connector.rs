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

use crate::arn::{KeyArn, RoleArn};
use crate::aws::AwsOptions;
use crate::aws::endpoint::{self, SecureTransport};
use crate::aws::failure::{chain, failure};
use crate::context::EncryptionContext;
use crate::description::{KeyState, KeyUsage};
use crate::key_ref::{Provider, RootKeyRef};
use crate::secret::Secret;
use crate::wire::{Answer, Connected, Connector, Description, Failure, FailureKind, Reply, Wire};

/// The shortest session that STS gives.
const SESSION_SECONDS: i32 = 900;

pub(crate) struct AwsConnector {
    options: AwsOptions,
    /// The SDK's configuration per region: it holds the connections, never a session.
    regions: Mutex<BTreeMap<String, SdkConfig>>,
}

impl AwsConnector {
    pub(crate) fn new(options: AwsOptions) -> Self {
        Self { options, regions: Mutex::default() }
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
        if let Some(base) = &self.options.base {
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
        key: &RootKeyRef,
        role: &RoleArn,
    ) -> Result<AssumeRoleOutput, Failure> {
        // Retries are the gate's, so that each try is recorded; no cache, so that nothing outlives its session.
        let sts = aws_sdk_sts::config::Builder::from(config)
            .credentials_provider(base)
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .interceptor(SecureTransport)
            .build();
        aws_sdk_sts::Client::from_conf(sts)
            .assume_role()
            .role_arn(role.as_str())
            .role_session_name(self.options.session_name.as_str())
            .set_external_id(key.external_id().map(|id| id.expose().to_owned()))
            .duration_seconds(SESSION_SECONDS)
            .send()
            .await
            .map_err(|error| failure(&error))
    }
}

#[async_trait]
impl Connector for AwsConnector {
    fn provider(&self) -> Provider {
        Provider::Aws
    }

    async fn connect(&self, key: &RootKeyRef) -> Result<Connected, Failure> {
        let config = self.region(key.key_arn().region()).await?;
        let base = self.base(&config).await?;
        let (credentials, session, request_id) = match key.role_arn() {
            None => (base, None, None),
            Some(role) => {
                let output = self.assume(&config, base, key, role).await?;
                let session = output.assumed_role_user().map(|user| user.arn().to_owned());
                let request_id = output.request_id().map(ToOwned::to_owned);
                (role_credentials(&output)?, session, request_id)
            }
        };
        let kms = aws_sdk_kms::config::Builder::from(&config)
            .credentials_provider(credentials)
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .interceptor(SecureTransport)
            .build();
        let wire = AwsWire { client: aws_sdk_kms::Client::from_conf(kms) };
        Ok(Connected { wire: Box::new(wire), session, request_id })
    }
}

fn role_credentials(output: &AssumeRoleOutput) -> Result<Credentials, Failure> {
    let given = output.credentials().ok_or_else(|| no_answer("AssumeRole gave no credentials"))?;
    let expires = SystemTime::try_from(*given.expiration()).ok();
    let token = Some(given.session_token().to_owned());
    Ok(Credentials::new(given.access_key_id(), given.secret_access_key(), token, expires, "AssumeRole"))
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
    use super::*;
    use crate::aws::SessionName;

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
        let failure = connector.connect(&RootKeyRef::parse("aws", arn, role, None).unwrap()).await.err().unwrap();
        assert!(matches!(failure.kind, FailureKind::Insecure(_)), "STS: {}", failure.text);
        let key = RootKeyRef::parse("aws", arn, None, None).unwrap();
        let connected = connector.connect(&key).await.unwrap_or_else(|failure| panic!("{}", failure.text));
        let failure = connected.wire.describe(key.key_arn()).await.err().unwrap();
        assert!(matches!(failure.kind, FailureKind::Insecure(_)), "KMS: {}", failure.text);
    }
}
