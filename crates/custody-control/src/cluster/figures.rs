//! How a cluster went in the last hour: calls, latency and memory as its node told them, and calls to KMS from the ledger.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    Control,
    access::{Caller, Privilege},
    db::now,
    node::Point,
    refusal::Refused,
};

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;

/// The calls to KMS and STS of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KmsMinute {
    /// When the minute began, in milliseconds since 1970.
    pub at: i64,
    /// Calls that were made.
    pub calls: i64,
    /// Those of them that failed.
    pub failed: i64,
}

/// How a cluster went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterFigures {
    /// What its node told, oldest first. It is kept in memory: a control plane that was started anew begins again.
    pub points: Vec<Point>,
    /// Its calls to KMS and STS by the minute, oldest first; a minute without any is left out.
    pub kms: Vec<KmsMinute>,
    /// When each of its keys last decrypted for it, by the key's ARN, in milliseconds since 1970: the renewal of the lease of
    /// all zones under that key.
    pub renewals: BTreeMap<String, i64>,
}

impl Control {
    /// How a cluster went in the last hour.
    pub async fn cluster_figures(&self, caller: &Caller, id: &str) -> Result<ClusterFigures, Refused> {
        self.cluster_for(caller, id, Privilege::SeeProject).await?;
        let since = now() - HOUR;
        let minutes = sqlx::query!(
            r#"SELECT at / 60000 AS "minute!: i64", count(*) AS "calls!: i64", sum(outcome <> 'ok') AS "failed!: i64"
               FROM kms_calls WHERE caller = ? AND at >= ? GROUP BY 1 ORDER BY 1"#,
            id,
            since
        );
        let minutes = minutes.fetch_all(self.db.pool()).await?.into_iter();
        let kms = minutes.map(|it| KmsMinute { at: it.minute * MINUTE, calls: it.calls, failed: it.failed }).collect();
        let mut renewals = BTreeMap::new();
        let live = self.nodes.live(id);
        for zone in live.report().map(|report| report.zones.as_slice()).unwrap_or_default() {
            if renewals.contains_key(&zone.key_arn) {
                continue;
            }
            let last = sqlx::query_scalar!(
                "SELECT at FROM kms_calls WHERE key_arn = ? AND caller = ? AND action = 'kms:Decrypt' AND outcome = 'ok'
                 ORDER BY id DESC LIMIT 1",
                zone.key_arn,
                id
            );
            if let Some(at) = last.fetch_optional(self.db.pool()).await? {
                renewals.insert(zone.key_arn.clone(), at);
            }
        }
        Ok(ClusterFigures { points: self.nodes.history(id), kms, renewals })
    }
}
