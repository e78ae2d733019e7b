//! Dropping a cluster (rule 30): it goes dark at once, waits so that it can be taken back, and is destroyed: its zone
//! keyrings first, so that nothing of it can be opened any more from that moment on.

use serde::Serialize;
use serde_json::json;

use super::{Cluster, Phase, Row, row};
use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    db::{now, rfc3339},
    job::{self, Due, JobKind, JobStatus},
    node::{Counts, Destroyed},
    refusal::{Kind, Refused},
};

/// How many days the drop of an encrypted cluster waits unless told otherwise.
pub const DROP_WAIT: i64 = 7;
/// The most days.
const LONGEST_WAIT: i64 = 30;
const DAY: i64 = 24 * 3600 * 1000;

/// What is told of a drop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dropped {
    /// The cluster's id.
    pub cluster_id: String,
    /// The job that destroys it.
    pub job_id: String,
    /// When.
    pub drop_time: String,
    /// What can be done until then.
    pub prompt: String,
}

impl Control {
    /// Drops a cluster. It is dark from now on, and destroyed after `wait_days`: 0 to 30; by default 7 of an encrypted one,
    /// 0 of another.
    pub async fn drop_cluster(&self, caller: &Caller, id: &str, wait_days: Option<i64>) -> Result<Dropped, Refused> {
        let row = self.cluster_for(caller, id, Privilege::ManageClusters).await?;
        caller.must_have_confirmed()?;
        let days = wait_days.unwrap_or(if row.key_id.is_some() { DROP_WAIT } else { 0 });
        if !(0..=LONGEST_WAIT).contains(&days) {
            return Err(Refused::invalid(format!("waitDays is 0 to {LONGEST_WAIT}")));
        }
        let at = now() + days * DAY;
        let mut change = self.db.change().await?;
        let (deleting, creating) = (Phase::Deleting.as_str(), Phase::Creating.as_str());
        let dropped = sqlx::query!(
            "UPDATE clusters SET phase_before = phase, phase = ?1, drop_at = ?2, status = NULL, status_reason = NULL
             WHERE id = ?3 AND deletion_protection = 0 AND phase NOT IN (?1, ?4)",
            deleting,
            at,
            id,
            creating
        );
        if dropped.execute(&mut *change).await?.rows_affected() == 0 {
            change.rollback().await?;
            return Err(why_not(&row::get(&self.db, id).await?));
        }
        let new = job::New { due: at, ..job::New::of(JobKind::DropCluster, &row.project_id, id) };
        let job = job::ask(&mut change, new).await?;
        let when = format!("to be destroyed at {}", rfc3339(at));
        append(&mut change, Deed::by(caller, &row.project_id, "cluster.drop", id).saying(&when)).await?;
        change.commit().await?;
        self.nodes.follow(id);
        let prompt = match days {
            0 => "The cluster is being destroyed".to_owned(),
            _ => format!("The cluster is dark, and {when}. POST /v2/clusters/{id}/undrop takes it back until then"),
        };
        Ok(Dropped { cluster_id: id.to_owned(), job_id: job, drop_time: rfc3339(at), prompt })
    }

    /// Takes a drop back, as long as nothing is destroyed yet. The cluster is what it was before.
    pub async fn undrop_cluster(&self, caller: &Caller, id: &str) -> Result<Cluster, Refused> {
        let row = self.cluster_for(caller, id, Privilege::ManageClusters).await?;
        if row.phase != Phase::Deleting {
            return Err(Refused::conflict(format!("the cluster is {}, and not dropped", row.phase)));
        }
        let mut change = self.db.change().await?;
        if job::cancel(&mut change, JobKind::DropCluster, id).await?.is_none() {
            return Err(Refused::conflict(
                "the cluster's time has come: it is being destroyed, and can't be taken back",
            ));
        }
        sqlx::query!("UPDATE clusters SET phase = phase_before, phase_before = NULL, drop_at = NULL WHERE id = ?", id)
            .execute(&mut *change)
            .await?;
        append(&mut change, Deed::by(caller, &row.project_id, "cluster.undrop", id)).await?;
        change.commit().await?;
        self.nodes.follow(id);
        self.cluster(caller, id).await
    }

    /// The job: destroys a cluster. Each step can be repeated, so that a restart in between only costs time.
    pub(crate) async fn destroy(&self, job: &Due) -> Result<(), Refused> {
        let row = row::find(&self.db, &job.cluster).await?;
        job::tell(&self.db, &job.id, 10, "its process ends").await?;
        self.nodes.end(&job.cluster).await;
        let found = self.found_at_first(job).await?;
        job::tell(&self.db, &job.id, 20, "its keyrings are destroyed, then its files").await?;
        let Destroyed { counts, mut remains } =
            self.nodes.storage.destroy(&job.cluster).await.map_err(|error| stays(&error))?;
        let counts = counts.at_least(found);
        self.nodes.remove_directory(&job.cluster)?;
        let key = row.and_then(|row| row.key_arn);
        remains.extend(self.backups_that_remain(&job.cluster).await?);
        let receipt = json!({
            "clusterId": job.cluster,
            "keyIdentifier": key,
            "destroyedAt": rfc3339(now()),
            "keyrings": counts.keyrings,
            "objects": counts.objects,
            "bytes": counts.bytes,
            "couldStillOpenTheData": remains,
        });
        let said = format!(
            "{} keyring objects destroyed first, then {} others, {} bytes in all",
            counts.keyrings, counts.objects, counts.bytes
        );
        let mut change = self.db.change().await?;
        sqlx::query!("DELETE FROM clusters WHERE id = ?", job.cluster).execute(&mut *change).await?;
        append(&mut change, Deed::ours(&job.project, "cluster.destroyed", &job.cluster, &said)).await?;
        job::end(&mut change, &job.id, JobStatus::Successful, Some(&said), Some(&receipt.to_string())).await?;
        change.commit().await?;
        self.nodes.forget(&job.cluster);
        Ok(())
    }

    /// What there was of a cluster when its destruction began. It is written down before anything goes: a pass that is cut is
    /// repeated, and the last one alone would tell of what the earlier ones had left.
    async fn found_at_first(&self, job: &Due) -> Result<Counts, Refused> {
        let known =
            sqlx::query_scalar!("SELECT found FROM jobs WHERE id = ?", job.id).fetch_one(self.db.pool()).await?;
        if let Some(known) = known {
            return serde_json::from_str(&known).map_err(Refused::internal);
        }
        let found = self.nodes.storage.count(&job.cluster).await.map_err(|error| stays(&error))?;
        let text = serde_json::to_string(&found).map_err(Refused::internal)?;
        sqlx::query!("UPDATE jobs SET found = ? WHERE id = ?", text, job.id).execute(self.db.pool()).await?;
        Ok(found)
    }
}

fn stays(error: &str) -> Refused {
    Refused::new(Kind::Unavailable, format!("its files can't be destroyed: {error}"))
}

fn why_not(row: &Row) -> Refused {
    if row.deletion_protection {
        return Refused::conflict("the cluster has deletionProtection: switch it off with modify first");
    }
    match row.phase {
        Phase::Creating => Refused::conflict("the cluster is being made: drop it once it runs"),
        phase => Refused::conflict(format!("the cluster is {phase} already")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use async_trait::async_trait;

    use super::*;
    use crate::{Options, control::tests::Plane, node::ClusterStorage};

    /// Objects of a cluster, of which a pass that is cut takes the keyrings and most others.
    struct Cut {
        left: Mutex<Counts>,
        cuts: AtomicBool,
    }

    #[async_trait]
    impl ClusterStorage for Cut {
        async fn keep_audit_head(&self, _: &str) -> Result<(), String> {
            Ok(())
        }

        async fn count(&self, _: &str) -> Result<Counts, String> {
            Ok(*self.left.lock().unwrap())
        }

        async fn destroy(&self, _: &str) -> Result<Destroyed, String> {
            if self.cuts.swap(false, Ordering::SeqCst) {
                *self.left.lock().unwrap() = Counts { keyrings: 0, objects: 1, bytes: 5 };
                std::future::pending::<()>().await;
            }
            let counts = std::mem::take(&mut *self.left.lock().unwrap());
            Ok(Destroyed { counts, remains: Vec::new() })
        }
    }

    #[tokio::test]
    async fn the_receipt_of_a_drop_that_was_cut_tells_of_all_that_went() {
        let left = Mutex::new(Counts { keyrings: 2, objects: 7, bytes: 100 });
        let storage = Arc::new(Cut { left, cuts: AtomicBool::new(true) });
        let plane = Plane::with(Options::default(), Arc::clone(&storage) as _).await;
        plane.add_key("cmek-1").await;
        plane.add_cluster("in01-a", "cmek-1").await;
        let job = plane.control.drop_cluster(&plane.owner, "in01-a", Some(0)).await.unwrap().job_id;
        let first = tokio::spawn(Arc::clone(&plane.control).run_jobs());
        while storage.cuts.load(Ordering::SeqCst) {
            tokio::time::sleep(crate::node::LOOK).await;
        }
        // As by kill -9, and a start after it.
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        tokio::spawn(Arc::clone(&plane.control).run_jobs());
        let receipt = loop {
            let found = plane.control.job(&plane.owner, &job).await.unwrap();
            if let Some(receipt) = found.receipt {
                break receipt;
            }
            tokio::time::sleep(crate::node::LOOK).await;
        };
        let told = ["keyrings", "objects", "bytes"].map(|what| receipt[what].as_u64());
        assert_eq!(told, [Some(2), Some(7), Some(100)], "{receipt}");
    }
}
