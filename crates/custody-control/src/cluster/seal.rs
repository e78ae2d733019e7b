//! The kill switch: a cluster goes dark in a second, without a word to KMS (rule 13).

use std::time::Duration;

use custody_link::ToNode;

use super::{Cluster, Row};
use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    node::LOOK,
    refusal::Refused,
};

/// How long a node may take to say that it is sealed, before its process is killed.
const PATIENCE: Duration = Duration::from_secs(5);

impl Control {
    /// Seals a cluster by hand. When this returns, no process holds its keys: a node that does not confirm is killed.
    pub async fn seal_cluster(&self, caller: &Caller, id: &str) -> Result<Cluster, Refused> {
        let row = self.sealable(caller, id).await?;
        self.hold(caller, &row, true).await?;
        // Nothing that fails or hangs on the way keeps it from going dark.
        let order = self.nodes.new_order(id);
        let sealed = async {
            self.nodes.send(id, &ToNode::Seal).await;
            self.nodes.push_policy(id).await;
            while !self.is_dark(id, order) {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, sealed).await.is_err() {
            tracing::warn!(cluster = id, "the node did not confirm that it is sealed: its process is killed");
            self.nodes.kill(id).await;
        }
        self.cluster(caller, id).await
    }

    /// Whether no process holds the cluster's keys, or is about to: a node that is sealed because its key was refused may be
    /// opening it again.
    fn is_dark(&self, id: &str, order: u64) -> bool {
        self.nodes.live(id).is_sealed_by(order) || !self.nodes.has_process(id)
    }

    /// Ends a seal by hand, and the wait for a person after a revocation. The cluster opens as soon as its key is proven.
    pub async fn unseal_cluster(&self, caller: &Caller, id: &str) -> Result<Cluster, Refused> {
        let row = self.sealable(caller, id).await?;
        self.hold(caller, &row, false).await?;
        // In this order: a policy that still says "hold" would seal it again.
        self.nodes.push_policy(id).await;
        self.nodes.send(id, &ToNode::Unseal).await;
        self.cluster(caller, id).await
    }

    /// Opens a cluster although its storage was rolled back below its anchor: what is missing is lost, and from then on the
    /// anchor is what is there. It takes whoever manages clusters, and stands in the activity log (rule 6).
    pub async fn open_below_anchor(&self, caller: &Caller, id: &str) -> Result<Cluster, Refused> {
        let row = self.cluster_for(caller, id, Privilege::ManageClusters).await?;
        // A cluster that is not encrypted has no zones to report on: there it is only said in the call's own error.
        if row.key_id.is_some() && !self.nodes.live(id).is_rolled_back() {
            return Err(Refused::conflict(
                "the cluster's node does not say that its storage was rolled back: nothing to override",
            ));
        }
        let mut change = self.db.change().await?;
        sqlx::query!("UPDATE clusters SET below_anchor = 1 WHERE id = ?", id).execute(&mut *change).await?;
        append(&mut change, Deed::by(caller, &row.project_id, "cluster.openBelowAnchor", id)).await?;
        change.commit().await?;
        // Its next process is told.
        self.nodes.kill(id).await;
        self.cluster(caller, id).await
    }

    async fn sealable(&self, caller: &Caller, id: &str) -> Result<Row, Refused> {
        let row = self.cluster_for(caller, id, Privilege::Seal).await?;
        if row.key_id.is_none() {
            return Err(Refused::conflict("the cluster is not encrypted, so that there is no key to seal: suspend it"));
        }
        Ok(row)
    }

    async fn hold(&self, caller: &Caller, row: &Row, hold: bool) -> Result<(), Refused> {
        let action = if hold { "cluster.seal" } else { "cluster.unseal" };
        let mut change = self.db.change().await?;
        sqlx::query!("UPDATE clusters SET held = ?1, waits = waits AND ?1 WHERE id = ?2", hold, row.id)
            .execute(&mut *change)
            .await?;
        if !hold {
            sqlx::query!("DELETE FROM held_zones WHERE cluster_id = ?", row.id).execute(&mut *change).await?;
        }
        append(&mut change, Deed::by(caller, &row.project_id, action, &row.id)).await?;
        Ok(change.commit().await?)
    }
}
