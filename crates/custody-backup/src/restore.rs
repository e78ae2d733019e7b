//! Restoring: collections of a backup become collections of a cluster that is open.

use custody_engine::{CIPHER_KEY, DEFAULT_DATABASE, Engine, Import, NewDatabase};
use custody_store::{Bring, StoreError};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

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

/// What a collection that is taken into its catalog counts for in the progress, beside the bytes: nothing is copied then, and
/// who watches is to see it come along.
const TAKEN_IN: u64 = 1;

/// What is restored, and how.
pub struct Restoring {
    /// How sealed objects become sealed objects of the cluster.
    pub how: Bring,
    /// Whether what comes into a database under a key of its own is sealed anew, whatever `how` says, if that key is of another
    /// account than the one that it was under (rule 33).
    pub anew_across_accounts: bool,
    /// What it is restored into.
    pub into: Target,
    /// Only these; `None` is all of the backup, in databases of the same names, which are made where they are missing.
    pub only: Option<Vec<Chosen>>,
    /// Whether databases that had a root key of their own come under the same one again. Else the cluster's is theirs.
    pub keep_database_keys: bool,
    /// Whether collections that were loaded are loaded again.
    pub load: bool,
}

/// What is restored into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A cluster that was made for this: it has nothing yet, and gets the backup's users too.
    New,
    /// A cluster that serves.
    Serving {
        /// The job that it is done for: what a try that was cut short has left is taken back at the cluster's next start.
        job: String,
    },
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// What a job's restore into a cluster that serves came to, if it was done to its end before: it is not to be done again.
pub async fn restored(engine: &Engine, job: &str) -> Result<Option<Restored>, BackupError> {
    let done = engine.restored(job).await?;
    done.map(|text| serde_json::from_str(&text).map_err(unreadable)).transpose()
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
        match &what.into {
            Target::New => self.restore_all(engine, what, &chosen, progress).await,
            Target::Serving { job } => self.restore_for(job, engine, what, &chosen, progress).await,
        }
    }

    /// Restores into a cluster that serves. Whatever happens on the way, and whenever the process ends, all of it is taken
    /// back, unless it was said that it is done.
    async fn restore_for(
        &self,
        job: &str,
        engine: &Engine,
        what: &Restoring,
        chosen: &[Chosen],
        progress: &Progress,
    ) -> Result<Restored, BackupError> {
        engine.begin_restore(job).await?;
        let ended = async {
            let restored = self.restore_all(engine, what, chosen, progress).await?;
            engine.end_restore(job, serde_json::to_string(&restored).map_err(unreadable)?).await?;
            Ok(restored)
        };
        let error = match ended.await {
            Ok(restored) => return Ok(restored),
            Err(error) => error,
        };
        if let Err(error) = engine.take_back_restore(job).await {
            let error = BackupError::from(error).without_names();
            tracing::error!(error, "what a restore that failed has made is taken back at the cluster's next start");
        }
        // The last word may have been kept although that was not heard: then nothing was taken back.
        match restored(engine, job).await {
            Ok(done) => done.ok_or(error),
            Err(unread) => {
                let unread = unread.without_names();
                tracing::error!(error = unread, "whether a restore that failed was kept can't be read");
                Err(error)
            }
        }
    }

    async fn restore_all(
        &self,
        engine: &Engine,
        what: &Restoring,
        chosen: &[Chosen],
        progress: &Progress,
    ) -> Result<Restored, BackupError> {
        let mut restored = Restored::default();
        if what.only.is_none() {
            self.make_databases(engine, what).await?;
            restored.databases = self.databases.len() as u64;
        }
        let mut brought = Vec::new();
        let outcome = match self.begin(engine, chosen, &mut brought).await {
            Ok(()) => self.bring(&brought, what, progress, &mut restored).await,
            Err(error) => Err(error),
        };
        let outcome = match (outcome, &what.into) {
            (Ok(()), Target::Serving { job }) => {
                let imports = brought.iter().map(|collection| &collection.import);
                engine.note_imports(job, imports).await.map_err(BackupError::from)
            }
            (outcome, _) => outcome,
        };
        finish(outcome, brought, what.load, progress).await?;
        if what.into == Target::New {
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

    async fn make_databases(&self, engine: &Engine, what: &Restoring) -> Result<(), BackupError> {
        let job = match &what.into {
            Target::New => None,
            Target::Serving { job } => Some(job.as_str()),
        };
        for database in &self.databases {
            let (name, mut properties) =
                (database.manifest.database.name(), database.manifest.database.properties().clone());
            properties.retain(|property, _| !property.starts_with(CIPHER));
            match (job, name) {
                (None, DEFAULT_DATABASE) => {
                    engine.alter_database(name, properties, Vec::new()).await?;
                    continue;
                }
                (Some(_), _) if engine.has_database(name) => continue,
                _ => {}
            }
            if let Some(key) = database.key.as_ref().filter(|_| what.keep_database_keys && engine.encrypted()) {
                properties.insert(CIPHER_KEY.to_owned(), key.clone());
            }
            engine.create_database_for(NewDatabase { name: name.to_owned(), properties }, job).await?;
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
            brought.push(Brought { database, entry, import });
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
        what: &Restoring,
        progress: &Progress,
        restored: &mut Restored,
    ) -> Result<(), BackupError> {
        restored.collections = brought.len() as u64;
        restored.objects = brought.iter().map(|it| it.entry.objects.len() as u64).sum();
        restored.bytes = brought.iter().map(|it| it.entry.bytes()).sum();
        progress.expect(restored.bytes + restored.collections * TAKEN_IN);
        let mut all = Vec::new();
        for it in brought {
            let how = it.how(what, self.manifest.key.as_deref());
            all.extend(it.entry.objects.iter().map(|object| it.bring(object, how, progress).boxed()));
        }
        let mut brought = stream::iter(all).buffer_unordered(AT_ONCE);
        let all = async {
            while brought.try_next().await?.is_some() {}
            Ok(())
        };
        progress.unless_canceled(all).await
    }
}

impl Brought<'_> {
    /// How its objects are brought. That of a cluster's key is for who chose it; a database's own key only its node knows.
    fn how(&self, what: &Restoring, clusters: Option<&str>) -> Bring {
        let was = self.database.key.as_deref().or(clusters);
        match (was, self.import.key()) {
            (Some(was), Some(own)) if what.anew_across_accounts && account(was) != account(own) => Bring::Anew,
            _ => what.how,
        }
    }

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

/// The account that a key belongs to.
fn account(arn: &str) -> Option<&str> {
    arn.split(':').nth(4)
}

/// Takes all of them into their catalogs, unless something failed before or it is given up meanwhile: then what is left of them
/// is abandoned, and the caller takes the others back.
async fn finish(
    mut outcome: Result<(), BackupError>,
    brought: Vec<Brought<'_>>,
    load: bool,
    progress: &Progress,
) -> Result<(), BackupError> {
    for Brought { entry, import, .. } in brought {
        outcome = outcome.and_then(|()| progress.must_go_on());
        if outcome.is_ok() {
            outcome = import.finish(entry.image.clone(), load).await.map_err(BackupError::from);
            progress.advance(TAKEN_IN);
        } else {
            import.abandon().await;
        }
    }
    outcome
}

fn unreadable(error: serde_json::Error) -> BackupError {
    BackupError::Request(format!("what a restore came to can't be noted or read: {error}"))
}
