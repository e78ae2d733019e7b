//! The opened headers of files that were read lately, so that a ranged read costs one request.
//!
//! An entry is a key. So the cache is bounded, it is emptied when the zone is sealed, and whoever takes an entry out of it
//! asks the zone's lease before using it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use custody_seal::{BodyKey, FileLayout};
use object_store::ObjectMeta;
use object_store::path::Path;

/// At some 700 bytes each, with their paths, about 3 MB.
const CAPACITY: usize = 4096;

/// A file whose header is open.
pub(crate) struct OpenFile {
    pub(crate) key: BodyKey,
    /// The version of the zone's key that its header was sealed under.
    pub(crate) version: u32,
    pub(crate) layout: FileLayout,
    pub(crate) identity: Identity,
}

/// What tells one object at a path from the next one there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    size: u64,
    modified: i64,
    e_tag: Option<String>,
    version: Option<String>,
}

impl Identity {
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self {
            size: meta.size,
            // Whole milliseconds: some stores give more digits in one answer than in another.
            modified: meta.last_modified.timestamp_millis(),
            e_tag: meta.e_tag.clone(),
            version: meta.version.clone(),
        }
    }
}

/// When a header was opened, by the count of how often the cache was emptied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

#[derive(Default)]
pub(crate) struct KeyCache {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    epoch: u64,
    clock: u64,
    files: HashMap<Path, Entry>,
}

struct Entry {
    file: Arc<OpenFile>,
    used: u64,
}

impl KeyCache {
    pub(crate) fn get(&self, path: &Path) -> Option<Arc<OpenFile>> {
        let mut state = self.lock();
        state.clock += 1;
        let now = state.clock;
        let entry = state.files.get_mut(path)?;
        entry.used = now;
        Some(Arc::clone(&entry.file))
    }

    /// To be taken before the zone's key is used for what is to be inserted.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.lock().epoch)
    }

    /// Keeps a file, unless the cache was emptied since: what was opened before the zone was sealed must not outlive that.
    pub(crate) fn insert(&self, epoch: Epoch, path: &Path, file: Arc<OpenFile>) {
        let mut state = self.lock();
        if state.epoch != epoch.0 {
            return;
        }
        if state.files.len() >= CAPACITY && !state.files.contains_key(path) {
            state.evict();
        }
        state.clock += 1;
        let used = state.clock;
        state.files.insert(path.clone(), Entry { file, used });
    }

    pub(crate) fn remove(&self, path: &Path) {
        self.lock().files.remove(path);
    }

    /// Drops every key.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.files = HashMap::new();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().files.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the state whole, so a panic elsewhere says nothing against it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops the half that was used longest ago: one pass for many insertions.
    fn evict(&mut self) {
        let mut used: Vec<u64> = self.files.values().map(|entry| entry.used).collect();
        used.sort_unstable();
        let keep = used.get(used.len() / 2).copied().unwrap_or_default();
        self.files.retain(|_, entry| entry.used >= keep);
    }
}

#[cfg(test)]
mod tests {
    use custody_seal::{ClusterId, FileContext, Header, ZoneId, ZoneKey};

    use super::*;

    fn file() -> Arc<OpenFile> {
        let cluster: ClusterId = "in01-test".parse().unwrap();
        let context = FileContext { cluster: &cluster, zone: ZoneId::CLUSTER, path: "a" };
        let zone_key = ZoneKey::generate().unwrap();
        let sealed = custody_seal::seal(b"row", &zone_key, 1, &context, custody_seal::ChunkSize::MIN).unwrap();
        let header = Header::parse(&sealed).unwrap();
        let meta = ObjectMeta {
            location: Path::from("a"),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size: sealed.len() as u64,
            e_tag: None,
            version: None,
        };
        Arc::new(OpenFile {
            key: header.unseal(&zone_key, &context).unwrap(),
            version: 1,
            layout: header.layout().file(meta.size).unwrap(),
            identity: Identity::of(&meta),
        })
    }

    fn path(number: usize) -> Path {
        Path::from(format!("{number}"))
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_was_used_last() {
        let cache = KeyCache::default();
        let file = file();
        for number in 0..3 * CAPACITY {
            cache.insert(cache.epoch(), &path(number), Arc::clone(&file));
            assert!(cache.get(&path(0)).is_some(), "the one that is used all the time");
            assert!(cache.len() <= CAPACITY);
        }
        assert!(cache.get(&path(3 * CAPACITY - 1)).is_some());
        assert!(cache.get(&path(1)).is_none());
    }

    #[test]
    fn clearing_drops_every_key() {
        let cache = KeyCache::default();
        let file = file();
        cache.insert(cache.epoch(), &path(0), Arc::clone(&file));
        cache.clear();
        assert_eq!(cache.len(), 0);
        assert_eq!(Arc::strong_count(&file), 1);
    }

    #[test]
    fn a_key_from_before_the_clearing_is_not_kept() {
        let cache = KeyCache::default();
        let before = cache.epoch();
        cache.clear();
        cache.insert(before, &path(0), file());
        assert_eq!(cache.len(), 0);
        cache.insert(cache.epoch(), &path(0), file());
        assert_eq!(cache.len(), 1);
    }
}
