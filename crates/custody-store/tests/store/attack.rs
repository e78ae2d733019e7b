//! Whoever can write to the bucket can destroy, and can't make the store give out anything that was not written there.

use std::sync::Arc;

use crate::common::{CHUNK, Cluster, ZONE, at, cause, in_zone, read, rows};
use custody_seal::{ChunkError, HEADER_LEN, HeaderError, OpenError, UnsealError};
use custody_store::{SealedStore, StoreError, ZoneId};
use object_store::{ObjectStore, ObjectStoreExt};
use slatedb_common::retry::should_retry;

async fn written(rows: &[u8]) -> (Cluster, SealedStore) {
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    store.put(&at("a"), rows.to_vec().into()).await.unwrap();
    (cluster, store)
}

/// Reads whole and by range, and gives what was found, which has to be the same.
async fn found(store: &SealedStore, name: &str) -> OpenError {
    let whole = read(store, &at(name)).await.unwrap_err();
    let part = store.get_range(&at(name), 0..1).await.unwrap_err();
    let error = |error: &object_store::Error| match cause(error) {
        StoreError::Tampered { error, .. } => *error,
        other => panic!("{other}"),
    };
    assert_eq!(error(&whole), error(&part));
    assert!(!should_retry(&whole), "no retry mends it");
    error(&whole)
}

#[tokio::test]
async fn what_is_stored_shows_nothing_of_the_rows() {
    let (cluster, _store) = written(b"the canary sings in the coal mine").await;
    let stored = cluster.stored(&at("a")).await;
    assert!(!stored.windows(6).any(|window| window == b"canary"));
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    let (cluster, store) = written(b"a row").await;
    let stored = cluster.stored(&at("a")).await;
    for bit in 0..8 * stored.len() {
        let mut flipped = stored.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        cluster.overwrite(&at("a"), flipped).await;
        let error = read(&store, &at("a")).await.unwrap_err();
        // A flipped bit of the zone key's version may name one that is not there; a chunk size may not be the store's.
        let named = matches!(
            (bit / 8, cause(&error)),
            (_, StoreError::Tampered { .. }) | (32..36, StoreError::Zone(_)) | (11, StoreError::ChunkSize { .. })
        );
        assert!(named, "bit {bit}: {error}");
    }
    cluster.overwrite(&at("a"), stored).await;
    assert_eq!(read(&store, &at("a")).await.unwrap(), b"a row");
}

#[tokio::test]
async fn a_cut_at_any_length_is_found_by_any_read() {
    let (cluster, store) = written(b"a row").await;
    let stored = cluster.stored(&at("a")).await;
    for length in 0..stored.len() {
        cluster.overwrite(&at("a"), stored[..length].to_vec()).await;
        found(&store, "a").await;
        store.get_range(&at("a"), 3..5).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_cut_at_a_chunk_is_found_when_the_end_is_read() {
    let (cluster, store) = written(&rows(3 * CHUNK)).await;
    let mut stored = cluster.stored(&at("a")).await;
    stored.truncate(HEADER_LEN + 2 * (CHUNK + 16));
    cluster.overwrite(&at("a"), stored).await;
    let truncated = OpenError::Chunk(ChunkError::Truncated { index: 1 });
    let end = store.get_range(&at("a"), 2 * CHUNK as u64 - 1..2 * CHUNK as u64).await.unwrap_err();
    for error in [read(&store, &at("a")).await.unwrap_err(), end] {
        assert!(matches!(cause(&error), StoreError::Tampered { error, .. } if *error == truncated), "{error}");
    }
    // A read in the middle proves its own bytes, and nothing of the length.
    assert_eq!(store.get_range(&at("a"), 0..5).await.unwrap(), rows(5));
}

#[tokio::test]
async fn a_file_is_not_said_to_be_short_by_its_length_alone() {
    let (cluster, store) = written(&rows(9 * CHUNK)).await;
    let mut stored = cluster.stored(&at("a")).await;
    for chunks in [1, 5] {
        stored.truncate(HEADER_LEN + chunks * (CHUNK + 16));
        cluster.overwrite(&at("a"), stored.clone()).await;
        let beyond = store.get_range(&at("a"), 8 * CHUNK as u64..9 * CHUNK as u64).await.unwrap_err();
        assert!(matches!(cause(&beyond), StoreError::Tampered { .. }), "{beyond}");
        let range = Some(object_store::GetRange::Suffix(0));
        let nothing = store.get_opts(&at("a"), object_store::GetOptions { range, ..Default::default() }).await;
        assert!(matches!(cause(&nothing.unwrap_err()), StoreError::Tampered { .. }));
    }
}

#[tokio::test]
async fn an_object_is_not_said_to_be_empty_by_its_length_alone() {
    let (cluster, store) = written(&rows(3 * CHUNK)).await;
    let mut stored = cluster.stored(&at("a")).await;
    stored.truncate(HEADER_LEN + 16);
    cluster.overwrite(&at("a"), stored).await;
    let error = store.head(&at("a")).await.unwrap_err();
    assert!(matches!(cause(&error), StoreError::Tampered { .. }), "{error}");
    let (_cluster, empty) = written(b"").await;
    assert_eq!(empty.head(&at("a")).await.unwrap().size, 0);
}

#[tokio::test]
async fn two_objects_swapped_do_not_open() {
    let (cluster, store) = written(b"one").await;
    store.put(&at("b"), "two".into()).await.unwrap();
    let (a, b) = (cluster.stored(&at("a")).await, cluster.stored(&at("b")).await);
    cluster.overwrite(&at("a"), b).await;
    cluster.overwrite(&at("b"), a).await;
    assert_eq!(found(&store, "a").await, UnsealError::OtherPath.into());
    assert_eq!(found(&store, "b").await, UnsealError::OtherPath.into());
}

#[tokio::test]
async fn a_swap_is_found_behind_a_header_that_is_known_already() {
    let (cluster, store) = written(&rows(2 * CHUNK)).await;
    store.put(&at("b"), rows(2 * CHUNK).into()).await.unwrap();
    assert_eq!(store.get_range(&at("a"), 0..5).await.unwrap(), rows(5));
    let b = cluster.stored(&at("b")).await;
    cluster.overwrite(&at("a"), b).await;
    assert_eq!(found(&store, "a").await, UnsealError::OtherPath.into());
}

#[tokio::test]
async fn the_header_of_one_does_not_open_the_body_of_another() {
    let (cluster, store) = written(b"one").await;
    store.put(&at("b"), "two".into()).await.unwrap();
    let (a, b) = (cluster.stored(&at("a")).await, cluster.stored(&at("b")).await);
    cluster.overwrite(&at("a"), [&a[..HEADER_LEN], &b[HEADER_LEN..]].concat()).await;
    assert_eq!(found(&store, "a").await, ChunkError::Damaged { index: 0 }.into());
}

#[tokio::test]
async fn a_plaintext_object_is_never_read() {
    let (cluster, store) = written(b"a row").await;
    for plain in [b"another row".to_vec(), rows(10_000)] {
        cluster.overwrite(&at("a"), plain).await;
        assert_eq!(found(&store, "a").await, HeaderError::NotSealed.into());
    }
    cluster.overwrite(&at("a"), Vec::new()).await;
    assert_eq!(found(&store, "a").await, HeaderError::Short { length: 0 }.into());
}

#[tokio::test]
async fn an_object_of_another_zone_does_not_open() {
    let (cluster, store) = written(b"a row").await;
    let other = ZoneId::new([0x5a; 16]);
    let elsewhere = cluster.zone(other).await;
    elsewhere.put(&in_zone(other, "a"), "theirs".into()).await.unwrap();
    let theirs = cluster.stored(&in_zone(other, "a")).await;
    cluster.overwrite(&at("a"), theirs).await;
    assert_eq!(found(&store, "a").await, UnsealError::OtherZone { expected: ZONE, found: other }.into());
}

#[tokio::test]
async fn a_zone_that_is_brought_into_another_cluster_does_not_open() {
    let (cluster, _store) = written(b"a row").await;
    // The whole prefix is copied, keyring and all, to a cluster that lives under the same root key.
    let copied = Cluster::reopened(
        Arc::clone(&cluster.inner),
        Arc::clone(&cluster.kms),
        cluster.key.clone(),
        cluster.tenant_key.clone(),
        "in01-other",
    );
    copied.zones().open_sealed(ZONE, None).await.unwrap_err();
}

#[tokio::test]
async fn nothing_outside_the_zone_is_reached() {
    let (cluster, store) = written(b"a row").await;
    let other = ZoneId::new([0x5a; 16]);
    cluster.zone(other).await;
    let outside = [
        in_zone(other, "a"),
        "a".into(),
        "zones".into(),
        in_zone(ZONE, "keyring/0000000001.a"),
        in_zone(ZONE, "keyring/x"),
    ];
    for path in outside {
        let refused = |error: &object_store::Error| matches!(cause(error), StoreError::OutsideZone { .. });
        assert!(refused(&store.put(&path, "x".into()).await.unwrap_err()));
        assert!(refused(&store.put_multipart(&path).await.unwrap_err()));
        assert!(refused(&store.get(&path).await.unwrap_err()));
        assert!(refused(&store.head(&path).await.unwrap_err()));
        assert!(refused(&store.get_ranges(&path, &[0..1, 2..3]).await.unwrap_err()));
        assert!(refused(&store.copy(&at("a"), &path).await.unwrap_err()));
        assert!(refused(&store.copy(&path, &at("b")).await.unwrap_err()));
        assert!(refused(&store.rename(&at("a"), &path).await.unwrap_err()));
        assert!(refused(&store.rename(&path, &path).await.unwrap_err()));
        assert!(refused(&store.delete(&path).await.unwrap_err()));
        assert!(refused(&store.list_with_delimiter(Some(&path)).await.unwrap_err()));
    }
}

#[tokio::test]
async fn the_keyring_is_not_among_the_objects() {
    use futures::TryStreamExt;
    let (_cluster, store) = written(b"a row").await;
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].location.clone(), listed[0].size), (at("a"), 5));
    let shallow = store.list_with_delimiter(None).await.unwrap();
    assert!(shallow.common_prefixes.is_empty());
    assert_eq!(shallow.objects.len(), 1);
}

#[tokio::test]
async fn a_listing_with_an_impossible_length_in_it_fails() {
    use futures::TryStreamExt;
    let (cluster, store) = written(b"a row").await;
    cluster.overwrite(&at("z"), vec![0; 100]).await;
    let error = store.list(None).try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(cause(&error), StoreError::Tampered { .. }));
    assert!(matches!(cause(&store.head(&at("z")).await.unwrap_err()), StoreError::Tampered { .. }));
}

#[tokio::test]
async fn verify_names_every_object_that_does_not_open() {
    use futures::TryStreamExt;
    let (cluster, store) = written(&rows(3 * CHUNK + 5)).await;
    for name in ["b", "c", "d", "e", "f/g"] {
        store.put(&at(name), rows(100).into()).await.unwrap();
    }
    let mut cut = cluster.stored(&at("a")).await;
    cut.truncate(HEADER_LEN + 3 * (CHUNK + 16));
    cluster.overwrite(&at("a"), cut).await;
    cluster.overwrite(&at("b"), cluster.stored(&at("c")).await).await;
    cluster.overwrite(&at("d"), b"plain".to_vec()).await;
    cluster.overwrite(&at("e"), Vec::new()).await;
    let mut findings: Vec<_> = store.verify_all(None).try_collect().await.unwrap();
    findings.sort_by(|a, b| a.path.cmp(&b.path));
    let good: Vec<bool> = findings.iter().map(|finding| finding.result.is_ok()).collect();
    assert_eq!(good, [false, false, true, false, false, true]);
    assert_eq!(*findings[5].result.as_ref().unwrap(), 100);
    let below: Vec<_> = store.verify_all(Some(&at("f"))).try_collect().await.unwrap();
    assert_eq!(below.len(), 1);
}

#[tokio::test]
async fn a_header_can_be_inspected_without_a_key() {
    let (cluster, _store) = written(&rows(CHUNK + 1)).await;
    let stored = cluster.stored(&at("a")).await;
    let info = custody_store::inspect(&stored[..custody_store::INSPECTED], stored.len() as u64).unwrap();
    assert_eq!((info.zone, info.key_version, info.plain_len, info.chunks), (ZONE, 1, CHUNK as u64 + 1, 2));
    assert_eq!(info.chunk_size as usize, CHUNK);
    assert!(custody_store::inspect(b"plain", 5).is_err());
    assert!(custody_store::inspect(&stored[..256], 256).is_err());
}
