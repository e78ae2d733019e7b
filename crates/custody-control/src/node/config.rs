//! What a cluster's node is told: its settings, and how its keys are to be treated.

use std::{collections::BTreeMap, net::SocketAddr};

use custody_kms::{Provider, RootKeyRef};
use custody_link::{KeyPolicy, KeyRef, NodeConfig, ToNode};

use super::Nodes;
use crate::{
    Control,
    cluster::{self, Phase, Row},
    cmek::Recovery,
    project,
    refusal::Refused,
};

/// A key that a cluster may use.
struct Usable {
    id: String,
    reference: RootKeyRef,
    grace_seconds: i64,
    recovery: Recovery,
}

impl Nodes {
    /// All that a node has to know.
    pub(super) async fn config(&self, row: &Row) -> Result<NodeConfig, Refused> {
        let settings = &self.settings;
        let keys = self.usable_keys(row).await?;
        let key = keys.iter().find(|key| Some(&key.id) == row.key_id.as_ref());
        if row.key_id.is_some() && key.is_none() {
            return Err(Refused::internal(format!("the key of cluster {} is gone", row.id)));
        }
        let restore = match row.phase {
            Phase::Creating => self.restore_of(&row.id).await?.filter(|order| !self.has_done(&order.job)),
            _ => None,
        };
        Ok(NodeConfig {
            cluster: row.id.clone(),
            key: key.map(|key| KeyRef::from(&key.reference)),
            storage: settings.storage.clone(),
            listen: SocketAddr::new(settings.host, row.port),
            data_dir: settings.directory(&row.id),
            key_check_interval_ms: u64::try_from(settings.key_check_interval.as_millis()).unwrap_or(u64::MAX),
            // Also of a cluster under another key, or under none: a backup under a local one may be restored into it.
            kms_file: self.offers(Provider::Local).then(|| settings.kms_file.clone()),
            tls_cert: settings.tls.as_ref().map(|(cert, _)| cert.clone()),
            tls_key: settings.tls.as_ref().map(|(_, key)| key.clone()),
            allow_swap: settings.allow_swap,
            insecure: settings.insecure,
            log: settings.log.clone(),
            log_json: settings.log_json,
            root_hash: row.root_hash.clone(),
            policy: self.policy_of(row, &keys),
            anchor: row.anchor.clone(),
            below_anchor: row.below_anchor,
            held_zones: self.held_zones(&row.id).await?,
            storage_sessions: settings.storage_role.is_some(),
            console_origins: settings.console_origins.clone(),
            restore: restore.map(Box::new),
        })
    }

    /// The zones that wait for a person, each with why.
    async fn held_zones(&self, cluster: &str) -> Result<BTreeMap<String, String>, Refused> {
        let found = sqlx::query!("SELECT zone_id, reason FROM held_zones WHERE cluster_id = ?", cluster);
        Ok(found.fetch_all(self.db.pool()).await?.into_iter().map(|zone| (zone.zone_id, zone.reason)).collect())
    }

    /// Tells a cluster's node how its keys are to be treated now. One that can't be told is told when it connects again;
    /// what it is about has been decided, and is not undone for that.
    pub(crate) async fn push_policy(&self, cluster: &str) {
        match self.policy(cluster).await {
            Ok(policy) => self.send(cluster, &ToNode::Keys(policy)).await,
            Err(error) => tracing::error!(cluster, %error, "a node can't be told how its keys are to be treated"),
        }
    }

    async fn policy(&self, cluster: &str) -> Result<KeyPolicy, Refused> {
        let row = cluster::get(&self.db, cluster).await?;
        Ok(self.policy_of(&row, &self.usable_keys(&row).await?))
    }

    /// How KMS is asked for a key that a cluster may use.
    pub(super) async fn reference(&self, row: &Row, arn: &str) -> Result<Option<RootKeyRef>, Refused> {
        let keys = self.usable_keys(row).await?;
        Ok(keys.into_iter().map(|key| key.reference).find(|key| key.key_arn().as_str() == arn))
    }

    /// The cluster's own key; keys of tenants that it has databases under; and those that their owners allow it to make
    /// databases under. All are of the cluster's project, provider and region.
    async fn usable_keys(&self, row: &Row) -> Result<Vec<Usable>, Refused> {
        let Some(own) = &row.key_id else { return Ok(Vec::new()) };
        let project = project::known(&self.db, &row.project_id).await?;
        let found = sqlx::query!(
            r#"SELECT id, provider, arn, role_arn, grace_seconds, recovery, allow_databases,
                      EXISTS (SELECT 1 FROM cluster_keys WHERE cluster_id = ?1 AND key_id = keys.id) AS "used: bool"
               FROM keys WHERE project_id = ?2 AND region_id = ?3 ORDER BY created_at, id"#,
            row.id,
            row.project_id,
            row.region_id
        );
        let mut keys = Vec::new();
        for key in found.fetch_all(self.db.pool()).await? {
            let allowed: Vec<String> = serde_json::from_str(&key.allow_databases).map_err(Refused::internal)?;
            let wanted = key.id == *own || key.used || allowed.iter().any(|id| id == "*" || *id == row.id);
            let external_id = key.role_arn.as_ref().map(|_| project.external_id.expose());
            let reference = RootKeyRef::parse(&key.provider, &key.arn, key.role_arn.as_deref(), external_id)?;
            if wanted && self.offers(reference.provider()) {
                let recovery = Recovery::stored(&key.recovery)?;
                keys.push(Usable { id: key.id, reference, grace_seconds: key.grace_seconds, recovery });
            }
        }
        Ok(keys)
    }

    fn policy_of(&self, row: &Row, keys: &[Usable]) -> KeyPolicy {
        let arn = |key: &Usable| key.reference.key_arn().as_str().to_owned();
        let grace = |key: &Usable| (arn(key), u64::try_from(key.grace_seconds).unwrap_or_default());
        let others = keys.iter().filter(|key| Some(&key.id) != row.key_id.as_ref());
        KeyPolicy {
            grace_seconds: keys.iter().map(grace).collect::<BTreeMap<_, _>>(),
            tenant_keys: others.map(|key| KeyRef::from(&key.reference)).collect(),
            manual_recovery: keys.iter().filter(|key| key.recovery == Recovery::Manual).map(arn).collect(),
            hold: row.is_held(),
            order: self.order(&row.id),
        }
    }
}

impl Control {
    /// Tells every node of a project how its keys are to be treated now.
    pub(crate) async fn push_policies(&self, project: &str) {
        let rows = match cluster::all(&self.db).await {
            Ok(rows) => rows,
            Err(error) => {
                return tracing::error!(project, %error, "nodes can't be told how their keys are to be treated");
            }
        };
        for row in rows.iter().filter(|row| row.project_id == project) {
            self.nodes.push_policy(&row.id).await;
        }
    }
}
