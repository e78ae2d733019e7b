//! What a key's status was: written down with each change, and listed.

use serde::Serialize;

use super::{KeyStatus, Listed, Part};
use crate::{
    Control,
    access::{Caller, Privilege},
    refusal::Refused,
};

/// From when on a key had a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatusChange {
    /// Since when, in milliseconds since 1970.
    pub at: i64,
    /// The status.
    pub status: KeyStatus,
    /// Why, as it was told then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Control {
    /// What a key's status was since it was added, newest first.
    pub async fn key_statuses(
        &self,
        caller: &Caller,
        project: &str,
        id: &str,
        part: impl Into<Part>,
    ) -> Result<Listed<KeyStatusChange>, Refused> {
        self.key_for(caller, project, id, Privilege::SeeKeys).await?;
        let part = part.into();
        let reads = part.reads();
        let rows = sqlx::query!(
            "SELECT id, at, status, reason FROM key_statuses WHERE key_id = ? AND id < ? ORDER BY id DESC LIMIT ?",
            id,
            part.before,
            reads
        );
        let read = rows.fetch_all(self.db.pool()).await?.into_iter().map(|row| {
            let status = KeyStatus::stored(&row.status)?;
            Ok((row.id, KeyStatusChange { at: row.at, status, reason: row.reason }))
        });
        Ok(part.of(read.collect::<Result<_, Refused>>()?))
    }
}
