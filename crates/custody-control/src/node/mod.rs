//! The clusters' processes: each cluster is a `custody node` of its own, started, watched and ended by its keeper, and linked
//! to the control plane by a private socket over which it gets all that it needs, and nothing else (rule 23).

mod config;
mod history;
mod keeper;
mod live;
mod process;
mod report;
mod talk;
mod work;

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::IpAddr,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use custody_kms::{AwsSessions, BucketPart, BucketPartError, Provider, RoleArn};
use custody_link::{Listener, Outgoing, ToNode, WorkOrder};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
};

pub use history::Point;
pub(crate) use live::Live;

use history::History;
use work::Works;

use crate::{
    backup::{self, BackupStorage},
    cluster::{self, Phase},
    cmek::DbLedger,
    db::{Db, now},
    refusal::{Kind, Refused},
    tally::Tally,
};

/// How long a node may take to end once it is told to.
const END: Duration = Duration::from_secs(30);

/// Between two looks at what a process does that somebody waits for.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// What all nodes have in common: what the operator decided.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The program, which is this one.
    pub program: PathBuf,
    /// Where the control plane's own files are; the nodes' lie in directories of theirs below.
    pub data_dir: PathBuf,
    /// Where clusters are stored.
    pub storage: String,
    /// The role that nodes reach it by, if it is a bucket.
    pub storage_role: Option<StorageRole>,
    /// Where backups are kept.
    pub backup_storage: String,
    /// The role that nodes reach that by, if it is a bucket.
    pub backup_role: Option<StorageRole>,
    /// The address that nodes listen on.
    pub host: IpAddr,
    /// What clients connect to, if that has another name.
    pub public_host: Option<String>,
    /// The addresses at which browsers find the console, `scheme://host:port`: its pages may ask nodes for rows, with the
    /// user's own credential for the cluster.
    pub console_origins: Vec<String>,
    /// The nodes' ports.
    pub ports: RangeInclusive<u16>,
    /// How often each root key is checked.
    pub key_check_interval: Duration,
    /// The file of the local development KMS.
    pub kms_file: PathBuf,
    /// The certificate chain and the private key for TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Run although swap is on.
    pub allow_swap: bool,
    /// Listen beyond loopback without TLS.
    pub insecure: bool,
    /// What to log.
    pub log: String,
    /// Log lines as JSON.
    pub log_json: bool,
    /// The nodes' whole environment; no secret stands in it.
    pub environment: Vec<(String, String)>,
}

/// The operator's role for a bucket that clusters are stored in, or backups are kept in. Each node gets sessions on its own
/// cluster's part.
#[derive(Clone, Debug)]
pub struct StorageRole {
    /// The role.
    pub role: RoleArn,
    /// The bucket.
    pub bucket: String,
    /// What is before `clusters/CLUSTER` or `backups/CLUSTER`; may be empty.
    pub prefix: String,
    /// Where STS is asked.
    pub region: String,
}

impl StorageRole {
    fn part(&self, of: &str, cluster: &str) -> Result<BucketPart, BucketPartError> {
        let prefix = [self.prefix.as_str(), of, cluster].join("/");
        BucketPart::new(&self.bucket, prefix.trim_start_matches('/'))
    }
}

impl NodeSettings {
    /// Where Milvus clients find the node on a port.
    pub(crate) fn address(&self, port: u16) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = match (&self.public_host, self.host) {
            (Some(host), _) => host.clone(),
            (None, IpAddr::V6(host)) => format!("[{host}]"),
            (None, host) => host.to_string(),
        };
        format!("{scheme}://{host}:{port}")
    }

    fn link(&self) -> PathBuf {
        self.data_dir.join("link")
    }

    fn directory(&self, cluster: &str) -> PathBuf {
        self.data_dir.join("nodes").join(cluster)
    }
}

/// Objects of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Those of its keyrings.
    pub keyrings: u64,
    /// All others.
    pub objects: u64,
    /// Their size in all.
    pub bytes: u64,
}

impl Counts {
    /// The larger of each.
    pub(crate) fn at_least(self, other: Self) -> Self {
        Self {
            keyrings: self.keyrings.max(other.keyrings),
            objects: self.objects.max(other.objects),
            bytes: self.bytes.max(other.bytes),
        }
    }
}

/// What a destruction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// What went: the keyrings first.
    pub counts: Counts,
    /// What could still open the data, in words.
    pub remains: Vec<String>,
}

/// Where clusters are stored, as far as the control plane touches it: it destroys, leaves the head of its activity log there,
/// and never reads.
#[async_trait]
pub trait ClusterStorage: Send + Sync {
    /// Leaves the newest head of the activity log where the clusters are: whoever changes the log has to change it there, too.
    async fn keep_audit_head(&self, head: &str) -> Result<(), String>;

    /// What is stored of a cluster.
    async fn count(&self, cluster: &str) -> Result<Counts, String>;

    /// Destroys what is stored of a cluster: its keyrings first, then everything else. Can be repeated.
    async fn destroy(&self, cluster: &str) -> Result<Destroyed, String>;
}

/// What nodes are kept with, besides the settings.
pub struct NodeParts {
    /// Where clusters are stored.
    pub storage: Arc<dyn ClusterStorage>,
    /// Where backups are kept.
    pub backups: Arc<dyn BackupStorage>,
    /// Who opens sessions on customers' AWS keys; without it, none can be used.
    pub sessions: Option<AwsSessions>,
    /// Which providers of keys may be used.
    pub local_keys: bool,
}

/// The nodes of all clusters.
pub(crate) struct Nodes {
    pub(crate) settings: NodeSettings,
    pub(crate) storage: Arc<dyn ClusterStorage>,
    pub(crate) backups: Arc<dyn BackupStorage>,
    sessions: Option<AwsSessions>,
    local_keys: bool,
    db: Db,
    ledger: DbLedger,
    known: Mutex<HashMap<String, Arc<Node>>>,
    works: Works,
    /// How often a process was started for each cluster.
    pub(crate) starts: Tally<String>,
    /// Whether all are to end.
    stopping: watch::Sender<bool>,
}

/// The node of one cluster.
struct Node {
    live: watch::Sender<Live>,
    /// There is something new to follow.
    wake: Notify,
    /// The number of the last order to seal the cluster by hand.
    order: AtomicU64,
    /// Its link, with a number by which an older one is told from it.
    link: Mutex<(u64, Option<Outgoing>)>,
    /// How it went in the last hour.
    history: Mutex<History>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Nodes {
    pub(crate) fn new(settings: NodeSettings, parts: NodeParts, db: Db, ledger: DbLedger) -> Self {
        let NodeParts { storage, backups, sessions, local_keys } = parts;
        Self {
            settings,
            storage,
            backups,
            sessions,
            local_keys,
            db,
            ledger,
            known: Mutex::default(),
            works: Works::default(),
            starts: Tally::default(),
            stopping: watch::Sender::new(false),
        }
    }

    /// Takes over what an earlier control plane left running, starts what should run, and ends what should not.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<Listener, Refused> {
        let listener = Listener::bind(&self.settings.link())
            .map_err(|error| Refused::new(Kind::Unavailable, format!("nodes can't be linked: {error}")))?;
        let rows = cluster::all(&self.db).await?;
        let mut running = Vec::new();
        for (process, cluster) in process::all(&self.settings.link()) {
            let phase = rows.iter().find(|row| row.id == cluster).map(|row| row.phase);
            let runs = match phase {
                Some(Phase::Running) => true,
                // One that is being restored goes on: its job takes it over.
                Some(Phase::Creating) => self.restore_of(&cluster).await?.is_some(),
                _ => false,
            };
            if runs {
                running.push((process.id(), cluster));
            } else {
                tracing::info!(cluster, pid = process.id(), "a process of a cluster that should have none is ended");
                process.end(END).await;
            }
        }
        self.remove_strays(rows.iter().map(|row| row.id.as_str()).collect())?;
        // What is being made or destroyed, its job begins or ends.
        rows.iter().filter(|row| row.phase != Phase::Creating).for_each(|row| self.begin(&row.id));
        // Before its keeper has looked, or somebody asks: what was known of it last still holds.
        for (pid, cluster) in running {
            self.node(&cluster).live.send_modify(|live| live.began(pid, true));
        }
        Ok(listener)
    }

    /// What a cluster that is being made is made from, if it is made from a backup.
    async fn restore_of(&self, cluster: &str) -> Result<Option<WorkOrder>, Refused> {
        backup::restore_of(&self.db, &self.settings.backup_storage, cluster).await
    }

    /// Takes in nodes that connect, until the control plane stops.
    pub(crate) async fn take_in(self: Arc<Self>, listener: Listener) {
        talk::take_in(self, listener).await;
    }

    /// Ends every node, each cleanly, all at once.
    pub(crate) async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut ends = JoinSet::new();
        for node in self.all() {
            node.wake.notify_one();
            let keeper = lock(&node.keeper).take();
            ends.spawn(async move {
                if let Some(keeper) = keeper {
                    // A keeper that panicked has been logged.
                    let _ = keeper.await;
                }
            });
        }
        while ends.join_next().await.is_some() {}
    }

    /// Begins to keep a cluster's process, if it is not kept yet.
    pub(crate) fn begin(self: &Arc<Self>, cluster: &str) {
        let node = self.node(cluster);
        let mut keeper = lock(&node.keeper);
        if keeper.as_ref().is_none_or(JoinHandle::is_finished) {
            node.live.send_modify(|live| *live = Live::default());
            let keep = keeper::keep(Arc::clone(self), cluster.to_owned(), Arc::clone(&node));
            *keeper = Some(tokio::spawn(keep));
        }
    }

    /// What a cluster is meant to be has changed: its keeper follows.
    pub(crate) fn follow(self: &Arc<Self>, cluster: &str) {
        self.begin(cluster);
        self.node(cluster).wake.notify_one();
    }

    /// Ends a cluster's process, whoever keeps it, and keeps it no more.
    pub(crate) async fn end(&self, cluster: &str) {
        let keeper = lock(&self.node(cluster).keeper).take();
        if let Some(keeper) = keeper {
            keeper.abort();
            // It was cancelled, and that is what it says.
            let _ = keeper.await;
        }
        if let Some(process) = process::find(&self.settings.link(), cluster) {
            process.end(END).await;
        }
        self.node(cluster).live.send_modify(|live| *live = Live::default());
    }

    /// Kills a cluster's process, and returns once it is gone; its keeper starts another.
    pub(crate) async fn kill(&self, cluster: &str) {
        if let Some(process) = process::find(&self.settings.link(), cluster) {
            process.kill();
            process.ended().await;
            // Its keeper may not have looked yet, and what was known of it holds no longer.
            self.node(cluster).live.send_if_modified(|live| {
                let its = live.is_of(process.id());
                if its {
                    live.ended(None);
                }
                its
            });
        }
    }

    /// Whether a cluster has a process. The system is asked: a keeper may not have looked yet.
    pub(crate) fn has_process(&self, cluster: &str) -> bool {
        process::find(&self.settings.link(), cluster).is_some()
    }

    /// Returns once a cluster has no process.
    pub(crate) async fn stopped(&self, cluster: &str) -> Result<(), Refused> {
        let stopped = async {
            while self.has_process(cluster) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(END + Duration::from_secs(5), stopped)
            .await
            .map_err(|_| Refused::new(Kind::Unavailable, "the cluster's process does not end: try again"))
    }

    /// Forgets a cluster that is no more.
    pub(crate) fn forget(&self, cluster: &str) {
        self.starts.forget(cluster);
        if let Some(node) = lock(&self.known).remove(cluster) {
            node.wake.notify_one();
        }
    }

    /// How a cluster's node is.
    pub(crate) fn live(&self, cluster: &str) -> Live {
        self.node(cluster).live.borrow().clone()
    }

    /// How a cluster's node went in the last hour, oldest first.
    pub(crate) fn history(&self, cluster: &str) -> Vec<Point> {
        lock(&self.node(cluster).history).points()
    }

    /// The same, as it changes.
    pub(crate) fn watch(&self, cluster: &str) -> watch::Receiver<Live> {
        self.node(cluster).live.subscribe()
    }

    /// Sends to a cluster's node, if it is connected: another gets what counts when it connects.
    pub(crate) async fn send(&self, cluster: &str, message: &ToNode) {
        let outgoing = lock(&self.node(cluster).link).1.clone();
        if let Some(outgoing) = outgoing
            && let Err(error) = outgoing.send(message).await
        {
            tracing::debug!(cluster, %error, "a node left while it was sent something");
        }
    }

    /// A number for an order to seal a cluster by hand: higher than those before it, also from before this process.
    pub(crate) fn new_order(&self, cluster: &str) -> u64 {
        let now = u64::try_from(now()).unwrap_or_default();
        let node = self.node(cluster);
        let last = node.order.fetch_max(now, Ordering::AcqRel);
        if last < now { now } else { node.order.fetch_add(1, Ordering::AcqRel) + 1 }
    }

    /// The number of the last order to seal a cluster by hand.
    fn order(&self, cluster: &str) -> u64 {
        self.node(cluster).order.load(Ordering::Acquire)
    }

    /// Removes a cluster's local files.
    pub(crate) fn remove_directory(&self, cluster: &str) -> Result<(), Refused> {
        let directory = self.settings.directory(cluster);
        match std::fs::remove_dir_all(&directory) {
            Ok(()) => Ok(()),
            // There is none; or there can't be one, for a file stands where it would be.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
            Err(error) => Err(Refused::new(Kind::Unavailable, format!("{}: {error}", directory.display()))),
        }
    }

    /// Removes local directories of clusters that are no more.
    fn remove_strays(&self, known: Vec<&str>) -> Result<(), Refused> {
        let Ok(entries) = std::fs::read_dir(self.settings.data_dir.join("nodes")) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !known.contains(&name.as_str()) {
                tracing::info!(cluster = name, "the local directory of a cluster that is no more is removed");
                self.remove_directory(&name)?;
            }
        }
        Ok(())
    }

    fn node(&self, cluster: &str) -> Arc<Node> {
        let mut nodes = lock(&self.known);
        Arc::clone(nodes.entry(cluster.to_owned()).or_insert_with(|| {
            Arc::new(Node {
                live: watch::Sender::new(Live::default()),
                wake: Notify::new(),
                order: AtomicU64::new(0),
                link: Mutex::default(),
                history: Mutex::default(),
                keeper: Mutex::default(),
            })
        }))
    }

    fn all(&self) -> Vec<Arc<Node>> {
        lock(&self.known).values().cloned().collect()
    }

    fn offers(&self, provider: Provider) -> bool {
        match provider {
            Provider::Local => self.local_keys,
            _ => true,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use custody_link::{NodeState, Report, WorkReport, WorkState};

    use super::*;

    /// Settings for nodes of which none is ever started.
    pub(crate) fn settings(directory: &std::path::Path) -> NodeSettings {
        NodeSettings {
            program: "/bin/false".into(),
            data_dir: directory.to_owned(),
            storage: directory.join("storage").display().to_string(),
            storage_role: None,
            backup_storage: directory.join("storage").display().to_string(),
            backup_role: None,
            host: std::net::Ipv4Addr::LOCALHOST.into(),
            public_host: None,
            console_origins: Vec::new(),
            ports: 19_530..=19_629,
            key_check_interval: Duration::from_mins(10),
            kms_file: directory.join("local-kms.json"),
            tls: None,
            allow_swap: true,
            insecure: false,
            log: "info".to_owned(),
            log_json: false,
            environment: Vec::new(),
        }
    }

    impl Nodes {
        /// As if a cluster's node had reported.
        pub(crate) fn says(&self, cluster: &str, state: NodeState) {
            self.node(cluster).live.send_modify(|live| live.told(Report { state, zones: Vec::new(), pid: 1 }));
        }

        /// As if a cluster's node had said how its work is.
        pub(crate) async fn works(&self, cluster: &str, job: &str, state: WorkState) {
            let row = cluster::get(&self.db, cluster).await.unwrap();
            self.worked(&row, &WorkReport { job: job.to_owned(), done: 1, total: 2, state }).await;
        }
    }
}
