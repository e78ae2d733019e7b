//! Where backups are kept, as far as the control plane touches it: it deletes, and reads nothing but the lists of which objects
//! a backup shares with others.
//!
//! Below `backups/CLUSTER` each backup has a directory of its own, and `pool` holds the objects that backups share. A backup is
//! complete exactly if its manifest is there. Each attempt at it has a list that names what it needs of the pool; it is written
//! before the first of them is copied.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use custody_backup::{BackupId, POOL, is_list, listed, marker};
use custody_control::backup::{BackupStorage, Freed, Known};
use custody_store::ClusterId;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, path::Path};

use crate::{
    Failure,
    local_store::lock_file,
    storage::{self, Storage, gone},
};

/// What the id of a backup begins with.
const BACKUP: &str = "backup-";

/// The storage of a URL.
pub(crate) struct Backups(pub(crate) String);

impl Backups {
    /// What is there of a cluster; nothing, where there is no directory.
    fn of(&self, cluster: &str) -> Result<Option<Files>, Failure> {
        let id: ClusterId = cluster.parse().map_err(|_| format!("{cluster:?} is no cluster's id"))?;
        let storage = Storage::parse(&self.0)?;
        let directory = match &storage {
            Storage::Local(root) => Some(root.join(storage::BACKUPS).join(id.as_str())),
            Storage::S3 { .. } => None,
        };
        Ok(storage.backups(&id, false)?.map(|store| Files { store, directory }))
    }

    async fn try_delete(&self, cluster: &str, backup: &str) -> Result<Freed, Failure> {
        if !is_backup(backup) {
            return Err(format!("{backup:?} is no backup's id").into());
        }
        let Some(files) = self.of(cluster)? else { return Ok(Freed::default()) };
        let mut freed = Freed::default();
        files.delete(backup, &mut freed).await?;
        // It is gone. What it shared may have to wait for another backup, which must not hold up whoever deletes this one.
        if let Err(error) = files.free(&[], &mut freed).await {
            tracing::error!(cluster, backup, error, "what no other backup needs of a deleted one stays for now");
        }
        Ok(freed)
    }

    async fn try_clean_up(&self, cluster: &str, known: &Known) -> Result<Freed, Failure> {
        let Some(files) = self.of(cluster)? else { return Ok(Freed::default()) };
        let (mut freed, mut failed) = (Freed::default(), Ok(()));
        for (backup, found) in files.look().await?.backups {
            if is_backup(&backup) && is_left(&backup, &found, known) {
                failed = failed.and(files.delete(&backup, &mut freed).await);
            }
        }
        files.free(&known.owned, &mut freed).await?;
        failed.map(|()| freed)
    }

    /// Deletes a backup that was made by hand, and what no other needs.
    pub(crate) async fn delete_by_hand(&self, cluster: &ClusterId, backup: &BackupId) -> Result<Freed, Failure> {
        let (files, mut freed) = (self.of(cluster.as_str())?, Freed::default());
        let files = files.ok_or_else(|| format!("there are no backups of cluster {cluster} in {}", self.0))?;
        files.delete(backup.as_str(), &mut freed).await?;
        if freed.objects == 0 {
            return Err(format!("there is no backup {backup} of cluster {cluster}").into());
        }
        files.free(&[], &mut freed).await.map_err(|error| format!("backup {backup} is deleted, but {error}"))?;
        Ok(freed)
    }

    /// Removes what backups that were cut short have left, and what no backup needs. None may be made meanwhile.
    pub(crate) async fn clean_up_by_hand(&self, cluster: &ClusterId) -> Result<Freed, Failure> {
        let mut freed = Freed::default();
        let Some(files) = self.of(cluster.as_str())? else { return Ok(freed) };
        for (backup, found) in files.look().await?.backups {
            if is_ours(&backup, &found) && !is_complete(&backup, &found) {
                files.delete(&backup, &mut freed).await?;
            }
        }
        files.free(&[], &mut freed).await?;
        Ok(freed)
    }

    async fn try_clusters(&self) -> Result<Vec<String>, Failure> {
        let names: Vec<String> = match Storage::parse(&self.0)? {
            Storage::Local(root) => match std::fs::read_dir(root.join(storage::BACKUPS)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error.into()),
                Ok(entries) => {
                    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
                }
            },
            Storage::S3 { store, prefix } => {
                let found = store.list_with_delimiter(Some(&prefix.join(storage::BACKUPS))).await?;
                found.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect()
            }
        };
        // Locks lie beside the directories.
        Ok(names.into_iter().filter(|name| name.parse::<ClusterId>().is_ok()).collect())
    }
}

#[async_trait::async_trait]
impl BackupStorage for Backups {
    async fn delete(&self, cluster: &str, backup: &str) -> Result<Freed, String> {
        self.try_delete(cluster, backup).await.map_err(|error| error.to_string())
    }

    async fn clean_up(&self, cluster: &str, backups: &Known) -> Result<Freed, String> {
        self.try_clean_up(cluster, backups).await.map_err(|error| error.to_string())
    }

    async fn clusters(&self) -> Result<Vec<String>, String> {
        self.try_clusters().await.map_err(|error| error.to_string())
    }
}

/// The backups of one cluster.
struct Files {
    store: Arc<dyn ObjectStore>,
    /// Where they are, on this machine.
    directory: Option<PathBuf>,
}

/// What there is.
#[derive(Default)]
struct Found {
    backups: BTreeMap<String, Vec<ObjectMeta>>,
    pool: Vec<ObjectMeta>,
}

impl Files {
    async fn look(&self) -> Result<Found, Failure> {
        let mut found = Found::default();
        let mut objects = self.store.list(None);
        while let Some(object) = objects.try_next().await? {
            let first = object.location.parts().next().map(|part| part.as_ref().to_owned()).unwrap_or_default();
            if first == POOL {
                found.pool.push(object);
            } else {
                // Those too that were made by hand, under another id: what they need stays.
                found.backups.entry(first).or_default().push(object);
            }
        }
        Ok(found)
    }

    /// Deletes a backup's own objects: its manifest first, so that from that moment it is none; its list last, so that until
    /// then it is known what it needed.
    async fn delete(&self, backup: &str, freed: &mut Freed) -> Result<(), Failure> {
        let objects: Vec<ObjectMeta> = self.store.list(Some(&Path::from(backup))).try_collect().await?;
        let (first, others): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|it: &ObjectMeta| is_manifest(backup, it));
        let (lists, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|it: &ObjectMeta| is_list(&it.location));
        for objects in [first, others, lists] {
            self.remove(objects, freed).await?;
        }
        let Some(directory) = &self.directory else { return Ok(()) };
        // Files that a crash left half written.
        let directory = directory.join(backup);
        gone(&directory, std::fs::remove_dir_all(&directory))
    }

    /// Deletes what no backup needs, and directories that are empty.
    async fn free(&self, owned: &[String], freed: &mut Freed) -> Result<(), Failure> {
        self.free_pool(freed).await?;
        self.tidy(owned)
    }

    /// Deletes what no attempt at a backup lists. A backup that is complete and has no list is not understood: then everything
    /// stays.
    async fn free_pool(&self, freed: &mut Freed) -> Result<(), Failure> {
        let Found { backups, pool } = self.look().await?;
        let mut needed = HashSet::new();
        for (backup, objects) in backups {
            let is_complete = is_complete(&backup, &objects);
            let lists: Vec<Path> = objects.into_iter().map(|it| it.location).filter(is_list).collect();
            if lists.is_empty() && is_complete {
                return Err(format!("what backup {backup} needs is not listed, and nothing is removed").into());
            }
            for list in lists {
                let names = listed(&*self.store, &list).await.map_err(|error| {
                    format!("what backup {backup} needs is not known, and nothing is removed: {error}")
                })?;
                needed.extend(names);
            }
        }
        let is_needed = |object: &ObjectMeta| {
            let name = object.location.as_ref().strip_prefix(POOL).and_then(|name| name.strip_prefix('/'));
            name.is_none_or(|name| needed.contains(name))
        };
        self.remove(pool.into_iter().filter(|object| !is_needed(object)).collect(), freed).await
    }

    async fn remove(&self, objects: Vec<ObjectMeta>, freed: &mut Freed) -> Result<(), Failure> {
        freed.bytes += objects.iter().map(|object| object.size).sum::<u64>();
        freed.objects += storage::delete(Arc::clone(&self.store), objects).await?;
        Ok(())
    }

    /// On local files: removes what a crash left half written, while nobody writes; and directories that are empty.
    fn tidy(&self, owned: &[String]) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return Ok(()) };
        if !owned.is_empty() || !directory.exists() {
            return Ok(());
        }
        remove_halves(directory)?;
        // One in which there is something stays.
        let pool = std::fs::remove_dir(directory.join(POOL));
        if (pool.is_ok() || !directory.join(POOL).exists()) && std::fs::remove_dir(directory).is_ok() {
            let lock = lock_file(directory);
            gone(&lock, std::fs::remove_file(&lock))?;
        }
        Ok(())
    }
}

fn is_backup(name: &str) -> bool {
    name.strip_prefix(BACKUP).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_alphanumeric()))
}

/// Whether all that lies in a directory is what an attempt at a backup writes.
fn is_ours(backup: &str, objects: &[ObjectMeta]) -> bool {
    let is = |object: &ObjectMeta| {
        let second = object.location.parts().nth(1);
        second.is_some_and(|part| matches!(part.as_ref(), "attempts" | "zones"))
    };
    backup.parse::<BackupId>().is_ok() && objects.iter().all(is)
}

/// Whether what is there of a backup was left by an attempt that failed: it is not complete; or it is, and is neither known nor
/// has a list, without which nothing keeps what it needs.
fn is_left(backup: &str, objects: &[ObjectMeta], known: &Known) -> bool {
    let (id, listed) = (backup.to_owned(), objects.iter().any(|object| is_list(&object.location)));
    let kept = is_complete(backup, objects) && (listed || known.made.contains(&id));
    !kept && !known.owned.contains(&id)
}

fn is_manifest(backup: &str, object: &ObjectMeta) -> bool {
    backup.parse::<BackupId>().is_ok_and(|backup| object.location == marker(&backup))
}

fn is_complete(backup: &str, objects: &[ObjectMeta]) -> bool {
    objects.iter().any(|object| is_manifest(backup, object))
}

/// Removes the files that a local store writes beside the place where they will come: with `#` and a number behind the name.
fn remove_halves(directory: &FilePath) -> Result<(), Failure> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_halves(&entry.path())?;
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.rsplit_once('#').map(|(_, number)| number);
        if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit())) {
            gone(&entry.path(), std::fs::remove_file(entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fmt,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use custody_store::ZoneId;
    use futures::{StreamExt, stream::BoxStream};
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectStoreExt, PutMultipartOptions,
        PutOptions, PutPayload, PutResult, Result, memory::InMemory,
    };

    use super::*;

    /// A store in which so many deletions succeed, and no more.
    #[derive(Debug)]
    struct Crashing(InMemory, Arc<AtomicUsize>);

    fn crash() -> object_store::Error {
        object_store::Error::Generic { store: "memory", source: "the process ends".into() }
    }

    impl fmt::Display for Crashing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Crashing {
        async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
            self.0.put_opts(location, payload, opts).await
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            opts: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(location, opts).await
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(location, options).await
        }

        fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            let (store, left) = (self.0.clone(), Arc::clone(&self.1));
            let deleted = locations.then(move |location| {
                let (store, left) = (store.clone(), Arc::clone(&left));
                async move {
                    let location = location?;
                    left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).map_err(|_| crash())?;
                    store.delete(&location).await?;
                    Ok(location)
                }
            });
            deleted.boxed()
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    async fn put(store: &dyn ObjectStore, path: &str, text: &str) {
        store.put(&Path::from(path), text.to_owned().into()).await.unwrap();
    }

    fn list(backup: &str) -> Path {
        Path::from(format!("{backup}/attempts/0123456789abcdef/objects"))
    }

    async fn back_up(store: &dyn ObjectStore, backup: &str, shared: &[&str], complete: bool) {
        put(store, list(backup).as_ref(), &shared.join("\n")).await;
        for name in shared {
            put(store, &format!("{POOL}/{name}"), "sealed").await;
        }
        put(store, &format!("{backup}/zones/{}/keyring/1/0", ZoneId::CLUSTER), "wrapped").await;
        if complete {
            put(store, marker(&backup.parse().unwrap()).as_ref(), "manifest").await;
        }
    }

    async fn paths(files: &Files) -> Vec<String> {
        let mut paths: Vec<String> =
            files.store.list(None).map_ok(|it| it.location.to_string()).try_collect().await.unwrap();
        paths.sort();
        paths
    }

    async fn pool(files: &Files) -> Vec<String> {
        let paths = paths(files).await.into_iter();
        paths.filter_map(|path| path.strip_prefix("pool/").map(str::to_owned)).collect()
    }

    fn in_memory() -> Files {
        Files { store: Arc::new(InMemory::new()), directory: None }
    }

    async fn delete(files: &Files, backup: &str) -> Result<Freed, Failure> {
        let mut freed = Freed::default();
        files.delete(backup, &mut freed).await?;
        files.free(&[], &mut freed).await?;
        Ok(freed)
    }

    fn owned(backup: &str) -> Known {
        Known { owned: vec![backup.to_owned()], made: Vec::new() }
    }

    #[tokio::test]
    async fn deleting_a_backup_removes_only_what_no_other_needs() {
        let files = in_memory();
        back_up(&*files.store, "backup-1", &["a", "b"], true).await;
        back_up(&*files.store, "backup-2", &["b", "c/d"], true).await;
        assert_eq!(delete(&files, "backup-1").await.unwrap().objects, 4);
        assert_eq!(pool(&files).await, ["b", "c/d"]);
        assert!(paths(&files).await.iter().all(|path| !path.starts_with("backup-1")));
        assert_eq!(delete(&files, "backup-1").await.unwrap(), Freed::default(), "it can be repeated");
        delete(&files, "backup-2").await.unwrap();
        assert!(paths(&files).await.is_empty());
    }

    #[tokio::test]
    async fn a_crash_at_any_moment_of_a_deletion_leaves_what_the_next_try_removes_and_no_half_backup() {
        // Four objects go; the last time nothing crashes.
        for until in 0..=4 {
            let left = Arc::new(AtomicUsize::new(until));
            let files = Files { store: Arc::new(Crashing(InMemory::new(), Arc::clone(&left))), directory: None };
            back_up(&*files.store, "backup-1", &["a", "b"], true).await;
            back_up(&*files.store, "backup-2", &["b"], true).await;
            assert_eq!(delete(&files, "backup-1").await.is_ok(), until == 4);
            let found = files.look().await.unwrap();
            let rest = found.backups.get("backup-1").map(Vec::as_slice).unwrap_or_default();
            assert_eq!(is_complete("backup-1", rest), until == 0, "what was begun is no backup any more");
            left.store(usize::MAX, Relaxed);
            delete(&files, "backup-1").await.unwrap();
            assert_eq!(pool(&files).await, ["b"], "after {until}");
            assert!(is_complete("backup-2", &files.look().await.unwrap().backups["backup-2"]));
        }
    }

    #[tokio::test]
    async fn a_clean_up_removes_what_belongs_to_no_backup_and_leaves_the_one_that_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let backups = Backups(directory.path().display().to_string());
        assert!(backups.clusters().await.unwrap().is_empty());
        assert_eq!(backups.clean_up("in01-a", &Known::default()).await.unwrap(), Freed::default());
        let root = directory.path().join(storage::BACKUPS).join("in01-a");
        std::fs::create_dir_all(&root).unwrap();
        let files = backups.of("in01-a").unwrap().unwrap();
        back_up(&*files.store, "backup-1", &["a"], true).await;
        back_up(&*files.store, "backup-2", &["a", "b"], false).await;
        back_up(&*files.store, "backup-3", &["c"], false).await;
        put(&*files.store, "pool/d", "of nobody").await;
        back_up(&*files.store, "by-hand", &["f"], true).await;
        put(&*files.store, "readme", "of somebody else").await;
        std::fs::write(root.join("pool/e#1"), "half").unwrap();
        assert_eq!(backups.clusters().await.unwrap(), ["in01-a"]);
        backups.clean_up("in01-a", &owned("backup-3")).await.unwrap();
        assert_eq!(pool(&files).await, ["a", "c", "f"]);
        assert!(root.join("pool/e#1").exists(), "somebody may be writing it");
        backups.clean_up("in01-a", &Known::default()).await.unwrap();
        assert_eq!(pool(&files).await, ["a", "f"]);
        assert!(!root.join("pool/e#1").exists() && !root.join("backup-3").exists() && root.join("readme").exists());
        files.store.delete(&Path::from("readme")).await.unwrap();
        std::fs::remove_dir_all(root.join("by-hand")).unwrap();
        backups.delete("in01-a", "backup-1").await.unwrap();
        assert!(!root.exists(), "nothing is left, directories neither");
    }

    #[tokio::test]
    async fn where_it_is_not_known_what_a_backup_needs_nothing_is_removed() {
        let files = in_memory();
        back_up(&*files.store, "backup-1", &["a"], true).await;
        back_up(&*files.store, "backup-2", &["b"], true).await;
        files.store.delete(&list("backup-1")).await.unwrap();
        let refused = delete(&files, "backup-2").await.unwrap_err().to_string();
        assert!(refused.contains("backup-1") && refused.contains("nothing is removed"), "{refused}");
        assert_eq!(pool(&files).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn a_backup_goes_although_it_is_not_known_what_another_needs() {
        let directory = tempfile::tempdir().unwrap();
        let backups = Backups(directory.path().display().to_string());
        let root = directory.path().join(storage::BACKUPS).join("in01-a");
        std::fs::create_dir_all(&root).unwrap();
        let files = backups.of("in01-a").unwrap().unwrap();
        back_up(&*files.store, "backup-1", &["a"], true).await;
        back_up(&*files.store, "backup-2", &["b"], true).await;
        let unreadable = bytes::Bytes::from_static(b"a\n\xff");
        files.store.put(&list("backup-1"), unreadable.into()).await.unwrap();
        backups.delete("in01-a", "backup-2").await.unwrap();
        assert!(!root.join("backup-2").exists());
        assert_eq!(pool(&files).await, ["a", "b"], "what it shared waits");
        assert!(backups.clean_up("in01-a", &Known::default()).await.unwrap_err().contains("backup-1"));
    }

    #[tokio::test]
    async fn a_backup_that_nobody_knows_and_that_has_no_list_does_not_block_the_clean_up() {
        let directory = tempfile::tempdir().unwrap();
        let backups = Backups(directory.path().display().to_string());
        std::fs::create_dir_all(directory.path().join(storage::BACKUPS).join("in01-a")).unwrap();
        let files = backups.of("in01-a").unwrap().unwrap();
        for backup in ["backup-1", "backup-2", "by-hand"] {
            back_up(&*files.store, backup, &[backup], true).await;
        }
        files.store.delete(&list("backup-1")).await.unwrap();
        let known = Known { owned: Vec::new(), made: vec!["backup-1".to_owned()] };
        assert!(backups.clean_up("in01-a", &known).await.is_err(), "who knows it may want it");
        backups.clean_up("in01-a", &Known::default()).await.unwrap();
        assert_eq!(pool(&files).await, ["backup-2", "by-hand"]);
        assert!(paths(&files).await.iter().all(|path| !path.starts_with("backup-1/")));
    }

    #[tokio::test]
    async fn by_hand_one_backup_goes_or_what_those_that_were_cut_short_have_left() {
        let directory = tempfile::tempdir().unwrap();
        let backups = Backups(directory.path().display().to_string());
        let cluster: ClusterId = "in01-a".parse().unwrap();
        assert_eq!(backups.clean_up_by_hand(&cluster).await.unwrap(), Freed::default());
        std::fs::create_dir_all(directory.path().join(storage::BACKUPS).join("in01-a")).unwrap();
        let files = backups.of("in01-a").unwrap().unwrap();
        back_up(&*files.store, "b1", &["a", "b"], true).await;
        back_up(&*files.store, "b2", &["b", "c"], true).await;
        back_up(&*files.store, "b3", &["d"], false).await;
        put(&*files.store, "b4/notes", "of somebody else").await;
        put(&*files.store, "readme", "of somebody else").await;
        backups.clean_up_by_hand(&cluster).await.unwrap();
        assert_eq!(pool(&files).await, ["a", "b", "c"]);
        assert!(backups.delete_by_hand(&cluster, &"b3".parse().unwrap()).await.is_err(), "it is gone");
        backups.delete_by_hand(&cluster, &"b1".parse().unwrap()).await.unwrap();
        assert_eq!(pool(&files).await, ["b", "c"]);
        let left = paths(&files).await;
        assert!(left.iter().any(|path| path == "readme") && left.iter().any(|path| path == "b4/notes"));
    }

    #[tokio::test]
    async fn what_is_no_id_reaches_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let backups = Backups(directory.path().display().to_string());
        for backup in ["", "pool", "backup-", "backup-/..", "../backup-1", "backup-1/zones"] {
            assert!(backups.delete("in01-a", backup).await.is_err(), "{backup}");
        }
        assert!(backups.delete("../in01-a", "backup-1").await.is_err());
    }
}
