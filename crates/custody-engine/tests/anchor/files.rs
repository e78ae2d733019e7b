//! A cluster's files in a directory of their own, and what their owner can do to them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use custody_store::{PlainZones, Zones};
use object_store::{ObjectStore, local::LocalFileSystem};

pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(LocalFileSystem::new_with_prefix(self.0.path()).unwrap())
    }

    pub(crate) fn zones(&self) -> Arc<dyn Zones> {
        Arc::new(PlainZones::new(self.store()))
    }

    /// All files under a place, by their paths in the cluster.
    pub(crate) fn under(&self, place: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.0.path().join(place)];
        while let Some(directory) = left.pop() {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    left.push(path);
                } else if let Ok(bytes) = fs::read(&path) {
                    // One that is being written has no name of its own yet.
                    let name = path.strip_prefix(self.0.path()).unwrap().to_owned();
                    if !name.to_string_lossy().contains('#') {
                        found.insert(name, bytes);
                    }
                }
            }
        }
        found
    }

    fn write(&self, files: BTreeMap<PathBuf, Vec<u8>>) {
        for (name, bytes) in files {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// The same files in another directory, as a kill leaves them, though an engine may work on in them: what names other files
    /// comes first, in the order in which `SlateDB` reads it, then what is named.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::new();
        let kind =
            |name: &Path| ["compactions", "manifest"].into_iter().find(|kind| name.iter().any(|part| part == *kind));
        for wanted in [Some("compactions"), Some("manifest"), None] {
            copy.write(self.under("").into_iter().filter(|(name, _)| kind(name) == wanted).collect());
        }
        copy
    }

    /// Puts back how a place was in other files.
    pub(crate) fn replace(&self, other: &Self, place: &str) {
        fs::remove_dir_all(self.0.path().join(place)).unwrap();
        self.write(other.under(place));
    }

    pub(crate) fn remove_newest(&self, place: &str) {
        let newest = self.under(place).into_keys().next_back().unwrap();
        fs::remove_file(self.0.path().join(newest)).unwrap();
    }

    /// Deletes the newest objects of a map's log.
    pub(crate) fn cut_log(&self, map: &str, count: usize) -> Cut {
        let removed: BTreeMap<_, _> = self.under(&format!("{map}/wal")).into_iter().rev().take(count).collect();
        assert_eq!(removed.len(), count);
        for name in removed.keys() {
            fs::remove_file(self.0.path().join(name)).unwrap();
        }
        Cut { directory: self.0.path().to_owned(), removed }
    }
}

/// Other spellings of the number in an object's name.
pub(crate) const SPELLINGS: [fn(&str) -> String; 3] =
    [|name| name.trim_start_matches('0').to_owned(), |name| format!("+{name}"), |name| format!("0{name}")];

impl Files {
    /// Moves an object of a map's log, counted from its newest, to another spelling of its number. Gives its own name.
    pub(crate) fn rename_in_log(&self, map: &str, from_newest: usize, spelling: fn(&str) -> String) -> String {
        let name = self.under(&format!("{map}/wal")).into_keys().nth_back(from_newest).unwrap();
        let own = name.file_name().unwrap().to_str().unwrap();
        let other = name.with_file_name(spelling(own));
        fs::rename(self.0.path().join(&name), self.0.path().join(&other)).unwrap();
        own.to_owned()
    }
}

/// What was deleted.
pub(crate) struct Cut {
    directory: PathBuf,
    removed: BTreeMap<PathBuf, Vec<u8>>,
}

impl Cut {
    pub(crate) fn put_back(&self) {
        for (name, bytes) in &self.removed {
            fs::write(Path::new(&self.directory).join(name), bytes).unwrap();
        }
    }
}
