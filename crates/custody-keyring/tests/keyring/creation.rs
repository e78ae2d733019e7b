//! Making and deleting zones and their versions: all or nothing, whoever fails or races.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{DENIED, INTERVAL, OTHER, World, ZONE, keyring, path, policy, print_of};
use async_trait::async_trait;
use custody_keyring::{CopyProblem, CreateError, OpenError, SealReason, SetupError, UnknownKey, ZoneStatus};
use custody_kms::scripted::Fault;
use custody_kms::{Action, Outcome, Provider, RootKeyRef};
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

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
    let again = world.restarted();
    assert_eq!(print_of(&again.open_zone(ZONE, None).await.unwrap()), print_of(&winners[0]));
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
    let waiting = world.pass(crate::common::DELAY + crate::common::SECOND);
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
    crate::common::settle().await;
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
