//! What every KMS must do alike. Each adapter's tests run it on their own keys.

use async_trait::async_trait;
use custody_kms::{
    Action, Cause, EncryptionContext, KeyState, KeyUsage, KmsError, KmsSession, Outcome, Purpose, RootKeyRef, RootKms,
    Secret,
};

/// A KMS under test, with the key owner's side of it.
#[async_trait]
pub(crate) trait Subject: Send + Sync {
    fn kms(&self) -> &dyn RootKms;
    fn key(&self) -> RootKeyRef;
    fn unknown_key(&self) -> RootKeyRef;
    async fn disable(&self);
    async fn enable(&self);
    async fn schedule_deletion(&self);
    /// Leaves the key enabled.
    async fn cancel_deletion(&self);
    /// Why this KMS can't be expected to notice a changed ciphertext, if so.
    fn blind_to_tampering(&self) -> Option<&'static str>;
}

pub(crate) fn context(version: u32) -> EncryptionContext {
    EncryptionContext::zone_key("in01-test".parse().unwrap(), [7; 16].into(), version)
}

pub(crate) fn secret() -> Secret {
    Secret::from(&[42; 32][..])
}

pub(crate) async fn session(kms: &dyn RootKms, key: &RootKeyRef) -> Result<Box<dyn KmsSession>, KmsError> {
    kms.session(key, Purpose::Open).await
}

pub(crate) async fn decrypt(kms: &dyn RootKms, key: &RootKeyRef, wrapped: &[u8]) -> Result<Secret, KmsError> {
    session(kms, key).await?.decrypt(wrapped, &context(1)).await
}

#[track_caller]
pub(crate) fn expect<T>(result: Result<T, KmsError>, outcome: Outcome, cause: &Cause) -> KmsError {
    let error = result.err().expect("it was to fail");
    assert_eq!((error.outcome(), error.cause()), (outcome, cause), "{error}");
    error
}

/// Runs the whole suite.
pub(crate) async fn conforms(subject: &dyn Subject) {
    let wrapped = what_is_wrapped_can_be_unwrapped(subject).await;
    another_context_is_refused(subject, &wrapped).await;
    a_changed_ciphertext_is_refused(subject, &wrapped).await;
    an_unknown_key_is_revoked(subject).await;
    a_disabled_key_is_revoked_and_comes_back(subject, &wrapped).await;
    a_key_pending_deletion_is_revoked_and_comes_back(subject, &wrapped).await;
}

async fn what_is_wrapped_can_be_unwrapped(subject: &dyn Subject) -> Vec<u8> {
    let session = session(subject.kms(), &subject.key()).await.unwrap();
    let wrapped = session.encrypt(&secret(), &context(1)).await.unwrap();
    assert!(!wrapped.windows(32).any(|window| window == secret().expose()), "the wrapped key holds the key");
    assert!(session.decrypt(&wrapped, &context(1)).await.unwrap().matches(&secret()));
    assert!(decrypt(subject.kms(), &subject.key(), &wrapped).await.unwrap().matches(&secret()));
    let again = session.encrypt(&secret(), &context(1)).await.unwrap();
    assert_ne!(wrapped, again, "wrapping twice gives two ciphertexts");
    let description = session.describe().await.unwrap();
    assert_eq!(description.arn, *subject.key().key_arn());
    assert_eq!((description.state, description.usage), (KeyState::Enabled, KeyUsage::SymmetricEncryption));
    wrapped
}

async fn another_context_is_refused(subject: &dyn Subject, wrapped: &[u8]) {
    let session = session(subject.kms(), &subject.key()).await.unwrap();
    let zone = EncryptionContext::zone_key("in01-test".parse().unwrap(), [8; 16].into(), 1);
    let cluster = EncryptionContext::zone_key("in01-other".parse().unwrap(), [7; 16].into(), 1);
    let purpose = EncryptionContext::validate("in01-test".parse().unwrap());
    for context in [context(2), zone, cluster, purpose] {
        expect(session.decrypt(wrapped, &context).await, Outcome::Misconfigured, &Cause::WrongCiphertext);
    }
}

async fn a_changed_ciphertext_is_refused(subject: &dyn Subject, wrapped: &[u8]) {
    if let Some(reason) = subject.blind_to_tampering() {
        eprintln!("SKIPPED: changed ciphertexts, because {reason}");
        return;
    }
    let session = session(subject.kms(), &subject.key()).await.unwrap();
    for at in 0..wrapped.len() {
        let mut changed = wrapped.to_vec();
        changed[at] ^= 1;
        expect(session.decrypt(&changed, &context(1)).await, Outcome::Misconfigured, &Cause::WrongCiphertext);
    }
    for length in 0..wrapped.len() {
        let result = session.decrypt(&wrapped[..length], &context(1)).await;
        expect(result, Outcome::Misconfigured, &Cause::WrongCiphertext);
    }
}

async fn an_unknown_key_is_revoked(subject: &dyn Subject) {
    let result = decrypt(subject.kms(), &subject.unknown_key(), b"x").await;
    expect(result, Outcome::Revoked, &Cause::KeyNotFound);
}

async fn a_disabled_key_is_revoked_and_comes_back(subject: &dyn Subject, wrapped: &[u8]) {
    subject.disable().await;
    let error = expect(decrypt(subject.kms(), &subject.key(), wrapped).await, Outcome::Revoked, &Cause::KeyDisabled);
    assert_eq!(error.action(), Some(Action::Decrypt));
    let session = session(subject.kms(), &subject.key()).await.unwrap();
    expect(session.encrypt(&secret(), &context(1)).await, Outcome::Revoked, &Cause::KeyDisabled);
    assert_eq!(session.describe().await.unwrap().state, KeyState::Disabled);
    subject.enable().await;
    assert!(decrypt(subject.kms(), &subject.key(), wrapped).await.unwrap().matches(&secret()));
}

async fn a_key_pending_deletion_is_revoked_and_comes_back(subject: &dyn Subject, wrapped: &[u8]) {
    subject.schedule_deletion().await;
    let result = decrypt(subject.kms(), &subject.key(), wrapped).await;
    expect(result, Outcome::Revoked, &Cause::KeyPendingDeletion);
    let session = session(subject.kms(), &subject.key()).await.unwrap();
    assert_eq!(session.describe().await.unwrap().state, KeyState::PendingDeletion);
    subject.cancel_deletion().await;
    assert!(decrypt(subject.kms(), &subject.key(), wrapped).await.unwrap().matches(&secret()));
}
