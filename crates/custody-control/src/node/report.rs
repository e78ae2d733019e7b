//! What follows from what nodes tell: which keys a cluster uses, whether it waits for a person, and alerts.

use std::{collections::BTreeSet, time::Duration};

use custody_kms::Outcome;
use custody_link::{NodeState, Report, ZoneReport, ZoneState};

use super::Nodes;
use crate::{
    alert::{self, AlertKind},
    audit::{Deed, append},
    cluster::{self, ClusterStatus, Row, dark_zones, status},
    cmek::Recovery,
    refusal::Refused,
};

/// How long a cluster may be starting before that is news.
const STARTING: Duration = Duration::from_secs(20);

impl Nodes {
    /// Takes over what a node told that it has not told before.
    pub(super) async fn reported(&self, cluster: &str, report: &Report) {
        if let Err(error) = self.take_over(cluster, report).await {
            tracing::error!(cluster, %error, "what a node told could not be written down");
        }
        self.note_status(cluster).await;
    }

    async fn take_over(&self, cluster: &str, report: &Report) -> Result<(), Refused> {
        let Some(row) = cluster::find(&self.db, cluster).await? else { return Ok(()) };
        if let NodeState::Sealed { outcome: Some(outcome), .. } = &report.state
            && outcome == Outcome::Revoked.as_str()
        {
            self.note_revocation(&row).await?;
        }
        if report.state == NodeState::Serving {
            self.note_keys(&row, report).await?;
            self.note_held_zones(&row, report).await?;
        }
        Ok(())
    }

    /// Keeps how far a cluster has come. Where this process was to open it below its anchor, that is over: the new one counts.
    /// A word of the process before, on its way when that was decided, takes nothing back.
    pub(super) async fn keep_anchor(&self, row: &Row, anchor: &str) {
        let cluster = &row.id;
        let kept = sqlx::query!(
            "UPDATE clusters SET anchor = ?, below_anchor = below_anchor AND NOT ? WHERE id = ?",
            anchor,
            row.below_anchor,
            cluster
        );
        if let Err(error) = kept.execute(self.db.pool()).await {
            // The one before it still holds, and the next comes within a second.
            tracing::error!(cluster, %error, "how far a cluster has come could not be written down");
        }
    }

    /// Its key was revoked: where the owner wants a person to open the cluster again, it waits from now on.
    async fn note_revocation(&self, row: &Row) -> Result<(), Refused> {
        let manual = Recovery::Manual.as_str();
        sqlx::query!(
            "UPDATE clusters SET waits = 1 WHERE id = ? AND waits = 0
             AND EXISTS (SELECT 1 FROM keys WHERE keys.id = clusters.key_id AND recovery = ?)",
            row.id,
            manual
        )
        .execute(self.db.pool())
        .await?;
        Ok(())
    }

    /// Which databases wait for a person, so that they do after the node's process has ended, too. One that is open again was
    /// unsealed; one that the node does not speak of is as it was.
    async fn note_held_zones(&self, row: &Row, report: &Report) -> Result<(), Refused> {
        let manual = Recovery::Manual.as_str();
        let revoked = Some(Outcome::Revoked.as_str());
        let of_tenant = |zone: &&ZoneReport| Some(&zone.key_arn) != row.key_arn.as_ref();
        let tenants: Vec<&ZoneReport> = report.zones.iter().filter(of_tenant).collect();
        if tenants.is_empty() {
            return Ok(());
        }
        let mut change = self.db.change().await?;
        for zone in tenants {
            if zone.status != ZoneState::Sealed {
                sqlx::query!("DELETE FROM held_zones WHERE cluster_id = ? AND zone_id = ?", row.id, zone.zone)
                    .execute(&mut *change)
                    .await?;
            } else if zone.outcome.as_deref() == revoked {
                sqlx::query!(
                    "INSERT OR IGNORE INTO held_zones (cluster_id, zone_id, reason)
                     SELECT ?, ?, ifnull(?, '') WHERE EXISTS (SELECT 1 FROM keys WHERE project_id = ? AND arn = ? AND recovery = ?)",
                    row.id,
                    zone.zone,
                    zone.reason,
                    row.project_id,
                    zone.key_arn,
                    manual
                )
                .execute(&mut *change)
                .await?;
            }
        }
        Ok(change.commit().await?)
    }

    /// Which tenants' keys the cluster's databases are under. A key that the node was not allowed to open anything under
    /// stays noted: what lies under it is there all the same.
    async fn note_keys(&self, row: &Row, report: &Report) -> Result<(), Refused> {
        let told: BTreeSet<&str> = report.zones.iter().map(|zone| zone.key_arn.as_str()).collect();
        let noted = sqlx::query!(
            r#"SELECT id, arn, EXISTS (SELECT 1 FROM cluster_keys WHERE cluster_id = ?1 AND key_id = keys.id) AS "used: bool"
               FROM keys WHERE project_id = ?2"#,
            row.id,
            row.project_id
        );
        let noted = noted.fetch_all(self.db.pool()).await?;
        let news: Vec<_> = noted
            .into_iter()
            .filter(|key| Some(&key.id) != row.key_id.as_ref() && key.used != told.contains(key.arn.as_str()))
            .collect();
        if news.is_empty() {
            return Ok(());
        }
        let mut change = self.db.change().await?;
        for key in news {
            if key.used {
                sqlx::query!("DELETE FROM cluster_keys WHERE cluster_id = ? AND key_id = ?", row.id, key.id)
                    .execute(&mut *change)
                    .await?;
            } else {
                sqlx::query!("INSERT OR IGNORE INTO cluster_keys (cluster_id, key_id) VALUES (?, ?)", row.id, key.id)
                    .execute(&mut *change)
                    .await?;
            }
        }
        Ok(change.commit().await?)
    }

    /// Writes down how a cluster is; a change is an activity and an alert.
    pub(super) async fn note_status(&self, cluster: &str) {
        if let Err(error) = self.try_note_status(cluster).await {
            tracing::error!(cluster, %error, "how a cluster is could not be written down");
        }
    }

    async fn try_note_status(&self, cluster: &str) -> Result<(), Refused> {
        let Some(row) = cluster::find(&self.db, cluster).await? else { return Ok(()) };
        let live = self.live(cluster);
        let (status, reason) = status(&row, &live);
        if !matches!(status, ClusterStatus::Running | ClusterStatus::Abnormal) {
            return Ok(());
        }
        let is_up = live.report().is_some_and(|report| report.state != NodeState::Starting);
        let unchanged = row.status == Some(status) && row.status_reason == reason;
        if unchanged || (!is_up && live.dark_for() < STARTING) {
            return Ok(());
        }
        self.write_status(&row, status, reason.as_deref(), &dark_zones(&live)).await
    }

    async fn write_status(
        &self,
        row: &Row,
        status: ClusterStatus,
        reason: Option<&str>,
        dark: &str,
    ) -> Result<(), Refused> {
        let text = status.as_str();
        let mut change = self.db.change().await?;
        sqlx::query!(
            "UPDATE clusters SET status = ?, status_reason = ?, dark_zones = ? WHERE id = ?",
            text,
            reason,
            dark,
            row.id
        )
        .execute(&mut *change)
        .await?;
        let turned = row.status != Some(status);
        if turned {
            append(&mut change, Deed::ours(&row.project_id, "cluster.status", &row.id, text)).await?;
        }
        // A cluster that runs for the first time, or after it was suspended, is no news.
        let first = row.status.is_none() && status == ClusterStatus::Running && dark.is_empty();
        // Another word for the same trouble is none either; that a database went dark in a cluster that serves is.
        let darkened = status == ClusterStatus::Running && row.dark_zones != dark;
        if !first && (turned || darkened) {
            let message = match reason {
                Some(reason) => format!("cluster {} is {status}: {reason}", row.id),
                None => format!("cluster {} is {status} again", row.id),
            };
            alert::raise(&mut change, &row.project_id, AlertKind::ClusterStatus, &row.id, &message).await?;
        }
        Ok(change.commit().await?)
    }
}
