//! The stored keyring: what tampering, loss, mix-ups and faults in the storage come to.

#![allow(clippy::unwrap_used)]

mod common;

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use common::{DENIED, INTERVAL, OTHER, World, ZONE, is_sealed, keyring, path, policy, print_of};
use custody_keyring::{
    CopyName, CopyProblem, CreateError, Keyring, OpenError, SealReason, SetupError, UnknownKey, Zone, ZoneStatus,
};
use custody_kms::scripted::Fault;
use custody_kms::{Action, KeyState, Outcome, Provider, RootKeyRef};
use custody_seal::{ClusterId, ZoneId};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

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

async fn open(world: &World) -> std::result::Result<Opened, OpenError> {
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
async fn unknown_keys_and_contradictions_are_refused() {
    let world = World::new();
    let unknown = world.kms.create_key();
    let arn = unknown.key_arn().as_str();
    let error = world.keyring.create_zone(ZONE, Some(arn)).await.unwrap_err();
    assert!(matches!(&error, CreateError::Key(UnknownKey::NotAllowed(_))), "{error}");
    assert!(error.to_string().contains(arn), "{error}");
    let error = world.keyring.create_zone(ZONE, Some("alias/mine")).await.unwrap_err();
    assert!(matches!(error, CreateError::Key(UnknownKey::Arn(_))), "{error}");
    assert!(matches!(world.keyring.open_zone(ZONE, Some(arn)).await, Err(OpenError::Key(_))));
    assert!(world.objects().await.is_empty() && world.sessions() == 0);
    world.keyring.allow_key(unknown.clone()).unwrap();
    world.keyring.create_zone(ZONE, Some(arn)).await.unwrap();
    let role = "arn:aws:iam::111122223333:role/custody".parse().unwrap();
    let other = RootKeyRef::new(Provider::Scripted, unknown.key_arn().clone(), Some(role), None).unwrap();
    assert_eq!(world.keyring.allow_key(other), Err(SetupError::Contradiction(unknown.key_arn().clone())));
    assert!(matches!(world.keyring.open_zone(ZONE, None).await, Err(OpenError::OtherKey { .. })));
}

#[tokio::test]
async fn a_zone_that_exists_is_not_made_again_and_not_touched() {
    let world = World::new();
    world.zone().await;
    let before = world.read(&path(ZONE, 1, "a")).await;
    for keyring in [&world.keyring, &world.restarted()] {
        let error = keyring.create_zone(ZONE, None).await.unwrap_err();
        assert!(matches!(error, CreateError::Exists { version: 1, .. }), "{error}");
    }
    assert_eq!(world.read(&path(ZONE, 1, "a")).await, before);
    assert_eq!(world.read(&path(ZONE, 1, "b")).await, before);
}

#[tokio::test]
async fn of_many_that_make_the_same_zone_at_once_exactly_one_wins_and_its_keyring_stays() {
    let world = World::new();
    let racers: Vec<_> = (0..8).map(|_| Arc::new(world.restarted())).collect();
    let tasks: Vec<_> = racers
        .iter()
        .map(|racer| {
            let racer = racer.clone();
            tokio::spawn(async move { racer.create_zone(ZONE, None).await })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(zone) => winners.push(zone),
            Err(error) => assert!(matches!(error, CreateError::Exists { .. }), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(print_of(&open(&world).await.unwrap().zone), print_of(&winners[0]));
    assert_eq!(world.objects().await.len(), 2);
}

#[tokio::test]
async fn a_new_version_that_another_process_made_first_is_not_overwritten() {
    let world = World::new();
    let zone = world.zone().await;
    let again = world.restarted();
    again.open_zone(ZONE, None).await.unwrap();
    assert_eq!(again.new_version(ZONE).await.unwrap(), 2);
    let before = world.read(&path(ZONE, 2, "a")).await;
    let error = world.keyring.new_version(ZONE).await.unwrap_err();
    assert!(matches!(error, CreateError::Exists { version: 2, .. }), "{error}");
    assert_eq!(world.read(&path(ZONE, 2, "a")).await, before);
    assert_eq!(zone.use_current(|version, _| version), Ok(1));
    assert!(matches!(world.keyring.new_version(OTHER).await, Err(CreateError::NotOpen(OTHER))));
}

#[tokio::test]
async fn a_deleted_zone_is_sealed_for_good_and_leaves_nothing() {
    let world = World::new();
    let zone = world.zone().await;
    world.keyring.new_version(ZONE).await.unwrap();
    let kept = world.keyring.create_zone(OTHER, None).await.unwrap();
    world.keyring.delete_zone(ZONE).await.unwrap();
    assert_eq!(zone.status(), ZoneStatus::Sealed(SealReason::Deleted));
    assert!(!world.keyring.unseal(ZONE));
    world.clock.advance(INTERVAL);
    world.keyring.check_now().await;
    assert!(print_of(&zone).is_err() && print_of(&kept).is_ok());
    assert_eq!(world.objects().await, [path(OTHER, 1, "a"), path(OTHER, 1, "b")]);
    world.keyring.delete_zone(ZONE).await.unwrap();
    assert!(matches!(world.keyring.open_zone(ZONE, None).await, Err(OpenError::NoKeyring(_))));
}

#[tokio::test]
async fn whatever_kms_refuses_while_a_zone_is_made_leaves_nothing_behind() {
    for action in [Action::AssumeRole, Action::Encrypt, Action::Decrypt] {
        for fault in [Fault::Code("DisabledException"), Fault::NoConnection, Fault::WrongArn, Fault::Tamper] {
            if action == Action::AssumeRole && matches!(fault, Fault::WrongArn | Fault::Tamper) {
                continue;
            }
            let world = World::new();
            world.kms.fault(action, fault.clone());
            let error = world.keyring.create_zone(ZONE, None).await.unwrap_err();
            assert!(matches!(error, CreateError::Kms(_) | CreateError::NotReadBack(_)), "{action} {fault:?}: {error}");
            assert_eq!(world.objects().await, [], "{action} {fault:?}");
            assert!(world.keyring.zones().is_empty());
            world.kms.heal();
            assert!(world.keyring.create_zone(ZONE, None).await.is_ok(), "{action} {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_denial_while_a_zone_is_made_is_confirmed_before_it_is_reported() {
    let world = World::new();
    world.kms.fault(Action::Encrypt, DENIED);
    let making = world.keyring.create_zone(ZONE, None);
    let waiting = world.pass(common::DELAY + common::SECOND);
    let (made, ()) = tokio::join!(making, waiting);
    let CreateError::Kms(error) = made.unwrap_err() else { panic!() };
    assert_eq!(error.outcome(), Outcome::Revoked);
    assert_eq!(world.kms.calls(Action::Encrypt), 2);
}

#[tokio::test]
async fn a_zone_is_made_to_its_end_even_if_nobody_waits_for_it() {
    let world = World::new();
    world.kms.fault(Action::Decrypt, Fault::Hang);
    let result =
        tokio::time::timeout(std::time::Duration::from_millis(20), world.keyring.create_zone(ZONE, None)).await;
    assert!(result.is_err(), "it hangs, and its caller went away");
    assert_eq!(world.objects().await.len(), 2, "half made at that moment");
    world.kms.heal();
    common::settle().await;
    assert_eq!(world.objects().await, [], "and undone, since KMS did not unwrap it");
}

/// A store that fails at its n-th call, before or after doing it.
#[derive(Debug)]
struct Failing {
    inner: InMemory,
    calls: AtomicUsize,
    fails: Range<usize>,
    /// Whether the call is done all the same, as when only its answer is lost.
    done: bool,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

impl Failing {
    fn fails(&self) -> bool {
        self.fails.contains(&self.calls.fetch_add(1, Ordering::SeqCst))
    }

    fn error<T>() -> Result<T> {
        Err(Error::Generic { store: "failing", source: "scripted".into() })
    }
}

#[async_trait]
impl ObjectStore for Failing {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fails = self.fails();
        if fails && !self.done {
            return Self::error();
        }
        let result = self.inner.put_opts(location, payload, options).await;
        if fails { Self::error() } else { result }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.fails() { Self::error() } else { self.inner.get_opts(location, options).await }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.fails() {
            return Box::pin(futures::stream::once(async { Self::error() }));
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.fails() { Self::error() } else { self.inner.list_with_delimiter(prefix).await }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn failing(fails: Range<usize>, done: bool) -> (World, Arc<Failing>) {
    let store = Arc::new(Failing { inner: InMemory::new(), calls: AtomicUsize::new(0), fails, done });
    (World::with(policy(), store.clone()), store)
}

#[tokio::test]
async fn a_storage_that_fails_at_any_one_step_leaves_nothing_behind() {
    let (world, store) = failing(0..0, false);
    world.keyring.create_zone(ZONE, None).await.unwrap();
    let steps = store.calls.load(Ordering::SeqCst);
    assert_eq!(steps, 5, "list, two writes, two reads");
    for done in [false, true] {
        for step in 0..steps {
            let (world, _) = failing(step..step + 1, done);
            let error = world.keyring.create_zone(ZONE, None).await.unwrap_err();
            assert!(!matches!(error, CreateError::Leftover { .. }), "step {step}: {error}");
            assert_eq!(world.objects().await, [], "step {step}, done {done}: {error}");
        }
    }
}

#[tokio::test]
async fn what_could_not_be_removed_is_named() {
    // The second write and everything after it fails.
    let (world, store) = failing(2..100, false);
    let error = world.keyring.create_zone(ZONE, None).await.unwrap_err();
    let CreateError::Leftover { left, .. } = &error else { panic!("{error}") };
    assert!(left.contains(&path(ZONE, 1, "a")));
    assert!(error.to_string().contains("by hand"), "{error}");
    store.calls.store(1000, Ordering::SeqCst);
    assert_eq!(world.objects().await, [path(ZONE, 1, "a")]);
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_now_is_reported_and_not_overwritten() {
    let store = Arc::new(InMemory::new());
    let world = World::with(policy(), store.clone());
    world.zone().await;
    // Calls: list, read of copy a, read of copy b.
    let broken = Failing { inner: store.fork(), calls: AtomicUsize::new(0), fails: 1..2, done: false };
    let broken: Arc<dyn ObjectStore> = Arc::new(broken);
    let again = keyring("in01-test", &broken, world.kms.clone(), &world.key, Vec::new(), policy(), &world.clock);
    let zone = again.open_zone(ZONE, None).await.unwrap();
    assert!(print_of(&zone).is_ok());
    let faults = zone.faults();
    assert!(matches!(faults[0].problem, CopyProblem::Unreadable(_)) && !faults[0].mended, "{faults:?}");
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
