//! Backups under attack: by whoever owns their storage, and by whoever kept an old header and an old key.

use std::{sync::Arc, time::Duration};

use custody_backup::{BackupError, Chosen, Order, Progress, Restoring, make};
use custody_kms::{KeyState, scripted::ScriptedKms};
use custody_store::{Bring, ZoneId};
use object_store::{
    ObjectStoreExt,
    memory::InMemory,
    path::Path,
    throttle::{ThrottleConfig, ThrottledStore},
};

use crate::common::*;

const HEADER: usize = 256;

/// A cluster with a backup, and a cluster to restore into.
struct World {
    kms: Arc<ScriptedKms>,
    original: Cluster,
    backups: Store,
    target: Cluster,
}

async fn world() -> World {
    let kms = Arc::new(ScriptedKms::new());
    let original = Cluster::new("in01-from", &kms, Some(kms.create_key()), &[]).await;
    original.fill().await;
    let backups = store();
    original.back_up(&backups, "backup-1").await.unwrap();
    let target = Cluster::new("in01-to", &kms, Some(kms.create_key()), &[]).await;
    World { kms, original, backups, target }
}

impl World {
    async fn restore(&self, backup: &str) -> Result<(), BackupError> {
        let chosen = |database: &str, collection: &str, to: &str| Chosen {
            database: database.into(),
            collection: collection.into(),
            to_database: String::new(),
            to_collection: to.into(),
        };
        let only = Some(vec![chosen("", POINTS, "a"), chosen(SHOP, POINTS, "b"), chosen(SHOP, "empty", "c")]);
        let what = Restoring { into: serving(), only, ..everything(Bring::Rekey) };
        restore(&self.backups, backup, &self.original, &self.target, &self.kms, &what).await.map(drop)
    }

    /// What `verify` finds wrong; opening it may find it already.
    async fn found(&self, backup: &str) -> Vec<String> {
        match open(&self.backups, backup, &self.original, &self.kms).await {
            Err(error) => vec![error.to_string()],
            Ok((backup, _keyring)) => {
                let verified = backup.verify(&Progress::default()).await.unwrap();
                verified.bad.iter().map(ToString::to_string).collect()
            }
        }
    }

    async fn put(&self, path: &str, bytes: Vec<u8>) {
        self.backups.put(&Path::from(path), bytes.into()).await.unwrap();
    }
}

/// The path that an object of a backup had in its cluster.
fn original_path(path: &str) -> String {
    let path = path.strip_prefix("pool/").unwrap_or(path);
    let path = path.find("zones/").map_or(path, |start| &path[start..]);
    match path.rsplit_once('.') {
        Some((rest, tag)) if tag.len() == 16 => rest.to_owned(),
        _ => path.to_owned(),
    }
}

#[tokio::test]
async fn every_object_that_was_altered_is_named_and_nothing_of_it_is_restored() {
    let world = world().await;
    let sound = files(&world.backups).await;
    let mut attacks = 0;
    for (path, bytes) in &sound {
        let is_list = path.ends_with("/objects");
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        // A list may name more than its backup needs, and its last byte ends a line.
        let longer = [bytes.as_slice(), b"\0"].concat();
        let shorter = bytes[..bytes.len() - if is_list { 2 } else { 1 }].to_vec();
        let mut altered = vec![("flipped", Some(flipped)), ("shorter", Some(shorter)), ("gone", None)];
        altered.extend((!is_list).then_some(("longer", Some(longer))));
        for (attack, altered) in altered {
            match altered {
                Some(altered) => world.put(path, altered).await,
                None => world.backups.delete(&Path::from(path.as_str())).await.unwrap(),
            }
            let found = world.found("backup-1").await;
            let named = original_path(path);
            let root = format!("zones/{}/backups/backup-1.json", ZoneId::CLUSTER);
            let is_named = found.iter().any(|text| text.contains(&named));
            assert!(is_named || (named == root && found[0].contains("backup-1")), "{attack} {path}: {found:?}");
            // One copy of a keyring is enough to restore, and a list takes no part in it; of anything else, all of it is needed.
            let restored = world.restore("backup-1").await;
            assert_eq!(restored.is_ok(), path.contains("/keyring/") || is_list, "{attack} {path}: {restored:?}");
            if restored.is_ok() {
                for name in ["a", "b", "c"] {
                    world.target.engine.drop_collection("", name).await.unwrap();
                }
            }
            assert!(world.target.engine.list_collections("").await.unwrap().is_empty());
            let left = files(&world.target.store).await;
            assert!(left.keys().all(|path| !path.contains("/collections/")), "{attack} {path} left {:?}", left.keys());
            world.put(path, bytes.clone()).await;
            attacks += 1;
        }
    }
    assert!(attacks > 40, "{attacks}");
    assert!(world.found("backup-1").await.is_empty());
    world.restore("backup-1").await.unwrap();
}

#[tokio::test]
async fn objects_and_manifests_do_not_change_places() {
    let world = world().await;
    world.original.engine.insert("", POINTS, rows(3_000..3_100)).await.unwrap();
    world.original.back_up(&world.backups, "backup-2").await.unwrap();
    let sound = files(&world.backups).await;
    // An older backup's manifest in the place of a newer one's.
    let manifests: Vec<&String> = sound.keys().filter(|path| path.contains("/backups/")).collect();
    let place = |path: &str| original_path(path).replace("backup-1", "backup-2");
    let (older, newer): (Vec<&String>, Vec<&String>) = manifests.iter().partition(|path| path.starts_with("backup-1/"));
    assert_eq!((older.len(), newer.len()), (3, 3));
    for path in older {
        let other = newer.iter().find(|other| original_path(other) == place(path)).unwrap();
        world.put(other, sound[path].clone()).await;
        assert!(!world.found("backup-2").await.is_empty(), "{path}");
        world.put(other, sound[*other].clone()).await;
    }
    assert!(world.found("backup-2").await.is_empty());
    // Two objects of the same zone.
    let rows: Vec<&String> = sound.keys().filter(|path| path.contains("/compacted/")).collect();
    let (one, two) = (rows[0], rows[1]);
    world.put(one, sound[two].clone()).await;
    world.put(two, sound[one].clone()).await;
    let found = [world.found("backup-1").await, world.found("backup-2").await].concat();
    assert!(found.len() >= 2, "{found:?}");
}

#[tokio::test]
async fn a_backup_that_somebody_else_made_under_his_own_key_is_refused_before_any_call_to_kms() {
    let world = world().await;
    let stranger = Cluster::new("in01-from", &world.kms, Some(world.kms.create_key()), &[]).await;
    stranger.fill().await;
    let forged = store();
    stranger.back_up(&forged, "backup-1").await.unwrap();
    let calls = world.kms.calls_on(stranger.key.as_ref().unwrap().key_arn(), custody_kms::Action::Decrypt);
    let refused = open(&forged, "backup-1", &world.original, &world.kms).await.err().unwrap();
    assert!(refused.to_string().contains("is pinned"), "{refused}");
    assert_eq!(world.kms.calls_on(stranger.key.as_ref().unwrap().key_arn(), custody_kms::Action::Decrypt), calls);
    // Nor is a backup in plain text taken for a sealed one, or the other way round.
    let plain = Cluster::new("in01-from", &world.kms, None, &[]).await;
    plain.fill().await;
    plain.back_up(&forged, "backup-2").await.unwrap();
    assert!(open(&forged, "backup-2", &world.original, &world.kms).await.is_err());
    assert!(open(&world.backups, "backup-1", &plain, &world.kms).await.is_err());
}

#[tokio::test]
async fn a_manifest_that_is_not_the_one_that_was_told_is_refused() {
    let world = world().await;
    let made = world.original.back_up(&world.backups, "backup-2").await.unwrap();
    let open = async |expected: &str| {
        let store = custody_backup::BackupStore::new(Arc::clone(&world.backups), "backup-2".parse().unwrap());
        let zones = custody_store::SealedZones::new(
            Arc::clone(&store) as Store,
            keyring(
                &(Arc::clone(&store) as Store),
                &world.original.id,
                &world.kms,
                world.original.key.as_ref().unwrap(),
                &[],
            ),
            world.original.id.clone(),
        );
        custody_backup::Backup::open(store, &world.original.id, &zones, Some(expected)).await.map(drop)
    };
    open(&made.manifest).await.unwrap();
    assert!(matches!(open(&made.manifest.replace('a', "b")).await, Err(BackupError::Manifest { .. })));
}

/// Whether any object of a restored cluster opens with the header that it had in the backup, and the old zone's key: what
/// somebody can do who kept both, and now owns the new bucket.
async fn opens_with_old_headers(how: Bring) -> bool {
    let world = world().await;
    restore(&world.backups, "backup-1", &world.original, &world.target, &world.kms, &everything(how)).await.unwrap();
    // As it lies there it does not.
    let key = world.original.key.as_ref().unwrap();
    world.kms.set_state(world.target.key.as_ref().unwrap().key_arn(), KeyState::Disabled);
    let (old, new) = (files(&world.backups).await, files(&world.target.store).await);
    let sealed: Vec<_> = new.iter().filter(|(path, _)| path.contains("/compacted/")).collect();
    assert!(!sealed.is_empty());
    let mut opened = false;
    for (pool, before) in old.iter().filter(|(path, _)| path.contains("/compacted/")) {
        for (path, after) in &sealed {
            for (header, is_old) in [(&before[..HEADER], true), (&after[..HEADER], false)] {
                let place = original_path(pool);
                let forged: Store = Arc::new(InMemory::new());
                for (path, bytes) in
                    files(&world.original.store).await.iter().filter(|(path, _)| path.contains("/keyring/"))
                {
                    forged.put(&Path::from(path.as_str()), bytes.clone().into()).await.unwrap();
                }
                forged.put(&Path::from(place.as_str()), [header, &after[HEADER..]].concat().into()).await.unwrap();
                let ring = keyring(&forged, &world.original.id, &world.kms, key, &[]);
                let zones = custody_store::SealedZones::new(Arc::clone(&forged), ring, world.original.id.clone());
                let zone: ZoneId = place.split('/').nth(1).unwrap().parse().unwrap();
                let store = zones.open_sealed(zone, None).await.unwrap();
                let opens = store.get(&Path::from(place.as_str())).await;
                let opens = match opens {
                    Ok(found) => found.bytes().await.is_ok(),
                    Err(_) => false,
                };
                assert!(is_old || !opens, "{path} opens under the old zone's key as it lies there");
                opened |= opens;
            }
        }
    }
    opened
}

#[tokio::test]
async fn a_rekeyed_file_opens_with_its_old_header_and_the_old_key_and_a_reencrypted_one_does_not() {
    assert!(opens_with_old_headers(Bring::Rekey).await, "that is what rekeying is, and the documents say so");
    assert!(!opens_with_old_headers(Bring::Anew).await);
}

#[tokio::test]
async fn a_cluster_that_was_restored_under_another_key_does_not_need_the_old_one() {
    let world = world().await;
    for how in [Bring::Rekey, Bring::Anew] {
        let target = Cluster::new("in01-to", &world.kms, Some(world.kms.create_key()), &[]).await;
        world.kms.set_state(world.original.key.as_ref().unwrap().key_arn(), KeyState::Enabled);
        restore(&world.backups, "backup-1", &world.original, &target, &world.kms, &everything(how)).await.unwrap();
        world.kms.set_state(world.original.key.as_ref().unwrap().key_arn(), KeyState::Disabled);
        let target = target.reopened(&world.kms).await;
        assert_eq!(contents(&target.engine, "", POINTS).await.unwrap().len(), 300);
    }
    // And with the old key disabled, the backup can't be restored.
    let refused = open(&world.backups, "backup-1", &world.original, &world.kms).await.err().unwrap();
    assert!(matches!(refused, BackupError::Key { .. }), "{refused}");
}

#[tokio::test]
async fn what_is_given_up_or_fails_leaves_nothing() {
    let world = world().await;
    let before: Vec<String> = files(&world.backups).await.into_keys().collect();
    world.original.engine.insert("", POINTS, rows(3_000..3_100)).await.unwrap();
    let progress = Progress::default();
    progress.cancel();
    let canceled = make(&world.original.order(&world.backups, "backup-2"), &progress).await;
    assert!(matches!(canceled, Err(BackupError::Canceled)));
    // The same id twice, and one in whose place something lies.
    let twice = world.original.back_up(&world.backups, "backup-1").await;
    assert!(matches!(twice, Err(BackupError::Exists(_))));
    assert_eq!(files(&world.backups).await.into_keys().collect::<Vec<_>>(), before);
    let missing = open(&world.backups, "backup-2", &world.original, &world.kms).await.err().unwrap();
    assert!(matches!(missing, BackupError::NotFound(_)), "{missing}");
}

/// How many attempts have left something at a backup.
async fn attempts(backups: &Store, backup: &str) -> usize {
    let below = format!("{backup}/attempts/");
    let all = files(backups).await.into_keys();
    let all = all.filter_map(|path| Some(path.strip_prefix(&below)?.split('/').next()?.to_owned()));
    all.collect::<std::collections::BTreeSet<_>>().len()
}

#[tokio::test]
async fn of_two_that_make_one_backup_at_once_one_does_and_the_other_spoils_nothing() {
    let world = world().await;
    let wait = Duration::from_millis(1);
    let slow = ThrottleConfig { wait_put_per_call: wait, wait_list_per_call: wait, ..ThrottleConfig::default() };
    for round in 2..12 {
        let backup = format!("backup-{round}");
        // Each sees a different cluster, and both copy what no earlier backup has.
        world.original.engine.insert("", POINTS, rows(3_000 + round * 10..3_010 + round * 10)).await.unwrap();
        let to: Store = Arc::new(ThrottledStore::new(Arc::clone(&world.backups), slow));
        let order = Order { to, ..world.original.order(&world.backups, &backup) };
        let progress = Progress::default();
        let (slower, quicker) = tokio::join!(make(&order, &progress), async {
            tokio::time::sleep(Duration::from_millis(round.unsigned_abs() * 3)).await;
            world.original.back_up(&world.backups, &backup).await
        });
        let ((Ok(_), Err(refused)) | (Err(refused), Ok(_))) = (&slower, &quicker) else {
            panic!("{slower:?} {quicker:?}");
        };
        assert!(matches!(refused, BackupError::Exists(_)), "{refused}");
        assert!(world.found(&backup).await.is_empty(), "{backup}: {:?}", world.found(&backup).await);
        assert_eq!(attempts(&world.backups, &backup).await, 1, "{backup}");
    }
    assert!(world.found("backup-1").await.is_empty());
    world.restore("backup-2").await.unwrap();
}

#[tokio::test]
async fn a_backup_whose_last_answer_is_lost_is_there_or_nothing_of_it_is() {
    use crate::common::unanswered::{Instead, Unanswered};
    let world = world().await;
    let before = files(&world.backups).await.into_keys().collect::<Vec<_>>();
    let lost = |at: &'static str, instead| -> Store { Arc::new(Unanswered(Arc::clone(&world.backups), at, instead)) };
    // The last step, which makes it complete.
    for (backup, at, instead) in [
        ("backup-2", "backup-2/zones/00000000000000000000000000000000/backups", Instead::Exists),
        ("backup-3", "backup-3/zones/00000000000000000000000000000000/backups", Instead::Failure),
    ] {
        world.original.back_up(&lost(at, instead), backup).await.unwrap();
        assert!(world.found(backup).await.is_empty());
        world.restore(backup).await.unwrap();
        for name in ["a", "b", "c"] {
            world.target.engine.drop_collection("", name).await.unwrap();
        }
    }
    let sound = files(&world.backups).await.into_keys().collect::<Vec<_>>();
    assert!(sound.len() > before.len());
    // Given up while it waits for that answer, or for that of a list.
    for at in ["backup-4/zones/00000000000000000000000000000000/backups", "backup-4/attempts"] {
        let progress = Progress::default();
        let order = Order { to: lost(at, Instead::Silence), ..world.original.order(&world.backups, "backup-4") };
        let (made, ()) = tokio::join!(make(&order, &progress), async {
            while !files(&world.backups).await.keys().any(|path| path.starts_with(at)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            progress.cancel();
        });
        assert!(matches!(made, Err(BackupError::Canceled)), "{made:?}");
        assert_eq!(files(&world.backups).await.into_keys().collect::<Vec<_>>(), sound, "{at}");
    }
    let failed = world.original.back_up(&lost("backup-5/attempts", Instead::Failure), "backup-5").await;
    assert!(matches!(failed, Err(BackupError::Storage { .. })), "{failed:?}");
    assert_eq!(files(&world.backups).await.into_keys().collect::<Vec<_>>(), sound);
}

#[tokio::test]
async fn a_backup_whose_key_is_taken_away_meanwhile_leaves_nothing() {
    use crate::common::unanswered::{Instead, Unanswered};
    let world = world().await;
    let before = files(&world.backups).await.into_keys().collect::<Vec<_>>();
    let to: Store = Arc::new(Unanswered(Arc::clone(&world.backups), "backup-2/attempts", Instead::Silence));
    let order = Order { to, ..world.original.order(&world.backups, "backup-2") };
    let progress = Progress::default();
    let (made, ()) = tokio::join!(make(&order, &progress), async {
        while files(&world.backups).await.len() == before.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.original.keyring.as_ref().unwrap().seal_all();
        progress.cancel();
    });
    assert!(matches!(made, Err(BackupError::Canceled)), "{made:?}");
    assert_eq!(files(&world.backups).await.into_keys().collect::<Vec<_>>(), before);
}
