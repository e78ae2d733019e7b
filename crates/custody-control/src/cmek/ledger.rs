//! The record of calls to KMS and STS in the database (rule 21): ours, and those of the nodes.

use std::{sync::Arc, time::Duration};

use custody_kms::{KeyArn, Ledger, LedgerEntry, Outcome, RoleArn};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{Listed, Part};
use crate::{
    db::{Db, at, millis, now},
    refusal::Refused,
    tally::Tally,
};

/// Who called, where it was the control plane itself.
const CONTROL: &str = "control";
/// Calls that wait to be written. Far more than are ever under way; should the disk hang, calls must not.
const WAITING: usize = 10_000;
/// How many are written in one transaction.
const AT_ONCE: usize = 200;
/// How many are removed in one: who writes beside it waits for no more than that.
const REMOVED_AT_ONCE: i64 = 500;
/// Between two looks for calls that are too old.
const BETWEEN_REMOVALS: Duration = Duration::from_hours(1);

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
    /// The key it was about; or the alias, where the key of an alias was asked for.
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
pub struct DbLedger {
    lines: mpsc::Sender<Line>,
    /// Calls by action and outcome.
    counts: Arc<Tally<(String, String)>>,
}

impl DbLedger {
    /// Starts writing. It ends when the last of its clones is gone.
    pub fn start(db: Db) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(write(db, receiver));
        Self { lines: sender, counts: Arc::default() }
    }

    /// How many calls there were since the process began, by action and outcome.
    pub(crate) fn counts(&self) -> Vec<((String, String), u64)> {
        self.counts.all()
    }

    /// Takes a call that a node made.
    pub fn take(&self, call: KmsCall) {
        self.counts.count((call.action.clone(), call.outcome.clone()));
        if self.lines.try_send(Line::Call(Box::new(call))).is_err() {
            // It stands in the log all the same: the gate writes every call there.
            tracing::error!("a KMS call could not be written to the ledger: the database does not keep up");
        }
    }

    /// Returns once every call that was recorded before is written.
    pub(crate) async fn written(&self) {
        let (sender, written) = oneshot::channel();
        if self.lines.send(Line::Written(sender)).await.is_ok() {
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

/// Removes calls that began before a time, a few in each transaction. Returns how many.
async fn remove_before(db: &Db, time: i64) -> Result<u64, Refused> {
    let mut removed = 0;
    loop {
        let these = sqlx::query!(
            "DELETE FROM kms_calls WHERE id IN (SELECT id FROM kms_calls WHERE at < ? ORDER BY at LIMIT ?)",
            time,
            REMOVED_AT_ONCE
        );
        let these = these.execute(db.pool()).await?.rows_affected();
        if these == 0 {
            return Ok(removed);
        }
        removed += these;
        // Whoever waits to write comes first.
        tokio::task::yield_now().await;
    }
}

impl crate::Control {
    /// Removes calls from the ledger once they are older than the settings say, until the control plane stops.
    pub async fn prune_ledger(self: std::sync::Arc<Self>) {
        loop {
            match remove_before(&self.db, now() - millis(self.options.ledger_age)).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "KMS calls were old enough to be removed from the ledger"),
                Err(error) => tracing::error!(%error, "old KMS calls can't be removed from the ledger"),
            }
            tokio::time::sleep(BETWEEN_REMOVALS).await;
        }
    }
}

/// Calls about a key, or about the alias by which it was added, through a role, newest first.
pub(super) async fn list(
    db: &Db,
    key: &KeyArn,
    alias: Option<&str>,
    role: Option<&RoleArn>,
    part: Part,
) -> Result<Listed<KmsCall>, Refused> {
    let (key, role, reads) = (key.as_str(), role.map(RoleArn::as_str), part.reads());
    let rows = sqlx::query!(
        "SELECT id, caller, at, took_ms, provider, action, key_arn, role_arn, session, context, purpose, outcome, code,
                request_id
         FROM kms_calls WHERE key_arn IN (?, ?) AND role_arn IS ? AND id < ? ORDER BY id DESC LIMIT ?",
        key,
        alias,
        role,
        part.before,
        reads
    );
    let read = rows.fetch_all(db.pool()).await?.into_iter().map(|row| {
        let call = KmsCall {
            caller: row.caller,
            at: row.at,
            took_ms: row.took_ms,
            provider: row.provider,
            action: row.action,
            key_arn: row.key_arn,
            role_arn: row.role_arn,
            session: row.session,
            context: row.context,
            purpose: row.purpose,
            outcome: row.outcome,
            code: row.code,
            request_id: row.request_id,
        };
        (row.id, call)
    });
    Ok(part.of(read.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::fresh;

    fn call(at: i64) -> Box<KmsCall> {
        Box::new(KmsCall {
            caller: CONTROL.to_owned(),
            at,
            took_ms: 1,
            provider: "aws".to_owned(),
            action: "kms:Decrypt".to_owned(),
            key_arn: "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab".to_owned(),
            role_arn: None,
            session: None,
            context: None,
            purpose: "renew".to_owned(),
            outcome: "ok".to_owned(),
            code: None,
            request_id: Some(at.to_string()),
        })
    }

    #[tokio::test]
    async fn calls_that_are_too_old_go_and_all_others_stay() {
        let (db, _directory) = fresh().await;
        // More than go in one transaction, and not in the order of their times.
        let old = REMOVED_AT_ONCE * 2 + 7;
        let calls: Vec<_> = (0..old + 3).rev().map(call).collect();
        insert(&db, &calls).await.unwrap();
        assert_eq!(remove_before(&db, old).await.unwrap(), u64::try_from(old).unwrap());
        let key = calls[0].key_arn.parse().unwrap();
        let left = list(&db, &key, None, None, 10_000.into()).await.unwrap();
        let left: Vec<i64> = left.into_iter().map(|call| call.at - old).collect();
        assert_eq!(left, [0, 1, 2]);
        assert_eq!(remove_before(&db, old).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn every_call_that_is_kept_can_be_read_once_also_while_more_come() {
        let (db, _directory) = fresh().await;
        let calls: Vec<_> = (0..7).map(call).collect();
        let key = calls[0].key_arn.parse().unwrap();
        insert(&db, &calls).await.unwrap();
        let (mut part, mut told) = (Part::from(3), Vec::new());
        loop {
            let listed = list(&db, &key, None, None, part).await.unwrap();
            told.extend(listed.items.iter().map(|call| call.at));
            let Some(next) = listed.next else { break };
            part.before = next;
            insert(&db, &[call(100)]).await.unwrap();
        }
        assert_eq!(told, [6, 5, 4, 3, 2, 1, 0]);
    }
}
