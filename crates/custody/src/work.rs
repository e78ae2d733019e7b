//! Long pieces of work that a control plane asks of this node: backups of its cluster, and restores into it.

use std::sync::{Arc, Mutex, PoisonError};

use custody_backup::{BackupError, Progress, Restored, Restoring, Target};
use custody_engine::{CheckpointRequest, Engine};
use custody_link::{
    BackupOrder, BackupSource, Link, Omitted, RestoreMode, RestoreOrder, Work, WorkDone, WorkOrder, WorkReport,
    WorkState,
};
use custody_store::{Bring, ClusterId, Zones};
use object_store::ObjectStore;
use tokio::task::JoinHandle;

use crate::{
    Failure,
    backup::{self, Source},
    bucket_sessions::BucketSessions,
    config::Settings,
    linked::Linked,
    node,
    restore_mark::{self, Mark},
    root_keys::KeyArgs,
    storage::{self, Sessions, Storage},
};

/// A cluster that is open.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) engine: Arc<Engine>,
    pub(crate) zones: Arc<dyn Zones>,
    /// The store that it lies in, as it is stored.
    pub(crate) store: Arc<dyn ObjectStore>,
}

/// Does one piece of work at a time, and tells how it is.
pub(crate) struct Worker {
    bench: Bench,
    current: Mutex<Option<Current>>,
}

/// What every piece of work is done with.
#[derive(Clone)]
struct Bench {
    link: Arc<Link>,
    settings: Settings,
    cluster: ClusterId,
    key: Option<String>,
}

/// A piece of work that has begun.
struct Current {
    job: String,
    progress: Arc<Progress>,
    /// Taken once it has ended.
    task: Option<JoinHandle<WorkState>>,
    told: Option<WorkReport>,
}

impl Worker {
    pub(crate) fn new(link: Arc<Link>, settings: Settings, keys: &KeyArgs) -> Self {
        let (cluster, key) = (keys.cluster_id.clone(), keys.key_arn.clone());
        Self { bench: Bench { link, settings, cluster, key }, current: Mutex::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Option<Current>) -> T) -> T {
        work(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins to make the cluster, which has nothing yet, from a backup.
    pub(crate) fn begin_new(&self, order: WorkOrder, opened: &Opened) {
        self.take(order, true, opened);
    }

    /// Begins a piece of work. One of the same job that is under way, or has ended, is told of again instead.
    pub(crate) fn begin(&self, order: WorkOrder, opened: &Opened) {
        self.take(order, false, opened);
    }

    fn take(&self, order: WorkOrder, new: bool, opened: &Opened) {
        let WorkOrder { job, work } = order;
        let busy = self.with(|current| match current {
            Some(known) if known.job == job => {
                // The link tells the newest report again by itself only after a reconnect.
                if let Some(told) = known.told.clone() {
                    self.bench.link.work(told);
                }
                None
            }
            Some(known) if known.task.is_some() => Some(known.job.clone()),
            _ => {
                let progress = Arc::new(Progress::default());
                let (bench, opened, shared) = (self.bench.clone(), opened.clone(), Arc::clone(&progress));
                let of = job.clone();
                let task = tokio::spawn(async move { bench.state_of(&of, work, new, &opened, &shared).await });
                tracing::info!(job, "a piece of work begins");
                *current = Some(Current { job: job.clone(), progress, task: Some(task), told: None });
                None
            }
        });
        if let Some(other) = busy {
            self.refuse(&job, &format!("the cluster is at work for job {other}: try again when that has ended"));
        }
    }

    /// Tells that a piece of work is not begun.
    pub(crate) fn refuse(&self, job: &str, reason: &str) {
        let state = WorkState::Failed { reason: reason.to_owned() };
        self.bench.link.work(WorkReport { job: job.to_owned(), done: 0, total: 0, state });
    }

    /// Gives a job's work up.
    pub(crate) fn cancel(&self, job: &str) {
        self.with(|current| {
            if let Some(known) = current.as_ref().filter(|known| known.job == job) {
                known.progress.cancel();
            }
        });
    }

    /// Gives up what is under way, and returns once nothing is written for it any more. That is not told, for the process ends:
    /// the next one is given the work anew, unless it was done just now.
    pub(crate) async fn stop(&self) {
        let Some((job, task)) = self.with(|current| {
            let known = current.as_mut()?;
            known.progress.cancel();
            Some((known.job.clone(), known.task.take()?))
        }) else {
            return;
        };
        tracing::info!(job, "a piece of work is given up, for the process ends");
        if let Ok(state @ WorkState::Done(_)) = task.await {
            self.bench.link.work(WorkReport { job, done: 0, total: 0, state });
        }
    }

    /// Tells how the work is, if that has changed. Whether it is done, once it has ended.
    pub(crate) async fn tell(&self) -> Option<bool> {
        let ended = self.with(|current| {
            let task = current.as_mut()?;
            if task.task.as_ref().is_some_and(JoinHandle::is_finished) { task.task.take() } else { None }
        });
        let ended = match ended {
            None => None,
            Some(task) => Some(task.await.unwrap_or_else(|error| {
                tracing::error!(%error, "a piece of work ended in a fault");
                WorkState::Failed { reason: "it ended in a fault of the node, which is logged".to_owned() }
            })),
        };
        self.with(|current| {
            let known = current.as_mut()?;
            let state = match (&ended, &known.told) {
                (Some(state), _) => state.clone(),
                (None, _) if known.task.is_some() => WorkState::Running,
                (None, told) => return told.as_ref().map(is_done),
            };
            let (done, total) = known.progress.bytes();
            let report = WorkReport { job: known.job.clone(), done, total, state };
            if known.told.as_ref() != Some(&report) {
                self.bench.link.work(report.clone());
                known.told = Some(report.clone());
            }
            (report.state != WorkState::Running).then(|| is_done(&report))
        })
    }
}

fn is_done(report: &WorkReport) -> bool {
    matches!(report.state, WorkState::Done(_))
}

impl Bench {
    async fn state_of(&self, job: &str, work: Work, new: bool, opened: &Opened, progress: &Progress) -> WorkState {
        // Who chose by name is told by name; else no name leaves the node.
        let by_name = match &work {
            Work::Backup(order) => order.only.is_some(),
            Work::Restore(order) => order.only.is_some(),
        };
        let done = match work {
            Work::Backup(order) => self.back_up(order, opened, progress).await,
            Work::Restore(order) => self.restore(job, order, new, opened, progress).await,
        };
        match done {
            Ok(done) => WorkState::Done(done),
            Err(error) if matches!(error.downcast_ref(), Some(BackupError::Canceled)) => WorkState::Canceled,
            Err(error) => {
                let unnamed = error.downcast_ref().map_or_else(|| error.to_string(), BackupError::without_names);
                tracing::warn!(job, error = unnamed, "a piece of work failed");
                WorkState::Failed { reason: if by_name { error.to_string() } else { unnamed } }
            }
        }
    }

    async fn back_up(&self, order: BackupOrder, opened: &Opened, progress: &Progress) -> Result<WorkDone, Failure> {
        let only = order.only.map(|chosen| chosen.into_iter().map(|it| (it.database, it.collections)).collect());
        let order = custody_backup::Order {
            engine: &opened.engine,
            zones: &*opened.zones,
            cluster: self.cluster.clone(),
            key: self.key.clone(),
            from: Arc::clone(&opened.store),
            to: self.backups(&order.storage, &self.cluster, true)?,
            backup: order.backup.parse()?,
            request: CheckpointRequest { only },
        };
        let made = custody_backup::make(&order, progress).await?;
        let omitted = made.omitted.into_iter();
        Ok(WorkDone {
            databases: made.databases,
            collections: made.collections,
            objects: made.objects,
            bytes: made.bytes,
            copied: made.copied,
            keys: made.keys,
            omitted: omitted.map(|it| Omitted { zone: it.zone.to_string(), reason: it.reason }).collect(),
            manifest: Some(made.manifest),
        })
    }

    async fn restore(
        &self,
        job: &str,
        order: RestoreOrder,
        new: bool,
        opened: &Opened,
        progress: &Progress,
    ) -> Result<WorkDone, Failure> {
        if new {
            if let Some(done) = Mark::find(&opened.store).await?.and_then(|mark| mark.done(job)) {
                return Ok(done);
            }
            Mark::put(&opened.store, job, None).await?;
        } else if let Some(restored) = custody_backup::restored(&opened.engine, job).await? {
            return Ok(done(restored));
        }
        let backup = self.open(&order.from).await?;
        let chosen = |it: custody_link::Renamed| custody_backup::Chosen {
            database: it.database,
            collection: it.collection,
            to_database: it.to_database,
            to_collection: it.to_collection,
        };
        let what = Restoring {
            how: match order.mode {
                RestoreMode::Rekey => Bring::Rekey,
                RestoreMode::Reencrypt => Bring::Anew,
            },
            anew_across_accounts: order.anew_across_accounts,
            into: if new { Target::New } else { Target::Serving { job: job.to_owned() } },
            only: order.only.map(|only| only.into_iter().map(chosen).collect()),
            keep_database_keys: order.keep_database_keys,
            load: order.load,
        };
        let done = done(backup.restore(&opened.engine, &what, progress).await?);
        if new {
            Mark::put(&opened.store, job, Some(&done)).await?;
        }
        Ok(done)
    }

    /// Opens a backup, under the keys that the order names and no others.
    async fn open(&self, from: &BackupSource) -> Result<backup::Opening, Failure> {
        let cluster: ClusterId = from.cluster.parse()?;
        let tenants: Result<_, _> = from.tenant_keys.iter().map(custody_link::KeyRef::reference).collect();
        let keys = KeyArgs {
            cluster_id: cluster.clone(),
            key_arn: from.key.as_ref().map(|key| key.arn.clone()),
            role_arn: from.key.as_ref().and_then(|key| key.role.clone()),
            external_id: from.key.as_ref().and_then(|key| key.external_id.clone()),
            tenant_key: Vec::new(),
            unencrypted: from.key.is_none(),
            link: None,
            linked_tenants: tenants?,
        };
        let source = Source {
            settings: self.settings.clone(),
            store: self.backups(&from.storage, &cluster, false)?,
            keys,
            replica_of: None,
            backup: from.backup.parse()?,
            manifest: from.manifest.clone(),
        };
        source.open(Some(&self.link)).await
    }

    fn backups(&self, url: &str, cluster: &ClusterId, create: bool) -> Result<Arc<dyn ObjectStore>, Failure> {
        // A bucket is reached in sessions of the control plane's, and by nothing else.
        let sessions = storage::bucket(url)
            .map(|_| Arc::new(BucketSessions::on_backups(Arc::clone(&self.link), cluster)) as Sessions);
        let store = Storage::within(url, sessions)?.backups(cluster, create)?;
        store.ok_or_else(|| format!("there are no backups of cluster {cluster} in the backups' storage").into())
    }
}

fn done(restored: Restored) -> WorkDone {
    let Restored { databases, collections, objects, bytes } = restored;
    WorkDone { databases, collections, objects, bytes, copied: bytes, ..WorkDone::default() }
}

/// Removes what an earlier try of a restore has left. Nothing of it was ever served.
pub(crate) async fn clear_failed_restore(
    settings: &Settings,
    keys: &KeyArgs,
    linked: Option<&Linked>,
    job: &str,
) -> Result<(), Failure> {
    let Some(store) = node::storage(settings, linked)?.cluster(&keys.cluster_id, false)? else { return Ok(()) };
    let mark = Mark::find(&store).await?;
    if mark.and_then(|mark| mark.done(job)).is_some() {
        return Ok(());
    }
    restore_mark::clear(&store).await
}
