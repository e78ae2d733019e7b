//! Every answer that KMS or STS can give, or fail to give, brought through a live lease: what becomes of the zones.
//!
//! The codes are AWS's own, and pass through the same gate as in production.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{
    DELAY, GRACE, INTERVAL, SECOND, World, is_grace, is_sealed, keyring, policy, print_of, settle, until,
};
use custody_keyring::{LeasePolicy, ZoneStatus};
use custody_kms::scripted::{Fault, ScriptedKms};
use custody_kms::{Action, EncryptionContext, KeyState, MemoryLedger, Outcome, RetryPolicy};
use custody_seal::ZoneId;
use object_store::memory::InMemory;

/// What AWS says when it is the key's owner who says no; a denial among them counts once it is confirmed.
const NO: [(Action, &str); 5] = [
    (Action::Decrypt, "DisabledException"),
    (Action::Decrypt, "NotFoundException"),
    (Action::Decrypt, "AccessDeniedException"),
    (Action::AssumeRole, "AccessDenied"),
    (Action::AssumeRole, "AccessDeniedException"),
];

/// What says "not now", of either service.
const NOT_NOW: [&str; 20] = [
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "TooManyRequestsException",
    "SlowDown",
    "PriorRequestNotComplete",
    "KeyUnavailableException",
    "DependencyTimeoutException",
    "KMSInternalException",
    "InternalFailure",
    "InternalError",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "RequestTimeout",
    "IDPCommunicationError",
    "ACodeOfNextYearException",
];

/// What is our own fault: base credential, signature, clock.
const OURS: [&str; 14] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "MissingAuthenticationToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "RequestInTheFuture",
    "RegionDisabledException",
];

/// What can't work whatever the owner allows.
const MISCONFIGURED: [&str; 6] = [
    "InvalidKeyUsageException",
    "UnsupportedOperationException",
    "InvalidCiphertextException",
    "IncorrectKeyException",
    "InvalidArnException",
    "ValidationException",
];

/// States that the owner brought about, and states that pass by themselves.
const STATES: [(KeyState, Outcome); 7] = [
    (KeyState::Disabled, Outcome::Revoked),
    (KeyState::PendingDeletion, Outcome::Revoked),
    (KeyState::PendingReplicaDeletion, Outcome::Revoked),
    (KeyState::PendingImport, Outcome::Revoked),
    (KeyState::Creating, Outcome::Unreachable),
    (KeyState::Updating, Outcome::Unreachable),
    (KeyState::Unavailable, Outcome::Unreachable),
];

/// Runs a fault through its whole life on a zone beside a tenant's that has no trouble: it is met at a check, the zone
/// is served or not, grace runs and ends, and after healing the same key is back at the next check.
async fn live_through(world: &World, expected: Outcome, begin: impl Fn(&World), heal: impl Fn(&World), what: &str) {
    let (zone, tenant) = (world.zone().await, world.tenant_zone().await);
    let key = print_of(&zone).unwrap();
    settle().await;
    let since = world.now();
    begin(world);
    world.next_check().await;
    // The time in which a denial is confirmed.
    world.pass(2 * DELAY).await;
    assert_eq!(zone.status().outcome(), Some(expected), "{what}: {}", zone.status());
    match expected {
        Outcome::Unreachable | Outcome::Ours => {
            assert!(is_grace(&zone) && print_of(&zone) == Ok(key), "{what}: served on grace");
            while world.now() < since + INTERVAL + GRACE {
                world.clock.advance(60 * SECOND);
                settle().await;
            }
            assert_eq!(zone.status().outcome(), Some(expected), "{what}: the end of grace is no revocation");
        }
        Outcome::Denied | Outcome::Revoked | Outcome::Misconfigured => {}
    }
    assert!(is_sealed(&zone) && print_of(&zone).is_err(), "{what}: {}", zone.status());
    assert_eq!(tenant.status(), ZoneStatus::Available, "{what}: another key's zone");
    assert!(print_of(&tenant).is_ok());
    heal(world);
    world.pass(INTERVAL).await;
    assert_eq!(zone.status(), ZoneStatus::Available, "{what}: back by itself within one interval");
    assert_eq!(print_of(&zone), Ok(key), "{what}");
}

async fn live_through_code(action: Action, code: &'static str, expected: Outcome) {
    let fault = |world: &World| world.kms.fault_key(world.key.key_arn(), action, Fault::Code(code));
    live_through(&World::new(), expected, fault, |world| world.kms.heal(), &format!("{action}: {code}")).await;
}

#[tokio::test]
async fn every_no_seals_at_once_and_is_forgotten_when_it_is_taken_back() {
    for (action, code) in NO {
        live_through_code(action, code, Outcome::Revoked).await;
    }
}

#[tokio::test]
async fn every_not_now_runs_on_grace_then_seals_and_comes_back() {
    for code in NOT_NOW {
        for action in [Action::AssumeRole, Action::Decrypt] {
            live_through_code(action, code, Outcome::Unreachable).await;
        }
    }
}

#[tokio::test]
async fn every_fault_of_our_own_runs_on_grace_and_is_never_called_a_revocation() {
    for code in OURS {
        for action in [Action::AssumeRole, Action::Decrypt] {
            live_through_code(action, code, Outcome::Ours).await;
        }
    }
}

#[tokio::test]
async fn everything_that_cannot_work_seals_with_its_own_name() {
    for code in MISCONFIGURED {
        live_through_code(Action::Decrypt, code, Outcome::Misconfigured).await;
    }
}

#[tokio::test]
async fn every_state_of_a_key_does_what_its_owner_meant() {
    for (state, expected) in STATES {
        let what = state.to_string();
        let begin = |world: &World| world.kms.set_state(world.key.key_arn(), state.clone());
        let heal = |world: &World| world.kms.set_state(world.key.key_arn(), KeyState::Enabled);
        live_through(&World::new(), expected, begin, heal, &what).await;
    }
}

#[tokio::test]
async fn no_connection_no_answer_and_no_credentials_run_on_grace() {
    for (fault, expected) in [
        (Fault::NoConnection, Outcome::Unreachable),
        (Fault::TimedOut, Outcome::Unreachable),
        (Fault::Hang, Outcome::Unreachable),
        (Fault::NoCredentials, Outcome::Ours),
    ] {
        for action in [Action::AssumeRole, Action::Decrypt] {
            let begin = |world: &World| world.kms.fault_key(world.key.key_arn(), action, fault.clone());
            // A hung call is given up after 30 s, and only then it is known.
            let what = format!("{action}: {fault:?}");
            if fault == Fault::Hang {
                hang_through(&World::new(), begin, &what).await;
            } else {
                live_through(&World::new(), expected, begin, |world| world.kms.heal(), &what).await;
            }
        }
    }
}

async fn hang_through(world: &World, begin: impl Fn(&World), what: &str) {
    let (zone, tenant) = (world.zone().await, world.tenant_zone().await);
    let key = print_of(&zone);
    settle().await;
    let since = world.now();
    begin(world);
    world.next_check().await;
    world.pass(31 * SECOND).await;
    assert!(is_grace(&zone) && zone.status().outcome() == Some(Outcome::Unreachable), "{what}: {}", zone.status());
    while world.now() < since + INTERVAL + GRACE {
        world.clock.advance(60 * SECOND);
        settle().await;
    }
    assert!(is_sealed(&zone), "{what}");
    assert_eq!(tenant.status(), ZoneStatus::Available, "{what}");
    world.kms.heal();
    world.pass(INTERVAL).await;
    assert_eq!((zone.status(), print_of(&zone)), (ZoneStatus::Available, key), "{what}");
}

#[tokio::test]
async fn an_answer_that_comes_late_but_comes_is_an_answer() {
    let (kms, ledger, clock, keyring) = recorded();
    let zone = keyring.create_zone(ZoneId::new([1; 16]), None).await.unwrap();
    settle().await;
    let delay = Duration::from_millis(500);
    for action in [Action::AssumeRole, Action::Decrypt] {
        kms.fault(action, Fault::Delay(delay));
    }
    for _ in 0..3 {
        let (before, sessions, decrypts) =
            (seen(&ledger).len(), kms.calls(Action::AssumeRole), kms.calls(Action::Decrypt));
        // In real time, as the delays are; a call is recorded with its answer.
        let began = Instant::now();
        clock.advance(10 * SECOND);
        until("a check begins", || kms.calls(Action::AssumeRole) > sessions).await;
        settle().await;
        let waits = kms.calls(Action::Decrypt) == decrypts;
        assert!(waits || began.elapsed() >= delay, "the session is late");
        while seen(&ledger).len() < before + 2 && began.elapsed() < 60 * SECOND {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        settle().await;
        assert_eq!(seen(&ledger)[before..], [(Action::AssumeRole, Ok(())), (Action::Decrypt, Ok(()))]);
        assert_eq!((kms.calls(Action::Decrypt), zone.status()), (decrypts + 1, ZoneStatus::Available));
    }
}

#[tokio::test]
async fn the_last_seconds_of_grace_are_the_same_whatever_the_key_suffers() {
    // One trouble after another does not add up to more grace than one alone.
    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    let proven = world.now();
    for (fault, expected) in [
        (Fault::Code("ThrottlingException"), Outcome::Unreachable),
        (Fault::NoCredentials, Outcome::Ours),
        (Fault::Code("KMSInternalException"), Outcome::Unreachable),
        (Fault::Code("RequestTimeTooSkewed"), Outcome::Ours),
        (Fault::NoConnection, Outcome::Unreachable),
    ] {
        world.kms.heal();
        world.kms.fault(Action::AssumeRole, fault);
        world.next_check().await;
        let ZoneStatus::Grace { until, reason } = zone.status() else { panic!("{}", zone.status()) };
        assert_eq!((until, reason.outcome()), (proven + INTERVAL + GRACE, expected));
    }
    while world.now() + SECOND < proven + INTERVAL + GRACE {
        world.pass(SECOND).await;
    }
    assert!(print_of(&zone).is_ok());
    world.pass(SECOND).await;
    assert!(print_of(&zone).is_err() && is_sealed(&zone));
}

#[tokio::test]
async fn a_denial_whose_second_try_gets_no_answer_is_not_a_revocation() {
    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    world.kms.fault_next(Action::AssumeRole, Fault::Code("AccessDenied"));
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.next_check().await;
    world.pass(2 * DELAY).await;
    assert!(is_grace(&zone), "{}", zone.status());
    assert_eq!(zone.status().outcome(), Some(Outcome::Unreachable));
}

#[tokio::test]
async fn a_revoked_key_whose_kms_then_hangs_stays_revoked_and_recovers() {
    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    world.next_check().await;
    assert_eq!(zone.status().outcome(), Some(Outcome::Revoked));
    world.kms.fault(Action::AssumeRole, Fault::Hang);
    world.pass(2 * INTERVAL).await;
    assert!(is_sealed(&zone) && print_of(&zone).is_err());
    world.kms.set_state(world.key.key_arn(), KeyState::Enabled);
    world.kms.heal();
    world.pass(INTERVAL).await;
    assert_eq!(zone.status(), ZoneStatus::Available);
}

#[tokio::test]
async fn a_machine_suspended_during_a_renewal_wakes_sealed_and_the_answer_from_before_opens_nothing() {
    for action in [Action::AssumeRole, Action::Decrypt] {
        let world = World::new();
        let zone = world.zone().await;
        settle().await;
        world.kms.fault_next(action, Fault::Hang);
        world.next_check().await;
        // Asleep for longer than the lease, with the question on the wire; the key is disabled meanwhile.
        world.clock.advance(INTERVAL + GRACE);
        assert!(print_of(&zone).is_err(), "the first use after waking up, before any task ran");
        world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
        world.kms.heal();
        for _ in 0..5 {
            settle().await;
            assert!(print_of(&zone).is_err());
            world.pass(SECOND).await;
        }
        world.pass(INTERVAL).await;
        assert_eq!(zone.status().outcome(), Some(Outcome::Revoked), "{action}: {}", zone.status());
        world.kms.set_state(world.key.key_arn(), KeyState::Enabled);
        world.pass(INTERVAL).await;
        assert_eq!(zone.status(), ZoneStatus::Available);
    }
}

#[tokio::test]
async fn a_machine_suspended_within_its_lease_goes_on_until_the_same_end() {
    let world = World::new();
    let zone = world.zone().await;
    settle().await;
    let proven = world.now();
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    world.clock.advance((INTERVAL + GRACE).saturating_sub(SECOND));
    assert!(print_of(&zone).is_ok(), "a second is left");
    settle().await;
    let ZoneStatus::Grace { until, .. } = zone.status() else { panic!("{}", zone.status()) };
    assert_eq!(until, proven + INTERVAL + GRACE, "sleeping gives nothing back");
    world.pass(SECOND).await;
    assert!(print_of(&zone).is_err() && is_sealed(&zone));
}

#[tokio::test]
async fn two_keys_in_two_troubles_are_told_apart() {
    let world = World::new();
    let (zone, tenant) = (world.zone().await, world.tenant_zone().await);
    let both = (print_of(&zone), print_of(&tenant));
    settle().await;
    world.kms.fault_key(world.key.key_arn(), Action::AssumeRole, Fault::Hang);
    world.kms.fault_key(world.tenant.key_arn(), Action::Decrypt, Fault::Code("AccessDeniedException"));
    world.clock.advance(INTERVAL);
    settle().await;
    world.pass(40 * SECOND).await;
    assert_eq!(tenant.status().outcome(), Some(Outcome::Revoked), "a hanging neighbour does not delay a no");
    assert!(is_grace(&zone) && zone.status().outcome() == Some(Outcome::Unreachable), "nor the no seal the neighbour");
    assert!(print_of(&zone) == both.0 && print_of(&tenant).is_err());
    world.kms.heal();
    world.pass(INTERVAL).await;
    assert_eq!((zone.status(), tenant.status()), (ZoneStatus::Available, ZoneStatus::Available));
    assert_eq!((print_of(&zone), print_of(&tenant)), both);
}

// --- the record of the calls ---------------------------------------------------------------------------------------

/// A keyring that is checked every 10 s, whose calls are recorded.
fn recorded() -> (Arc<ScriptedKms>, Arc<MemoryLedger>, Arc<custody_keyring::FakeClock>, custody_keyring::Keyring) {
    let ledger = Arc::new(MemoryLedger::new(1000));
    let kms = Arc::new(ScriptedKms::with(ledger.clone(), RetryPolicy::NONE));
    let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
    let key = kms.create_key_behind(role, None).unwrap();
    let clock = Arc::new(custody_keyring::FakeClock::new());
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(InMemory::new());
    let policy = LeasePolicy { check_interval: 10 * SECOND, ..policy() };
    let keyring = keyring("in01-test", &store, kms.clone(), &key, vec![], policy, &clock);
    (kms, ledger, clock, keyring)
}

fn seen(ledger: &MemoryLedger) -> Vec<(Action, Result<(), Outcome>)> {
    ledger.entries().into_iter().map(|entry| (entry.action, entry.result)).collect()
}

#[tokio::test]
async fn each_version_of_each_zones_key_has_a_context_of_its_own() {
    let (_kms, ledger, _clock, keyring) = recorded();
    for zone in [1, 2].map(|byte| ZoneId::new([byte; 16])) {
        keyring.create_zone(zone, None).await.unwrap();
        let context =
            |version| EncryptionContext::zone_key("in01-test".parse().unwrap(), (*zone.as_bytes()).into(), version);
        for version in [1, 2] {
            if version > 1 {
                assert_eq!(keyring.new_version(zone).await.unwrap(), version);
            }
            let entries = ledger.entries();
            let newest = entries.iter().rev().find(|entry| entry.action == Action::Encrypt).unwrap();
            assert_eq!(newest.context, Some(context(version)));
            let unwrapped = entries.iter().filter(|entry| entry.action == Action::Decrypt);
            assert!(unwrapped.into_iter().any(|entry| entry.context == Some(context(version))), "{version}");
        }
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_is_recorded_too() {
    for action in [Action::AssumeRole, Action::Decrypt] {
        let (kms, ledger, clock, keyring) = recorded();
        let zone = keyring.create_zone(ZoneId::new([1; 16]), None).await.unwrap();
        settle().await;
        let before = seen(&ledger).len();
        kms.fault(action, Fault::Hang);
        clock.advance(10 * SECOND);
        settle().await;
        clock.advance(30 * SECOND);
        until("the call is given up", || is_grace(&zone)).await;
        let mut expected = vec![(action, Err(Outcome::Unreachable))];
        if action == Action::Decrypt {
            expected.insert(0, (Action::AssumeRole, Ok(())));
        }
        // The next check may have begun by now.
        let after = before + expected.len();
        assert_eq!(seen(&ledger)[before..after], expected);
        assert_eq!(ledger.entries()[after - 1].request_id, None);
    }
}

#[tokio::test]
async fn a_call_under_way_when_the_checks_are_ended_is_recorded_before_that_returns() {
    let (kms, ledger, clock, keyring) = recorded();
    let zone = keyring.create_zone(ZoneId::new([1; 16]), None).await.unwrap();
    settle().await;
    kms.fault(Action::Decrypt, Fault::Hang);
    let decrypts = kms.calls(Action::Decrypt);
    clock.advance(10 * SECOND);
    until("a decrypt is under way", || kms.calls(Action::Decrypt) > decrypts).await;
    let before = seen(&ledger).len();
    keyring.end_checks().await;
    assert_eq!(seen(&ledger)[before..], [(Action::Decrypt, Err(Outcome::Unreachable))]);
    assert!(print_of(&zone).is_ok(), "the lease runs out by itself");
    kms.heal();
    clock.advance(INTERVAL + GRACE);
    settle().await;
    assert!(print_of(&zone).is_err());
    assert_eq!(seen(&ledger).len(), before + 1, "nothing is asked any more");
}
