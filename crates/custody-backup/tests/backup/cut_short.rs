//! Backups and restores that are cut short: the process ends, they are given up, or what they have written is taken away.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use custody_backup::{BackupError, Order, Progress, Restored, Restoring, make, restored};
use custody_engine::{DEFAULT_DATABASE, Engine};
use custody_kms::scripted::ScriptedKms;
use custody_store::Bring;
use futures::future::join_all;
use object_store::{
    ObjectStoreExt,
    throttle::{ThrottleConfig, ThrottledStore},
};

use crate::common::{halting::Halting, *};

/// What is restored when all of a backup comes into a cluster that serves.
fn all() -> Restoring {
    Restoring { into: serving(), ..everything(Bring::Rekey) }
}

/// The databases of a cluster, and what is in each.
async fn names(engine: &Engine) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    for database in engine.list_databases().await.unwrap() {
        let collections = engine.list_collections(&database.name).await.unwrap();
        names.insert(database.name, collections.into_iter().map(|it| it.name).collect());
    }
    names
}

/// A backup, and a cluster that it is to come into.
struct World {
    kms: Arc<ScriptedKms>,
    original: Cluster,
    backups: Store,
}

impl World {
    async fn new() -> Self {
        let kms = Arc::new(ScriptedKms::new());
        let original = Cluster::new("in01-from", &kms, Some(kms.create_key()), &[]).await;
        original.fill().await;
        let backups = store();
        original.back_up(&backups, "backup-1").await.unwrap();
        Self { kms, original, backups }
    }

    /// A job's restore, as a node does it.
    async fn restore(&self, target: &Cluster) -> Result<Restored, BackupError> {
        if let Some(restored) = restored(&target.engine, JOB).await? {
            return Ok(restored);
        }
        restore(&self.backups, "backup-1", &self.original, target, &self.kms, &all()).await
    }

    /// Restores until the process ends after so many writes, and again in the next process. Whether it was done before.
    async fn is_done_within(&self, writes: usize) -> bool {
        let (store, key) = (store(), self.kms.create_key());
        let over =
            async |store: Store, new| Cluster::over(store, "in01-to", &self.kms, Some(key.clone()), &[], new).await;
        over(Arc::clone(&store), true).await.engine.close().await;
        let halting = Halting::new(Arc::clone(&store));
        let target = over(Arc::new(halting.clone()), false).await;
        halting.halt_after(writes);
        let done = tokio::select! {
            restored = self.restore(&target) => restored.is_ok(),
            () = halting.halted() => false,
        };
        let next = over(Arc::clone(&store), false).await;
        let ended = restored(&next.engine, JOB).await.unwrap();
        assert!(ended.is_some() || !done, "after {writes} writes");
        if ended.is_none() {
            let left = names(&next.engine).await;
            assert_eq!(left, BTreeMap::from([(DEFAULT_DATABASE.to_owned(), Vec::new())]), "after {writes} writes");
            let left = files(&store).await.into_keys().filter(|path| path.contains("/collections/"));
            assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new(), "after {writes} writes");
        }
        let outcome = self.restore(&next).await.unwrap();
        assert_eq!((outcome.databases, outcome.collections), (2, 3));
        assert_eq!(names(&next.engine).await, names(&self.original.engine).await, "after {writes} writes");
        let (here, there) = (contents(&next.engine, SHOP, POINTS), contents(&self.original.engine, SHOP, POINTS));
        assert_eq!(here.await.unwrap(), there.await.unwrap());
        next.engine.close().await;
        done
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_whose_process_ends_at_any_write_leaves_nothing_or_all_and_the_next_try_does_it() {
    let world = World::new().await;
    for round in 0.. {
        let tries = (round * 16..(round + 1) * 16).map(|writes| world.is_done_within(writes));
        if join_all(tries).await.into_iter().all(|done| done) {
            assert!(round > 1, "it was cut short at few writes");
            return;
        }
    }
}

#[tokio::test]
async fn a_restore_that_is_given_up_between_two_collections_takes_back_the_first() {
    let world = World::new().await;
    let target = Cluster::new("in01-to", &world.kms, Some(world.kms.create_key()), &[]).await;
    let (progress, what) = (Progress::default(), all());
    let (backup, _keyring) = open(&world.backups, "backup-1", &world.original, &world.kms).await.unwrap();
    let (outcome, ()) = tokio::join!(backup.restore(&target.engine, &what, &progress), async {
        while names(&target.engine).await.values().all(Vec::is_empty) {
            tokio::task::yield_now().await;
        }
        progress.cancel();
    });
    assert!(matches!(outcome, Err(BackupError::Canceled)), "{outcome:?}");
    assert_eq!(names(&target.engine).await, BTreeMap::from([(DEFAULT_DATABASE.to_owned(), Vec::new())]));
    let (done, total) = progress.bytes();
    assert!(done < total, "{done} of {total}");
    world.restore(&target).await.unwrap();
}

#[tokio::test]
async fn a_backup_that_is_given_up_while_the_moment_is_settled_pins_nothing() {
    let kms = Arc::new(ScriptedKms::new());
    let halting = Halting::new(store());
    let cluster = Cluster::over(Arc::new(halting.clone()), "in01-from", &kms, Some(kms.create_key()), &[], true).await;
    cluster.fill().await;
    let (progress, backups) = (Progress::default(), store());
    let order = cluster.order(&backups, "backup-1");
    halting.halt_after(0);
    let (made, ()) = tokio::join!(make(&order, &progress), async {
        halting.halted().await;
        // Until all are pinned, for which nothing is written; and until it would have been given up.
        tokio::time::sleep(Duration::from_millis(100)).await;
        progress.cancel();
        tokio::time::sleep(Duration::from_millis(100)).await;
        halting.go_on();
    });
    assert!(matches!(made, Err(BackupError::Canceled)), "{made:?}");
    assert!(files(&backups).await.is_empty());
    for name in [POINTS, "empty"] {
        cluster.engine.drop_collection(SHOP, name).await.unwrap();
    }
    cluster.engine.drop_database(SHOP).await.unwrap();
}

#[tokio::test]
async fn a_backup_whose_list_is_taken_away_is_not_completed() {
    let world = World::new().await;
    let before = files(&world.backups).await.into_keys().collect::<Vec<_>>();
    let slow = ThrottleConfig { wait_put_per_call: Duration::from_millis(5), ..ThrottleConfig::default() };
    let to: Store = Arc::new(ThrottledStore::new(Arc::clone(&world.backups), slow));
    world.original.engine.insert("", POINTS, rows(3_000..3_100)).await.unwrap();
    let (order, progress) = (Order { to, ..world.original.order(&world.backups, "backup-2") }, Progress::default());
    let (made, ()) = tokio::join!(make(&order, &progress), async {
        // As who undoes it does, while its node is slow to give it up.
        loop {
            let found = objects(&world.backups).await.into_iter().map(|it| it.location);
            let mut lists =
                found.filter(|path| path.as_ref().starts_with("backup-2/") && custody_backup::is_list(path));
            if let Some(list) = lists.next() {
                return world.backups.delete(&list).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(matches!(made, Err(BackupError::Gone(_))), "{made:?}");
    assert_eq!(files(&world.backups).await.into_keys().collect::<Vec<_>>(), before);
}
