//! What the gate adds to every adapter's calls, shown on the scripted KMS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Subject, conforms, context, decrypt, expect, secret, session};
use async_trait::async_trait;
use custody_kms::scripted::{Fault, ScriptedKms};
use custody_kms::{
    Action, Cause, ContextPurpose, EncryptionContext, KeyState, KeyUsage, KmsError, MemoryLedger, Outcome, Provider,
    Providers, Purpose, RetryPolicy, RootKeyRef, RootKms, Secret, Step, confirmed, probe,
};

const DENIED: Fault = Fault::Code("AccessDeniedException");

struct Scripted {
    kms: ScriptedKms,
    key: RootKeyRef,
}

impl Scripted {
    fn new() -> Self {
        let kms = ScriptedKms::new();
        let key = kms.create_key();
        Self { kms, key }
    }

    async fn wrapped(&self) -> Vec<u8> {
        session(&self.kms, &self.key).await.unwrap().encrypt(&secret(), &context(1)).await.unwrap()
    }
}

#[async_trait]
impl Subject for Scripted {
    fn kms(&self) -> &dyn RootKms {
        &self.kms
    }

    fn key(&self) -> RootKeyRef {
        self.key.clone()
    }

    fn unknown_key(&self) -> RootKeyRef {
        let key = self.kms.create_key();
        self.kms.destroy(key.key_arn());
        key
    }

    async fn disable(&self) {
        self.kms.set_state(self.key.key_arn(), KeyState::Disabled);
    }

    async fn enable(&self) {
        self.kms.set_state(self.key.key_arn(), KeyState::Enabled);
    }

    async fn schedule_deletion(&self) {
        self.kms.set_state(self.key.key_arn(), KeyState::PendingDeletion);
    }

    async fn cancel_deletion(&self) {
        self.enable().await;
    }

    fn blind_to_tampering(&self) -> Option<&'static str> {
        None
    }
}

async fn confirm(it: &Scripted, wrapped: &[u8], pauses: &AtomicUsize) -> Result<Secret, KmsError> {
    let pause = async {
        pauses.fetch_add(1, Ordering::SeqCst);
    };
    confirmed(
        &it.kms,
        &it.key,
        Purpose::Renew,
        pause,
        |session| async move { session.decrypt(wrapped, &context(1)).await },
    )
    .await
}

#[tokio::test]
async fn the_scripted_kms_conforms() {
    conforms(&Scripted::new()).await;
}

#[tokio::test]
async fn an_answer_in_the_name_of_another_key_is_refused_in_every_call() {
    let it = Scripted::new();
    let wrapped = it.wrapped().await;
    let session = session(&it.kms, &it.key).await.unwrap();
    let other = Cause::WrongKeyReturned(format!("{}-of-another", it.key.key_arn()));
    for action in [Action::Encrypt, Action::Decrypt, Action::DescribeKey] {
        it.kms.fault_next(action, Fault::WrongArn);
    }
    expect(session.encrypt(&secret(), &context(1)).await, Outcome::Misconfigured, &other);
    expect(session.decrypt(&wrapped, &context(1)).await, Outcome::Misconfigured, &other);
    expect(session.describe().await, Outcome::Misconfigured, &other);
}

#[tokio::test]
async fn an_invalid_state_means_what_describe_key_says() {
    use KeyState::{Creating, PendingDeletion, PendingImport, PendingReplicaDeletion, Unavailable, Unknown, Updating};
    let it = Scripted::new();
    let wrapped = it.wrapped().await;
    for (state, outcome) in [
        (PendingDeletion, Outcome::Revoked),
        (PendingReplicaDeletion, Outcome::Revoked),
        (PendingImport, Outcome::Revoked),
        (Creating, Outcome::Unreachable),
        (Updating, Outcome::Unreachable),
        (Unavailable, Outcome::Unreachable),
        (Unknown("Melting".to_owned()), Outcome::Unreachable),
    ] {
        it.kms.set_state(it.key.key_arn(), state.clone());
        let error = decrypt(&it.kms, &it.key, &wrapped).await.err().unwrap();
        assert_eq!(error.outcome(), outcome, "{state}: {error}");
        assert_eq!(error.code(), Some("KMSInvalidStateException"));
    }
    // The code alone, while the key says that it is disabled or enabled.
    it.kms.set_state(it.key.key_arn(), KeyState::Disabled);
    it.kms.fault_next(Action::Decrypt, Fault::Code("KMSInvalidStateException"));
    expect(decrypt(&it.kms, &it.key, &wrapped).await, Outcome::Revoked, &Cause::KeyDisabled);
    it.kms.set_state(it.key.key_arn(), KeyState::Enabled);
    it.kms.fault_next(Action::Decrypt, Fault::Code("KMSInvalidStateException"));
    let error = decrypt(&it.kms, &it.key, &wrapped).await.err().unwrap();
    assert_eq!(error.outcome(), Outcome::Unreachable, "{error}");
}

#[tokio::test]
async fn an_invalid_state_that_cannot_be_described_has_the_outcome_of_describing() {
    let it = Scripted::new();
    let wrapped = it.wrapped().await;
    it.kms.fault(Action::Decrypt, Fault::Code("KMSInvalidStateException"));
    it.kms.fault_next(Action::DescribeKey, Fault::NoConnection);
    expect(decrypt(&it.kms, &it.key, &wrapped).await, Outcome::Unreachable, &Cause::NoConnection);
    it.kms.fault_next(Action::DescribeKey, DENIED);
    let missing = Cause::PermissionMissing(Action::DescribeKey);
    expect(decrypt(&it.kms, &it.key, &wrapped).await, Outcome::Denied, &missing);
}

#[tokio::test]
async fn a_denial_that_a_second_fresh_session_meets_again_is_a_revocation() {
    let it = Scripted::new();
    let (wrapped, pauses) = (it.wrapped().await, AtomicUsize::new(0));
    let sessions = it.kms.calls(Action::AssumeRole);
    it.kms.fault(Action::Decrypt, DENIED);
    let result = confirm(&it, &wrapped, &pauses).await;
    expect(result, Outcome::Revoked, &Cause::PermissionMissing(Action::Decrypt));
    assert_eq!(it.kms.calls(Action::AssumeRole) - sessions, 2, "the second try has a session of its own");
    assert_eq!(pauses.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_role_that_refuses_twice_is_a_revocation() {
    let it = Scripted::new();
    let (wrapped, pauses) = (it.wrapped().await, AtomicUsize::new(0));
    it.kms.fault(Action::AssumeRole, Fault::Code("AccessDenied"));
    let result = confirm(&it, &wrapped, &pauses).await;
    expect(result, Outcome::Revoked, &Cause::RoleRefused);
    assert_eq!(pauses.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_denial_that_passes_is_none() {
    let it = Scripted::new();
    let (wrapped, pauses) = (it.wrapped().await, AtomicUsize::new(0));
    for action in [Action::Decrypt, Action::AssumeRole] {
        it.kms.fault_next(action, DENIED);
        assert!(confirm(&it, &wrapped, &pauses).await.unwrap().matches(&secret()));
    }
    assert_eq!(pauses.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn after_a_denial_the_second_answer_counts_whatever_it_is() {
    let it = Scripted::new();
    let (wrapped, pauses) = (it.wrapped().await, AtomicUsize::new(0));
    for (fault, outcome) in [
        (Fault::NoConnection, Outcome::Unreachable),
        (Fault::Code("ThrottlingException"), Outcome::Unreachable),
        (Fault::Code("ExpiredTokenException"), Outcome::Ours),
        (Fault::Code("DisabledException"), Outcome::Revoked),
    ] {
        it.kms.fault_next(Action::Decrypt, DENIED);
        it.kms.fault_next(Action::Decrypt, fault);
        assert_eq!(confirm(&it, &wrapped, &pauses).await.err().unwrap().outcome(), outcome);
    }
}

#[tokio::test]
async fn only_a_denial_is_tried_a_second_time() {
    let it = Scripted::new();
    let (wrapped, pauses) = (it.wrapped().await, AtomicUsize::new(0));
    for code in ["DisabledException", "NotFoundException", "InvalidClientTokenId", "InvalidCiphertextException"] {
        it.kms.fault_next(Action::Decrypt, Fault::Code(code));
        let calls = it.kms.calls(Action::Decrypt);
        assert!(confirm(&it, &wrapped, &pauses).await.is_err());
        assert_eq!(it.kms.calls(Action::Decrypt) - calls, 1, "{code}");
    }
    assert_eq!(pauses.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_may_pass_in_a_moment_is_tried_again_and_each_try_is_recorded() {
    let ledger = Arc::new(MemoryLedger::new(100));
    let retry = RetryPolicy { attempts: 3, base: Duration::from_millis(1), cap: Duration::from_millis(2) };
    let kms = ScriptedKms::with(ledger.clone(), retry);
    let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
    let key = kms.create_key_behind(role, Some("id-1".parse().unwrap())).unwrap();
    kms.fault_next(Action::AssumeRole, Fault::Code("Throttling"));
    kms.fault_next(Action::Encrypt, Fault::NoConnection);
    kms.fault_next(Action::Encrypt, Fault::Code("KMSInternalException"));
    session(&kms, &key).await.unwrap().encrypt(&secret(), &context(1)).await.unwrap();
    let lost = Err(Outcome::Unreachable);
    let seen: Vec<_> = ledger.entries().into_iter().map(|entry| (entry.action, entry.result)).collect();
    assert_eq!(
        seen,
        [
            (Action::AssumeRole, lost),
            (Action::AssumeRole, Ok(())),
            (Action::Encrypt, lost),
            (Action::Encrypt, lost),
            (Action::Encrypt, Ok(()))
        ]
    );
    let newest = ledger.entries().pop().unwrap();
    assert_eq!(newest.session.as_deref(), Some("arn:aws:iam::111122223333:role/custody/scripted"));
    assert_eq!(
        (newest.purpose, newest.provider, newest.context),
        (Purpose::Open, Provider::Scripted, Some(context(1)))
    );

    kms.fault(Action::Encrypt, Fault::TimedOut);
    let calls = kms.calls(Action::Encrypt);
    let result = session(&kms, &key).await.unwrap().encrypt(&secret(), &context(1)).await;
    expect(result, Outcome::Unreachable, &Cause::TimedOut);
    assert_eq!(kms.calls(Action::Encrypt) - calls, 3, "tries are bounded");
}

#[tokio::test]
async fn what_was_never_sent_is_not_recorded() {
    let ledger = Arc::new(MemoryLedger::new(10));
    let kms = ScriptedKms::with(ledger.clone(), RetryPolicy::NONE);
    let key = kms.create_key_behind("arn:aws:iam::111122223333:role/custody".parse().unwrap(), None).unwrap();
    kms.fault(Action::AssumeRole, Fault::NoCredentials);
    let error = session(&kms, &key).await.err().unwrap();
    assert_eq!((error.outcome(), error.cause()), (Outcome::Ours, &Cause::BaseCredential));
    assert_eq!(ledger.entries(), [], "CloudTrail can't have a line for it");
}

#[tokio::test]
async fn a_session_that_is_not_accepted_is_told_from_our_base_credential() {
    let it = Scripted::new();
    let behind = it.kms.create_key_behind("arn:aws:iam::111122223333:role/custody".parse().unwrap(), None).unwrap();
    for code in ["ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"] {
        for (key, cause) in [(&behind, Cause::Session), (&it.key, Cause::BaseCredential)] {
            it.kms.fault_next(Action::Encrypt, Fault::Code(code));
            let result = session(&it.kms, key).await.unwrap().encrypt(&secret(), &context(1)).await;
            expect(result, Outcome::Ours, &cause);
        }
    }
    it.kms.fault(Action::AssumeRole, Fault::Code("ExpiredToken"));
    expect(session(&it.kms, &behind).await.map(drop), Outcome::Ours, &Cause::BaseCredential);
}

#[tokio::test]
async fn a_no_is_not_tried_again() {
    let retry = RetryPolicy { attempts: 5, ..RetryPolicy::NONE };
    let kms = ScriptedKms::with(Arc::new(MemoryLedger::new(1)), retry);
    let key = kms.create_key();
    let session = session(&kms, &key).await.unwrap();
    for code in ["DisabledException", "AccessDeniedException", "ExpiredTokenException", "InvalidKeyUsageException"] {
        let calls = kms.calls(Action::Encrypt);
        kms.fault_next(Action::Encrypt, Fault::Code(code));
        assert!(session.encrypt(&secret(), &context(1)).await.is_err());
        assert_eq!(kms.calls(Action::Encrypt) - calls, 1, "{code}");
    }
}

#[tokio::test]
async fn a_key_of_a_provider_that_is_not_enabled_is_refused_before_any_call() {
    let scripted = Arc::new(ScriptedKms::new());
    let arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let aws = RootKeyRef::parse("aws", arn, None, None).unwrap();
    let key = scripted.create_key();
    let providers = Providers::new().with(Provider::Scripted, scripted.clone());
    let error = session(&providers, &aws).await.err().unwrap();
    assert_eq!((error.outcome(), error.cause()), (Outcome::Misconfigured, &Cause::ProviderDisabled));
    let error = session(&*scripted, &aws).await.err().unwrap();
    assert_eq!(error.cause(), &Cause::ProviderDisabled);
    assert_eq!(scripted.calls(Action::AssumeRole), 0);
    assert!(session(&providers, &key).await.is_ok());
}

#[tokio::test]
async fn a_probe_of_a_good_key_passes_every_step_under_the_validate_context() {
    let ledger = Arc::new(MemoryLedger::new(100));
    let kms = ScriptedKms::with(ledger.clone(), RetryPolicy::NONE);
    let key = kms.create_key();
    let found = probe(&kms, &key, &"in01-test".parse().unwrap(), async {}).await;
    assert_eq!(found.result(), Ok(()));
    assert_eq!([found.session, found.describe, found.encrypt, found.decrypt], [const { Step::Passed }; 4]);
    let entries = ledger.entries();
    assert!(entries.iter().all(|entry| entry.purpose == Purpose::Validate));
    let purposes: Vec<_> =
        entries.iter().filter_map(|entry| entry.context.as_ref()).map(EncryptionContext::purpose).collect();
    assert_eq!(purposes, [ContextPurpose::Validate; 2]);
}

#[tokio::test]
async fn a_probe_names_the_one_permission_that_is_missing() {
    let it = Scripted::new();
    let cluster = "in01-test".parse().unwrap();
    for action in [Action::DescribeKey, Action::Encrypt, Action::Decrypt] {
        it.kms.fault(action, DENIED);
        let found = probe(&it.kms, &it.key, &cluster, async {}).await;
        let error = found.result().unwrap_err();
        assert_eq!((error.outcome(), error.cause()), (Outcome::Revoked, &Cause::PermissionMissing(action)));
        assert!(error.to_string().contains(&format!("missing permission {action}")), "{error}");
        let failed = [&found.describe, &found.encrypt, &found.decrypt].map(|step| matches!(step, Step::Failed(_)));
        assert_eq!(failed.iter().filter(|failed| **failed).count(), 1, "the other steps are told apart");
        it.kms.heal();
    }
}

#[tokio::test]
async fn a_probe_that_the_role_refuses_skips_the_rest() {
    let it = Scripted::new();
    it.kms.fault(Action::AssumeRole, Fault::Code("AccessDenied"));
    let found = probe(&it.kms, &it.key, &"in01-test".parse().unwrap(), async {}).await;
    assert_eq!(found.result().unwrap_err().cause(), &Cause::RoleRefused);
    assert_eq!([found.describe, found.encrypt, found.decrypt], [const { Step::Skipped }; 3]);
}

#[tokio::test]
async fn a_probe_whose_second_session_is_refused_says_so() {
    let it = Scripted::new();
    it.kms.fault_next(Action::Encrypt, DENIED);
    let pause = async { it.kms.fault(Action::AssumeRole, Fault::NoCredentials) };
    let found = probe(&it.kms, &it.key, &"in01-test".parse().unwrap(), pause).await;
    let error = found.result().unwrap_err();
    assert_eq!((error.outcome(), error.cause()), (Outcome::Ours, &Cause::BaseCredential));
    assert_eq!(found.encrypt, Step::Skipped);
}

#[tokio::test]
async fn a_probe_refuses_keys_of_another_kind_or_state_and_answers_that_do_not_come_back() {
    let it = Scripted::new();
    let cluster = "in01-test".parse().unwrap();
    it.kms.fault(Action::Decrypt, Fault::Tamper);
    let error = probe(&it.kms, &it.key, &cluster, async {}).await.result().unwrap_err();
    assert_eq!(error.cause(), &Cause::WrongCiphertext);
    it.kms.heal();
    it.kms.set_state(it.key.key_arn(), KeyState::Disabled);
    let error = probe(&it.kms, &it.key, &cluster, async {}).await.result().unwrap_err();
    assert_eq!((error.outcome(), error.cause()), (Outcome::Revoked, &Cause::KeyDisabled));
    it.kms.set_state(it.key.key_arn(), KeyState::Enabled);
    let hmac = KeyUsage::Other { usage: "GENERATE_VERIFY_MAC".to_owned(), spec: "HMAC_256".to_owned() };
    it.kms.set_usage(it.key.key_arn(), hmac);
    let error = probe(&it.kms, &it.key, &cluster, async {}).await.result().unwrap_err();
    assert_eq!(error.outcome(), Outcome::Misconfigured);
    assert!(error.to_string().contains("GENERATE_VERIFY_MAC, HMAC_256"), "{error}");
}

#[tokio::test]
async fn an_error_says_what_failed_why_and_what_to_do() {
    let it = Scripted::new();
    it.kms.fault(Action::AssumeRole, Fault::Code("AccessDenied"));
    let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
    let key = it.kms.create_key_behind(role, Some("very-private-id".parse().unwrap())).unwrap();
    let text = session(&it.kms, &key).await.err().unwrap().to_string();
    for part in
        ["sts:AssumeRole", key.key_arn().as_str(), "wrong external id or trust policy", "AccessDenied", "check that"]
    {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(!text.contains("very-private-id"), "{text}");
}
