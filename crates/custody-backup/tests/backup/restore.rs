//! Backups made while a cluster is written to, and restored under the same key, another one, and none.

use std::sync::Arc;

use custody_backup::{BackupError, Chosen, Progress, Restoring, make};
use custody_engine::{CheckpointRequest, EngineError, IndexKind};
use custody_kms::{KeyState, scripted::ScriptedKms};
use custody_store::Bring;
use object_store::ObjectStoreExt;

use crate::common::*;

fn kms() -> Arc<ScriptedKms> {
    Arc::new(ScriptedKms::new())
}

/// Compares all that a client sees of two clusters.
async fn assert_same(restored: &Cluster, original: &Cluster) {
    for (db, name) in [("", POINTS), (SHOP, POINTS), (SHOP, "empty")] {
        let (here, there) = (contents(&restored.engine, db, name).await, contents(&original.engine, db, name).await);
        assert_eq!(here.unwrap(), there.unwrap(), "{db}/{name}");
        let (here, there) = (
            restored.engine.describe_collection(db, name).await.unwrap(),
            original.engine.describe_collection(db, name).await.unwrap(),
        );
        assert_eq!(here.schema, there.schema);
        assert_eq!((here.aliases, here.indexes, here.partitions), (there.aliases, there.indexes, there.partitions));
        assert_eq!((here.created, here.shards, here.consistency), (there.created, there.shards, there.consistency));
    }
    assert_eq!(nearest(&restored.engine, "", "dots").await, nearest(&original.engine, "", "dots").await);
    assert_eq!(
        restored.engine.partition_row_count("", POINTS, "part").await.unwrap(),
        original.engine.partition_row_count("", POINTS, "part").await.unwrap()
    );
    assert_eq!(restored.engine.user_hash("reader"), original.engine.user_hash("reader"));
    assert_eq!(restored.engine.user_hash("root"), None, "a new cluster's root is its own");
}

#[tokio::test]
async fn a_restored_cluster_is_the_one_that_was_backed_up() {
    let kms = kms();
    let (one, other) = (kms.create_key(), kms.create_key());
    let cases = [
        (Some(&one), Some(&one), Bring::Rekey),
        (Some(&one), Some(&other), Bring::Rekey),
        (Some(&one), Some(&other), Bring::Anew),
        (Some(&one), None, Bring::Rekey),
        (None, Some(&one), Bring::Rekey),
        (None, None, Bring::Anew),
    ];
    for (from, to, how) in cases {
        let original = Cluster::new("in01-from", &kms, from.cloned(), &[]).await;
        original.fill().await;
        let backups = store();
        let made = original.back_up(&backups, "backup-1").await.unwrap();
        assert_eq!((made.databases, made.collections), (2, 3));
        assert_eq!(made.keys, from.iter().map(|key| key.key_arn().to_string()).collect::<Vec<_>>());
        let restored = Cluster::new("in01-to", &kms, to.cloned(), &[]).await;
        let outcome = restore(&backups, "backup-1", &original, &restored, &kms, &everything(how)).await.unwrap();
        assert_eq!((outcome.databases, outcome.collections, outcome.bytes), (2, 3, made.bytes));
        assert_same(&restored, &original).await;
        // It goes on as any cluster does, also after a restart.
        restored.engine.insert("", POINTS, rows_of("later", 5_000..5_010)).await.unwrap();
        let restored = restored.reopened(&kms).await;
        let rows = contents(&restored.engine, "", POINTS).await.unwrap();
        assert_eq!(rows.len(), contents(&original.engine, "", POINTS).await.unwrap().len() + 10);
        restored.engine.drop_index("", POINTS, "vector").await.unwrap();
        restored.engine.create_index("", POINTS, index(IndexKind::Flat)).await.unwrap();
        for (store, key) in [(&backups, from), (&restored.store, to)] {
            let plain: Vec<String> = files(store)
                .await
                .into_iter()
                .filter(|(_, bytes)| bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()))
                .map(|(path, _)| path)
                .collect();
            assert_eq!(plain.is_empty(), key.is_some(), "{plain:?}");
        }
    }
}

#[tokio::test]
async fn every_row_acknowledged_before_the_call_is_there_and_none_deleted_before_it() {
    let kms = kms();
    let key = kms.create_key();
    let cluster = Arc::new(Cluster::new("in01-from", &kms, Some(key.clone()), &[]).await);
    collection(&cluster.engine, "", POINTS).await;
    collection(&cluster.engine, "", "gone").await;
    cluster.engine.load_collection("", "gone").await.unwrap();
    // Each round deletes one row of one collection before it writes one to the other: in any one moment there are as many
    // missing here as there are there, or one more.
    cluster.engine.insert("", "gone", rows(0..2_000)).await.unwrap();
    let acknowledged = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let writer = tokio::spawn({
        let (cluster, acknowledged) = (Arc::clone(&cluster), Arc::clone(&acknowledged));
        async move {
            for key in 0..2_000 {
                cluster.engine.delete("", "gone", delete(&format!("id == {key}"))).await.unwrap();
                cluster.engine.insert("", POINTS, rows([key])).await.unwrap();
                acknowledged.store(key + 1, std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    let backups = store();
    let mut counts = Vec::new();
    for number in 0..4 {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        let before = acknowledged.load(std::sync::atomic::Ordering::SeqCst);
        let name = format!("backup-{number}");
        cluster.back_up(&backups, &name).await.unwrap();
        let restored = Cluster::new("in01-to", &kms, Some(key.clone()), &[]).await;
        restore(&backups, &name, &cluster, &restored, &kms, &everything(Bring::Rekey)).await.unwrap();
        let written = i64::try_from(contents(&restored.engine, "", POINTS).await.unwrap().len()).unwrap();
        let left = i64::try_from(contents(&restored.engine, "", "gone").await.unwrap().len()).unwrap();
        assert!(written >= before, "{written} rows, and {before} were acknowledged before the call");
        assert!((0..=1).contains(&(2_000 - left - written)), "one moment: {left} left, {written} written");
        counts.push(written);
    }
    assert!(
        counts.windows(2).all(|two| two[0] <= two[1]) && counts[0] < 2_000,
        "it was written to meanwhile: {counts:?}"
    );
    writer.abort();
}

#[tokio::test]
async fn what_an_earlier_backup_has_is_not_copied_again() {
    let kms = kms();
    for key in [Some(kms.create_key()), None] {
        let cluster = Cluster::new("in01-from", &kms, key, &[]).await;
        cluster.fill().await;
        let backups = store();
        let first = cluster.back_up(&backups, "backup-1").await.unwrap();
        assert_eq!(first.copied, first.bytes);
        let second = cluster.back_up(&backups, "backup-2").await.unwrap();
        // Each checkpoint has a manifest of its own; sorted files are shared.
        assert!(second.copied < first.copied / 2, "{} of {}", second.copied, second.bytes);
        cluster.engine.insert(SHOP, POINTS, rows(100..105)).await.unwrap();
        let third = cluster.back_up(&backups, "backup-3").await.unwrap();
        assert!(third.copied < first.copied / 2 && third.bytes > second.bytes);
        for name in ["backup-1", "backup-2", "backup-3"] {
            let (backup, _keyring) = open(&backups, name, &cluster, &kms).await.unwrap();
            let verified = backup.verify(&Progress::default()).await.unwrap();
            assert!(verified.bad.is_empty(), "{:?}", verified.bad);
        }
    }
}

#[tokio::test]
async fn chosen_collections_are_backed_up_and_restored_into_a_cluster_that_serves() {
    let kms = kms();
    let (one, other) = (kms.create_key(), kms.create_key());
    let original = Cluster::new("in01-from", &kms, Some(one), &[]).await;
    original.fill().await;
    let backups = store();
    let mut order = original.order(&backups, "backup-1");
    let only = [(String::new(), vec![POINTS.to_owned()]), (SHOP.to_owned(), vec![POINTS.to_owned()])];
    order.request = CheckpointRequest { only: Some(only.into()) };
    assert_eq!(make(&order, &Progress::default()).await.unwrap().collections, 2);
    let target = Cluster::new("in01-to", &kms, Some(other), &[]).await;
    collection(&target.engine, "", POINTS).await;
    target.engine.insert("", POINTS, rows_of("own", 0..3)).await.unwrap();
    let chosen = |database: &str, collection: &str, to: &str| Chosen {
        database: database.into(),
        collection: collection.into(),
        to_database: String::new(),
        to_collection: to.into(),
    };
    let restoring = |only: Vec<Chosen>| Restoring { into: serving(), only: Some(only), ..everything(Bring::Rekey) };
    // A name that is taken, one that the backup has not: refused, and nothing else is restored.
    let before = files(&target.store).await.len();
    for bad in [chosen(SHOP, POINTS, POINTS), chosen(SHOP, "empty", "b"), chosen("nowhere", POINTS, "b")] {
        let what = restoring(vec![chosen("", POINTS, "a"), bad]);
        restore(&backups, "backup-1", &original, &target, &kms, &what).await.unwrap_err();
        assert_eq!(target.engine.list_collections("").await.unwrap().len(), 1);
    }
    let what = restoring(vec![chosen("", POINTS, "a"), chosen(SHOP, POINTS, "b")]);
    restore(&backups, "backup-1", &original, &target, &kms, &what).await.unwrap();
    assert!(files(&target.store).await.len() > before);
    let there = contents(&original.engine, "", POINTS).await.unwrap();
    assert_eq!(contents(&target.engine, "", "a").await.unwrap(), there);
    // Its alias came along, for it was free.
    assert_eq!(target.engine.describe_alias("", "dots").await.unwrap(), "a");
    let there = contents(&original.engine, SHOP, POINTS).await.unwrap();
    assert_eq!(contents(&target.engine, "", "b").await.unwrap(), there);
    assert_eq!(contents(&target.engine, "", POINTS).await.unwrap().len(), 3);
    let target = target.reopened(&kms).await;
    assert_eq!(contents(&target.engine, "", "b").await.unwrap(), there);
    target.engine.drop_collection("", "a").await.unwrap();
    // All of the backup, into databases of the same names: refused as a whole while one name is taken.
    let what = Restoring { only: None, ..restoring(Vec::new()) };
    restore(&backups, "backup-1", &original, &target, &kms, &what).await.unwrap_err();
    assert!(!target.engine.has_database(SHOP), "what it had made is gone");
    target.engine.drop_collection("", POINTS).await.unwrap();
    restore(&backups, "backup-1", &original, &target, &kms, &what).await.unwrap();
    assert_eq!(contents(&target.engine, SHOP, POINTS).await.unwrap(), there);
    assert_eq!(target.engine.user_hash("reader"), None, "users are the cluster's own");
}

#[tokio::test]
async fn a_sealed_database_is_named_as_missing_and_the_others_are_backed_up() {
    let kms = kms();
    let (key, tenant) = (kms.create_key(), kms.create_key());
    let cluster = Cluster::new("in01-from", &kms, Some(key.clone()), std::slice::from_ref(&tenant)).await;
    cluster.fill().await;
    cluster.fill_tenant(&tenant).await;
    let backups = store();
    let whole = cluster.back_up(&backups, "backup-1").await.unwrap();
    let arn = |key: &custody_kms::RootKeyRef| key.key_arn().to_string();
    assert_eq!((whole.keys, whole.omitted.len()), (vec![arn(&key), arn(&tenant)], 0));
    kms.set_state(tenant.key_arn(), KeyState::Disabled);
    cluster.keyring.as_ref().unwrap().check_now().await;
    let part = cluster.back_up(&backups, "backup-2").await.unwrap();
    assert_eq!((part.keys, part.omitted.len(), part.databases), (vec![arn(&key)], 1, 2));
    // The whole one needs the tenant's key; without it nothing of it is restored, and it says which.
    let target = Cluster::new("in01-to", &kms, Some(key.clone()), std::slice::from_ref(&tenant)).await;
    let what = everything(Bring::Rekey);
    let refused = restore(&backups, "backup-1", &cluster, &target, &kms, &what).await.unwrap_err();
    assert!(matches!(refused, BackupError::Key { .. }), "{refused}");
    assert_eq!(target.engine.list_databases().await.unwrap().len(), 1);
    kms.set_state(tenant.key_arn(), KeyState::Enabled);
    let what = Restoring { keep_database_keys: true, ..what };
    restore(&backups, "backup-1", &cluster, &target, &kms, &what).await.unwrap();
    let kept = target.engine.describe_database(TENANT).await.unwrap();
    assert_eq!(kept.key, Some(arn(&tenant)));
    assert_eq!(contents(&target.engine, TENANT, POINTS).await.unwrap().len(), 7);
}

#[tokio::test]
async fn a_collection_that_is_dropped_meanwhile_is_in_the_backup_and_leaves_nothing_afterwards() {
    let kms = kms();
    let cluster = Cluster::new("in01-from", &kms, Some(kms.create_key()), &[]).await;
    cluster.fill().await;
    let checkpoint = cluster.engine.checkpoint(&CheckpointRequest::default()).await.unwrap();
    let root = checkpoint.databases.iter().flat_map(|database| &database.collections);
    let root = root.map(|collection| collection.root.to_string()).collect::<Vec<_>>();
    cluster.engine.drop_collection("", POINTS).await.unwrap();
    let refused = async {
        cluster.engine.drop_collection(SHOP, POINTS).await.unwrap();
        cluster.engine.drop_collection(SHOP, "empty").await.unwrap();
        cluster.engine.drop_database(SHOP).await
    };
    assert!(matches!(refused.await, Err(EngineError::InvalidDatabase(_))));
    let there = files(&cluster.store).await;
    for collection in &checkpoint.databases {
        for path in collection.collections.iter().flat_map(|collection| &collection.rows) {
            assert!(there.contains_key(path.as_ref()), "{path}");
        }
    }
    checkpoint.release().await;
    let there = files(&cluster.store).await;
    assert!(root.iter().all(|root| there.keys().all(|path| !path.starts_with(root))));
    cluster.engine.drop_database(SHOP).await.unwrap();
}

#[tokio::test]
async fn what_comes_under_a_database_key_of_another_account_is_sealed_anew_unless_the_mode_was_chosen() {
    let kms = kms();
    let (key, tenant) = (kms.create_key(), kms.create_key_in("999988887777"));
    let original = Cluster::new("in01-from", &kms, Some(key.clone()), &[]).await;
    collection(&original.engine, "", POINTS).await;
    original.engine.insert("", POINTS, rows(0..50)).await.unwrap();
    let backups = store();
    original.back_up(&backups, "backup-1").await.unwrap();
    let target = Cluster::new("in01-to", &kms, Some(key), std::slice::from_ref(&tenant)).await;
    target.fill_tenant(&tenant).await;
    let before = files(&target.store).await;
    for (to_database, anew_across_accounts, anew) in [("", true, false), (TENANT, true, true), (TENANT, false, false)] {
        let chosen = Chosen {
            database: String::new(),
            collection: POINTS.into(),
            to_database: to_database.into(),
            to_collection: "restored".into(),
        };
        let what =
            Restoring { anew_across_accounts, into: serving(), only: Some(vec![chosen]), ..everything(Bring::Rekey) };
        restore(&backups, "backup-1", &original, &target, &kms, &what).await.unwrap();
        assert_eq!(contents(&target.engine, to_database, "restored").await.unwrap().len(), 50);
        let (old, new) = (files(&backups).await, files(&target.store).await);
        let body = |bytes: &[u8]| bytes.get(256..).map(<[u8]>::to_vec);
        let was: Vec<_> = old.iter().filter(|(path, _)| path.contains("/compacted/")).map(|(_, it)| body(it)).collect();
        let kept = new.iter().filter(|(path, _)| !before.contains_key(*path)).any(|(_, it)| was.contains(&body(it)));
        assert_eq!(kept, !anew, "into {to_database:?}, {anew_across_accounts}");
        target.engine.drop_collection(to_database, "restored").await.unwrap();
    }
}

#[tokio::test]
async fn a_pool_object_that_rotted_is_found_and_copied_again() {
    let kms = kms();
    let cluster = Cluster::new("in01-from", &kms, Some(kms.create_key()), &[]).await;
    cluster.fill().await;
    let backups = store();
    cluster.back_up(&backups, "backup-1").await.unwrap();
    // The newest knows nothing of the other database's objects.
    let mut order = cluster.order(&backups, "backup-2");
    order.request = CheckpointRequest { only: Some([(SHOP.to_owned(), Vec::new())].into()) };
    make(&order, &Progress::default()).await.unwrap();
    let biggest = objects(&backups).await.into_iter().filter(|it| it.location.as_ref().contains("/compacted/"));
    let biggest = biggest.max_by_key(|it| it.size).unwrap().location;
    let mut bytes = read(&backups, &biggest).await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    backups.put(&biggest, bytes.into()).await.unwrap();
    let bad = async |backup: &str| {
        let (backup, _keyring) = open(&backups, backup, &cluster, &kms).await.unwrap();
        backup.verify(&Progress::default()).await.unwrap().bad.len()
    };
    assert_eq!(bad("backup-1").await, 1);
    cluster.back_up(&backups, "backup-3").await.unwrap();
    assert_eq!((bad("backup-3").await, bad("backup-1").await), (0, 0), "the older one is whole again, too");
}
