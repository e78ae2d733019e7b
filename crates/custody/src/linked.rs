//! A node under a control plane (rule 23): its settings, its AWS sessions and its orders come over the link, and how it is
//! goes back.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use custody_engine::{Anchor, Engine};
use custody_keyring::{Keyring, Zone, ZoneStatus};
use custody_kms::Outcome;
use custody_link::{
    Command, Figures, KeyPolicy, Link, NodeConfig, NodeState, ROLLED_BACK, Report, WorkOrder, ZoneReport, ZoneState,
};
use custody_node::{Access, ApiKeys, CannotAsk, Level, Tally};
use custody_store::{ClusterId, ZoneId};
use tokio::sync::mpsc;

use crate::{
    Failure,
    bucket_sessions::BucketSessions,
    config::Settings,
    floor::Floor,
    handover,
    inherit::{self, Inherited},
    logging, node,
    root_keys::KeyArgs,
    storage::Sessions,
    work::{Opened, Worker},
};

/// How long the control plane may take to say what this node is to be.
const CONFIGURE: Duration = Duration::from_mins(1);
/// How long it may take to say what it wants of a node that goes on in another image.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How long the last records may take to reach it.
const FLUSH: Duration = Duration::from_secs(3);
/// How often statuses are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often the node reports although nothing changed.
const REPORT: Duration = Duration::from_secs(2);
/// How often the node looks whether it can tell a higher anchor. What was written since the last may be cut off unnoticed.
const ANCHOR: Duration = Duration::from_secs(1);
/// How often the node tells what it has done.
const FIGURES: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_hours(1);

/// `custody node --link`.
pub(crate) async fn run(cluster: ClusterId, directory: PathBuf) -> Result<(), Failure> {
    let inherited = inherit::take()?;
    let (link, commands) = Link::connect(directory, cluster.to_string(), inherited.token.clone());
    let config = match &inherited.config {
        Some(config) => config.clone(),
        None => link.config(CONFIGURE).await?,
    };
    if config.cluster != cluster.as_str() {
        return Err(format!("the control plane speaks of the cluster {}, not of {cluster}", config.cluster).into());
    }
    let settings = settings(&config)?;
    logging::start(&settings)?;
    let keys = key_args(cluster, &config)?;
    let linked = Linked::new(link, commands, inherited, config, settings.clone(), &keys);
    let ended = node::serve_cluster(&settings, &keys, || linked.floor(), Some(&linked)).await;
    linked.link.flush(FLUSH).await;
    ended
}

/// The settings that the control plane gave; nothing else is looked at.
fn settings(config: &NodeConfig) -> Result<Settings, Failure> {
    let grace = config.key.as_ref().and_then(|key| config.policy.grace_seconds.get(&key.arn));
    let settings = Settings {
        data_dir: config.data_dir.clone(),
        storage: Some(config.storage.clone()),
        listen: Some(config.listen),
        key_check_interval: Duration::from_millis(config.key_check_interval_ms),
        key_grace: grace.map_or(GRACE, |seconds| Duration::from_secs(*seconds)),
        tls_cert: config.tls_cert.clone(),
        tls_key: config.tls_key.clone(),
        insecure: config.insecure,
        allow_swap: config.allow_swap,
        kms_file: config.kms_file.clone(),
        log: config.log.clone(),
        log_json: config.log_json,
        ..Settings::default()
    };
    settings.check()?;
    Ok(settings)
}

fn key_args(cluster_id: ClusterId, config: &NodeConfig) -> Result<KeyArgs, Failure> {
    let key = config.key.as_ref();
    let tenants: Result<_, _> = config.policy.tenant_keys.iter().map(custody_link::KeyRef::reference).collect();
    Ok(KeyArgs {
        cluster_id,
        key_arn: key.map(|key| key.arn.clone()),
        role_arn: key.and_then(|key| key.role.clone()),
        external_id: key.and_then(|key| key.external_id.clone()),
        tenant_key: Vec::new(),
        unencrypted: key.is_none(),
        link: None,
        linked_tenants: tenants?,
    })
}

/// What a node has of its control plane.
pub(crate) struct Linked {
    pub(crate) link: Arc<Link>,
    bucket: Arc<BucketSessions>,
    /// What this image has answered.
    pub(crate) tally: Arc<Tally>,
    worker: Worker,
    state: Mutex<State>,
    commands: tokio::sync::Mutex<mpsc::UnboundedReceiver<Command>>,
}

struct State {
    inherited: Inherited,
    /// What the control plane said; of zones that wait for a person, and of the anchor, what has come about since.
    config: NodeConfig,
    /// The anchor that was told last.
    anchor: Option<Anchor>,
    /// Whether a later one could not be told, and that was said.
    untold: bool,
}

/// What a sealed cluster's stub is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Look whether the key is there, if it is time.
    Look,
    /// Become the node.
    Open,
    /// End the process.
    Stop,
}

impl Linked {
    fn new(
        link: Link,
        commands: mpsc::UnboundedReceiver<Command>,
        mut inherited: Inherited,
        config: NodeConfig,
        settings: Settings,
        keys: &KeyArgs,
    ) -> Self {
        // What an earlier image was told it has heeded, and an unseal since then counts.
        if inherited.config.is_none() {
            inherited.hold.follow(false, &config.policy);
        }
        let state = Mutex::new(State { inherited, config, anchor: None, untold: false });
        let link = Arc::new(link);
        let bucket = Arc::new(BucketSessions::new(Arc::clone(&link)));
        let worker = Worker::new(Arc::clone(&link), settings, keys);
        Self { link, bucket, tally: Arc::default(), worker, state, commands: tokio::sync::Mutex::new(commands) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The hash of root's first password.
    pub(crate) fn root_hash(&self) -> Option<String> {
        self.with(|state| state.config.root_hash.clone())
    }

    /// Where the credentials for the cluster's storage come from, if it is a bucket.
    pub(crate) fn storage_sessions(&self) -> Option<Sessions> {
        self.with(|state| state.config.storage_sessions).then(|| Arc::clone(&self.bucket) as _)
    }

    /// The backup that the cluster is to be made from.
    pub(crate) fn restore(&self) -> Option<Box<WorkOrder>> {
        self.with(|state| state.config.restore.clone())
    }

    /// Makes the cluster from a backup. False if it could not be made, or is not to be any more: the process is to end.
    pub(crate) async fn make_from_backup(&self, order: WorkOrder, opened: &Opened) -> Result<bool, Failure> {
        let mut commands = self.commands.lock().await;
        let mut look = tokio::time::interval(LOOK);
        self.worker.begin_new(order, opened);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => return Ok(false),
                    Some(Command::CancelWork(job)) => self.worker.cancel(&job),
                    Some(Command::Seal | Command::Unseal | Command::Work(_)) => {
                        tracing::warn!("the cluster is being made from a backup: it is not sealed or unsealed before that is done");
                    }
                },
                _ = look.tick() => {
                    self.starting();
                    match self.worker.tell().await {
                        None => {}
                        Some(true) => {
                            self.with(|state| state.config.restore = None);
                            return Ok(true);
                        }
                        // The report has to arrive before the process ends; it is then ended by whoever reads it.
                        Some(false) => return self.wait_for_stop(&mut commands).await,
                    }
                }
            }
        }
    }

    /// Gives up the work that is under way, and returns once nothing is written for it any more.
    pub(crate) async fn end_work(&self) {
        self.worker.stop().await;
    }

    async fn wait_for_stop(&self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Result<bool, Failure> {
        while let Some(command) = commands.recv().await {
            if command == Command::Stop {
                break;
            }
        }
        Ok(false)
    }

    /// From where a browser's page may call.
    pub(crate) fn console_origins(&self) -> Vec<String> {
        self.with(|state| state.config.console_origins.clone())
    }

    /// Below what the cluster is not opened.
    fn floor(&self) -> Result<Floor, Failure> {
        let (text, below) = self.with(|state| (state.config.anchor.clone(), state.config.below_anchor));
        text.map_or_else(|| Ok(Floor::default()), |text| Floor::parse(&text, below))
    }

    /// Tells how far the open cluster has come, if it has come any further. The next image of this process is held to it.
    pub(crate) fn tell_anchor(&self, engine: &Engine) {
        let now = engine.anchor();
        if self.with(|state| state.anchor.as_ref() == Some(&now)) {
            return;
        }
        let told = serde_json::to_string(&now)
            .map_err(Failure::from)
            .and_then(|text| Ok(self.link.anchor(text.clone()).map(|()| text)?));
        match told {
            Ok(text) => self.with(|state| {
                (state.config.anchor, state.config.below_anchor) = (Some(text), false);
                (state.anchor, state.untold) = (Some(now), false);
            }),
            Err(error) => {
                if self.with(|state| !std::mem::replace(&mut state.untold, true)) {
                    tracing::error!(%error, "the anchor can't be told: a rollback of what comes now may go unnoticed");
                }
            }
        }
    }

    /// Notes that the storage is below the anchor. A person has to decide.
    pub(crate) fn note_rolled_back(&self) {
        self.with(|state| {
            state.inherited.outcome = Some(ROLLED_BACK.to_owned());
            state.inherited.hold.rolled_back = true;
        });
    }

    /// Whether the cluster is to stay sealed.
    pub(crate) fn holds(&self) -> bool {
        self.with(|state| state.inherited.hold.holds())
    }

    /// Hears what the control plane wants now, before the cluster is opened: while an image is replaced, an order to seal it
    /// finds nobody. A control plane that is away does not keep the cluster closed.
    pub(crate) async fn catch_up(&self) {
        if self.link.config(CATCH_UP).await.is_err() {
            tracing::warn!("the control plane is away: the cluster is opened by what it said last");
        }
        let newest = self.link.policies().borrow().clone();
        if let Some(policy) = newest {
            self.take_policy(&policy);
        }
    }

    /// Tells that the cluster is being opened.
    pub(crate) fn starting(&self) {
        self.link.report(report(NodeState::Starting, Vec::new()));
    }

    /// Tells that the cluster is sealed, and why.
    fn sealed(&self, reason: &str) {
        let (outcome, heeded) = self.with(|state| (state.inherited.outcome.clone(), state.inherited.hold.heeded()));
        self.link.report(report(NodeState::Sealed { reason: reason.to_owned(), outcome, heeded }, Vec::new()));
    }

    /// Notes what a seal of the cluster, or a look at its key, came to. A revocation may have to wait for a person.
    pub(crate) fn note(&self, outcome: Option<Outcome>) {
        self.with(|state| {
            state.inherited.outcome = outcome.map(|outcome| outcome.as_str().to_owned());
            let key = state.config.key.as_ref().map(|key| key.arn.clone());
            if outcome == Some(Outcome::Revoked) && key.is_some_and(|key| manual(&state.config.policy, &key)) {
                state.inherited.hold.revoked = true;
            }
        });
    }

    /// Leaves what the next image has to know, and lets the record of calls arrive.
    pub(crate) async fn leave(&self) -> Result<(), Failure> {
        self.link.flush(FLUSH).await;
        self.with(|state| {
            state.inherited.config = Some(state.config.clone());
            inherit::leave(&state.inherited)
        })
    }

    /// Becomes the keyless stub. Returns only on failure.
    pub(crate) async fn become_sealed(&self, listener: &std::net::TcpListener, reason: &str) -> Failure {
        match self.leave().await {
            Ok(()) => handover::become_sealed(listener, reason),
            Err(error) => error,
        }
    }

    /// Follows the control plane while the cluster is served; returns when the process is to end.
    pub(crate) async fn follow(&self, keyring: Option<&Keyring>, opened: &Opened) {
        let engine = &opened.engine;
        let mut commands = self.commands.lock().await;
        let mut policies = self.link.policies();
        policies.mark_changed();
        let mut look = tokio::time::interval(LOOK);
        let mut anchor = tokio::time::interval(ANCHOR);
        let mut figures = tokio::time::interval(FIGURES);
        let mut told: Option<(Report, Instant)> = None;
        loop {
            tokio::select! {
                command = commands.recv() => match (command, keyring) {
                    (None | Some(Command::Stop), _) => return,
                    (Some(Command::Work(order)), _) => self.worker.begin(*order, opened),
                    (Some(Command::CancelWork(job)), _) => self.worker.cancel(&job),
                    (Some(_), None) => tracing::warn!("an unencrypted cluster can't be sealed"),
                    (Some(Command::Seal), Some(keyring)) => self.seal(keyring),
                    (Some(Command::Unseal), Some(keyring)) => {
                        self.unseal();
                        keyring.unseal_all();
                    }
                },
                Ok(()) = policies.changed() => {
                    let policy = policies.borrow_and_update().clone();
                    if let (Some(policy), Some(keyring)) = (policy, keyring) {
                        self.take_policy(&policy);
                        apply(&policy, keyring);
                        if self.holds() {
                            self.seal(keyring);
                        }
                    }
                }
                _ = look.tick() => {
                    self.tell(keyring, engine, &mut told);
                    self.worker.tell().await;
                }
                _ = anchor.tick() => self.tell_anchor(engine),
                _ = figures.tick() => self.tell_figures(),
            }
        }
    }

    /// Has the zones that wait for a person open sealed.
    pub(crate) fn hold_zones(&self, keyring: &Keyring) -> Result<(), Failure> {
        let zones: Vec<String> = self.with(|state| state.config.held_zones.keys().cloned().collect());
        for zone in zones {
            let id = zone.parse().map_err(|error| format!("the control plane holds zone {zone:?}: {error}"))?;
            keyring.seal_at_opening(id);
        }
        Ok(())
    }

    fn tell_figures(&self) {
        let counted = self.tally.counted();
        let (requests, failed, micros) = (counted.requests, counted.failed, counted.micros);
        self.link.figures(Figures { requests, failed, micros, resident: resident() });
    }

    fn seal(&self, keyring: &Keyring) {
        self.with(|state| state.inherited.hold.by_hand = true);
        keyring.seal_all();
    }

    fn unseal(&self) {
        let newest = self.link.newest_config();
        self.with(|state| {
            // The control plane may let what was rolled back be opened now.
            if let Some(config) = newest.filter(|_| state.inherited.hold.rolled_back) {
                (state.config.anchor, state.config.below_anchor) = (config.anchor, config.below_anchor);
            }
            state.inherited.hold = inherit::Hold::default();
            state.inherited.outcome = None;
            state.config.held_zones.clear();
        });
    }

    fn take_policy(&self, policy: &KeyPolicy) {
        self.with(|state| {
            state.inherited.hold.follow(state.config.policy.hold, policy);
            state.config.policy = policy.clone();
        });
    }

    /// Holds what must wait for a person, and reports if anything changed or it is time.
    fn tell(&self, keyring: Option<&Keyring>, engine: &Engine, told: &mut Option<(Report, Instant)>) {
        // The next image says that the cluster is sealed: this one would call it served, with its zones sealed.
        if !engine.cluster_zone().status().is_usable() {
            return;
        }
        let mut zones = keyring.map(|keyring| self.zones(keyring)).unwrap_or_default();
        note_refused(&mut zones, engine);
        let now = report(NodeState::Serving, zones);
        if told.as_ref().is_none_or(|(before, at)| *before != now || at.elapsed() >= REPORT) {
            self.link.report(now.clone());
            *told = Some((now, Instant::now()));
        }
    }

    fn zones(&self, keyring: &Keyring) -> Vec<ZoneReport> {
        let one = |zone: &Arc<Zone>| {
            let status = zone.status();
            let revoked = status.outcome() == Some(Outcome::Revoked) && !status.is_usable();
            // The cluster's own zone ends this image, and the stub waits.
            if revoked && zone.id() != ZoneId::CLUSTER {
                let hold = self.with(|state| {
                    let hold = manual(&state.config.policy, zone.key().as_str());
                    if hold {
                        let why = format!("{}; it waits until somebody unseals the cluster", reason(&status));
                        state.config.held_zones.entry(zone.id().to_string()).or_insert(why);
                    }
                    hold
                });
                if hold {
                    keyring.seal(zone.id());
                }
            }
            let report = zone_report(zone, &status);
            let held = self.with(|state| state.config.held_zones.get(&report.zone).cloned());
            // What it waits for, whatever seals it now.
            match held {
                Some(reason) => {
                    let outcome = Some(Outcome::Revoked.as_str().to_owned());
                    ZoneReport { status: ZoneState::Sealed, outcome, reason: Some(reason), ..report }
                }
                None => report,
            }
        };
        keyring.zones().iter().map(one).collect()
    }

    /// What the stub is to do next: look at the key when `due`, unless it is to stay sealed. It reports meanwhile.
    pub(crate) async fn order(&self, due: tokio::time::Instant, reason: &str) -> Order {
        let mut commands = self.commands.lock().await;
        let mut policies = self.link.policies();
        policies.mark_changed();
        let mut again = tokio::time::interval(REPORT);
        loop {
            let held = self.holds();
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => return Order::Stop,
                    Some(Command::Work(order)) => self.worker.refuse(&order.job, reason),
                    Some(Command::CancelWork(_)) => {}
                    Some(Command::Seal) => self.with(|state| state.inherited.hold.by_hand = true),
                    Some(Command::Unseal) => {
                        self.unseal();
                        return Order::Open;
                    }
                },
                Ok(()) = policies.changed() => {
                    let policy = policies.borrow_and_update().clone();
                    if let Some(policy) = policy {
                        self.take_policy(&policy);
                    }
                    if held && !self.holds() {
                        return Order::Open;
                    }
                    // Whoever has it sealed waits to hear that the order was heeded.
                    self.sealed(reason);
                }
                _ = again.tick() => self.sealed(reason),
                () = tokio::time::sleep_until(due), if !held => return Order::Look,
            }
        }
    }
}

/// Notes in which zones something was not opened because it is below the anchor.
fn note_refused(zones: &mut [ZoneReport], engine: &Engine) {
    for (zone, below) in engine.below_anchor() {
        let zone = zone.to_string();
        let report = zones.iter_mut().find(|report| report.zone == zone && report.outcome.is_none());
        if let Some(report) = report {
            (report.outcome, report.reason) = (Some(ROLLED_BACK.to_owned()), Some(below.to_string()));
        }
    }
}

fn reason(status: &ZoneStatus) -> String {
    match status {
        ZoneStatus::Sealed(reason) => reason.to_string(),
        status => status.to_string(),
    }
}

fn manual(policy: &KeyPolicy, key: &str) -> bool {
    policy.manual_recovery.iter().any(|arn| arn == key)
}

/// Lets the keyring follow a policy. A key that is not allowed any more stays so until the node starts anew: zones may be
/// under it.
fn apply(policy: &KeyPolicy, keyring: &Keyring) {
    for key in &policy.tenant_keys {
        let allowed = key.reference().map_err(Failure::from).and_then(|key| Ok(keyring.allow_key(key)?));
        if let Err(error) = allowed {
            tracing::error!(key = key.arn, %error, "a key of the control plane's policy can't be allowed");
        }
    }
    for (key, seconds) in &policy.grace_seconds {
        let grace = Duration::from_secs(*seconds);
        let set = key.parse().map_err(Failure::from).and_then(|key| Ok(keyring.set_grace(&key, grace)?));
        if let Err(error) = set {
            tracing::error!(key, %error, "the grace of a key can't be set");
        }
    }
}

/// The memory of this process, in bytes; 0 where the system doesn't say.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages: Option<u64> = pages.and_then(|text| text.split_whitespace().nth(1)?.parse().ok());
    pages.unwrap_or_default() * u64::try_from(rustix::param::page_size()).unwrap_or_default()
}

fn report(state: NodeState, zones: Vec<ZoneReport>) -> Report {
    Report { state, zones, pid: std::process::id() }
}

fn zone_report(zone: &Zone, status: &ZoneStatus) -> ZoneReport {
    let (state, reason, until) = match status {
        ZoneStatus::Available => (ZoneState::Available, None, None),
        ZoneStatus::Grace { until, reason } => (ZoneState::Grace, Some(reason.to_string()), Some(*until)),
        ZoneStatus::Sealed(reason) => (ZoneState::Sealed, Some(reason.to_string()), None),
    };
    let unix_ms = |time: std::time::SystemTime| {
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    };
    ZoneReport {
        zone: zone.id().to_string(),
        key_arn: zone.key().to_string(),
        key_version: zone.current_version(),
        status: state,
        outcome: status.outcome().map(|outcome| outcome.as_str().to_owned()),
        reason,
        grace_until_unix_ms: until.map(unix_ms),
    }
}

/// API keys of the control plane.
pub(crate) struct LinkKeys(pub(crate) Arc<Link>);

#[async_trait]
impl ApiKeys for LinkKeys {
    async fn access(&self, digest: &str) -> Result<Option<Access>, CannotAsk> {
        let (level, uses_keys) = self.0.ask_access(digest).await.map_err(|_| CannotAsk)?;
        let level = match level {
            custody_link::Access::None => return Ok(None),
            custody_link::Access::Read => Level::Read,
            custody_link::Access::Write => Level::Write,
            custody_link::Access::Admin => Level::Admin,
        };
        Ok(Some(Access { level, uses_keys }))
    }
}
