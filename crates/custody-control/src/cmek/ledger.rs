//! The record of calls to KMS and STS in the database (rule 21): ours, and those of the nodes.

use std::time::Duration;

use custody_kms::{KeyArn, Ledger, LedgerEntry, Outcome, RoleArn};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::{
    db::{Db, at, millis},
    refusal::Refused,
};

/// Who called, where it was the control plane itself.
const CONTROL: &str = "control";
/// Calls that wait to be written. Far more than are ever under way; should the disk hang, calls must not.
const WAITING: usize = 10_000;
/// How many are written in one transaction.
const AT_ONCE: usize = 200;

/// A call to KMS or STS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KmsCall {
    /// Who called: `control`, or a cluster's id.
    pub caller: String,
    /// When it began, in milliseconds since 1970.
    pub at: i64,
    /// How long it took.
    pub took_ms: i64,
    /// Who was called.
    pub provider: String,
    /// Service and action, such as `kms:Decrypt`.
    pub action: String,
    /// The key it was about.
    pub key_arn: String,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The session's assumed-role ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The EncryptionContext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Why the session was opened.
    pub purpose: String,
    /// `ok`, or what the failure means.
    pub outcome: String,
    /// AWS's error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// AWS's request id, to be looked up in CloudTrail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl From<LedgerEntry> for KmsCall {
    fn from(entry: LedgerEntry) -> Self {
        Self {
            caller: CONTROL.to_owned(),
            at: at(entry.at),
            took_ms: millis(entry.took),
            provider: entry.provider.as_str().to_owned(),
            action: entry.action.as_str().to_owned(),
            key_arn: entry.key.as_str().to_owned(),
            role_arn: entry.role.as_ref().map(|role| role.as_str().to_owned()),
            session: entry.session,
            context: entry.context.map(|context| context.to_string()),
            purpose: entry.purpose.as_str().to_owned(),
            outcome: entry.result.map_or_else(Outcome::as_str, |()| "ok").to_owned(),
            code: entry.code,
            request_id: entry.request_id,
        }
    }
}

enum Line {
    Call(Box<KmsCall>),
    /// Answered once everything before it is written.
    Written(oneshot::Sender<()>),
}

/// Writes calls down, in their order and behind the calls' backs.
#[derive(Clone)]
pub struct DbLedger(mpsc::Sender<Line>);

impl DbLedger {
    /// Starts writing. It ends when the last of its clones is gone.
    pub fn start(db: Db) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(write(db, receiver));
        Self(sender)
    }

    /// Takes a call that a node made.
    pub fn take(&self, call: KmsCall) {
        if self.0.try_send(Line::Call(Box::new(call))).is_err() {
            // It stands in the log all the same: the gate writes every call there.
            tracing::error!("a KMS call could not be written to the ledger: the database does not keep up");
        }
    }

    /// Returns once every call that was recorded before is written.
    pub(crate) async fn written(&self) {
        let (sender, written) = oneshot::channel();
        if self.0.send(Line::Written(sender)).await.is_ok() {
            // Gone only when the database is closed.
            let _ = written.await;
        }
    }
}

impl Ledger for DbLedger {
    fn record(&self, entry: LedgerEntry) {
        self.take(entry.into());
    }
}

async fn write(db: Db, mut lines: mpsc::Receiver<Line>) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, AT_ONCE).await > 0 {
        let (mut calls, mut waiting) = (Vec::new(), Vec::new());
        for line in batch.drain(..) {
            match line {
                Line::Call(call) => calls.push(call),
                Line::Written(sender) => waiting.push(sender),
            }
        }
        while let Err(error) = insert(&db, &calls).await {
            tracing::error!(%error, calls = calls.len(), "KMS calls can't be written to the ledger: trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for sender in waiting {
            // Whoever waited may have left.
            let _ = sender.send(());
        }
    }
}

async fn insert(db: &Db, calls: &[Box<KmsCall>]) -> Result<(), Refused> {
    if calls.is_empty() {
        return Ok(());
    }
    let mut change = db.change().await?;
    for call in calls {
        sqlx::query!(
            "INSERT INTO kms_calls (caller, at, took_ms, provider, action, key_arn, role_arn, session, context, purpose,
                                    outcome, code, request_id)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            call.caller,
            call.at,
            call.took_ms,
            call.provider,
            call.action,
            call.key_arn,
            call.role_arn,
            call.session,
            call.context,
            call.purpose,
            call.outcome,
            call.code,
            call.request_id
        )
        .execute(&mut *change)
        .await?;
    }
    Ok(change.commit().await?)
}

/// The newest calls about a key through a role, newest first.
pub(super) async fn list(db: &Db, key: &KeyArn, role: Option<&RoleArn>, limit: i64) -> Result<Vec<KmsCall>, Refused> {
    let (key, role) = (key.as_str(), role.map(RoleArn::as_str));
    let found = sqlx::query_as!(
        KmsCall,
        "SELECT caller, at, took_ms, provider, action, key_arn, role_arn, session, context, purpose, outcome, code,
                request_id
         FROM kms_calls WHERE key_arn = ? AND role_arn IS ? ORDER BY id DESC LIMIT ?",
        key,
        role,
        limit
    );
    Ok(found.fetch_all(db.pool()).await?)
}
