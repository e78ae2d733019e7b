//! A KMS for tests: in memory, with real encryption, and failing on a script.
//!
//! It passes through the same gate as AWS, so what a test sees of an error code is what production makes of it. It is
//! public because the crates above are tested with it; no setting can select it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::arn::{AliasArn, KeyArn, RoleArn};
use crate::clock::ClockSkew;
use crate::context::EncryptionContext;
use crate::description::{KeyState, KeyUsage};
use crate::envelope::{self, Material};
use crate::error::{Action, KmsError};
use crate::gate::Gate;
use crate::hex;
use crate::key_ref::{AliasRef, ExternalId, KeyRefError, Provider, RootKeyRef};
use crate::ledger::{Ledger, LedgerEntry};
use crate::retry::RetryPolicy;
use crate::root::{KmsSession, Purpose, RootKms};
use crate::secret::Secret;
use crate::wire::{
    AliasConnector, AliasWire, Answer, Connected, Connector, Description, Failure, FailureKind, Opened, Reply, Wire,
};

/// The account of a key for which no other is asked.
const ACCOUNT: &str = "111122223333";

/// What a call does instead of its work, or with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with this AWS error code.
    Code(&'static str),
    /// Answers with this AWS error code and this text.
    Saying(&'static str, &'static str),
    /// Finds no connection.
    NoConnection,
    /// Gives up waiting.
    TimedOut,
    /// Has no base credentials.
    NoCredentials,
    /// Never answers, until [`ScriptedKms::heal`]; then it gives up waiting.
    Hang,
    /// Answers rightly, but late.
    Delay(Duration),
    /// Flips a bit of the result.
    Tamper,
    /// Answers in the name of another key.
    WrongArn,
}

/// The scripted KMS.
pub struct ScriptedKms(Gate<ScriptedConnector>);

impl ScriptedKms {
    /// Keeps no ledger and tries each call once.
    pub fn new() -> Self {
        Self::with(Arc::new(Nowhere), RetryPolicy::NONE)
    }

    /// Keeps a ledger, and tries calls as often as `retry` says.
    pub fn with(ledger: Arc<dyn Ledger>, retry: RetryPolicy) -> Self {
        Self(Gate::new(ScriptedConnector(Arc::default()), ledger, retry))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.connector().0.lock()
    }

    /// Makes an enabled key that is reached without a role.
    pub fn create_key(&self) -> RootKeyRef {
        self.create_key_in(ACCOUNT)
    }

    /// The same in another account.
    pub fn create_key_in(&self, account: &str) -> RootKeyRef {
        match self.key_ref(account, None, None) {
            Ok(key) => key,
            Err(error) => panic!("a scripted key without a role is always valid: {error}"),
        }
    }

    /// Makes an enabled key behind a role.
    pub fn create_key_behind(&self, role: RoleArn, external_id: Option<ExternalId>) -> Result<RootKeyRef, KeyRefError> {
        self.key_ref(ACCOUNT, Some(role), external_id)
    }

    fn key_ref(
        &self,
        account: &str,
        role: Option<RoleArn>,
        external_id: Option<ExternalId>,
    ) -> Result<RootKeyRef, KeyRefError> {
        let mut state = self.state();
        let id = format!("00000000-0000-4000-8000-{}", &hex::encode(&(state.keys.len() as u64).to_be_bytes())[4..]);
        let arn: KeyArn = format!("arn:aws:kms:us-east-1:{account}:key/{id}").parse()?;
        let material = match envelope::generate() {
            Ok(material) => material,
            Err(failure) => panic!("no randomness for a test: {}", failure.text),
        };
        state.keys.insert(
            arn.clone(),
            Key {
                state: KeyState::Enabled,
                usage: KeyUsage::SymmetricEncryption,
                material,
                external_id: external_id.clone(),
            },
        );
        RootKeyRef::new(Provider::Scripted, arn, role, external_id)
    }

    /// Puts a key into a state.
    pub fn set_state(&self, key: &KeyArn, to: KeyState) {
        if let Some(key) = self.state().keys.get_mut(key) {
            key.state = to;
        }
    }

    /// Makes a key one of another kind.
    pub fn set_usage(&self, key: &KeyArn, usage: KeyUsage) {
        if let Some(key) = self.state().keys.get_mut(key) {
            key.usage = usage;
        }
    }

    /// Lets the role of a key demand this external id from now on, or none.
    pub fn set_external_id(&self, key: &KeyArn, external_id: Option<ExternalId>) {
        if let Some(key) = self.state().keys.get_mut(key) {
            key.external_id = external_id;
        }
    }

    /// Points an alias at a key, or nowhere.
    pub fn set_alias(&self, alias: &AliasArn, key: Option<&KeyArn>) {
        let mut state = self.state();
        match key {
            Some(key) => state.aliases.insert(alias.clone(), key.clone()),
            None => state.aliases.remove(alias),
        };
    }

    /// Puts our clock off against that of this KMS.
    pub fn set_clock_skew(&self, skew: Option<ClockSkew>) {
        self.state().skew = skew;
    }

    /// Removes a key for good.
    pub fn destroy(&self, key: &KeyArn) {
        self.state().keys.remove(key);
    }

    /// Faults the next call of `action`; several are used up one after the other. For opening a session, role or not,
    /// the action is [`Action::AssumeRole`].
    pub fn fault_next(&self, action: Action, fault: Fault) {
        self.state().script.push(Entry { action, key: None, fault, once: true });
    }

    /// Faults every call of `action`, until [`heal`](Self::heal).
    pub fn fault(&self, action: Action, fault: Fault) {
        self.state().script.push(Entry { action, key: None, fault, once: false });
    }

    /// Faults every call of `action` on one key, until [`heal`](Self::heal).
    pub fn fault_key(&self, key: &KeyArn, action: Action, fault: Fault) {
        self.state().script.push(Entry { action, key: Some(key.clone()), fault, once: false });
    }

    /// Ends every fault; calls that hang give up.
    pub fn heal(&self) {
        self.state().script.clear();
        self.0.connector().0.healed.send_modify(|count| *count += 1);
    }

    /// How many calls of `action` there were, on all keys.
    pub fn calls(&self, action: Action) -> usize {
        self.state().calls.iter().filter(|(_, called)| *called == action).count()
    }

    /// How many calls of `action` there were on `key`.
    pub fn calls_on(&self, key: &KeyArn, action: Action) -> usize {
        self.state().calls.iter().filter(|call| call.0 == *key && call.1 == action).count()
    }
}

impl Default for ScriptedKms {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl RootKms for ScriptedKms {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        self.0.session(key, purpose).await
    }

    async fn resolve(&self, alias: &AliasRef) -> Result<KeyArn, KmsError> {
        self.0.resolve(alias).await
    }

    fn clock_skew(&self, _: Provider) -> Option<ClockSkew> {
        self.state().skew
    }
}

struct Nowhere;

impl Ledger for Nowhere {
    fn record(&self, _entry: LedgerEntry) {}
}

struct Key {
    state: KeyState,
    usage: KeyUsage,
    material: Material,
    /// What the trust policy of its role demands.
    external_id: Option<ExternalId>,
}

struct Entry {
    action: Action,
    key: Option<KeyArn>,
    fault: Fault,
    once: bool,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<KeyArn, Key>,
    aliases: BTreeMap<AliasArn, KeyArn>,
    skew: Option<ClockSkew>,
    script: Vec<Entry>,
    calls: Vec<(KeyArn, Action)>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    healed: watch::Sender<u64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call and takes its fault from the script, which the caller applies to the result if it has one.
    async fn begin(&self, key: &KeyArn, action: Action) -> Result<Option<Fault>, Failure> {
        let mut healed = self.healed.subscribe();
        let fault = {
            let mut state = self.lock();
            state.calls.push((key.clone(), action));
            let applies = |entry: &Entry| entry.action == action && entry.key.as_ref().is_none_or(|only| only == key);
            match state.script.iter().position(applies) {
                Some(at) if state.script[at].once => Some(state.script.remove(at).fault),
                Some(at) => Some(state.script[at].fault.clone()),
                None => None,
            }
        };
        let gave_up = || Failure::new(FailureKind::TimedOut, "scripted: no answer");
        match fault {
            Some(Fault::Code(code)) => Err(Failure::code(code, "scripted")),
            Some(Fault::Saying(code, text)) => Err(Failure::code(code, text)),
            Some(Fault::NoConnection) => Err(Failure::new(FailureKind::NoConnection, "scripted: connection refused")),
            Some(Fault::NoCredentials) => Err(Failure::new(FailureKind::Credentials, "scripted: no credentials")),
            Some(Fault::TimedOut) => Err(gave_up()),
            Some(Fault::Hang) => {
                // An error would mean that the sender is gone, and it is a field of `self`.
                let _ = healed.changed().await;
                Err(gave_up())
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(None)
            }
            Some(fault @ (Fault::Tamper | Fault::WrongArn)) => Ok(Some(fault)),
            None => Ok(None),
        }
    }

    /// Runs `work` on the key; a key not enabled or of another kind refuses as AWS does.
    fn with_key<T>(&self, arn: &KeyArn, work: impl FnOnce(&Key) -> Result<T, Failure>) -> Result<T, Failure> {
        let state = self.lock();
        work(state.keys.get(arn).ok_or_else(|| Failure::code("NotFoundException", "scripted: no such key"))?)
    }

    fn with_usable<T>(&self, arn: &KeyArn, work: impl FnOnce(&Key) -> Result<T, Failure>) -> Result<T, Failure> {
        self.with_key(arn, |key| match (&key.state, &key.usage) {
            (KeyState::Enabled, KeyUsage::SymmetricEncryption) => work(key),
            (KeyState::Enabled, _) => Err(Failure::code("InvalidKeyUsageException", "scripted: wrong usage")),
            (KeyState::Disabled, _) => Err(Failure::code("DisabledException", "scripted: disabled")),
            (state, _) => Err(Failure::code("KMSInvalidStateException", format!("scripted: {state}"))),
        })
    }
}

struct ScriptedConnector(Arc<Shared>);

#[async_trait]
impl Connector for ScriptedConnector {
    fn provider(&self) -> Provider {
        Provider::Scripted
    }

    async fn connect(&self, key: &RootKeyRef, _: Purpose) -> Result<Connected, Failure> {
        self.0.begin(key.key_arn(), Action::AssumeRole).await?;
        let demanded = self.0.lock().keys.get(key.key_arn()).and_then(|it| it.external_id.clone());
        if demanded.is_some() && demanded.as_ref() != key.external_id() {
            return Err(Failure::code("AccessDenied", "scripted: another external id"));
        }
        let session = key.role_arn().map(|role| format!("{role}/scripted"));
        Ok(Connected { value: Box::new(ScriptedWire(Arc::clone(&self.0))), session, request_id: None })
    }
}

#[async_trait]
impl AliasConnector for ScriptedConnector {
    /// Calls about an alias count as calls on its key; about one that points nowhere, as calls on none.
    async fn connect_alias(&self, alias: &AliasRef) -> Result<Opened<Box<dyn AliasWire>>, Failure> {
        let key = self.0.lock().aliases.get(alias.alias()).cloned();
        if let Some(key) = &key {
            self.0.begin(key, Action::AssumeRole).await?;
        }
        let session = Some(format!("{}/scripted", alias.role_arn()));
        Ok(Opened { value: Box::new(ScriptedWire(Arc::clone(&self.0))), session, request_id: None })
    }
}

#[async_trait]
impl AliasWire for ScriptedWire {
    async fn describe(&self, alias: &AliasArn) -> Reply<()> {
        let key = self.0.lock().aliases.get(alias).cloned();
        let key = key.ok_or_else(|| Failure::code("NotFoundException", "scripted: no such alias"))?;
        let fault = self.0.begin(&key, Action::DescribeKey).await?;
        Ok(answer(&key, fault.as_ref(), ()))
    }
}

struct ScriptedWire(Arc<Shared>);

#[async_trait]
impl Wire for ScriptedWire {
    async fn encrypt(&self, key: &KeyArn, secret: &Secret, context: &EncryptionContext) -> Reply<Vec<u8>> {
        let fault = self.0.begin(key, Action::Encrypt).await?;
        let mut wrapped = self.0.with_usable(key, |it| envelope::seal(&it.material, key, secret, context))?;
        if fault == Some(Fault::Tamper) {
            flip(&mut wrapped);
        }
        Ok(answer(key, fault.as_ref(), wrapped))
    }

    async fn decrypt(&self, key: &KeyArn, wrapped: &[u8], context: &EncryptionContext) -> Reply<Secret> {
        let fault = self.0.begin(key, Action::Decrypt).await?;
        let mut secret = self.0.with_usable(key, |it| envelope::open(&it.material, key, wrapped, context))?;
        if fault == Some(Fault::Tamper) {
            let mut bytes = secret.expose().to_vec();
            flip(&mut bytes);
            secret = Secret::new(bytes);
        }
        Ok(answer(key, fault.as_ref(), secret))
    }

    async fn describe(&self, key: &KeyArn) -> Reply<Description> {
        let fault = self.0.begin(key, Action::DescribeKey).await?;
        let (state, usage) = self.0.with_key(key, |it| Ok((it.state.clone(), it.usage.clone())))?;
        Ok(answer(key, fault.as_ref(), Description { state, usage, multi_region: false, deletion_date: None }))
    }
}

fn answer<T>(key: &KeyArn, fault: Option<&Fault>, value: T) -> Answer<T> {
    let named = if fault == Some(&Fault::WrongArn) { format!("{key}-of-another") } else { key.to_string() };
    Answer { value, key: named, request_id: None }
}

fn flip(bytes: &mut [u8]) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
}
