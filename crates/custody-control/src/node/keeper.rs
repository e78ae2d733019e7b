//! The keeper of one cluster: sees to it that there is exactly one process where there should be one, and none otherwise.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use zeroize::Zeroizing;

use super::{END, Node, Nodes, process, process::Process};
use crate::{
    cluster::{self, Phase, Row},
    cmek::KeyStatus,
    db::now,
    random,
    refusal::{Kind, Refused},
};

/// How often the keeper looks at what it keeps.
const TICK: Duration = Duration::from_secs(1);
/// How long a node may keep silent before it is taken for hung: it reports every two seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// Before a process that ended by itself is started again: this, twice as long each time, up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A process that lived as long as this ended for a new reason.
const STEADY: Duration = Duration::from_mins(1);

/// Keeps a cluster's process until the cluster is gone, or the control plane stops.
pub(super) async fn keep(nodes: Arc<Nodes>, cluster: String, node: Arc<Node>) {
    let mut keeper = Keeper { nodes, cluster, node, process: None, failures: 0 };
    while keeper.turn().await {}
    keeper.end().await;
}

struct Keeper {
    nodes: Arc<Nodes>,
    cluster: String,
    node: Arc<Node>,
    process: Option<(Process, tokio::time::Instant)>,
    /// How often in a row the process ended by itself.
    failures: u32,
}

impl Keeper {
    /// One look at what should be and what is; false if there is nothing to keep any more.
    async fn turn(&mut self) -> bool {
        if *self.nodes.stopping.borrow() {
            return false;
        }
        let row = match cluster::find(&self.nodes.db, &self.cluster).await {
            Ok(Some(row)) => row,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(cluster = self.cluster, %error, "a cluster's keeper can't read what it should be");
                tokio::time::sleep(TICK).await;
                return true;
            }
        };
        if self.process.is_none()
            && let Some(found) = process::find(&self.nodes.settings.link(), &self.cluster)
        {
            tracing::info!(cluster = self.cluster, pid = found.id(), "a node that runs already is taken over");
            self.took(found, true);
        }
        if !matches!(row.phase, Phase::Creating | Phase::Running) {
            self.end().await;
            self.node.wake.notified().await;
            return true;
        }
        if self.process.is_none() && !self.start(&row).await {
            return true;
        }
        self.watch(&row).await;
        true
    }

    /// Starts a process. If that fails, it is another time's turn.
    async fn start(&mut self, row: &Row) -> bool {
        let started = match self.new_token().await {
            Ok(token) => process::spawn(&self.nodes.settings, &self.cluster, &token).map_err(|error| {
                let directory = self.nodes.settings.directory(&self.cluster);
                let why = format!("its process can't be started: {error}: is there room for {}?", directory.display());
                Refused::new(Kind::Unavailable, why)
            }),
            Err(error) => Err(error),
        };
        match started {
            Ok(process) => {
                tracing::info!(cluster = self.cluster, pid = process.id(), "a node is started");
                self.nodes.starts.count(self.cluster.clone());
                self.took(process, false);
                true
            }
            Err(error) => {
                self.fell(row, error.to_string()).await;
                false
            }
        }
    }

    /// A token for the next process: nobody else answers for the cluster from now on.
    async fn new_token(&self) -> Result<Zeroizing<String>, Refused> {
        let token = random::key_digits()?;
        let digest = random::digest(token.as_bytes());
        sqlx::query!("UPDATE clusters SET token = ? WHERE id = ?", digest, self.cluster)
            .execute(self.nodes.db.pool())
            .await?;
        Ok(token)
    }

    fn took(&mut self, process: Process, known: bool) {
        let pid = process.id();
        self.node.live.send_modify(|live| live.began(pid, known));
        self.process = Some((process, tokio::time::Instant::now()));
    }

    /// Waits until something is to be done.
    async fn watch(&mut self, row: &Row) {
        let Some((process, since)) = &self.process else { return };
        let ended = tokio::select! {
            () = process.ended() => true,
            () = self.node.wake.notified() => false,
            () = tokio::time::sleep(TICK) => false,
        };
        if ended {
            if since.elapsed() > STEADY {
                self.failures = 0;
            }
            self.process = None;
            let why = process::last_words(&self.nodes.settings, &self.cluster);
            self.fell(row, why.unwrap_or_else(|| "it said nothing".to_owned())).await;
            return;
        }
        if self.is_hung(row).await
            && let Some((process, _)) = &self.process
        {
            tracing::error!(cluster = self.cluster, pid = process.id(), "a node keeps silent and is killed");
            process.kill();
        }
        self.nodes.note_status(&self.cluster).await;
    }

    /// Whether the process lives and says nothing. One that has a key which gives no answer is left alone: killing it would
    /// forfeit the grace (rule 14). The node may have noticed that before our own check, or we before the node; what it told
    /// counts until that check has proven the key since.
    async fn is_hung(&self, row: &Row) -> bool {
        let (silent, on_grace) = {
            let live = self.node.live.borrow();
            (live.silent_for(), live.is_on_grace(SystemTime::now()))
        };
        if silent < SILENCE {
            return false;
        }
        let spoke = now() - i64::try_from(silent.as_millis()).unwrap_or(i64::MAX);
        match self.lacks_a_key(row, if on_grace { spoke } else { 0 }).await {
            Ok(true) => {
                tracing::warn!(
                    cluster = self.cluster,
                    "a node keeps silent, and is left alone while one of its keys gives no answer"
                );
                false
            }
            Ok(false) => true,
            Err(error) => {
                tracing::error!(cluster = self.cluster, %error, "a node keeps silent, and its keys can't be looked up");
                false
            }
        }
    }

    /// Whether a key that the cluster uses, its own or a tenant's, gives no answer, or was last proven before this time.
    async fn lacks_a_key(&self, row: &Row, proven_since: i64) -> Result<bool, sqlx::Error> {
        let (unreachable, available) = (KeyStatus::Unreachable.as_str(), KeyStatus::Available.as_str());
        sqlx::query_scalar!(
            r#"SELECT EXISTS (
                   SELECT 1 FROM keys WHERE (status = ?1 OR status = ?2 AND last_success_at < ?3)
                   AND (id = ?4 OR id IN (SELECT key_id FROM cluster_keys WHERE cluster_id = ?5))
               ) AS "lacks: bool""#,
            unreachable,
            available,
            proven_since,
            row.key_id,
            row.id
        )
        .fetch_one(self.nodes.db.pool())
        .await
    }

    /// The process ended by itself, or could not be started.
    async fn fell(&mut self, row: &Row, why: String) {
        tracing::warn!(cluster = self.cluster, why, "a node ended");
        self.node.live.send_modify(|live| live.ended(Some(why)));
        self.nodes.note_status(&self.cluster).await;
        if row.phase == Phase::Creating {
            // Its job undoes the cluster.
            self.node.wake.notified().await;
            return;
        }
        let pause = SHORTEST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.8 + rand::random::<f64>() * 0.4)) => {}
            () = self.node.wake.notified() => {}
        }
    }

    /// Ends the process cleanly, if there is one.
    async fn end(&mut self) {
        if let Some((process, _)) = self.process.take() {
            if self.node.live.borrow().is_on_grace(SystemTime::now()) {
                tracing::warn!(
                    cluster = self.cluster,
                    "a node is stopped while its key gives no answer: the cluster stays dark until it does"
                );
            }
            process.end(END).await;
        }
        self.node.live.send_modify(|live| live.ended(None));
    }
}
