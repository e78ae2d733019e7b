//! The stored keyring: what tampering, loss, mix-ups and faults in the storage come to.

use std::ops::Deref;
use std::sync::Arc;

use crate::common::{OTHER, World, ZONE, is_sealed, keyring, path, policy, print_of};
use custody_keyring::{CopyName, CopyProblem, Keyring, OpenError, SealReason, Zone, ZoneStatus};
use custody_kms::scripted::Fault;
use custody_kms::{Action, KeyState, Outcome, Provider, RootKeyRef};
use custody_seal::{ClusterId, ZoneId};
use object_store::ObjectStoreExt;
use object_store::path::Path;

const BOTH: [&str; 2] = ["a", "b"];

/// A zone as another process has it open.
#[derive(Debug)]
struct Opened {
    zone: Arc<Zone>,
    _keyring: Keyring,
}

impl Deref for Opened {
    type Target = Zone;

    fn deref(&self) -> &Zone {
        &self.zone
    }
}

async fn open(world: &World) -> Result<Opened, OpenError> {
    let keyring = world.restarted();
    Ok(Opened { zone: keyring.open_zone(ZONE, None).await?, _keyring: keyring })
}

#[tokio::test]
async fn a_zone_is_stored_in_two_equal_copies_that_hold_no_key() {
    let world = World::new();
    let zone = world.zone().await;
    assert_eq!(world.objects().await, [path(ZONE, 1, "a"), path(ZONE, 1, "b")]);
    let bytes = world.read(&path(ZONE, 1, "a")).await;
    assert_eq!(bytes, world.read(&path(ZONE, 1, "b")).await);
    let key = zone.use_current(|_, key| *key.expose()).unwrap();
    assert!(!bytes.windows(8).any(|window| key.windows(8).any(|part| part == window)));
}

#[tokio::test]
async fn any_changed_byte_of_one_copy_is_noticed_mended_and_the_other_copy_serves() {
    let world = World::new();
    let key = print_of(world.zone().await.as_ref());
    let good = world.read(&path(ZONE, 1, "a")).await;
    for at in 0..good.len() {
        let name = BOTH[at % 2];
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        world.write(&path(ZONE, 1, name), &changed).await;
        let zone = open(&world).await.unwrap();
        assert_eq!(print_of(&zone), key, "byte {at}");
        let faults = zone.faults();
        assert_eq!(faults.len(), 1, "byte {at}: {faults:?}");
        assert_eq!((faults[0].copy == CopyName::A, faults[0].mended), (name == "a", true), "byte {at}");
        assert_eq!(world.read(&path(ZONE, 1, name)).await, good, "byte {at} is mended");
    }
}

#[tokio::test]
async fn any_changed_byte_in_both_copies_is_refused() {
    let world = World::new();
    world.zone().await;
    let good = world.read(&path(ZONE, 1, "a")).await;
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        for name in BOTH {
            world.write(&path(ZONE, 1, name), &changed).await;
        }
        let error = open(&world).await.expect_err("a changed keyring opened");
        assert!(matches!(error, OpenError::Unusable(_)), "byte {at}: {error}");
    }
}

#[tokio::test]
async fn every_truncation_and_anything_appended_is_refused_without_asking_kms() {
    let world = World::new();
    world.zone().await;
    let good = world.read(&path(ZONE, 1, "a")).await;
    let sessions = world.sessions();
    let appended = [good.clone(), vec![0]].concat();
    let huge = [good.clone(), vec![0; 20_000]].concat();
    for bytes in (0..good.len()).map(|length| &good[..length]).chain([&appended[..], &huge[..]]) {
        for name in BOTH {
            world.write(&path(ZONE, 1, name), bytes).await;
        }
        let Err(OpenError::Unusable(unusable)) = open(&world).await else { panic!("{} bytes opened", bytes.len()) };
        assert!(matches!((&*unusable.a, &*unusable.b), (CopyProblem::Damaged(_), CopyProblem::Damaged(_))));
    }
    assert_eq!(world.sessions(), sessions);
}

#[tokio::test]
async fn a_kms_that_gives_back_the_wrong_key_is_caught_by_the_mac() {
    let world = World::new();
    world.zone().await;
    world.kms.fault(Action::Decrypt, Fault::Tamper);
    let error = open(&world).await.unwrap_err();
    let OpenError::Unusable(unusable) = error else { panic!("{error}") };
    assert_eq!((*unusable.a, *unusable.b), (CopyProblem::Forged, CopyProblem::Forged));
}

/// The field in which a keyring is foreign, and that it was refused without a single call to KMS.
async fn foreign_field(world: &World, zone: ZoneId, again: &Keyring) -> &'static str {
    let sessions = world.sessions();
    let Err(OpenError::Unusable(unusable)) = again.open_zone(zone, None).await else { panic!("it opened") };
    assert_eq!(world.sessions(), sessions, "KMS was asked about a foreign keyring");
    let (CopyProblem::Foreign { field, .. }, CopyProblem::Foreign { field: other, .. }) = (&*unusable.a, &*unusable.b)
    else {
        panic!("{unusable}")
    };
    assert_eq!(field, other);
    field
}

#[tokio::test]
async fn a_keyring_that_names_anything_but_what_is_pinned_is_refused_before_any_call() {
    let world = World::new();
    world.zone().await;
    let policy = policy();
    let with = |cluster: &str, key: &RootKeyRef| {
        keyring(cluster, &world.store, world.kms.clone(), key, Vec::new(), policy, &world.clock)
    };
    assert_eq!(foreign_field(&world, ZONE, &with("in01-other", &world.key)).await, "cluster");
    assert_eq!(foreign_field(&world, ZONE, &with("in01-test", &world.tenant)).await, "key");
    let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
    let behind = RootKeyRef::new(Provider::Scripted, world.key.key_arn().clone(), Some(role), None).unwrap();
    assert_eq!(foreign_field(&world, ZONE, &with("in01-test", &behind)).await, "role");
    let aws = RootKeyRef::new(Provider::Aws, world.key.key_arn().clone(), None, None).unwrap();
    assert_eq!(foreign_field(&world, ZONE, &with("in01-test", &aws)).await, "provider");
}

#[tokio::test]
async fn a_keyring_moved_to_another_zone_is_refused_before_any_call() {
    let world = World::new();
    world.zone().await;
    for name in BOTH {
        let bytes = world.read(&path(ZONE, 1, name)).await;
        world.write(&path(OTHER, 1, name), &bytes).await;
    }
    assert_eq!(foreign_field(&world, OTHER, &world.restarted()).await, "zone");
}

#[tokio::test]
async fn an_older_version_under_a_newer_ones_name_is_refused_before_any_call() {
    let world = World::new();
    world.zone().await;
    world.keyring.new_version(ZONE).await.unwrap();
    for name in BOTH {
        let bytes = world.read(&path(ZONE, 1, name)).await;
        world.write(&path(ZONE, 2, name), &bytes).await;
    }
    assert_eq!(foreign_field(&world, ZONE, &world.restarted()).await, "zone key version");
}

#[tokio::test]
async fn a_self_signed_keyring_of_an_attackers_own_key_is_refused() {
    // He has a cluster of the same id, a zone of the same id and a KMS key that works: all but what is pinned outside.
    let world = World::new();
    world.zone().await;
    let attacker = World::new();
    let key = world.kms.create_key();
    let his = keyring("in01-test", &attacker.store, world.kms.clone(), &key, Vec::new(), policy(), &world.clock);
    his.create_zone(ZONE, None).await.unwrap();
    for name in BOTH {
        let bytes = attacker.read(&path(ZONE, 1, name)).await;
        world.write(&path(ZONE, 1, name), &bytes).await;
    }
    assert_eq!(foreign_field(&world, ZONE, &world.restarted()).await, "key");
}

#[tokio::test]
async fn a_lost_copy_is_reported_and_written_anew() {
    for (name, copy) in [("a", CopyName::A), ("b", CopyName::B)] {
        let world = World::new();
        let key = print_of(world.zone().await.as_ref());
        world.store.delete(&path(ZONE, 1, name)).await.unwrap();
        let zone = open(&world).await.unwrap();
        assert_eq!(print_of(&zone), key);
        let faults = zone.faults();
        assert_eq!((faults[0].copy, &faults[0].problem, faults[0].mended), (copy, &CopyProblem::Missing, true));
        assert_eq!(world.read(&path(ZONE, 1, "a")).await, world.read(&path(ZONE, 1, "b")).await);
        assert_eq!(open(&world).await.unwrap().faults(), []);
    }
}

#[tokio::test]
async fn without_any_keyring_nothing_is_opened_or_asked() {
    let world = World::new();
    assert!(matches!(world.keyring.open_zone(ZONE, None).await, Err(OpenError::NoKeyring(ZONE))));
    assert_eq!(world.sessions(), 0);
}

#[tokio::test]
async fn one_lost_version_of_several_stops_the_zone_from_opening_on_a_part() {
    let world = World::new();
    world.zone().await;
    world.keyring.new_version(ZONE).await.unwrap();
    for name in BOTH {
        world.write(&path(ZONE, 1, name), b"damaged").await;
    }
    let error = open(&world).await.unwrap_err();
    assert!(error.to_string().contains("version 1"), "{error}");
}

#[tokio::test]
async fn a_storage_rolled_back_below_a_known_version_is_refused() {
    let world = World::new();
    world.zone().await;
    world.keyring.new_version(ZONE).await.unwrap();
    for name in BOTH {
        world.store.delete(&path(ZONE, 2, name)).await.unwrap();
    }
    let again = world.restarted();
    let error = again.open_zone_at_least(ZONE, None, 2).await.unwrap_err();
    assert!(matches!(error, OpenError::RolledBack { found: 1, expected: 2, .. }), "{error}");
    assert!(again.open_zone_at_least(ZONE, None, 1).await.is_ok(), "without an anchor it can't be told");
    assert!(matches!(again.open_zone_at_least(ZONE, None, 2).await, Err(OpenError::RolledBack { .. })));
}

#[tokio::test]
async fn foreign_objects_beside_the_copies_are_ignored() {
    let world = World::new();
    let key = print_of(world.zone().await.as_ref());
    for name in ["0000000002.c", "2.a", "0000000000.a", "readme"] {
        world.write(&Path::from(format!("zones/{ZONE}/keyring/{name}")), b"junk").await;
    }
    assert_eq!(print_of(&open(&world).await.unwrap().zone), key);
}

#[tokio::test]
async fn a_copy_that_is_restored_while_the_zone_is_sealed_is_found_by_the_next_check() {
    let world = World::new();
    let key = print_of(world.zone().await.as_ref());
    let good = world.read(&path(ZONE, 1, "a")).await;
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    for name in BOTH {
        world.write(&path(ZONE, 1, name), &forged).await;
    }
    let again = world.restarted();
    world.kms.fault_next(Action::AssumeRole, Fault::NoConnection);
    let zone = again.open_zone(ZONE, None).await.unwrap();
    again.check_now().await;
    assert!(matches!(zone.status(), ZoneStatus::Sealed(SealReason::Keyring(_))), "{}", zone.status());
    assert_eq!(zone.status().outcome(), Some(Outcome::Misconfigured));
    world.write(&path(ZONE, 1, "b"), &good).await;
    again.check_now().await;
    assert_eq!(print_of(&zone), key);
    assert_eq!(world.read(&path(ZONE, 1, "a")).await, good, "and the other copy is mended");
}

#[tokio::test]
async fn one_zones_forged_keyring_does_not_seal_its_neighbours() {
    let world = World::new();
    world.zone().await;
    world.keyring.create_zone(OTHER, None).await.unwrap();
    let mut forged = world.read(&path(ZONE, 1, "a")).await;
    *forged.last_mut().unwrap() ^= 1;
    for name in BOTH {
        world.write(&path(ZONE, 1, name), &forged).await;
    }
    let again = world.restarted();
    world.kms.fault(Action::AssumeRole, Fault::NoConnection);
    let (bad, good) = (again.open_zone(ZONE, None).await.unwrap(), again.open_zone(OTHER, None).await.unwrap());
    assert!(is_sealed(&bad) && is_sealed(&good));
    world.kms.heal();
    again.check_now().await;
    assert!(print_of(&good).is_ok(), "{}", good.status());
    assert!(matches!(bad.status(), ZoneStatus::Sealed(SealReason::Keyring(_))), "{}", bad.status());
}

#[tokio::test]
async fn zones_opened_twice_are_the_same_zone() {
    let world = World::new();
    world.zone().await;
    let again = Arc::new(world.restarted());
    let one = again.open_zone(ZONE, None).await.unwrap();
    assert!(Arc::ptr_eq(&one, &again.open_zone(ZONE, None).await.unwrap()));
    let racing = Arc::new(world.restarted());
    let (one, two) = tokio::join!(racing.open_zone(ZONE, None), racing.open_zone(ZONE, None));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(Arc::ptr_eq(&one, &two) && print_of(&one).is_ok());
    world.kms.set_state(world.key.key_arn(), KeyState::Disabled);
    racing.check_now().await;
    assert!(is_sealed(&one));
}

#[test]
fn a_cluster_id_of_full_length_can_stand_in_a_context() {
    let id = "c".repeat(63);
    assert!(id.parse::<ClusterId>().is_ok() && id.parse::<custody_kms::ContextId>().is_ok());
}
