//! The daily look whether roles still turn away whoever does not know the project's external id (rule 39). A customer who edits
//! a trust policy later may drop the condition, and nothing else would show it.

use std::{sync::Arc, time::Duration};

use super::{
    Key,
    checks::jittered,
    keys,
    validate::{Strangers, let_in, strangers},
};
use crate::{
    Control,
    alert::{self, AlertKind},
    audit::{Deed, append},
    db::now,
    refusal::Refused,
};

/// Between two looks for keys that are due.
const TICK: Duration = Duration::from_millis(500);
/// What could not be found out is tried again so many times sooner than what could.
const SOONER: u32 = 24;

impl Control {
    /// Looks at each AWS key's role as it is due, until the control plane stops. One after the other: there is no hurry.
    pub async fn look_for_all_strangers(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            if let Err(error) = self.look_for_due_strangers().await {
                tracing::error!(%error, "it could not be looked at whether roles demand the external id");
            }
        }
    }

    async fn look_for_due_strangers(&self) -> Result<(), Refused> {
        let now = now();
        let due = sqlx::query_scalar!("SELECT id FROM keys WHERE role_arn IS NOT NULL AND next_strangers_at <= ?", now);
        for id in due.fetch_all(self.db.pool()).await? {
            // One that was deleted meanwhile is no key any more.
            if let Some(key) = keys::get(&self.db, &id).await? {
                self.look_for_strangers(&key).await?;
            }
        }
        Ok(())
    }

    /// How long until the next look, in milliseconds.
    pub(super) fn next_strangers(&self) -> i64 {
        jittered(self.options.strangers_interval)
    }

    /// Looks whether a key's role lets strangers in, and writes it down.
    pub(super) async fn look_for_strangers(&self, key: &Key) -> Result<(), Refused> {
        if key.role_arn.is_none() {
            return Ok(());
        }
        let reference = self.stored_reference(key).await?;
        let found = strangers(&*self.kms, &reference).await?;
        let (id, project) = (&key.key_id, &key.project_id);
        let next = match found {
            Strangers::Unproven(_) => self.next_strangers() / i64::from(SOONER),
            Strangers::TurnedAway | Strangers::LetIn(_) => self.next_strangers(),
        };
        let mut change = self.db.change().await?;
        let next = now() + next;
        sqlx::query!("UPDATE keys SET next_strangers_at = ? WHERE id = ?", next, id).execute(&mut *change).await?;
        let warning = match found {
            Strangers::TurnedAway => None,
            Strangers::LetIn(whose) => Some(let_in(whose)),
            Strangers::Unproven(error) => {
                tracing::warn!(key = id, %error, "it could not be found out whether a key's role demands the external id");
                return Ok(change.commit().await?);
            }
        };
        // Once for each time that it begins: another wording of the same is no news.
        let news = sqlx::query!(
            "UPDATE keys SET warning = ?1 WHERE id = ?2 AND (warning IS NULL) <> (?1 IS NULL)",
            warning,
            id
        );
        if news.execute(&mut *change).await?.rows_affected() > 0 {
            let said = if warning.is_some() { "not required" } else { "required again" };
            append(&mut change, Deed::ours(project, "key.externalId", id, said)).await?;
            if let Some(warning) = &warning {
                let message = format!("key {id}: {warning}");
                alert::raise(&mut change, project, AlertKind::ExternalIdNotRequired, id, &message).await?;
            }
        }
        Ok(change.commit().await?)
    }
}
