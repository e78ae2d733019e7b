//! Zones through their lives: opened sealed, recovered, sealed by hand, raced, dropped.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{DELAY, GRACE, INTERVAL, OTHER, SECOND, World, ZONE, is_grace, is_sealed, print_of, settle, until};
use async_trait::async_trait;
use custody_keyring::{CreateError, LONGEST_GRACE, PolicyError, SealReason, SetGraceError, UnknownKey, ZoneStatus};
use custody_kms::scripted::{Fault, ScriptedKms};
use custody_kms::{
    Action, Cause, EncryptionContext, KeyDescription, KeyState, KmsError, KmsSession, Outcome, Purpose, RootKeyRef,
    RootKms, Secret,
};
use custody_seal::ZoneId;
use tokio::sync::watch;

#[tokio::test]
async fn check_now_tells_each_keys_result() {
    let world = World::new();
    assert_eq!(world.keyring.check_now().await, [], "no zones, no keys to check");
    let (_zone, _tenant) = (world.zone().await, world.tenant_zone().await);
    world.kms.fault_key(world.tenant.key_arn(), Action::AssumeRole, Fault::NoConnection);
    let checks = world.keyring.check_now().await;
    let outcome = |key: &RootKeyRef| {
        let check = checks.iter().find(|check| check.key == *key.key_arn()).unwrap();
        check.result.clone().unwrap().map_err(|error| error.outcome())
    };
    assert_eq!((outcome(&world.key), outcome(&world.tenant)), (Ok(()), Err(Outcome::Unreachable)));
}

#[tokio::test]
async fn a_zone_opened_while_its_key_is_refused_is_sealed_and_recovers() {
    for (fault, outcome) in
        [(Fault::Code("DisabledException"), Outcome::Revoked), (Fault::NoConnection, Outcome::Unreachable)]
    {
        let world = World::new();
        let key = print_of(world.zone().await.as_ref());
        let again = world.restarted();
        world.kms.fault(Action::Decrypt, fault);
        let zone = again.open_zone(ZONE, None).await.unwrap();
        assert_eq!(zone.status().outcome(), Some(outcome));
        assert!(print_of(&zone).is_err());
        world.kms.heal();
        world.next_check().await;
        assert_eq!(zone.status(), ZoneStatus::Available);
        assert_eq!(print_of(&zone), key);
    }
}

#[tokio::test]
async fn recovery_brings_back_every_version() {
    let world = World::new();
    let zone = world.zone().await;
    assert_eq!(world.keyring.new_version(ZONE).await.unwrap(), 2);
    assert_eq!(world.keyring.new_version(ZONE).await.unwrap(), 3);
    let prints = |zone: &custody_keyring::Zone| [1, 2, 3].map(|v| zone.use_version(v, |key| key.keyring_mac(b"x")));
    let before = prints(&zone);
    assert!(before[0] != before[1] && before[1] != before[2]);
    assert_eq!(zone.use_current(|version, _| version), Ok(3));
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    world.keyring.check_now().await;
    assert!(prints(&zone).iter().all(Result::is_err));
    assert!(matches!(world.keyring.new_version(ZONE).await, Err(CreateError::Sealed { .. })));
    world.kms.set_state(world.key.key_arn(), KeyState::Enabled);
    world.keyring.check_now().await;
    assert_eq!(prints(&zone), before);
    let again = world.restarted();
    assert_eq!(prints(&again.open_zone(ZONE, None).await.unwrap()), before);
}

#[tokio::test]
async fn a_zone_that_cannot_be_made_seals_no_other() {
    let world = World::new();
    let zone = world.zone().await;
    world.kms.fault(Action::Encrypt, Fault::Code("DisabledException"));
    assert!(world.keyring.create_zone(OTHER, None).await.is_err());
    settle().await;
    assert_eq!(zone.status(), ZoneStatus::Available);
    assert!(print_of(&zone).is_ok());
}

#[tokio::test]
async fn a_seal_by_hand_asks_no_kms_and_lasts_until_it_is_ended_by_hand() {
    let world = World::new();
    let (zone, tenant) = (world.zone().await, world.tenant_zone().await);
    settle().await;
    let sessions = world.sessions();
    assert!(world.keyring.seal(ZONE));
    assert_eq!(zone.status(), ZoneStatus::Sealed(SealReason::Manual));
    assert!(print_of(&zone).is_err() && print_of(&tenant).is_ok());
    assert_eq!(world.sessions(), sessions);
    world.keyring.check_now().await;
    assert_eq!(zone.status(), ZoneStatus::Sealed(SealReason::Manual), "no check opens it");
    assert_eq!(
        world.kms.calls_on(world.key.key_arn(), Action::Decrypt),
        1,
        "nor decrypts its key: that was the creation"
    );
    assert!(world.keyring.unseal(ZONE));
    until("the zone is back", || zone.status() == ZoneStatus::Available).await;
    assert!(!world.keyring.seal(ZoneId::new([9; 16])) && !world.keyring.unseal(ZoneId::new([9; 16])));
}

#[tokio::test]
async fn a_zone_that_waits_for_a_person_opens_sealed_and_the_others_open() {
    let world = World::new();
    let (zone, tenant) = (world.zone().await, world.tenant_zone().await);
    let again = world.restarted();
    again.seal_at_opening(tenant.id());
    let later = again.open_zone(tenant.id(), Some(tenant.key().as_str())).await.unwrap();
    assert_eq!(later.status(), ZoneStatus::Sealed(SealReason::Manual));
    assert_eq!(print_of(&again.open_zone(ZONE, None).await.unwrap()), print_of(&zone));
    again.check_now().await;
    assert_eq!(later.status(), ZoneStatus::Sealed(SealReason::Manual), "no check opens it");
    assert!(again.unseal(tenant.id()));
    until("the zone is back", || later.status() == ZoneStatus::Available).await;
    // Unsealed before it is opened, it opens like any other.
    for all in [false, true] {
        let again = world.restarted();
        again.seal_at_opening(tenant.id());
        if all {
            again.unseal_all();
        } else {
            assert!(!again.unseal(tenant.id()), "it is not open");
        }
        let later = again.open_zone(tenant.id(), Some(tenant.key().as_str())).await.unwrap();
        assert_eq!(print_of(&later), print_of(&tenant));
    }
}

#[tokio::test]
async fn sealing_all_covers_what_is_opened_later_and_unsealing_still_needs_the_key() {
    let world = World::new();
    let zone = world.zone().await;
    let _tenant = world.tenant_zone().await;
    let again = world.restarted();
    again.seal_all();
    let sessions = world.sessions();
    let later = again.open_zone(ZONE, None).await.unwrap();
    assert_eq!(later.status(), ZoneStatus::Sealed(SealReason::Manual));
    assert_eq!(world.sessions(), sessions, "its key was not even asked for");
    let refused = again.create_zone(ZoneId::new([9; 16]), None).await;
    assert!(matches!(refused, Err(CreateError::Sealed { reason: SealReason::Manual, .. })));
    assert!(print_of(&zone).is_ok(), "the other process has its own say");

    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    again.unseal_all();
    until("the key is asked", || later.status().outcome() == Some(Outcome::Revoked)).await;
    world.kms.set_state(world.key.key_arn(), KeyState::Enabled);
    again.check_now().await;
    assert_eq!(print_of(&later), print_of(&zone));
}

#[tokio::test]
async fn a_dropped_keyring_leaves_nothing_open_and_nothing_running() {
    let world = World::new();
    let zone = world.zone().await;
    let World { keyring, kms, clock, .. } = world;
    settle().await;
    kms.fault(Action::Decrypt, Fault::Hang);
    clock.advance(INTERVAL);
    settle().await;
    assert!(clock.sleepers() > 0, "a check is under way, and hangs");
    drop(keyring);
    assert_eq!(zone.status(), ZoneStatus::Sealed(SealReason::Closed));
    assert!(print_of(&zone).is_err());
    until("the tasks have ended", || clock.sleepers() == 0).await;
    let sessions = kms.calls(Action::AssumeRole);
    clock.advance(10 * INTERVAL);
    settle().await;
    assert_eq!(kms.calls(Action::AssumeRole), sessions);
}

#[tokio::test]
async fn subscribers_see_each_change() {
    let world = World::new();
    let zone = world.zone().await;
    let mut changes = zone.subscribe();
    assert_eq!(*changes.borrow_and_update(), ZoneStatus::Available);
    world.kms.fault_next(Action::AssumeRole, Fault::NoConnection);
    world.keyring.check_now().await;
    changes.changed().await.unwrap();
    assert!(matches!(*changes.borrow_and_update(), ZoneStatus::Grace { .. }));
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    world.keyring.check_now().await;
    changes.changed().await.unwrap();
    assert!(matches!(*changes.borrow_and_update(), ZoneStatus::Sealed(SealReason::Kms(_))));
    world.kms.set_state(world.key.key_arn(), KeyState::Enabled);
    world.keyring.check_now().await;
    changes.changed().await.unwrap();
    assert_eq!(*changes.borrow_and_update(), ZoneStatus::Available);
}

#[tokio::test]
async fn a_keys_grace_is_its_own_and_a_shorter_one_counts_at_once() {
    let world = World::new();
    let (zone, tenant) = (world.zone().await, world.tenant_zone().await);
    world.keyring.set_grace(world.tenant.key_arn(), Duration::ZERO).unwrap();
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.pass(INTERVAL).await;
    assert!(is_sealed(&tenant) && is_grace(&zone));
    let longer = LONGEST_GRACE + SECOND;
    let refused = world.keyring.set_grace(world.key.key_arn(), longer);
    assert_eq!(refused, Err(SetGraceError::Policy(PolicyError::Grace(longer))));
    let unknown = world.kms.create_key();
    let refused = world.keyring.set_grace(unknown.key_arn(), GRACE);
    assert_eq!(refused, Err(SetGraceError::Key(UnknownKey::NotAllowed(unknown.key_arn().clone()))));
}

#[tokio::test]
async fn a_probe_of_a_bad_key_tells_the_cause_and_writes_nothing() {
    let world = World::new();
    assert_eq!(world.keyring.probe(None).await.unwrap().result(), Ok(()));
    world.kms.set_state(world.tenant.key_arn(), KeyState::Disabled);
    let found = world.keyring.probe(Some(world.tenant.key_arn().as_str())).await.unwrap();
    assert_eq!(found.result().unwrap_err().cause(), &Cause::KeyDisabled);
    assert!(world.keyring.probe(Some(world.kms.create_key().key_arn().as_str())).await.is_err());
    assert!(world.objects().await.is_empty());
}

/// A KMS whose answers to decrypts of one purpose can be held back after they were given.
struct Slow {
    kms: Arc<ScriptedKms>,
    purpose: Purpose,
    open: watch::Sender<bool>,
}

impl Slow {
    fn new(world: &World, purpose: Purpose) -> Arc<Self> {
        Arc::new(Self { kms: world.kms.clone(), purpose, open: watch::Sender::new(true) })
    }
}

struct SlowSession(Box<dyn KmsSession>, watch::Receiver<bool>);

#[async_trait]
impl RootKms for Slow {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        let mut open = self.open.subscribe();
        if purpose != self.purpose {
            open = watch::Sender::new(true).subscribe();
        }
        Ok(Box::new(SlowSession(self.kms.session(key, purpose).await?, open)))
    }
}

#[async_trait]
impl KmsSession for SlowSession {
    async fn encrypt(&self, secret: &Secret, context: &EncryptionContext) -> Result<Vec<u8>, KmsError> {
        self.0.encrypt(secret, context).await
    }

    async fn decrypt(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<Secret, KmsError> {
        let answer = self.0.decrypt(wrapped, context).await;
        let _ = self.1.clone().wait_for(|open| *open).await;
        answer
    }

    async fn describe(&self) -> Result<KeyDescription, KmsError> {
        self.0.describe().await
    }
}

#[tokio::test]
async fn an_answer_given_before_a_revocation_opens_nothing_after_it() {
    let world = World::new();
    let _zone = world.zone().await;
    world.keyring.create_zone(OTHER, None).await.unwrap();
    let slow = Slow::new(&world, Purpose::Open);
    let again = Arc::new(world.restarted_with(slow.clone()));
    let zone = again.open_zone(ZONE, None).await.unwrap();
    slow.open.send_replace(false);
    let opening = tokio::spawn({
        let again = again.clone();
        async move { again.open_zone(OTHER, None).await.unwrap() }
    });
    let decrypts = world.decrypts();
    until("the key was unwrapped, and the answer is under way", || world.decrypts() > decrypts).await;
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    again.check_now().await;
    assert!(is_sealed(&zone));
    // No later check can hide what the late answer does.
    world.kms.fault(Action::AssumeRole, Fault::Hang);
    slow.open.send_replace(true);
    let other = opening.await.unwrap();
    assert!(print_of(&other).is_err() && print_of(&zone).is_err(), "{} {}", other.status(), zone.status());
}

/// A KMS whose key policy denies one zone by its EncryptionContext.
struct Denying(Arc<ScriptedKms>);

struct DenyingSession(Box<dyn KmsSession>, RootKeyRef);

#[async_trait]
impl RootKms for Denying {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        Ok(Box::new(DenyingSession(self.0.session(key, purpose).await?, key.clone())))
    }
}

#[async_trait]
impl KmsSession for DenyingSession {
    async fn encrypt(&self, secret: &Secret, context: &EncryptionContext) -> Result<Vec<u8>, KmsError> {
        self.0.encrypt(secret, context).await
    }

    async fn decrypt(&self, wrapped: &[u8], context: &EncryptionContext) -> Result<Secret, KmsError> {
        if context.zone().as_str() == OTHER.to_string() {
            let missing = Cause::PermissionMissing(Action::Decrypt);
            return Err(KmsError::new(self.1.key_arn(), Outcome::Denied, missing));
        }
        self.0.decrypt(wrapped, context).await
    }

    async fn describe(&self) -> Result<KeyDescription, KmsError> {
        self.0.describe().await
    }
}

#[tokio::test]
async fn a_condition_that_denies_one_zone_keeps_that_zone_sealed_and_no_other() {
    let world = World::new();
    world.zone().await;
    world.keyring.create_zone(OTHER, None).await.unwrap();
    let again = world.restarted_with(Arc::new(Denying(world.kms.clone())));
    let (denied, ()) = tokio::join!(again.open_zone(OTHER, None), world.pass(2 * DELAY));
    let denied = denied.unwrap();
    assert_eq!(denied.status().outcome(), Some(Outcome::Revoked));
    let zone = again.open_zone(ZONE, None).await.unwrap();
    for _ in 0..3 {
        world.next_check().await;
        world.pass(2 * DELAY).await;
        assert_eq!(zone.status(), ZoneStatus::Available);
        assert_eq!(denied.status().outcome(), Some(Outcome::Revoked), "{}", denied.status());
        assert!(print_of(&zone).is_ok() && print_of(&denied).is_err());
    }
}

#[tokio::test]
async fn a_slow_answer_counts_from_when_it_was_asked_for() {
    let world = World::new();
    world.zone().await;
    let slow = Slow::new(&world, Purpose::Renew);
    let again = world.restarted_with(slow.clone());
    let zone = again.open_zone(ZONE, None).await.unwrap();
    settle().await;
    slow.open.send_replace(false);
    let sessions = world.sessions();
    while world.sessions() < sessions + 2 {
        world.pass(SECOND).await;
    }
    let asked = world.now();
    world.pass(20 * SECOND).await;
    slow.open.send_replace(true);
    settle().await;
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.next_check().await;
    let ZoneStatus::Grace { until, .. } = zone.status() else { panic!("{}", zone.status()) };
    assert_eq!(until, asked + INTERVAL + GRACE);
}
