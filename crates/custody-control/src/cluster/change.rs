//! Changing a cluster: what it is called and how it is protected; stopping and starting it.

use custody_link::ZoneState;

use super::{Cluster, Phase, row};
use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    cmek::KeyStatus,
    refusal::{Refused, name},
};

/// A change of a cluster: what is given is changed.
#[derive(Clone, Debug, Default)]
pub struct ClusterChange {
    /// What people call it.
    pub name: Option<String>,
    /// How many compute units it is asked for.
    pub cu_size: Option<i64>,
    /// Whether a drop is refused.
    pub deletion_protection: Option<bool>,
}

impl Control {
    /// Changes a cluster.
    pub async fn change_cluster(&self, caller: &Caller, id: &str, wanted: &ClusterChange) -> Result<Cluster, Refused> {
        let row = self.cluster_for(caller, id, Privilege::ManageClusters).await?;
        let name = wanted.name.as_deref().map(|text| name("clusterName", text)).transpose()?;
        if wanted.cu_size.is_some_and(|size| !(1..=256).contains(&size)) {
            return Err(Refused::invalid("cuSize is 1 to 256"));
        }
        let mut said = Vec::new();
        said.extend(name.as_ref().map(|_| "name".to_owned()));
        said.extend(wanted.cu_size.map(|size| format!("cuSize {size}")));
        said.extend(wanted.deletion_protection.map(|on| format!("deletionProtection {on}")));
        if said.is_empty() {
            return Err(Refused::invalid("nothing to change is named: clusterName, cuSize or deletionProtection"));
        }
        let mut change = self.db.change().await?;
        if let Some(name) = &name {
            let taken = sqlx::query_scalar!(
                "SELECT count(*) FROM clusters WHERE project_id = ? AND name = ? AND id <> ?",
                row.project_id,
                name,
                id
            );
            if taken.fetch_one(&mut *change).await? > 0 {
                return Err(Refused::conflict(format!(
                    "the project has a cluster {name:?} already: choose another name"
                )));
            }
        }
        sqlx::query!(
            "UPDATE clusters SET name = ifnull(?, name), cu_size = ifnull(?, cu_size),
                                 deletion_protection = ifnull(?, deletion_protection) WHERE id = ?",
            name,
            wanted.cu_size,
            wanted.deletion_protection,
            id
        )
        .execute(&mut *change)
        .await?;
        append(&mut change, Deed::by(caller, &row.project_id, "cluster.change", id).saying(&said.join(", "))).await?;
        change.commit().await?;
        self.cluster(caller, id).await
    }

    /// Stops a cluster's process; its data stays. One that is served on grace would stay dark until its key answers, so
    /// that this is refused unless `force` says that it is meant (rule 14).
    pub async fn suspend_cluster(&self, caller: &Caller, id: &str, force: bool) -> Result<Cluster, Refused> {
        let row = self.cluster_for(caller, id, Privilege::ManageClusters).await?;
        if row.phase == Phase::Running && !force && self.is_on_grace(&row).await? {
            return Err(Refused::conflict(
                "the cluster's key gives no answer and it is served on grace, which a stop would forfeit: wait until the key \
                 answers, or say force",
            ));
        }
        self.turn(caller, id, Phase::Running, Phase::Suspended, "cluster.suspend").await?;
        self.nodes.follow(id);
        self.nodes.stopped(id).await?;
        self.cluster(caller, id).await
    }

    /// Starts a suspended cluster again.
    pub async fn resume_cluster(&self, caller: &Caller, id: &str) -> Result<Cluster, Refused> {
        self.cluster_for(caller, id, Privilege::ManageClusters).await?;
        self.turn(caller, id, Phase::Suspended, Phase::Running, "cluster.resume").await?;
        self.nodes.follow(id);
        self.cluster(caller, id).await
    }

    async fn turn(
        &self,
        caller: &Caller,
        id: &str,
        from: Phase,
        to: Phase,
        action: &'static str,
    ) -> Result<(), Refused> {
        let mut change = self.db.change().await?;
        let (before, after) = (from.as_str(), to.as_str());
        let turned = sqlx::query_scalar!(
            "UPDATE clusters SET phase = ?, status = NULL, status_reason = NULL WHERE id = ? AND phase = ?
             RETURNING project_id",
            after,
            id,
            before
        );
        let Some(project) = turned.fetch_optional(&mut *change).await? else {
            change.rollback().await?;
            let phase = row::get(&self.db, id).await?.phase;
            return Err(Refused::conflict(format!(
                "the cluster is {phase}, and it would have to be {before} for that"
            )));
        };
        append(&mut change, Deed::by(caller, &project, action, id)).await?;
        Ok(change.commit().await?)
    }

    /// Whether stopping the cluster's process would lose what only its memory has: keys that KMS does not give now.
    pub(crate) async fn is_on_grace(&self, row: &super::Row) -> Result<bool, Refused> {
        let live = self.nodes.live(&row.id);
        let told = live.report().is_some_and(|report| report.zones.iter().any(|zone| zone.status == ZoneState::Grace));
        let Some(key) = &row.key_id else { return Ok(false) };
        let serves = live.report().is_some_and(|report| report.state == custody_link::NodeState::Serving);
        let status = sqlx::query_scalar!("SELECT status FROM keys WHERE id = ?", key).fetch_optional(self.db.pool());
        let unreachable = status.await?.is_some_and(|status| status == KeyStatus::Unreachable.as_str());
        Ok(told || (serves && unreachable))
    }
}
