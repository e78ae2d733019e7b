//! Raising an alert: in the change that it tells of, with a delivery for each rule that asks for its kind.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::payload::{AuditHead, Payload};
use crate::{
    audit,
    db::{Change, now, rfc3339},
    random,
    refusal::Refused,
};

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum AlertKind {
    /// A key's status has changed.
    KeyStatus,
    /// A key is scheduled for deletion.
    KeyDeletion,
    /// A cluster went dark, or serves again; or a database of it did.
    ClusterStatus,
    /// A key can't be reached, and half of its grace is over.
    KeyGrace,
    /// A key's role lets in who does not show the project's external id.
    ExternalIdNotRequired,
    /// A backup could not be made, or the deletion of one is tried again and again.
    BackupFailed,
    /// An encrypted backup is restored without encryption.
    DecryptedRestore,
}

const KINDS: [AlertKind; 7] = [
    AlertKind::KeyStatus,
    AlertKind::KeyDeletion,
    AlertKind::ClusterStatus,
    AlertKind::KeyGrace,
    AlertKind::ExternalIdNotRequired,
    AlertKind::BackupFailed,
    AlertKind::DecryptedRestore,
];

impl AlertKind {
    /// All kinds.
    pub fn all() -> &'static [Self] {
        &KINDS
    }

    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyStatus => "keyStatus",
            Self::KeyDeletion => "keyDeletion",
            Self::ClusterStatus => "clusterStatus",
            Self::KeyGrace => "keyGrace",
            Self::ExternalIdNotRequired => "externalIdNotRequired",
            Self::BackupFailed => "backupFailed",
            Self::DecryptedRestore => "decryptedRestore",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AlertKind {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        KINDS.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = KINDS.into_iter().map(Self::as_str).collect();
            Refused::invalid(format!("{text:?} is no kind of alert: {}", names.join(", ")))
        })
    }
}

/// Raises an alert in the change that it tells of. The message names ids alone.
pub(crate) async fn raise(
    change: &mut Change,
    project: &str,
    kind: AlertKind,
    subject: &str,
    message: &str,
) -> Result<(), Refused> {
    let (id, now, kind) = (random::id("alert")?, now(), kind.as_str());
    sqlx::query!(
        "INSERT INTO alerts (id, project_id, at, kind, subject, message) VALUES (?, ?, ?, ?, ?, ?)",
        id,
        project,
        now,
        kind,
        subject,
        message
    )
    .execute(&mut **change)
    .await?;
    let body = body(change, project, &id, kind, now, subject, message).await?;
    let rules = sqlx::query!("SELECT id, kinds FROM alert_rules WHERE project_id = ?", project);
    for rule in rules.fetch_all(&mut **change).await? {
        let kinds: Vec<String> = serde_json::from_str(&rule.kinds).map_err(Refused::internal)?;
        if !kinds.iter().any(|wanted| wanted == kind) {
            continue;
        }
        let delivery = random::id("delivery")?;
        sqlx::query!(
            "INSERT INTO deliveries (id, alert_id, rule_id, body, next_at) VALUES (?, ?, ?, ?, ?)",
            delivery,
            id,
            rule.id,
            body,
            now
        )
        .execute(&mut **change)
        .await?;
    }
    Ok(())
}

/// What is sent, to every receiver the same. The head of the activity log goes with it: whoever keeps it notices a log that
/// is cut or rewritten later (rule 29).
async fn body(
    change: &mut Change,
    project: &str,
    id: &str,
    kind: &str,
    at: i64,
    subject: &str,
    message: &str,
) -> Result<String, Refused> {
    let head = audit::head_in(change).await?;
    let payload = Payload {
        id,
        kind,
        create_time: &rfc3339(at),
        project_id: project,
        audit_head: AuditHead { sequence: u64::try_from(head.seq).unwrap_or_default(), hash: &head.hash },
        data: json!({ "subject": subject, "message": message }),
    };
    let bytes = payload.body().map_err(Refused::internal)?;
    String::from_utf8(bytes).map_err(Refused::internal)
}
