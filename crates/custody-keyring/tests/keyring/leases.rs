//! What happens to zones when their key is refused, out of reach, or comes back.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{
    DELAY, DENIED, GRACE, INTERVAL, OTHER, SECOND, World, ZONE, is_grace, is_sealed, policy, print_of, settle, until,
};
use custody_keyring::{LeasePolicy, SealReason, ZoneError, ZoneStatus};
use custody_kms::scripted::Fault;
use custody_kms::{Action, KeyState, Outcome};
use custody_seal::ZoneId;
use object_store::memory::InMemory;

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
        let proven = world.now();
        let zone = world.zone().await;
        world.kms.fault(Action::AssumeRole, fault);
        while world.now() + INTERVAL < proven + INTERVAL + GRACE {
            world.next_check().await;
            let ZoneStatus::Grace { until, .. } = zone.status() else { panic!("{}", zone.status()) };
            assert_eq!(until, proven + INTERVAL + GRACE, "no failure moves the end");
        }
        while world.now() + SECOND < proven + INTERVAL + GRACE {
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
