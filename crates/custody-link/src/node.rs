//! The node's end: it connects, again and again, for as long as the process lives. The control plane may restart
//! meanwhile; the node goes on serving.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use custody_kms::{HandedFailure, HandedSession, Ledger, LedgerEntry, Purpose, RootKeyRef, SessionSource};
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};
use zeroize::Zeroizing;

use crate::{
    error::LinkError,
    frame::{self, LONGEST, Reader},
    handed::SessionAnswer,
    message::{Access, CallRecord, Figures, KeyPolicy, NodeConfig, Report, ToControl, ToNode},
    socket,
    work::{WorkOrder, WorkReport},
};

/// Calls that are kept for a control plane that is away.
const KEPT_CALLS: usize = 10_000;
/// Calls in one message: far below what a message can hold.
const BATCH: usize = 200;
/// How long the control plane may take to answer Hello.
const GREETING: Duration = Duration::from_secs(10);
/// How long an ask waits for a connection. A control plane that restarts is back within that, mostly.
const RECONNECTING: Duration = Duration::from_secs(3);
/// How long an ask waits for its answer: a session takes three calls to STS at the most.
const ANSWER: Duration = Duration::from_secs(28);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What the control plane wants done.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Seal the cluster by hand.
    Seal,
    /// End a seal.
    Unseal,
    /// A long piece of work.
    Work(Box<WorkOrder>),
    /// Give a job's work up.
    CancelWork(String),
    /// End the process.
    Stop,
}

/// The control plane can't be reached, or did not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the control plane on this machine can't be reached, or gave no answer in time")]
pub struct Disconnected;

/// The link to the control plane.
pub struct Link {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the link's users and its task share.
struct Shared {
    directory: PathBuf,
    cluster: String,
    token: Zeroizing<String>,
    connected: watch::Sender<bool>,
    config: watch::Sender<Option<NodeConfig>>,
    policy: watch::Sender<Option<KeyPolicy>>,
    report: watch::Sender<Option<Report>>,
    commands: mpsc::UnboundedSender<Command>,
    asks: mpsc::UnboundedSender<ToControl>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    next: AtomicU64,
    calls: Mutex<Calls>,
    anchor: Mutex<Anchor>,
    work: watch::Sender<Option<WorkReport>>,
    /// An anchor, or a call was recorded, or the last was sent.
    news: Notify,
    sent: Notify,
}

#[derive(Default)]
struct Calls {
    queue: VecDeque<CallRecord>,
    lost: u64,
}

/// The newest anchor, and whether it was sent since the link was last made.
#[derive(Default)]
struct Anchor {
    text: Option<String>,
    sent: bool,
}

/// Who waits for an answer.
enum Waiting {
    Session(oneshot::Sender<SessionAnswer>),
    Access(oneshot::Sender<(Access, bool)>),
}

impl Link {
    /// Connects to the control plane that listens in `directory`, now and again whenever the connection breaks. Call it in
    /// a runtime of tokio's.
    pub fn connect(
        directory: PathBuf,
        cluster: String,
        token: Zeroizing<String>,
    ) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            directory,
            cluster,
            token,
            connected: watch::Sender::new(false),
            config: watch::Sender::new(None),
            policy: watch::Sender::new(None),
            report: watch::Sender::new(None),
            commands,
            asks,
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            calls: Mutex::default(),
            anchor: Mutex::default(),
            work: watch::Sender::new(None),
            news: Notify::new(),
            sent: Notify::new(),
        });
        let task = tokio::spawn(stay_connected(Arc::clone(&shared), asked));
        (Self { shared, task }, receiver)
    }

    /// What the control plane wants this node to be, as soon as it has said so.
    pub async fn config(&self, patience: Duration) -> Result<NodeConfig, Disconnected> {
        let mut configs = self.shared.config.subscribe();
        let known = tokio::time::timeout(patience, configs.wait_for(Option::is_some)).await;
        known.ok().and_then(Result::ok).and_then(|config| config.clone()).ok_or(Disconnected)
    }

    /// The newest policy, as it changes; `None` until the control plane has told the first.
    pub fn policies(&self) -> watch::Receiver<Option<KeyPolicy>> {
        self.shared.policy.subscribe()
    }

    /// Whether the control plane is there, as it changes.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.shared.connected.subscribe()
    }

    /// Tells how the node is. The newest report is told again after each reconnect.
    pub fn report(&self, report: Report) {
        self.shared.report.send_replace(Some(report));
    }

    /// Tells how a long piece of work is. The newest report is told again after each reconnect.
    pub fn work(&self, report: WorkReport) {
        self.shared.work.send_replace(Some(report));
    }

    /// Tells how far the cluster has come. The newest is told again after each reconnect. One that is too long, also to come
    /// back in a configuration, is not taken.
    pub fn anchor(&self, text: String) -> Result<(), LinkError> {
        if text.len() > LONGEST / 2 {
            return Err(LinkError::TooLong(text.len()));
        }
        *self.shared.anchor() = Anchor { text: Some(text), sent: false };
        self.shared.news.notify_one();
        Ok(())
    }

    /// Tells what the node has done so far. A control plane that is away hears it from the next telling.
    pub fn figures(&self, figures: Figures) {
        if *self.shared.connected.borrow() {
            // The link's own task takes it, and lives as long as this.
            drop(self.shared.asks.send(ToControl::Figures(figures)));
        }
    }

    /// What the control plane wanted this node to be when it last said so.
    pub fn newest_config(&self) -> Option<NodeConfig> {
        self.shared.config.borrow().clone()
    }

    /// Asks for a session on a key.
    pub async fn ask_session(&self, key_arn: &str, purpose: Purpose) -> Result<HandedSession, HandedFailure> {
        let (sender, answer) = oneshot::channel();
        let purpose = purpose.as_str().to_owned();
        let ask = |id| ToControl::AskSession { id, key_arn: key_arn.to_owned(), purpose };
        match self.ask(Waiting::Session(sender), ask, answer).await {
            Ok(answer) => answer.map(Into::into).map_err(Into::into),
            Err(disconnected) => Err(HandedFailure::ours(disconnected.to_string())),
        }
    }

    /// Asks for a session on the cluster's part of the bucket that it is stored in, or on a cluster's backups there.
    pub async fn ask_storage(&self, backups_of: Option<&str>) -> Result<HandedSession, HandedFailure> {
        let (sender, answer) = oneshot::channel();
        let ask = |id| ToControl::AskStorage { id, backups_of: backups_of.map(str::to_owned) };
        match self.ask(Waiting::Session(sender), ask, answer).await {
            Ok(answer) => answer.map(Into::into).map_err(Into::into),
            Err(disconnected) => Err(HandedFailure::ours(disconnected.to_string())),
        }
    }

    /// Asks what the holder of an API key may do, by the key's SHA-256: which calls, and whether that is to put databases
    /// under keys of their own.
    pub async fn ask_access(&self, digest: &str) -> Result<(Access, bool), Disconnected> {
        let (sender, answer) = oneshot::channel();
        let ask = |id| ToControl::AskAccess { id, digest: digest.to_owned() };
        self.ask(Waiting::Access(sender), ask, answer).await
    }

    async fn ask<T>(
        &self,
        waiting: Waiting,
        ask: impl FnOnce(u64) -> ToControl,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, Disconnected> {
        let mut connected = self.shared.connected.subscribe();
        let there = tokio::time::timeout(RECONNECTING, connected.wait_for(|connected| *connected)).await;
        there.map_err(|_| Disconnected)?.map_err(|_| Disconnected)?;
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.shared.waiting().insert(id, waiting);
        let sent = self.shared.asks.send(ask(id)).is_ok();
        let answered = if sent { tokio::time::timeout(ANSWER, answer).await.ok() } else { None };
        self.shared.waiting().remove(&id);
        answered.and_then(Result::ok).ok_or(Disconnected)
    }

    /// Waits until every recorded call and the newest anchor have been sent, but not for long: for the moment before the process is replaced.
    pub async fn flush(&self, patience: Duration) {
        let empty = async {
            loop {
                let sent = self.shared.sent.notified();
                if self.shared.calls().queue.is_empty() && self.shared.anchor().is_sent() {
                    return;
                }
                sent.await;
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            tracing::warn!(
                "the control plane did not take the record of all calls, or the newest anchor, in time; the log has the calls"
            );
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl SessionSource for Link {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<HandedSession, HandedFailure> {
        self.ask_session(key.key_arn().as_str(), purpose).await
    }
}

impl Ledger for Link {
    fn record(&self, entry: LedgerEntry) {
        let mut calls = self.shared.calls();
        if calls.queue.len() == KEPT_CALLS {
            calls.queue.pop_front();
            calls.lost += 1;
            if calls.lost == 1 {
                tracing::warn!("the control plane is away for long: the oldest records of calls are in the log only");
            }
        }
        calls.queue.push_back(CallRecord::from(&entry));
        self.shared.news.notify_one();
    }
}

impl Anchor {
    fn is_sent(&self) -> bool {
        self.sent || self.text.is_none()
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn anchor(&self) -> MutexGuard<'_, Anchor> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self, message: ToNode) {
        // Whoever no longer waits for an answer does not miss it.
        match message {
            ToNode::Configure(config) => {
                self.policy.send_replace(Some(config.policy.clone()));
                self.config.send_replace(Some(*config));
            }
            ToNode::Keys(policy) => {
                self.policy.send_replace(Some(policy));
            }
            ToNode::Session { id, result } => {
                if let Some(Waiting::Session(sender)) = self.waiting().remove(&id) {
                    let _ = sender.send(result);
                }
            }
            ToNode::Access { id, level, uses_keys } => {
                if let Some(Waiting::Access(sender)) = self.waiting().remove(&id) {
                    let _ = sender.send((level, uses_keys));
                }
            }
            ToNode::Seal => drop(self.commands.send(Command::Seal)),
            ToNode::Unseal => drop(self.commands.send(Command::Unseal)),
            ToNode::Work(order) => drop(self.commands.send(Command::Work(order))),
            ToNode::CancelWork { job } => drop(self.commands.send(Command::CancelWork(job))),
            ToNode::Stop => drop(self.commands.send(Command::Stop)),
        }
    }
}

async fn stay_connected(shared: Arc<Shared>, mut asks: mpsc::UnboundedReceiver<ToControl>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        let ended = match greet(&shared).await {
            Ok((reader, write)) => {
                pause = SHORTEST_PAUSE;
                shared.connected.send_replace(true);
                tracing::info!("connected to the control plane");
                let ended = talk(&shared, reader, write, &mut asks).await;
                shared.connected.send_replace(false);
                // Nobody will answer them; those who asked are told so at once.
                while asks.try_recv().is_ok() {}
                shared.waiting().clear();
                ended
            }
            Err(error) => error,
        };
        tracing::debug!(error = %ended, "no link to the control plane");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Says Hello, and takes what comes back.
async fn greet(shared: &Shared) -> Result<(Reader<OwnedReadHalf>, OwnedWriteHalf), LinkError> {
    let (read, mut write) = socket::connect(&shared.directory).await?.into_split();
    let hello = ToControl::Hello { cluster: shared.cluster.clone(), token: shared.token.clone() };
    frame::send(&mut write, &hello).await?;
    let mut reader = Reader::new(read);
    let answer = tokio::time::timeout(GREETING, reader.next()).await.map_err(|_| LinkError::Late)??;
    match answer {
        Some(config @ ToNode::Configure(_)) => shared.heard(config),
        Some(_) => return Err(LinkError::Order("Configure")),
        None => return Err(LinkError::Closed),
    }
    Ok((reader, write))
}

/// Passes messages on until the link breaks; returns why.
async fn talk(
    shared: &Shared,
    mut reader: Reader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    asks: &mut mpsc::UnboundedReceiver<ToControl>,
) -> LinkError {
    let mut reports = shared.report.subscribe();
    reports.mark_changed();
    let mut works = shared.work.subscribe();
    works.mark_changed();
    shared.anchor().sent = false;
    shared.news.notify_one();
    loop {
        let sent = tokio::select! {
            heard = reader.next() => match heard {
                Ok(Some(message)) => {
                    shared.heard(message);
                    Ok(())
                }
                Ok(None) => Err(LinkError::Closed),
                Err(error) => Err(error),
            },
            Some(ask) = asks.recv() => frame::send(&mut write, &ask).await,
            // The sender is in `shared`.
            Ok(()) = reports.changed() => {
                let report = reports.borrow_and_update().clone();
                match report {
                    Some(report) => frame::send(&mut write, &ToControl::Report(report)).await,
                    None => Ok(()),
                }
            }
            Ok(()) = works.changed() => {
                let report = works.borrow_and_update().clone();
                match report {
                    Some(report) => frame::send(&mut write, &ToControl::Work(report)).await,
                    None => Ok(()),
                }
            }
            () = shared.news.notified() => send_news(shared, &mut write).await,
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

async fn send_news(shared: &Shared, write: &mut OwnedWriteHalf) -> Result<(), LinkError> {
    send_anchor(shared, write).await?;
    send_calls(shared, write).await?;
    shared.sent.notify_waiters();
    Ok(())
}

async fn send_anchor(shared: &Shared, write: &mut OwnedWriteHalf) -> Result<(), LinkError> {
    let text = {
        let anchor = shared.anchor();
        if anchor.is_sent() { None } else { anchor.text.clone() }
    };
    let Some(text) = text else { return Ok(()) };
    frame::send(write, &ToControl::Anchor(text.clone())).await?;
    let mut anchor = shared.anchor();
    // One that came meanwhile has told that there is news, and is sent next.
    anchor.sent = anchor.text.as_ref() == Some(&text);
    Ok(())
}

/// Sends what is recorded. A record leaves the queue once it is written.
async fn send_calls(shared: &Shared, write: &mut OwnedWriteHalf) -> Result<(), LinkError> {
    loop {
        let (batch, lost) = {
            let calls = shared.calls();
            (calls.queue.iter().take(BATCH).cloned().collect::<Vec<_>>(), calls.lost)
        };
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.len();
        frame::send(write, &ToControl::Calls(batch)).await?;
        let mut calls = shared.calls();
        // Those that made room meanwhile were the first of the batch.
        let dropped = usize::try_from(calls.lost - lost).unwrap_or(usize::MAX);
        calls.queue.drain(..count.saturating_sub(dropped));
    }
}
