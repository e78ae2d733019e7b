//! Reads give the plaintext's bytes, in as few requests as can be.

use std::ops::Range;
use std::sync::Arc;

use crate::common::scripted::Scripted;
use crate::common::{CHUNK, Cluster, ZONE, at, cause, read, rows};
use custody_seal::HEADER_LEN;
use custody_store::{SealedStore, StoreError};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

async fn scripted() -> (Scripted, Cluster, SealedStore) {
    let inner = Scripted::new();
    let cluster = Cluster::over(Arc::new(inner.clone()));
    let store = cluster.zone(ZONE).await;
    (inner, cluster, store)
}

fn sealed(chunks: Range<usize>) -> Range<u64> {
    let at = |chunk: usize| (HEADER_LEN + chunk * (CHUNK + 16)) as u64;
    at(chunks.start)..at(chunks.end)
}

#[tokio::test]
async fn every_range_is_the_plaintexts_cold_and_warm() {
    let cluster = Cluster::in_memory();
    let warm = cluster.zone(ZONE).await;
    for length in [0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 77] {
        let plain = rows(length);
        warm.put(&at("a"), plain.clone().into()).await.unwrap();
        assert_eq!(read(&warm, &at("a")).await.unwrap(), plain);
        let edges = [0, 1, 50, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, length.saturating_sub(1), length, length + 9];
        for start in edges {
            for end in edges.into_iter().chain([usize::MAX >> 1]).filter(|end| *end > start) {
                let cold = cluster.zones().open_sealed(ZONE, None).await.unwrap();
                for store in [&cold, &warm] {
                    let got = store.get_range(&at("a"), start as u64..end as u64).await;
                    match plain.get(start..end.min(length)).filter(|_| start < length) {
                        Some(expected) => assert_eq!(got.unwrap(), expected, "{start}..{end} of {length}"),
                        None => assert!(got.is_err(), "{start}..{end} of {length}"),
                    }
                }
            }
            for store in [&cluster.zones().open_sealed(ZONE, None).await.unwrap(), &warm] {
                check_open_ended(store, &plain, start).await;
            }
        }
    }
}

async fn check_open_ended(store: &SealedStore, plain: &[u8], from: usize) {
    let get = async |range| store.get_opts(&at("a"), GetOptions { range: Some(range), ..GetOptions::default() }).await;
    let suffix = get(GetRange::Suffix(from as u64)).await.unwrap();
    let expected = plain.len().saturating_sub(from);
    assert_eq!(suffix.range, expected as u64..plain.len() as u64);
    assert_eq!(suffix.meta.size, plain.len() as u64);
    assert_eq!(suffix.bytes().await.unwrap(), plain[expected..]);
    match get(GetRange::Offset(from as u64)).await {
        Ok(offset) => assert_eq!(offset.bytes().await.unwrap(), plain[from..]),
        Err(_) => assert!(from >= plain.len()),
    }
}

#[tokio::test]
async fn sizes_are_the_plaintexts_everywhere() {
    use futures::TryStreamExt;
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    for length in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        store.put(&at("d/a"), rows(length).into()).await.unwrap();
        let length = length as u64;
        assert_eq!(store.head(&at("d/a")).await.unwrap().size, length);
        let result = store.get(&at("d/a")).await.unwrap();
        assert_eq!((result.meta.size, result.range), (length, 0..length));
        assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap()[0].size, length);
        assert_eq!(store.list_with_delimiter(Some(&at("d"))).await.unwrap().objects[0].size, length);
        let after = store.list_with_offset(None, &at("c")).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(after[0].size, length);
    }
}

#[tokio::test]
async fn many_ranges_come_in_the_order_they_were_asked_for() {
    let (inner, _cluster, store) = scripted().await;
    let plain = rows(200 * CHUNK);
    store.put(&at("a"), plain.clone().into()).await.unwrap();
    inner.take_log();
    let ranges = [7 * CHUNK..7 * CHUNK + 9, 3..5, 199 * CHUNK..200 * CHUNK, 100..90_000];
    let asked: Vec<Range<u64>> = ranges.iter().map(|range| range.start as u64..range.end as u64).collect();
    let got = store.get_ranges(&at("a"), &asked).await.unwrap();
    for (got, range) in got.iter().zip(ranges) {
        assert_eq!(got, &plain[range]);
    }
    assert!(inner.take_log().gets.len() <= 3, "the header, and two ranges that lie apart");
}

#[tokio::test]
async fn a_range_opens_only_the_chunks_it_touches() {
    let (inner, cluster, store) = scripted().await;
    let plain = rows(10 * CHUNK);
    store.put(&at("a"), plain.clone().into()).await.unwrap();
    // Damage everywhere but in the chunk that is asked for.
    let mut stored = cluster.stored(&at("a")).await;
    let kept = sealed(6..7);
    for (position, byte) in stored.iter_mut().enumerate().skip(HEADER_LEN) {
        *byte ^= u8::from(!kept.contains(&(position as u64)));
    }
    cluster.overwrite(&at("a"), stored).await;
    inner.take_log();
    let range = 6 * CHUNK..6 * CHUNK + 4096;
    assert_eq!(store.get_range(&at("a"), range.start as u64..range.end as u64).await.unwrap(), plain[range]);
    assert_eq!(inner.take_log().gets, [Some(0..HEADER_LEN as u64), Some(kept)]);
    read(&store, &at("a")).await.unwrap_err();
}

#[tokio::test]
async fn a_file_that_was_read_before_costs_one_request_a_range() {
    let (inner, _cluster, store) = scripted().await;
    store.put(&at("a"), rows(10 * CHUNK).into()).await.unwrap();
    store.get_range(&at("a"), 7 * CHUNK as u64..7 * CHUNK as u64 + 1).await.unwrap();
    inner.take_log();
    for chunk in [9, 3, 0, 5] {
        let start = (chunk * CHUNK + 5) as u64;
        store.get_range(&at("a"), start..start + 10).await.unwrap();
        assert_eq!(inner.take_log().gets, [Some(sealed(chunk..chunk + 1))]);
    }
}

#[tokio::test]
async fn a_small_file_costs_one_request_however_it_is_read() {
    let (inner, _cluster, store) = scripted().await;
    store.put(&at("a"), rows(500).into()).await.unwrap();
    inner.take_log();
    store.get_range(&at("a"), 100..200).await.unwrap();
    assert_eq!(inner.take_log().gets, [Some(0..sealed(0..1).end)]);
    read(&store, &at("a")).await.unwrap();
    assert_eq!(inner.take_log().gets, [None]);
}

#[tokio::test]
async fn a_file_that_was_replaced_is_read_anew() {
    let (_inner, _cluster, store) = scripted().await;
    for seed in 0..5 {
        // The same length each time: only the tag tells them apart.
        let plain: Vec<u8> = rows(5 * CHUNK).iter().map(|byte| byte ^ seed).collect();
        store.put(&at("a"), plain.clone().into()).await.unwrap();
        for chunk in [4, 2] {
            let range = chunk * CHUNK..chunk * CHUNK + 100;
            assert_eq!(store.get_range(&at("a"), range.start as u64..range.end as u64).await.unwrap(), plain[range]);
        }
    }
}

#[tokio::test]
async fn a_file_that_grew_gives_its_new_end() {
    let (_inner, _cluster, store) = scripted().await;
    store.put(&at("a"), rows(CHUNK).into()).await.unwrap();
    store.get_range(&at("a"), 0..9).await.unwrap();
    store.put(&at("a"), rows(9 * CHUNK).into()).await.unwrap();
    let range = 8 * CHUNK..9 * CHUNK;
    assert_eq!(store.get_range(&at("a"), range.start as u64..range.end as u64).await.unwrap(), rows(9 * CHUNK)[range]);
    store.put(&at("a"), rows(3).into()).await.unwrap();
    assert_eq!(store.get_range(&at("a"), 1..u64::MAX >> 1).await.unwrap(), rows(3)[1..]);
}

#[tokio::test]
async fn a_file_that_is_replaced_between_header_and_range_is_read_again() {
    let (inner, cluster, store) = scripted().await;
    let (old, new) = (vec![1; 9 * CHUNK], vec![2; 9 * CHUNK]);
    store.put(&at("a"), new.clone().into()).await.unwrap();
    let newer = cluster.stored(&at("a")).await;
    store.put(&at("a"), old.into()).await.unwrap();
    inner.replace_after_get(&at("a"), newer);
    let got = store.get_range(&at("a"), 8 * CHUNK as u64..8 * CHUNK as u64 + 10).await.unwrap();
    assert_eq!(got, new[..10]);
}

#[tokio::test]
async fn a_file_that_is_replaced_again_and_again_is_given_up() {
    let (inner, cluster, store) = scripted().await;
    store.put(&at("a"), rows(9 * CHUNK).into()).await.unwrap();
    let stored = cluster.stored(&at("a")).await;
    for _ in 0..100 {
        inner.replace_after_get(&at("a"), stored.clone());
    }
    let error = store.get_range(&at("a"), 8 * CHUNK as u64..8 * CHUNK as u64 + 10).await.unwrap_err();
    assert!(matches!(cause(&error), StoreError::Unsteady { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_not_taken_for_the_file() {
    let (inner, _cluster, store) = scripted().await;
    for length in [1000, 3 * CHUNK, 300 * CHUNK] {
        store.put(&at("a"), rows(length).into()).await.unwrap();
        for cut in [0, 10, HEADER_LEN, HEADER_LEN + 50] {
            inner.cut_gets(Some(cut as u64));
            assert!(matches!(cause(&read(&store, &at("a")).await.unwrap_err()), StoreError::Tampered { .. }));
            let part = store.get_range(&at("a"), 1..length as u64).await.unwrap_err();
            assert!(matches!(cause(&part), StoreError::Tampered { .. }), "{part}");
        }
        inner.cut_gets(None);
    }
}

#[tokio::test]
async fn large_files_stream() {
    use futures::TryStreamExt;
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    let plain = rows(20 << 20);
    store.put(&at("a"), plain.clone().into()).await.unwrap();
    assert!(read(&store, &at("a")).await.unwrap() == plain);
    let range = 1000..18_000_000;
    let result = store
        .get_opts(&at("a"), GetOptions { range: Some((1000..18_000_000_u64).into()), ..GetOptions::default() })
        .await
        .unwrap();
    let pieces: Vec<_> = result.into_stream().try_collect().await.unwrap();
    assert!(pieces.concat() == plain[range]);
}

#[tokio::test]
async fn preconditions_are_the_stores_below() {
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    let first = store.put(&at("a"), rows(9 * CHUNK).into()).await.unwrap();
    let range = Some(GetRange::Bounded(8 * CHUNK as u64..8 * CHUNK as u64 + 3));
    for range in [None, range] {
        let options = |if_match: Option<&str>, if_none_match: Option<&str>| GetOptions {
            range: range.clone(),
            if_match: if_match.map(str::to_owned),
            if_none_match: if_none_match.map(str::to_owned),
            ..GetOptions::default()
        };
        let tag = first.e_tag.as_deref();
        store.get_opts(&at("a"), options(tag, None)).await.unwrap();
        let error = store.get_opts(&at("a"), options(Some("other"), None)).await.unwrap_err();
        assert!(matches!(error, object_store::Error::Precondition { .. }), "{error}");
        let error = store.get_opts(&at("a"), options(None, tag)).await.unwrap_err();
        assert!(matches!(error, object_store::Error::NotModified { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_missing_object_is_not_found() {
    let cluster = Cluster::in_memory();
    let store = cluster.zone(ZONE).await;
    for error in [
        read(&store, &at("a")).await.unwrap_err(),
        store.get_range(&at("a"), 0..1).await.unwrap_err(),
        store.get_ranges(&at("a"), &[0..1, 5..6]).await.unwrap_err(),
        store.head(&at("a")).await.unwrap_err(),
        store.copy(&at("a"), &at("b")).await.unwrap_err(),
    ] {
        assert!(matches!(error, object_store::Error::NotFound { .. }), "{error}");
    }
}
