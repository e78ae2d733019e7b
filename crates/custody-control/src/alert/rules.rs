//! The rules of a project: which alerts are sent where; and what was raised and sent.

use serde::Serialize;

use super::{AlertKind, Secret, Target};
use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    db::now,
    project, random,
    refusal::{Refused, name},
};

/// How many rules a project may have: each alert is sent once for each.
const MOST_RULES: i64 = 20;

/// A rule that is to be made.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// What people call it.
    pub name: String,
    /// Where its alerts are sent.
    pub url: String,
    /// Which kinds; all, if there are none.
    pub kinds: Vec<AlertKind>,
}

/// A rule, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertRule {
    /// Its id.
    pub rule_id: String,
    /// What people call it.
    pub name: String,
    /// Where its alerts are sent; what follows the host may be a secret and is not shown.
    pub target: String,
    /// Which kinds.
    pub kinds: Vec<AlertKind>,
    /// Since when there is this rule, in milliseconds since 1970.
    pub created_at: i64,
}

/// What became of an alert at one rule's webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The rule.
    pub rule_id: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it arrived, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<i64>,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<i64>,
    /// Why the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An alert that was raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Its id.
    pub alert_id: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What it is about.
    pub kind: AlertKind,
    /// The id of the key or cluster.
    pub subject: String,
    /// What happened.
    pub message: String,
    /// Where it was sent.
    pub deliveries: Vec<Sent>,
}

impl Control {
    /// Makes a rule; returns its id and the secret that its deliveries are signed with, which can't be had again.
    pub async fn create_alert_rule(
        &self,
        caller: &Caller,
        project: &str,
        new: &NewRule,
    ) -> Result<(String, Secret), Refused> {
        project::get(&self.db, caller, project, Privilege::ManageAlerts).await?;
        let label = name("a rule's name", &new.name)?;
        let target =
            Target::parse(&new.url, &self.options.webhooks).map_err(|error| Refused::invalid(error.to_string()))?;
        let kinds = if new.kinds.is_empty() { AlertKind::all() } else { &new.kinds };
        let kinds = serde_json::to_string(kinds).map_err(Refused::internal)?;
        let (id, secret, now) = (random::id("rule")?, Secret::generate()?, now());
        let (url, revealed) = (target.as_str(), secret.reveal());
        let mut change = self.db.change().await?;
        let count = sqlx::query_scalar!("SELECT count(*) FROM alert_rules WHERE project_id = ?", project);
        if count.fetch_one(&mut *change).await? >= MOST_RULES {
            return Err(Refused::conflict(format!(
                "the project has {MOST_RULES} alert rules already: delete one first"
            )));
        }
        sqlx::query!(
            "INSERT INTO alert_rules (id, project_id, name, kinds, url, secret, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            id,
            project,
            label,
            kinds,
            url,
            revealed,
            now
        )
        .execute(&mut *change)
        .await?;
        append(&mut change, Deed::by(caller, project, "alertRule.create", &id)).await?;
        change.commit().await?;
        Ok((id, secret))
    }

    /// Deletes a rule, with what still waits to be sent by it.
    pub async fn delete_alert_rule(&self, caller: &Caller, project: &str, id: &str) -> Result<(), Refused> {
        project::get(&self.db, caller, project, Privilege::ManageAlerts).await?;
        let mut change = self.db.change().await?;
        let deleted = sqlx::query!("DELETE FROM alert_rules WHERE id = ? AND project_id = ?", id, project);
        if deleted.execute(&mut *change).await?.rows_affected() == 0 {
            return Err(Refused::not_found("alert rule", id));
        }
        append(&mut change, Deed::by(caller, project, "alertRule.delete", id)).await?;
        Ok(change.commit().await?)
    }

    /// The rules of a project.
    pub async fn alert_rules(&self, caller: &Caller, project: &str) -> Result<Vec<AlertRule>, Refused> {
        project::get(&self.db, caller, project, Privilege::SeeProject).await?;
        let rows = sqlx::query!(
            "SELECT id, name, kinds, url, created_at FROM alert_rules WHERE project_id = ? ORDER BY created_at, id",
            project
        );
        let mut rules = Vec::new();
        for row in rows.fetch_all(self.db.pool()).await? {
            // Shown as it is in logs: scheme, host and port.
            let target = Target::parse(&row.url, &self.options.webhooks)
                .map_or_else(|error| format!("refused now: {error}"), |target| target.to_string());
            rules.push(AlertRule {
                rule_id: row.id,
                name: row.name,
                target,
                kinds: serde_json::from_str(&row.kinds).map_err(Refused::internal)?,
                created_at: row.created_at,
            });
        }
        Ok(rules)
    }

    /// The newest alerts of a project, newest first, and what became of each.
    pub async fn alerts(&self, caller: &Caller, project: &str, limit: i64) -> Result<Vec<Alert>, Refused> {
        project::get(&self.db, caller, project, Privilege::SeeProject).await?;
        let rows = sqlx::query!(
            "SELECT id, at, kind, subject, message FROM alerts WHERE project_id = ? ORDER BY at DESC, rowid DESC LIMIT ?",
            project,
            limit
        );
        let mut alerts = Vec::new();
        for row in rows.fetch_all(self.db.pool()).await? {
            let deliveries = sqlx::query_as!(
                Sent,
                r#"SELECT rule_id, attempts, delivered_at, next_at AS "next_try_at", error FROM deliveries
                   WHERE alert_id = ? ORDER BY rowid"#,
                row.id
            );
            alerts.push(Alert {
                deliveries: deliveries.fetch_all(self.db.pool()).await?,
                alert_id: row.id,
                at: row.at,
                kind: row.kind.parse()?,
                subject: row.subject,
                message: row.message,
            });
        }
        Ok(alerts)
    }
}
