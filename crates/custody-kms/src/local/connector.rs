//! Sessions on development keys.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::arn::KeyArn;
use crate::context::EncryptionContext;
use crate::description::{KeyState, KeyUsage};
use crate::envelope;
use crate::key_ref::{Provider, RootKeyRef};
use crate::local::file::{self, StoredKey, StoredState};
use crate::local::keys::{is_gone, time};
use crate::root::Purpose;
use crate::secret::Secret;
use crate::wire::{Answer, Connected, Connector, Description, Failure, FailureKind, Reply, Wire};

pub(crate) struct LocalConnector {
    path: PathBuf,
}

impl LocalConnector {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

#[async_trait]
impl Connector for LocalConnector {
    fn provider(&self) -> Provider {
        Provider::Local
    }

    async fn connect(&self, key: &RootKeyRef, _: Purpose) -> Result<Connected, Failure> {
        let (path, arn) = (self.path.clone(), key.key_arn().clone());
        let unusable = |text: String| Failure::new(FailureKind::File, text);
        let keys = tokio::task::spawn_blocking(move || file::read(&path))
            .await
            .map_err(|error| unusable(error.to_string()))?
            .map_err(|error| unusable(error.to_string()))?;
        let key = keys.into_iter().find(|key| key.arn == arn && !is_gone(key));
        Ok(Connected { value: Box::new(LocalWire { key }), session: None, request_id: None })
    }
}

/// The key as the file held it when the session began.
struct LocalWire {
    key: Option<StoredKey>,
}

impl LocalWire {
    fn found(&self, arn: &KeyArn) -> Result<&StoredKey, Failure> {
        let text = || format!("key {arn} does not exist");
        self.key.as_ref().filter(|key| key.arn == *arn).ok_or_else(|| Failure::code("NotFoundException", text()))
    }

    fn usable(&self, arn: &KeyArn) -> Result<&StoredKey, Failure> {
        let key = self.found(arn)?;
        match key.state {
            StoredState::Enabled => Ok(key),
            StoredState::Disabled => Err(Failure::code("DisabledException", format!("{arn} is disabled"))),
            StoredState::PendingDeletion => {
                Err(Failure::code("KMSInvalidStateException", format!("{arn} is pending deletion")))
            }
        }
    }
}

#[async_trait]
impl Wire for LocalWire {
    async fn encrypt(&self, key: &KeyArn, secret: &Secret, context: &EncryptionContext) -> Reply<Vec<u8>> {
        let found = self.usable(key)?;
        answer(found, envelope::seal(&found.material, key, secret, context)?)
    }

    async fn decrypt(&self, key: &KeyArn, wrapped: &[u8], context: &EncryptionContext) -> Reply<Secret> {
        let found = self.usable(key)?;
        answer(found, envelope::open(&found.material, key, wrapped, context)?)
    }

    async fn describe(&self, key: &KeyArn) -> Reply<Description> {
        let found = self.found(key)?;
        let description = Description {
            state: KeyState::from(found.state),
            usage: KeyUsage::SymmetricEncryption,
            multi_region: false,
            deletion_date: found.deletion_at.map(time),
        };
        answer(found, description)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a call's answer is a reply")]
fn answer<T>(key: &StoredKey, value: T) -> Reply<T> {
    Ok(Answer { value, key: key.arn.to_string(), request_id: None })
}
