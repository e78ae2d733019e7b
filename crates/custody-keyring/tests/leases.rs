//! What happens to zones when their key is refused, out of reach, or comes back.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{
    DELAY, DENIED, GRACE, INTERVAL, OTHER, SECOND, World, ZONE, is_grace, is_sealed, policy, print_of, settle, until,
};
use custody_keyring::{
    CreateError, LONGEST_GRACE, LeasePolicy, PolicyError, SealReason, SetGraceError, UnknownKey, ZoneError, ZoneStatus,
};
use custody_kms::scripted::{Fault, ScriptedKms};
use custody_kms::{
    Action, Cause, EncryptionContext, KeyDescription, KeyState, KmsError, KmsSession, Outcome, Purpose, RootKeyRef,
    RootKms, Secret,
};
use custody_seal::ZoneId;
use object_store::memory::InMemory;
use tokio::sync::watch;

/// Faults that say nothing about the key's owner.
const NO_ANSWER: [(Fault, Outcome); 7] = [
    (Fault::NoConnection, Outcome::Unreachable),
    (Fault::TimedOut, Outcome::Unreachable),
    (Fault::Code("ThrottlingException"), Outcome::Unreachable),
    (Fault::Code("KMSInternalException"), Outcome::Unreachable),
    (Fault::NoCredentials, Outcome::Ours),
    (Fault::Code("ExpiredTokenException"), Outcome::Ours),
    (Fault::Code("InvalidSignatureException"), Outcome::Ours),
];

#[tokio::test]
async fn a_zone_lends_its_key_and_the_same_key_after_a_restart() {
    let world = World::new();
    let zone = world.zone().await;
    assert_eq!(zone.status(), ZoneStatus::Available);
    assert_eq!(zone.use_current(|version, _| version), Ok(1));
    assert_eq!(zone.use_version(1, |key| key.keyring_mac(b"which key is it")), print_of(&zone));
    let again = world.restarted();
    let reopened = again.open_zone(ZONE, None).await.unwrap();
    assert_eq!(print_of(&reopened), print_of(&zone));
    assert_eq!(zone.use_version(2, |_| ()), Err(ZoneError::NoSuchVersion { zone: ZONE, version: 2 }));
}

#[tokio::test]
async fn one_decrypt_in_one_fresh_session_renews_all_zones_of_a_key() {
    let world = World::new();
    let zone = world.zone().await;
    for byte in 2..6 {
        world.keyring.create_zone(ZoneId::new([byte; 16]), None).await.unwrap();
    }
    settle().await;
    for _ in 0..20 {
        let (decrypts, sessions) = (world.decrypts(), world.sessions());
        world.next_check().await;
        assert_eq!((world.decrypts() - decrypts, world.sessions() - sessions), (1, 1));
        assert!(world.keyring.zones().iter().all(|zone| zone.status() == ZoneStatus::Available));
        assert!(print_of(&zone).is_ok());
    }
}

#[tokio::test]
async fn files_cost_no_kms_call() {
    let world = World::new();
    let zone = world.zone().await;
    let (decrypts, sessions) = (world.decrypts(), world.sessions());
    for _ in 0..1000 {
        print_of(&zone).unwrap();
    }
    assert_eq!((world.decrypts(), world.sessions()), (decrypts, sessions));
}

#[tokio::test]
async fn a_no_seals_at_once_and_the_zone_comes_back_by_itself() {
    for state in [KeyState::Disabled, KeyState::PendingDeletion, KeyState::PendingImport] {
        let world = World::new();
        let zone = world.zone().await;
        let key = print_of(&zone).unwrap();
        world.kms.set_state(world.key.key_arn(), state.clone());
        world.next_check().await;
        let ZoneError::Sealed { reason, .. } = print_of(&zone).unwrap_err() else { panic!() };
        assert_eq!(reason.outcome(), Some(Outcome::Revoked), "{state}");
        assert!(reason.to_string().contains("revoked"), "{reason}");
        assert_eq!(zone.status(), ZoneStatus::Sealed(reason));

        world.next_check().await;
        assert!(is_sealed(&zone), "it is checked again, and the answer is still no");
        world.kms.set_state(world.key.key_arn(), KeyState::Enabled);
        world.next_check().await;
        assert_eq!(zone.status(), ZoneStatus::Available, "back within one interval");
        assert_eq!(print_of(&zone), Ok(key));
    }
}

#[tokio::test]
async fn a_destroyed_key_seals() {
    let world = World::new();
    let zone = world.zone().await;
    world.kms.destroy(world.key.key_arn());
    world.next_check().await;
    let status = zone.status();
    assert!(status.to_string().contains("no such key"), "{status}");
    assert_eq!(status.outcome(), Some(Outcome::Revoked));
}

#[tokio::test]
async fn a_denial_seals_only_when_a_second_session_meets_it_again() {
    let world = World::new();
    let zone = world.zone().await;
    for action in [Action::Decrypt, Action::AssumeRole] {
        world.kms.fault_next(action, DENIED);
        let sessions = world.sessions();
        world.next_check().await;
        assert_eq!(world.sessions() - sessions, 1, "the second try waits its delay");
        assert!(zone.status().is_usable());
        world.pass(DELAY).await;
        assert_eq!(world.sessions() - sessions, 2);
        assert_eq!(zone.status(), ZoneStatus::Available, "a denial that passed is none");
    }
    world.kms.fault(Action::AssumeRole, Fault::Code("AccessDenied"));
    world.next_check().await;
    assert!(zone.status().is_usable(), "not yet confirmed");
    world.pass(DELAY).await;
    assert_eq!(zone.status().outcome(), Some(Outcome::Revoked));
    assert!(is_sealed(&zone));
}

#[tokio::test]
async fn no_answer_is_served_on_grace_and_forgotten_when_an_answer_comes() {
    for (fault, outcome) in NO_ANSWER {
        let world = World::new();
        let zone = world.zone().await;
        world.kms.fault(Action::Decrypt, fault.clone());
        world.next_check().await;
        assert!(is_grace(&zone), "{fault:?}: {}", zone.status());
        assert_eq!(zone.status().outcome(), Some(outcome), "{fault:?}");
        assert!(print_of(&zone).is_ok());
        world.kms.heal();
        world.next_check().await;
        assert_eq!(zone.status(), ZoneStatus::Available, "{fault:?}");
    }
}

#[tokio::test]
async fn grace_counts_from_the_last_success_and_then_seals() {
    for (fault, outcome) in [NO_ANSWER[0].clone(), NO_ANSWER[4].clone()] {
        let world = World::new();
        let proven = world.clock_now();
        let zone = world.zone().await;
        world.kms.fault(Action::AssumeRole, fault);
        while world.clock_now() + INTERVAL < proven + INTERVAL + GRACE {
            world.next_check().await;
            let ZoneStatus::Grace { until, .. } = zone.status() else { panic!("{}", zone.status()) };
            assert_eq!(until, proven + INTERVAL + GRACE, "no failure moves the end");
        }
        while world.clock_now() + SECOND < proven + INTERVAL + GRACE {
            world.pass(SECOND).await;
        }
        assert!(print_of(&zone).is_ok(), "up to the last second");
        world.pass(SECOND).await;
        assert!(is_sealed(&zone) && print_of(&zone).is_err());
        let status = zone.status();
        assert_eq!(status.outcome(), Some(outcome), "never taken for a revocation");
        assert!(status.to_string().contains("grace period was over"), "{status}");

        world.kms.heal();
        world.next_check().await;
        assert_eq!(zone.status(), ZoneStatus::Available);
        assert!(print_of(&zone).is_ok());
    }
}

#[tokio::test]
async fn a_no_during_grace_seals_at_once() {
    let world = World::new();
    let zone = world.zone().await;
    world.kms.fault_next(Action::AssumeRole, Fault::NoConnection);
    world.next_check().await;
    assert!(is_grace(&zone));
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    world.next_check().await;
    assert_eq!(zone.status().outcome(), Some(Outcome::Revoked));
    assert!(print_of(&zone).is_err());
}

#[tokio::test]
async fn no_answer_after_a_no_does_not_soften_it() {
    let world = World::new();
    let zone = world.zone().await;
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    world.next_check().await;
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.next_check().await;
    assert_eq!(zone.status().outcome(), Some(Outcome::Revoked));
    assert!(print_of(&zone).is_err());
}

#[tokio::test]
async fn what_is_misconfigured_seals_with_its_reason() {
    for fault in [Fault::WrongArn, Fault::Tamper, Fault::Code("InvalidKeyUsageException")] {
        let world = World::new();
        let zone = world.zone().await;
        world.kms.fault(Action::Decrypt, fault.clone());
        world.next_check().await;
        assert!(is_sealed(&zone), "{fault:?}");
        assert_eq!(zone.status().outcome(), Some(Outcome::Misconfigured), "{fault:?}");
        world.kms.heal();
        world.next_check().await;
        assert_eq!(zone.status(), ZoneStatus::Available, "{fault:?}");
    }
}

#[tokio::test]
async fn without_grace_a_healthy_zone_never_blinks() {
    let world = World::with(LeasePolicy { grace: Duration::ZERO, ..policy() }, Arc::new(InMemory::new()));
    let zone = world.zone().await;
    for _ in 0..3 * INTERVAL.as_secs() {
        world.pass(SECOND).await;
        assert_eq!(zone.status(), ZoneStatus::Available);
        assert!(print_of(&zone).is_ok());
    }
}

#[tokio::test]
async fn without_grace_no_answer_seals_when_the_interval_is_over() {
    let world = World::with(LeasePolicy { grace: Duration::ZERO, ..policy() }, Arc::new(InMemory::new()));
    let zone = world.zone().await;
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.pass(INTERVAL.saturating_sub(SECOND)).await;
    assert!(print_of(&zone).is_ok());
    world.pass(SECOND).await;
    assert!(print_of(&zone).is_err());
}

#[tokio::test]
async fn a_renewal_that_hangs_extends_nothing() {
    let patient = LeasePolicy { call_timeout: Duration::from_mins(5), grace: Duration::from_mins(1), ..policy() };
    for policy in [policy(), patient] {
        for action in [Action::AssumeRole, Action::Decrypt] {
            let world = World::with(policy, Arc::new(InMemory::new()));
            let zone = world.zone().await;
            let term = INTERVAL + policy.grace;
            world.kms.fault(action, Fault::Hang);
            world.pass(term.saturating_sub(SECOND)).await;
            assert!(print_of(&zone).is_ok(), "{action} hangs, and the lease still runs");
            world.pass(SECOND).await;
            assert!(is_sealed(&zone) && print_of(&zone).is_err(), "{action} hangs past the lease");
            world.kms.heal();
            world.pass(INTERVAL).await;
            assert_eq!(zone.status(), ZoneStatus::Available);
        }
    }
}

#[tokio::test]
async fn a_renewal_that_hangs_counts_as_unreachable_when_its_call_is_given_up() {
    for action in [Action::AssumeRole, Action::Decrypt] {
        let world = World::new();
        let zone = world.zone().await;
        world.kms.fault(action, Fault::Hang);
        world.clock.advance(INTERVAL);
        settle().await;
        assert_eq!(zone.status(), ZoneStatus::Available, "nothing is known yet");
        world.pass(30 * SECOND).await;
        assert!(is_grace(&zone), "{action}: {}", zone.status());
        assert_eq!(zone.status().outcome(), Some(Outcome::Unreachable));
    }
}

#[tokio::test]
async fn the_end_of_the_lease_seals_a_zone_that_nobody_uses() {
    let world = World::new();
    let zone = world.zone().await;
    let told = zone.subscribe();
    world.kms.fault(Action::AssumeRole, Fault::Hang);
    world.pass(INTERVAL + GRACE).await;
    assert!(matches!(*told.borrow(), ZoneStatus::Sealed(SealReason::Expired { .. })), "{}", *told.borrow());
}

#[tokio::test]
async fn a_refusal_met_elsewhere_is_followed_up_at_once() {
    for opens in [true, false] {
        let world = World::new();
        world.keyring.create_zone(OTHER, None).await.unwrap();
        let again = world.restarted();
        let zone = again.open_zone(ZONE, None).await;
        assert!(zone.is_err(), "it does not exist yet");
        world.zone().await;
        let zone = again.open_zone(ZONE, None).await.unwrap();
        settle().await;
        world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
        if opens {
            assert!(is_sealed(&again.open_zone(OTHER, None).await.unwrap()));
        } else {
            assert!(again.create_zone(ZoneId::new([9; 16]), None).await.is_err());
        }
        let told = zone.subscribe();
        until("the zone is sealed, without waiting for the interval", || !told.borrow().is_usable()).await;
        assert_eq!(zone.status().outcome(), Some(Outcome::Revoked));
    }
}

#[tokio::test]
async fn a_machine_that_slept_past_the_lease_wakes_sealed_and_asks_at_once() {
    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    // No task gets to run between waking up and the first use.
    world.clock.advance(INTERVAL + GRACE);
    let ZoneError::Sealed { reason, .. } = print_of(&zone).unwrap_err() else { panic!() };
    assert_eq!(reason, SealReason::Expired { last: None });
    until("the zone is back", || zone.status() == ZoneStatus::Available).await;
    assert!(print_of(&zone).is_ok());
}

#[tokio::test]
async fn a_machine_that_slept_while_the_key_was_revoked_never_serves_again() {
    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    world.clock.advance(INTERVAL + GRACE);
    assert!(print_of(&zone).is_err() && is_sealed(&zone));
    until("the answer is known", || zone.status().outcome() == Some(Outcome::Revoked)).await;
}

#[tokio::test]
async fn a_wall_clock_set_forward_ends_the_lease_and_one_set_back_does_not_prolong_it() {
    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.clock.advance_wall(INTERVAL + GRACE);
    assert!(print_of(&zone).is_err(), "the wall clock alone ends it");

    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.clock.set_wall_back(24 * GRACE);
    assert!(print_of(&zone).is_ok());
    world.clock.advance_boot((INTERVAL + GRACE).saturating_sub(SECOND));
    assert!(print_of(&zone).is_ok());
    world.clock.advance_boot(SECOND);
    assert!(print_of(&zone).is_err(), "the boot clock alone ends it");
    settle().await;
    assert!(is_sealed(&zone));
}

#[tokio::test]
async fn the_status_never_says_usable_past_the_end_of_the_lease() {
    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    world.clock.advance(INTERVAL + GRACE);
    assert!(is_sealed(&zone));
}

#[tokio::test]
async fn one_keys_trouble_leaves_the_others_zones_serving() {
    let world = World::new();
    let (zone, tenant) = (world.zone().await, world.tenant_zone().await);
    world.kms.set_state(world.tenant.key_arn(), KeyState::Disabled);
    world.keyring.check_now().await;
    assert!(is_sealed(&tenant) && print_of(&tenant).is_err());
    assert_eq!(zone.status(), ZoneStatus::Available);
    assert!(print_of(&zone).is_ok());
    world.kms.set_state(world.tenant.key_arn(), KeyState::Enabled);
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    world.keyring.check_now().await;
    assert!(is_sealed(&zone) && tenant.status() == ZoneStatus::Available, "and the other way round");
}

#[tokio::test]
async fn one_key_that_hangs_does_not_hold_up_the_others() {
    let world = World::new();
    let (zone, tenant) = (world.zone().await, world.tenant_zone().await);
    world.kms.fault_key(world.tenant.key_arn(), Action::Decrypt, Fault::Hang);
    world.pass(INTERVAL + GRACE).await;
    assert!(is_sealed(&tenant));
    assert_eq!(zone.status(), ZoneStatus::Available);
}

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
    let asked = world.clock_now();
    world.pass(20 * SECOND).await;
    slow.open.send_replace(true);
    settle().await;
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.next_check().await;
    let ZoneStatus::Grace { until, .. } = zone.status() else { panic!("{}", zone.status()) };
    assert_eq!(until, asked + INTERVAL + GRACE);
}

impl World {
    fn clock_now(&self) -> std::time::SystemTime {
        use custody_keyring::Clock;
        self.clock.now().wall
    }
}
