//! Zones are made whole, opened under their own key, go dark with it, and are deleted whole.

use std::sync::Arc;

use crate::common::{Cluster, ZONE, at, cause, in_zone, read, rows};
use custody_keyring::{SealReason, ZoneStatus};
use custody_kms::scripted::Fault;
use custody_kms::{Action, KeyState, Outcome};
use custody_store::{PlainZones, StoreError, ZoneId, Zones, ZonesError};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use slatedb_common::retry::should_retry;

const OTHER: ZoneId = ZoneId::new([0x5a; 16]);

async fn everything(store: &dyn ObjectStore) -> usize {
    store.list(None).try_collect::<Vec<_>>().await.unwrap().len()
}

#[tokio::test]
async fn a_zone_that_was_made_can_be_opened() {
    let cluster = Cluster::in_memory();
    let zones = cluster.zones();
    assert!(zones.encrypted());
    let made = zones.create(ZONE, None).await.unwrap();
    assert_eq!((made.zone(), made.root()), (ZONE, in_zone(ZONE, "")));
    assert_eq!(made.status(), ZoneStatus::Available);
    made.objects().put(&at("a"), "row".into()).await.unwrap();
    let again = Cluster::reopened(
        Arc::clone(&cluster.inner),
        Arc::clone(&cluster.kms),
        cluster.key.clone(),
        cluster.tenant_key.clone(),
        "in01-test",
    );
    let opened = again.zones().open(ZONE, None).await.unwrap();
    assert_eq!(read(&opened.objects(), &at("a")).await.unwrap(), b"row");
    assert_eq!(again.zones().list().await.unwrap(), [ZONE]);
}

#[tokio::test]
async fn a_zone_that_could_not_be_made_leaves_nothing() {
    let cluster = Cluster::in_memory();
    for action in [Action::Encrypt, Action::Decrypt, Action::AssumeRole] {
        cluster.kms.fault(action, Fault::Code("DisabledException"));
        let error = cluster.zones().create(ZONE, None).await.unwrap_err();
        assert!(matches!(&error, ZonesError::Sealed(status) if !status.is_usable()), "{error}");
        assert_eq!(everything(&cluster.inner).await, 0);
        cluster.kms.heal();
    }
    cluster.zones().create(ZONE, None).await.unwrap();
}

#[tokio::test]
async fn a_zone_is_not_made_twice_nor_over_what_is_there() {
    let cluster = Cluster::in_memory();
    cluster.zone(ZONE).await;
    let error = cluster.zones().create(ZONE, None).await.unwrap_err();
    assert!(matches!(error, ZonesError::Exists(ZONE)), "{error}");
    cluster.overwrite(&in_zone(OTHER, "a"), b"plain".to_vec()).await;
    let error = cluster.zones().create(OTHER, None).await.unwrap_err();
    assert!(matches!(error, ZonesError::Exists(OTHER)), "{error}");
}

#[tokio::test]
async fn what_can_not_be_opened_says_why() {
    let cluster = Cluster::in_memory();
    let zones = cluster.zones();
    let stranger = cluster.kms.create_key().key_arn().to_string();
    let tenant = cluster.tenant_key.key_arn().to_string();
    cluster.zone(ZONE).await;
    let missing = zones.open(OTHER, None).await.unwrap_err();
    assert!(matches!(missing, ZonesError::NotFound(OTHER)), "{missing}");
    let unknown = zones.create(OTHER, Some(&stranger)).await.unwrap_err();
    assert!(matches!(unknown, ZonesError::UnknownKey(_)), "{unknown}");
    let nonsense = zones.open(ZONE, Some("my key")).await.unwrap_err();
    assert!(matches!(nonsense, ZonesError::UnknownKey(_)), "{nonsense}");
    let other_key = zones.open(ZONE, Some(&tenant)).await.unwrap_err();
    assert!(matches!(other_key, ZonesError::Misconfigured(_)), "{other_key}");
    assert_eq!(cluster.objects().await.len(), 0);
}

#[tokio::test]
async fn a_zone_of_a_revoked_key_opens_sealed_and_recovers() {
    let cluster = Cluster::in_memory();
    cluster.zone(ZONE).await.put(&at("a"), "row".into()).await.unwrap();
    let again = Cluster::reopened(
        Arc::clone(&cluster.inner),
        Arc::clone(&cluster.kms),
        cluster.key.clone(),
        cluster.tenant_key.clone(),
        "in01-test",
    );
    cluster.kms.set_state(cluster.key.key_arn(), KeyState::Disabled);
    let zone = again.zones().open(ZONE, None).await.unwrap();
    assert_eq!(zone.status().outcome(), Some(Outcome::Revoked));
    let error = read(&zone.objects(), &at("a")).await.unwrap_err();
    assert!(matches!(cause(&error), StoreError::Zone(_)), "{error}");
    cluster.kms.set_state(cluster.key.key_arn(), KeyState::Enabled);
    again.keyring.check_now().await;
    assert_eq!(zone.status(), ZoneStatus::Available);
    assert_eq!(read(&zone.objects(), &at("a")).await.unwrap(), b"row");
}

#[tokio::test]
async fn a_sealed_zone_answers_nothing() {
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    store.put(&at("a"), rows(100).into()).await.unwrap();
    let mut upload = store.put_multipart(&at("b")).await.unwrap();
    cluster.keyring.seal(ZONE);
    let errors = [
        store.put(&at("c"), "x".into()).await.unwrap_err(),
        store.put_multipart(&at("c")).await.unwrap_err(),
        upload.put_part("x".into()).await.unwrap_err(),
        upload.complete().await.unwrap_err(),
        read(&store, &at("a")).await.unwrap_err(),
        store.get_range(&at("a"), 0..1).await.unwrap_err(),
        store.get_ranges(&at("a"), &[0..1, 2..3]).await.unwrap_err(),
        store.head(&at("a")).await.unwrap_err(),
        store.delete(&at("a")).await.unwrap_err(),
        store.list(None).try_collect::<Vec<_>>().await.unwrap_err(),
        store.list_with_offset(None, &at("")).try_collect::<Vec<_>>().await.unwrap_err(),
        store.list_with_delimiter(None).await.unwrap_err(),
        store.copy(&at("a"), &at("c")).await.unwrap_err(),
        store.rename(&at("a"), &at("c")).await.unwrap_err(),
    ];
    for error in errors {
        let sealed = matches!(cause(&error), StoreError::Zone(custody_keyring::ZoneError::Sealed { .. }));
        assert!(sealed, "{error}");
        assert!(!should_retry(&error), "SlateDB would try for ever");
        assert!(error.to_string().contains("sealed by hand"), "{error}");
    }
    assert_eq!(cluster.objects().await, [at("a").to_string()]);
}

#[tokio::test]
async fn an_upload_that_was_begun_before_the_sealing_is_not_completed_after_it() {
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part(rows(100).into()).await.unwrap();
    cluster.keyring.seal(ZONE);
    upload.complete().await.unwrap_err();
    assert!(cluster.objects().await.is_empty());
}

#[tokio::test]
async fn a_read_that_was_begun_before_the_sealing_ends_at_it() {
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    store.put(&at("a"), rows(40 << 20).into()).await.unwrap();
    let mut stream = store.get(&at("a")).await.unwrap().into_stream();
    stream.try_next().await.unwrap().unwrap();
    cluster.keyring.seal(ZONE);
    let mut rest = 0;
    let error = loop {
        match stream.try_next().await {
            Ok(Some(piece)) => rest += piece.len(),
            Ok(None) => panic!("read to the end: {rest} more bytes"),
            Err(error) => break error,
        }
    };
    assert_eq!(rest, 0);
    assert!(matches!(cause(&error), StoreError::Zone(_)), "{error}");
}

#[tokio::test]
async fn a_header_that_is_known_does_not_outlive_the_lease() {
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    store.put(&at("a"), rows(100).into()).await.unwrap();
    store.get_range(&at("a"), 0..1).await.unwrap();
    cluster.keyring.seal(ZONE);
    store.get_range(&at("a"), 0..1).await.unwrap_err();
    cluster.keyring.unseal(ZONE);
    cluster.keyring.check_now().await;
    assert_eq!(store.get_range(&at("a"), 0..1).await.unwrap(), rows(1));
}

#[tokio::test]
async fn subscribers_hear_of_the_sealing() {
    let cluster = Cluster::in_memory();
    let zone = cluster.zones().create(ZONE, None).await.unwrap();
    let mut status = zone.subscribe();
    cluster.keyring.seal(ZONE);
    status.changed().await.unwrap();
    assert_eq!(*status.borrow(), ZoneStatus::Sealed(SealReason::Manual));
}

#[tokio::test]
async fn one_tenants_revocation_leaves_the_others_alone() {
    let cluster = Cluster::in_memory();
    let tenant = cluster.tenant_key.key_arn().to_string();
    let ours = cluster.zones().create(ZONE, None).await.unwrap();
    let theirs = cluster.zones().create(OTHER, Some(&tenant)).await.unwrap();
    ours.objects().put(&at("a"), "ours".into()).await.unwrap();
    theirs.objects().put(&in_zone(OTHER, "a"), "theirs".into()).await.unwrap();
    cluster.kms.set_state(cluster.tenant_key.key_arn(), KeyState::Disabled);
    cluster.keyring.check_now().await;
    assert!(!theirs.status().is_usable());
    read(&theirs.objects(), &in_zone(OTHER, "a")).await.unwrap_err();
    assert_eq!(read(&ours.objects(), &at("a")).await.unwrap(), b"ours");
}

#[tokio::test]
async fn a_deleted_zone_leaves_nothing_and_the_others_stay() {
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    let other = cluster.zone(OTHER).await;
    for name in ["a", "b/c", "b/d"] {
        store.put(&at(name), "row".into()).await.unwrap();
    }
    other.put(&in_zone(OTHER, "a"), "row".into()).await.unwrap();
    cluster.zones().delete(ZONE).await.unwrap();
    assert_eq!(cluster.zones().list().await.unwrap(), [OTHER]);
    let error = store.put(&at("a"), "late".into()).await.unwrap_err();
    assert!(matches!(cause(&error), StoreError::Zone(_)), "{error}");
    assert_eq!(read(&other, &in_zone(OTHER, "a")).await.unwrap(), b"row");
    let gone = cluster.zones().open(ZONE, None).await.unwrap_err();
    assert!(matches!(gone, ZonesError::NotFound(ZONE)), "{gone}");
    cluster.zones().delete(ZONE).await.unwrap();
}

#[tokio::test]
async fn a_sealed_zone_can_be_deleted() {
    let cluster = Cluster::in_memory();
    cluster.zone(ZONE).await.put(&at("a"), "row".into()).await.unwrap();
    cluster.kms.set_state(cluster.key.key_arn(), KeyState::PendingDeletion);
    cluster.keyring.check_now().await;
    cluster.zones().delete(ZONE).await.unwrap();
    assert_eq!(everything(&cluster.inner).await, 0);
}

#[tokio::test]
async fn plain_zones_store_what_they_are_given() {
    let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let zones = PlainZones::new(Arc::clone(&inner));
    assert!(!zones.encrypted());
    let zone = zones.create(ZONE, None).await.unwrap();
    assert_eq!(zone.status(), ZoneStatus::Available);
    zone.objects().put(&at("a"), "row".into()).await.unwrap();
    assert_eq!(read(&inner, &at("a")).await.unwrap(), b"row");
    assert!(matches!(zones.create(ZONE, None).await.unwrap_err(), ZonesError::Exists(ZONE)));
    zones.open(ZONE, None).await.unwrap();
    zones.delete(ZONE).await.unwrap();
    assert_eq!(everything(&inner).await, 0);
    // Nobody has to hear of a status that never changes, and the channel stays open.
    assert!(!zone.subscribe().has_changed().unwrap());
}

#[tokio::test]
async fn plain_zones_refuse_a_key() {
    let zones = PlainZones::new(Arc::new(InMemory::new()));
    for error in [zones.create(ZONE, Some("arn")).await.unwrap_err(), zones.open(ZONE, Some("arn")).await.unwrap_err()]
    {
        assert!(matches!(error, ZonesError::Misconfigured(_)), "{error}");
    }
}

#[tokio::test]
async fn nothing_is_stored_in_the_clear_beside_a_keyring() {
    let cluster = Cluster::in_memory();
    cluster.zone(ZONE).await;
    let zones = PlainZones::new(Arc::clone(&cluster.inner));
    let error = zones.open(ZONE, None).await.unwrap_err();
    assert!(matches!(error, ZonesError::Misconfigured(_)), "{error}");
    zones.create(ZONE, None).await.unwrap_err();
}
