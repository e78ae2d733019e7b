//! Writes are whole or not there, whatever fails.

use std::sync::Arc;

use crate::common::scripted::Scripted;
use crate::common::{CHUNK, Cluster, ZONE, at, cause, read, rows};
use custody_seal::HEADER_LEN;
use custody_store::{SealedStore, StoreError};
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, WriteMultipart,
};

const MIB: usize = 1 << 20;

async fn scripted() -> (Scripted, Cluster, SealedStore) {
    let inner = Scripted::new();
    let cluster = Cluster::over(Arc::new(inner.clone()));
    let store = cluster.zone(ZONE).await;
    inner.take_log();
    (inner, cluster, store)
}

/// Lets what was spawned in the background run.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_payload_of_many_pieces_is_one_object() {
    let (_inner, cluster, store) = scripted().await;
    let plain = rows(3 * CHUNK + 99);
    for piece in [1, 7, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let pieces = plain.chunks(piece).map(|piece| piece.to_vec().into());
        // Two pieces at least, so that it is not sealed in one go.
        let payload: PutPayload = pieces.chain([bytes::Bytes::new(), bytes::Bytes::new()]).collect();
        store.put(&at("a"), payload).await.unwrap();
        assert!(read(&store, &at("a")).await.unwrap() == plain);
        let stored = cluster.stored(&at("a")).await;
        assert_eq!(stored.len(), HEADER_LEN + plain.len() + 4 * 16);
    }
}

#[tokio::test]
async fn the_same_rows_never_look_the_same() {
    let (_inner, cluster, store) = scripted().await;
    store.put(&at("a"), rows(100).into()).await.unwrap();
    let first = cluster.stored(&at("a")).await;
    store.put(&at("a"), rows(100).into()).await.unwrap();
    let second = cluster.stored(&at("a")).await;
    assert!(first[48..].iter().zip(&second[48..]).filter(|(a, b)| a == b).count() < 40);
}

#[tokio::test]
async fn conditional_puts_are_the_stores_below() {
    let (_inner, _cluster, store) = scripted().await;
    let first = store.put_opts(&at("a"), "one".into(), PutMode::Create.into()).await.unwrap();
    let error = store.put_opts(&at("a"), "two".into(), PutMode::Create.into()).await.unwrap_err();
    assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{error}");
    let version = UpdateVersion::from(first);
    store.put_opts(&at("a"), "two".into(), PutMode::Update(version.clone()).into()).await.unwrap();
    let error = store.put_opts(&at("a"), "three".into(), PutMode::Update(version).into()).await.unwrap_err();
    assert!(matches!(error, object_store::Error::Precondition { .. }), "{error}");
    assert_eq!(read(&store, &at("a")).await.unwrap(), b"two");
}

#[tokio::test]
async fn a_failed_put_is_reported_and_leaves_nothing() {
    let (inner, cluster, store) = scripted().await;
    inner.fail_next_put();
    store.put(&at("a"), rows(100).into()).await.unwrap_err();
    assert!(cluster.objects().await.is_empty());
}

#[tokio::test]
async fn a_torn_put_does_not_open() {
    let (inner, _cluster, store) = scripted().await;
    for length in [0, 10, 1000, 2 * CHUNK, 2 * (CHUNK + 16) + HEADER_LEN] {
        inner.tear_next_put();
        store.put(&at("a"), rows(length).into()).await.unwrap_err();
        let error = read(&store, &at("a")).await.unwrap_err();
        assert!(matches!(cause(&error), StoreError::Tampered { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_a_torn_put_left_is_replaced_when_it_is_tried_again() {
    let (inner, _cluster, store) = scripted().await;
    for length in [0, 10, 1000, 2 * CHUNK] {
        let (path, create) = (at(&format!("a{length}")), || PutOptions::from(PutMode::Create));
        inner.tear_next_put();
        store.put_opts(&path, rows(length).into(), create()).await.unwrap_err();
        store.put_opts(&path, rows(length).into(), create()).await.unwrap();
        assert_eq!(read(&store, &path).await.unwrap(), rows(length));
        let error = store.put_opts(&path, rows(5).into(), create()).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_no_torn_put_left_is_never_replaced() {
    let (inner, cluster, store) = scripted().await;
    let create = || PutOptions::from(PutMode::Create);
    // Somebody else's, or what an attacker left: this store has put nothing there.
    cluster.inner.put(&at("a"), "garbage".into()).await.unwrap();
    let error = store.put_opts(&at("a"), rows(10).into(), create()).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    assert!(matches!(cause(&read(&store, &at("a")).await.unwrap_err()), StoreError::Tampered { .. }));
    // A put of this store failed, and another writer's whole object came before the next try.
    inner.fail_next_put();
    store.put_opts(&at("b"), rows(10).into(), create()).await.unwrap_err();
    store.put(&at("b"), rows(20).into()).await.unwrap();
    inner.fail_next_put();
    store.put_opts(&at("b"), rows(10).into(), create()).await.unwrap_err();
    let error = store.put_opts(&at("b"), rows(10).into(), create()).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    assert_eq!(read(&store, &at("b")).await.unwrap(), rows(20));
}

#[tokio::test]
async fn an_upload_in_parts_is_one_object() {
    let (_inner, cluster, store) = scripted().await;
    for (parts, size) in [(1, 0), (1, 5), (3, 5), (2, CHUNK), (3, 6 * MIB), (2, 5 * MIB), (4, 3 * MIB + 1)] {
        let plain = rows(parts * size);
        let mut upload = store.put_multipart(&at("a")).await.unwrap();
        for part in plain.chunks(size.max(1)) {
            upload.put_part(part.to_vec().into()).await.unwrap();
        }
        upload.complete().await.unwrap();
        assert!(read(&store, &at("a")).await.unwrap() == plain, "{parts} parts of {size}");
        let chunks = plain.len().div_ceil(CHUNK).max(1);
        assert_eq!(cluster.stored(&at("a")).await.len(), HEADER_LEN + plain.len() + 16 * chunks);
    }
}

#[tokio::test]
async fn an_upload_without_parts_is_an_empty_object() {
    let (_inner, _cluster, store) = scripted().await;
    store.put_multipart(&at("a")).await.unwrap().complete().await.unwrap();
    assert_eq!(read(&store, &at("a")).await.unwrap(), b"");
    assert_eq!(store.head(&at("a")).await.unwrap().size, 0);
}

#[tokio::test]
async fn parts_that_are_waited_for_in_another_order_keep_theirs() {
    let (_inner, _cluster, store) = scripted().await;
    let plain = rows(18 * MIB);
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    let mut parts: Vec<_> = plain.chunks(6 * MIB).map(|part| upload.put_part(part.to_vec().into())).collect();
    parts.reverse();
    for part in parts {
        part.await.unwrap();
    }
    upload.complete().await.unwrap();
    assert!(read(&store, &at("a")).await.unwrap() == plain);
}

#[tokio::test]
async fn the_parts_below_are_of_one_size_and_large_enough_for_s3() {
    let (inner, _cluster, store) = scripted().await;
    for part in [MIB, 5 * MIB, 6 * MIB, 8 * MIB + 1] {
        let plain = rows(20 * MIB);
        let mut upload = store.put_multipart(&at("a")).await.unwrap();
        for part in plain.chunks(part) {
            upload.put_part(part.to_vec().into()).await.unwrap();
        }
        upload.complete().await.unwrap();
        let parts = inner.take_log().parts;
        let (last, full) = parts.split_last().unwrap();
        assert!(full.iter().all(|size| *size == full[0] && *size >= 5 * MIB), "{parts:?}");
        assert!(*last <= full[0], "{parts:?}");
    }
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_nothing() {
    let (inner, cluster, store) = scripted().await;
    for parts in 0..3 {
        let mut upload = store.put_multipart(&at("a")).await.unwrap();
        for _ in 0..parts {
            upload.put_part(rows(6 * MIB).into()).await.unwrap();
        }
        drop(upload);
        settle().await;
        let log = inner.take_log();
        assert_eq!((log.aborts, log.completes), (1, 0));
        assert!(cluster.objects().await.is_empty());
    }
}

#[tokio::test]
async fn what_a_dropped_writer_sent_would_not_open_if_it_were_completed_below() {
    let (_inner, cluster, store) = scripted().await;
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part(rows(6 * MIB).into()).await.unwrap();
    // Whoever holds the store's credentials completes the upload with the parts that are there.
    let mut whole = {
        upload.complete().await.unwrap();
        cluster.stored(&at("a")).await
    };
    for cut in [5 * MIB, HEADER_LEN + CHUNK + 16, HEADER_LEN + 100 * (CHUNK + 16)] {
        whole.truncate(whole.len().min(5 * MIB + cut));
        cluster.overwrite(&at("a"), whole[..cut].to_vec()).await;
        let error = read(&store, &at("a")).await.unwrap_err();
        assert!(matches!(cause(&error), StoreError::Tampered { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_failed_part_bars_the_completion() {
    let (inner, cluster, store) = scripted().await;
    inner.fail_part(0);
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    // The newest chunk is held back, so the first part below goes out with the second one above.
    upload.put_part(rows(6 * MIB).into()).await.unwrap();
    upload.put_part(rows(6 * MIB).into()).await.unwrap_err();
    let error = upload.complete().await.unwrap_err();
    assert!(matches!(cause(&error), StoreError::Upload { .. }), "{error}");
    drop(upload);
    settle().await;
    let log = inner.take_log();
    assert_eq!((log.aborts, log.completes), (1, 0));
    assert!(cluster.objects().await.is_empty());
}

#[tokio::test]
async fn a_part_that_nobody_waited_for_bars_the_completion() {
    let (_inner, cluster, store) = scripted().await;
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part(rows(6 * MIB).into()).await.unwrap();
    drop(upload.put_part(rows(6 * MIB).into()));
    let error = upload.complete().await.unwrap_err();
    assert!(matches!(cause(&error), StoreError::Upload { .. }), "{error}");
    assert!(cluster.objects().await.is_empty());
}

#[tokio::test]
async fn a_failed_completion_leaves_nothing() {
    let (inner, cluster, store) = scripted().await;
    inner.fail_next_complete();
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.put_part(rows(100).into()).await.unwrap();
    upload.complete().await.unwrap_err();
    upload.complete().await.unwrap_err();
    drop(upload);
    settle().await;
    assert_eq!(inner.take_log().aborts, 1);
    assert!(cluster.objects().await.is_empty());
}

#[tokio::test]
async fn an_upload_that_is_over_takes_nothing_more() {
    let (inner, _cluster, store) = scripted().await;
    let mut upload = store.put_multipart(&at("a")).await.unwrap();
    upload.complete().await.unwrap();
    upload.put_part("more".into()).await.unwrap_err();
    upload.complete().await.unwrap_err();
    upload.abort().await.unwrap();
    let mut upload = store.put_multipart(&at("b")).await.unwrap();
    upload.abort().await.unwrap();
    upload.put_part("more".into()).await.unwrap_err();
    upload.complete().await.unwrap_err();
    drop(upload);
    settle().await;
    let log = inner.take_log();
    assert_eq!((log.completes, log.aborts), (1, 1));
    assert_eq!(read(&store, &at("a")).await.unwrap(), b"");
}

#[tokio::test]
async fn a_buffered_writer_works_on_it() {
    let (_inner, _cluster, store) = scripted().await;
    let plain = rows(13 * MIB + 5);
    let mut writer = WriteMultipart::new(store.put_multipart(&at("a")).await.unwrap());
    for piece in plain.chunks(100_000) {
        writer.write(piece);
    }
    writer.finish().await.unwrap();
    assert!(read(&store, &at("a")).await.unwrap() == plain);
}

#[tokio::test]
async fn a_copy_has_a_new_header_over_the_same_body() {
    let (_inner, cluster, store) = scripted().await;
    for length in [0, 100, 3 * CHUNK, 20 * MIB] {
        let plain = rows(length);
        store.put(&at("a"), plain.clone().into()).await.unwrap();
        store.copy(&at("a"), &at("b")).await.unwrap();
        assert!(read(&store, &at("a")).await.unwrap() == plain);
        assert!(read(&store, &at("b")).await.unwrap() == plain);
        let (a, b) = (cluster.stored(&at("a")).await, cluster.stored(&at("b")).await);
        assert_ne!(a[64..96], b[64..96], "the salt is fresh");
        assert!(a[HEADER_LEN..] == b[HEADER_LEN..]);
    }
}

#[tokio::test]
async fn a_copy_is_sealed_under_the_newest_version_of_the_key() {
    let (_inner, cluster, store) = scripted().await;
    store.put(&at("a"), rows(100).into()).await.unwrap();
    assert_eq!(cluster.keyring.new_version(ZONE).await.unwrap(), 2);
    store.rename(&at("a"), &at("b")).await.unwrap();
    let stored = cluster.stored(&at("b")).await;
    assert_eq!(custody_store::inspect(&stored, stored.len() as u64).unwrap().key_version, 2);
    assert_eq!(read(&store, &at("b")).await.unwrap(), rows(100));
    assert_eq!(cluster.objects().await, [at("b").to_string()]);
}

#[tokio::test]
async fn a_rename_that_must_not_replace_does_not() {
    let (_inner, _cluster, store) = scripted().await;
    store.put(&at("a"), "one".into()).await.unwrap();
    store.put(&at("b"), "two".into()).await.unwrap();
    let error = store.rename_if_not_exists(&at("a"), &at("b")).await.unwrap_err();
    assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{error}");
    assert_eq!(read(&store, &at("a")).await.unwrap(), b"one");
    assert_eq!(read(&store, &at("b")).await.unwrap(), b"two");
    store.rename_if_not_exists(&at("a"), &at("c")).await.unwrap();
    assert_eq!(read(&store, &at("c")).await.unwrap(), b"one");
    read(&store, &at("a")).await.unwrap_err();
}

#[tokio::test]
async fn a_rename_to_its_own_name_keeps_the_object() {
    let (_inner, _cluster, store) = scripted().await;
    store.put(&at("a"), "one".into()).await.unwrap();
    store.rename(&at("a"), &at("a")).await.unwrap();
    assert_eq!(read(&store, &at("a")).await.unwrap(), b"one");
    store.rename(&at("b"), &at("b")).await.unwrap_err();
}

#[tokio::test]
async fn a_copy_of_what_was_tampered_with_is_not_made() {
    let (_inner, cluster, store) = scripted().await;
    store.put(&at("a"), rows(100).into()).await.unwrap();
    cluster.overwrite(&at("x"), cluster.stored(&at("a")).await).await;
    cluster.overwrite(&at("y"), rows(1000)).await;
    for name in ["x", "y"] {
        let error = store.copy(&at(name), &at("b")).await.unwrap_err();
        assert!(matches!(cause(&error), StoreError::Tampered { .. }), "{error}");
    }
    assert!(!cluster.objects().await.contains(&at("b").to_string()));
}

#[tokio::test]
async fn a_copy_whose_source_ends_early_leaves_nothing() {
    let (inner, cluster, store) = scripted().await;
    for length in [100, 20 * MIB] {
        store.put(&at("a"), rows(length).into()).await.unwrap();
        for cut in [0, 100, HEADER_LEN + 20] {
            inner.cut_gets(Some(cut as u64));
            store.copy(&at("a"), &at("b")).await.unwrap_err();
            assert_eq!(cluster.objects().await, [at("a").to_string()]);
        }
        inner.cut_gets(None);
    }
    assert_eq!(inner.take_log().aborts, 3);
}

#[tokio::test]
async fn a_large_copy_whose_part_fails_leaves_nothing() {
    let (inner, cluster, store) = scripted().await;
    store.put(&at("a"), rows(20 * MIB).into()).await.unwrap();
    inner.fail_part(1);
    store.copy(&at("a"), &at("b")).await.unwrap_err();
    assert_eq!(cluster.objects().await, [at("a").to_string()]);
    assert_eq!(inner.take_log().aborts, 1);
}
