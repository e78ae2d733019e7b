//! Restoring: collections of a backup become collections of a cluster that is open.

use custody_engine::{DEFAULT_DATABASE, Engine, EngineError, Import, NewDatabase};
use custody_store::{Bring, StoreError};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use crate::{
    Backup, BackupError, Progress,
    manifest::{CollectionEntry, ObjectEntry},
    open::Database,
};

/// Objects that are brought at once.
const AT_ONCE: usize = 3;
/// The user that a cluster is made with: its password is the new cluster's.
const ROOT: &str = "root";
/// How the properties of a database begin that say under which key it lives.
const CIPHER: &str = "cipher.";
const CIPHER_KEY: &str = "cipher.key";

/// What is restored, and how.
pub struct Restoring {
    /// How sealed objects become sealed objects of the cluster.
    pub how: Bring,
    /// Whether the cluster was made for this: it has nothing yet, and gets the backup's users too.
    pub new: bool,
    /// Only these; `None` is all of the backup, in databases of the same names, which are made where they are missing.
    pub only: Option<Vec<Chosen>>,
    /// Whether databases that had a root key of their own come under the same one again. Else the cluster's is theirs.
    pub keep_database_keys: bool,
    /// Whether collections that were loaded are loaded again.
    pub load: bool,
}

/// A collection of a backup, and what it is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The database that it was in; the default one's name may be empty.
    pub database: String,
    /// What it was called.
    pub collection: String,
    /// The database that it comes into, which is there.
    pub to_database: String,
    /// What it will be called.
    pub to_collection: String,
}

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Databases.
    pub databases: u64,
    /// Collections.
    pub collections: u64,
    /// Their objects.
    pub objects: u64,
    /// Their bytes, as they are stored in the backup.
    pub bytes: u64,
}

/// A collection that is brought.
struct Brought<'a> {
    database: &'a Database,
    entry: &'a CollectionEntry,
    import: Import,
    /// Where it was, and is to be, for taking it back.
    to: (String, String),
}

impl Backup {
    /// Restores into an open cluster: all of what is asked for, or nothing. Of a cluster that was made for it, databases may be
    /// left, for the caller to remove with the cluster.
    pub async fn restore(
        mut self,
        engine: &Engine,
        what: &Restoring,
        progress: &Progress,
    ) -> Result<Restored, BackupError> {
        let chosen = match &what.only {
            Some(chosen) => chosen.clone(),
            None => {
                self.must_be_open()?;
                self.everything()
            }
        };
        let mut made = Vec::new();
        match self.restore_all(engine, what, &chosen, &mut made, progress).await {
            Ok(restored) => Ok(restored),
            Err(error) => {
                if !what.new {
                    drop_databases(engine, made).await;
                }
                Err(error)
            }
        }
    }

    /// Notes the databases that it makes.
    async fn restore_all(
        &self,
        engine: &Engine,
        what: &Restoring,
        chosen: &[Chosen],
        made: &mut Vec<String>,
        progress: &Progress,
    ) -> Result<Restored, BackupError> {
        let mut restored = Restored::default();
        if what.only.is_none() {
            self.make_databases(engine, what, made).await?;
            restored.databases = self.databases.len() as u64;
        }
        let mut brought = Vec::new();
        let outcome = match self.begin(engine, chosen, &mut brought).await {
            Ok(()) => self.bring(&brought, what.how, progress, &mut restored).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            for collection in brought {
                collection.import.abandon().await;
            }
            return Err(error);
        }
        finish(engine, brought, what.load).await?;
        if what.new {
            self.make_users(engine).await?;
        }
        Ok(restored)
    }

    fn everything(&self) -> Vec<Chosen> {
        let mut chosen = Vec::new();
        for database in &self.databases {
            let name = database.manifest.database.name();
            for collection in &database.manifest.collections {
                let (name, collection) = (name.to_owned(), collection.image.name().to_owned());
                let (to_database, to_collection) = (name.clone(), collection.clone());
                chosen.push(Chosen { database: name, collection, to_database, to_collection });
            }
        }
        chosen
    }

    async fn make_databases(
        &self,
        engine: &Engine,
        what: &Restoring,
        made: &mut Vec<String>,
    ) -> Result<(), BackupError> {
        for database in &self.databases {
            let (name, mut properties) =
                (database.manifest.database.name(), database.manifest.database.properties().clone());
            properties.retain(|property, _| !property.starts_with(CIPHER));
            match (what.new, name) {
                (true, DEFAULT_DATABASE) => {
                    engine.alter_database(name, properties, Vec::new()).await?;
                    continue;
                }
                (false, _) if engine.has_database(name) => continue,
                _ => {}
            }
            if let Some(key) = database.key.as_ref().filter(|_| what.keep_database_keys && engine.encrypted()) {
                properties.insert(CIPHER_KEY.to_owned(), key.clone());
            }
            engine.create_database(NewDatabase { name: name.to_owned(), properties }).await?;
            made.push(name.to_owned());
        }
        Ok(())
    }

    async fn make_users(&self, engine: &Engine) -> Result<(), BackupError> {
        for user in self.manifest.users.iter().filter(|user| user.name != ROOT) {
            engine.create_user(&user.name, &user.hash).await?;
        }
        Ok(())
    }

    /// Makes room for every collection, before anything is copied.
    async fn begin<'a>(
        &'a self,
        engine: &Engine,
        chosen: &[Chosen],
        brought: &mut Vec<Brought<'a>>,
    ) -> Result<(), BackupError> {
        for chosen in chosen {
            let (database, entry) = self.find(chosen)?;
            let import = engine.begin_import(&chosen.to_database, &chosen.to_collection).await?;
            let to = (chosen.to_database.clone(), chosen.to_collection.clone());
            brought.push(Brought { database, entry, import, to });
        }
        Ok(())
    }

    fn find(&self, chosen: &Chosen) -> Result<(&Database, &CollectionEntry), BackupError> {
        let name = if chosen.database.is_empty() { DEFAULT_DATABASE } else { &chosen.database };
        let database = self.databases.iter().find(|database| database.manifest.database.name() == name);
        let found = database.and_then(|database| {
            let mut collections = database.manifest.collections.iter();
            Some((database, collections.find(|collection| collection.image.name() == chosen.collection)?))
        });
        found.ok_or_else(|| {
            let closed =
                self.closed.first().map(|(_, error)| format!("; it may be in a database that is closed: {error}"));
            let (collection, closed) = (&chosen.collection, closed.unwrap_or_default());
            BackupError::Request(format!("the backup has no collection '{collection}' in database '{name}'{closed}"))
        })
    }

    async fn bring(
        &self,
        brought: &[Brought<'_>],
        how: Bring,
        progress: &Progress,
        restored: &mut Restored,
    ) -> Result<(), BackupError> {
        restored.collections = brought.len() as u64;
        restored.objects = brought.iter().map(|it| it.entry.objects.len() as u64).sum();
        restored.bytes = brought.iter().map(|it| it.entry.bytes()).sum();
        progress.expect(restored.bytes);
        let objects = brought.iter().flat_map(|it| it.entry.objects.iter().map(move |object| (it, object)));
        let all: Vec<_> = objects.map(|(it, object)| it.bring(object, how, progress).boxed()).collect();
        let mut brought = stream::iter(all).buffer_unordered(AT_ONCE);
        let all = async {
            while brought.try_next().await?.is_some() {}
            Ok(())
        };
        progress.unless_canceled(all).await
    }
}

impl Brought<'_> {
    async fn bring(&self, object: &ObjectEntry, how: Bring, progress: &Progress) -> Result<(), BackupError> {
        let from = object.below(&Path::from(self.entry.root.as_str()));
        let to = object.below(&self.import.root());
        let brought = self.import.zone().bring(&self.database.zone, &from, &to, how).await;
        // A store that seals says of itself what was wrong with what it read.
        brought.map_err(|error| match StoreError::find(&error) {
            Some(found) => BackupError::Tampered { path: from.to_string(), why: found.to_string() },
            None => BackupError::read(&from, error),
        })?;
        progress.advance(object.size);
        Ok(())
    }
}

/// Takes back databases that a restore which failed has made.
async fn drop_databases(engine: &Engine, made: Vec<String>) {
    for name in made {
        if let Err(error) = engine.drop_database(&name).await {
            let error = BackupError::from(error).without_names();
            tracing::error!(error, "a database of a restore that failed could not be taken back: drop it");
        }
    }
}

/// Takes all of them into their catalogs, or none.
async fn finish(engine: &Engine, brought: Vec<Brought<'_>>, load: bool) -> Result<(), BackupError> {
    let mut done: Vec<(String, String)> = Vec::new();
    let mut failed: Option<EngineError> = None;
    for Brought { entry, import, to, .. } in brought {
        if failed.is_some() {
            import.abandon().await;
            continue;
        }
        match import.finish(entry.image.clone(), load).await {
            Ok(()) => done.push(to),
            Err(error) => failed = Some(error),
        }
    }
    let Some(error) = failed else { return Ok(()) };
    for (database, collection) in done {
        if let Err(error) = engine.drop_collection(&database, &collection).await {
            let error = BackupError::from(error).without_names();
            tracing::error!(error, "a collection of a restore that failed could not be taken back: drop it");
        }
    }
    Err(error.into())
}
