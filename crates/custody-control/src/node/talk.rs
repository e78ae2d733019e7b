//! Talking to nodes over their links: who they are, what they ask for, what they tell.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use custody_kms::{
    AwsSessions, HandedFailure, HandedSession, Ledger, LedgerEntry, Purpose, SessionName, SessionSource,
};
use custody_link::{Access, CallRecord, Incoming, Listener, Outgoing, Pending, ToControl, ToNode};
use tokio::task::JoinSet;

use super::{Node, Nodes, lock};
use crate::{
    access::{Caller, Privilege, api_keys},
    backup,
    cluster::{self, Phase, Row},
    cmek::{DbLedger, KmsCall},
    db::now,
    random,
    refusal::{Kind, Refused},
};

/// Takes in nodes, until the control plane stops.
pub(super) async fn take_in(nodes: Arc<Nodes>, mut listener: Listener) {
    let mut talks = JoinSet::new();
    while let Some(pending) = listener.accept().await {
        while talks.try_join_next().is_some() {}
        let nodes = Arc::clone(&nodes);
        talks.spawn(async move {
            let cluster = pending.cluster().to_owned();
            if let Err(error) = nodes.admit(pending).await {
                tracing::warn!(cluster, %error, "a process that connected as a node was turned away");
            }
        });
    }
}

impl Nodes {
    async fn admit(self: &Arc<Self>, pending: Pending) -> Result<(), Refused> {
        let cluster = pending.cluster().to_owned();
        let row = cluster::get(&self.db, &cluster).await?;
        if !matches!(row.phase, Phase::Creating | Phase::Running) {
            return Err(Refused::conflict(format!("the cluster is {}", row.phase)));
        }
        let shown = random::digest(pending.token().as_bytes());
        if verify_slices_are_equal(shown.as_bytes(), row.token.as_bytes()).is_err() {
            return Err(Refused::conflict("it does not show the token that the cluster's process was given"));
        }
        let config = self.config(&row).await?;
        let connection = pending.admit(config).await.map_err(Refused::internal)?;
        let (outgoing, incoming) = connection.split();
        let node = self.node(&cluster);
        let number = node.connected(outgoing.clone());
        // What changed between the look at the database and the connection.
        self.push_policy(&cluster).await;
        self.give_again(&cluster).await;
        let told = self.listen(&row, &node, outgoing, incoming).await;
        node.disconnected(number);
        told
    }

    async fn listen(
        self: &Arc<Self>,
        row: &Row,
        node: &Node,
        outgoing: Outgoing,
        mut incoming: Incoming,
    ) -> Result<(), Refused> {
        let mut asks = JoinSet::new();
        let mut told = None;
        while let Some(message) = incoming.receive().await.map_err(Refused::internal)? {
            while asks.try_join_next().is_some() {}
            match message {
                ToControl::Report(report) => {
                    node.live.send_modify(|live| live.told(report.clone()));
                    if told.as_ref() != Some(&report) {
                        self.reported(&row.id, &report).await;
                        told = Some(report);
                    }
                }
                ToControl::AskSession { id, key_arn, purpose } => {
                    let (nodes, row, outgoing) = (Arc::clone(self), row.clone(), outgoing.clone());
                    asks.spawn(async move {
                        let session = nodes.session(&row, &key_arn, &purpose).await;
                        // A node that left asks again.
                        drop(outgoing.send(&ToNode::session(id, session)).await);
                    });
                }
                ToControl::AskStorage { id, backups_of } => {
                    let (nodes, cluster, outgoing) = (Arc::clone(self), row.id.clone(), outgoing.clone());
                    asks.spawn(async move {
                        let session = match &backups_of {
                            None => nodes.storage_session(&cluster).await,
                            Some(other) => nodes.backups_session(&cluster, other).await,
                        };
                        drop(outgoing.send(&ToNode::session(id, session)).await);
                    });
                }
                ToControl::AskAccess { id, digest } => {
                    let (nodes, project, outgoing) = (Arc::clone(self), row.project_id.clone(), outgoing.clone());
                    asks.spawn(async move {
                        let (level, uses_keys) = nodes.access(&project, &digest).await;
                        drop(outgoing.send(&ToNode::Access { id, level, uses_keys }).await);
                    });
                }
                ToControl::Calls(calls) => calls.into_iter().for_each(|call| self.ledger.take(call_of(&row.id, call))),
                ToControl::Figures(figures) => lock(&node.history).told(now(), figures),
                ToControl::Anchor(anchor) => self.keep_anchor(row, &anchor).await,
                ToControl::Work(report) => self.worked(row, &report).await,
                ToControl::Hello { .. } => return Err(Refused::conflict("it says twice who it is")),
            }
        }
        Ok(())
    }

    /// A session on a key that the cluster may use, or that opens the backup which it is restored from, and on no other.
    async fn session(&self, row: &Row, arn: &str, purpose: &str) -> Result<HandedSession, HandedFailure> {
        let ours = |error: &dyn std::fmt::Display| HandedFailure::ours(error.to_string());
        // Not as it was when the node connected. Whatever goes wrong with an order to seal, no key is reached past it (rule 13).
        let row = &cluster::get(&self.db, &row.id).await.map_err(|error| ours(&error))?;
        if row.is_held() {
            return Err(ours(&format!("cluster {} is sealed until somebody unseals it", row.id)));
        }
        let mut key = self.reference(row, arn).await.map_err(|error| ours(&error))?;
        if key.is_none() {
            key = backup::opens(&self.db, &row.id, arn).await.map_err(|error| ours(&error))?;
        }
        let key = key.ok_or_else(|| ours(&format!("{arn} is no key that cluster {} may use", row.id)))?;
        let purpose = Purpose::parse(purpose).ok_or_else(|| ours(&"the purpose is unknown"))?;
        self.sessions_of(&row.id)?.session(&key, purpose).await
    }

    /// A session on the part of the bucket that a cluster is stored in, and on nothing else.
    async fn storage_session(&self, cluster: &str) -> Result<HandedSession, HandedFailure> {
        let ours = |error: &dyn std::fmt::Display| HandedFailure::ours(error.to_string());
        let storage = &self.settings.storage_role;
        let storage = storage.as_ref().ok_or_else(|| ours(&"clusters are not stored in a bucket"))?;
        let part = storage.part("clusters", cluster).map_err(|error| ours(&error))?;
        self.sessions_of(cluster)?.on_bucket(&storage.role, &part, &storage.region).await
    }

    /// A session on where a cluster's own backups are; or, to read alone, those of another which it is restored from.
    async fn backups_session(&self, cluster: &str, of: &str) -> Result<HandedSession, HandedFailure> {
        let ours = |error: &dyn std::fmt::Display| HandedFailure::ours(error.to_string());
        let storage = &self.settings.backup_role;
        let storage = storage.as_ref().ok_or_else(|| ours(&"backups are not kept in a bucket"))?;
        let mut part = storage.part("backups", of).map_err(|error| ours(&error))?;
        if of != cluster {
            if !backup::restores_from(&self.db, cluster, of).await.map_err(|error| ours(&error))? {
                return Err(ours(&format!("cluster {cluster} is not restored from a backup of cluster {of}")));
            }
            part = part.to_read();
        }
        self.sessions_of(cluster)?.on_bucket(&storage.role, &part, &storage.region).await
    }

    /// Who opens sessions in a cluster's name.
    fn sessions_of(&self, cluster: &str) -> Result<AwsSessions, HandedFailure> {
        let ours = |error: &dyn std::fmt::Display| HandedFailure::ours(error.to_string());
        let sessions = self.sessions.as_ref().ok_or_else(|| ours(&"this service has no AWS credentials"))?;
        let id = cluster.parse().map_err(|error| ours(&error))?;
        let name = SessionName::of(&id).map_err(|error| ours(&error))?;
        let ledger = CallsOf { cluster: cluster.to_owned(), ledger: self.ledger.clone() };
        Ok(sessions.named(name, Arc::new(ledger)))
    }

    /// What the holder of an API key may do with a project's clusters: see [`access_of`].
    async fn access(&self, project: &str, digest: &str) -> (Access, bool) {
        match api_keys::by_digest(&self.db, digest).await {
            Ok(caller) => access_of(&caller, project),
            Err(error) => {
                // Whatever kept us from knowing the key, it opens nothing.
                if error.kind != Kind::Unauthenticated {
                    tracing::error!(%error, "an API key that a node was shown can't be looked up");
                }
                (Access::None, false)
            }
        }
    }
}

/// Which calls somebody may make to a project's clusters, and whether that is to put databases under its keys (rule 26).
fn access_of(caller: &Caller, project: &str) -> (Access, bool) {
    let may = |privilege| caller.may(privilege, Some(project));
    let level = if may(Privilege::ManageClusters) && may(Privilege::WriteData) {
        Access::Admin
    } else if may(Privilege::WriteData) {
        Access::Write
    } else if may(Privilege::ReadData) {
        Access::Read
    } else {
        Access::None
    };
    (level, may(Privilege::UseKeys))
}

impl Node {
    fn connected(&self, outgoing: Outgoing) -> u64 {
        let mut link = lock(&self.link);
        *link = (link.0 + 1, Some(outgoing));
        link.0
    }

    /// The link of this number ended; should there be a newer one, that counts.
    fn disconnected(&self, number: u64) {
        let mut link = lock(&self.link);
        if link.0 == number {
            link.1 = None;
            self.live.send_modify(super::Live::disconnected);
        }
    }
}

/// The record of the calls that we make for a cluster.
struct CallsOf {
    cluster: String,
    ledger: DbLedger,
}

impl Ledger for CallsOf {
    fn record(&self, entry: LedgerEntry) {
        self.ledger.take(KmsCall { caller: self.cluster.clone(), ..entry.into() });
    }
}

fn call_of(cluster: &str, call: CallRecord) -> KmsCall {
    let time = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    KmsCall {
        caller: cluster.to_owned(),
        at: time(call.at_unix_ms),
        took_ms: time(call.took_ms),
        provider: call.provider,
        action: call.action,
        key_arn: call.key,
        role_arn: call.role,
        session: call.session,
        context: call.context,
        purpose: call.purpose,
        outcome: call.outcome,
        code: call.code,
        request_id: call.request_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Role, callers};

    #[test]
    fn who_may_write_rows_puts_no_database_under_a_key_and_who_keeps_the_keys_reads_none() {
        for (role, access) in [
            (Role::ProjectReadOnly, (Access::Read, false)),
            (Role::ProjectReadWrite, (Access::Write, false)),
            (Role::ProjectAdmin, (Access::Admin, true)),
            (Role::KeyCustodian, (Access::None, false)),
        ] {
            assert_eq!(access_of(&callers::with(role, "proj-a"), "proj-a"), access, "{role}");
            assert_eq!(access_of(&callers::with(role, "proj-a"), "proj-b"), (Access::None, false), "{role}");
        }
        assert_eq!(access_of(&callers::owner(), "proj-a"), (Access::Admin, true));
    }
}
