//! Making a cluster: all of it, or nothing. What is asked for is checked and written down with a job, which makes the
//! process and the files; should any of it fail, process, files and row go again.

use std::time::Duration;

use custody_link::NodeState;
use custody_password as password;
use serde::Serialize;
use sqlx::SqliteConnection;
use zeroize::Zeroizing;

use super::{Phase, row};
use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    backup::{Ended, Given, Restoring},
    cmek::KeyStatus,
    db::{Change, now},
    job::{self, Due, JobKind, JobStatus},
    project::{self, Plan},
    random,
    refusal::{Kind, Refused, name},
    region::Region,
};

/// The user that a new cluster has.
const USER: &str = "root";
/// What a compute unit may be asked for, as Zilliz calls them.
const CU_TYPES: [&str; 3] = ["Performance-optimized", "Capacity-optimized", "Tiered-storage"];
/// How many compute units may be asked for.
const CU_SIZES: std::ops::RangeInclusive<i64> = 1..=256;
/// How long a new cluster's node may take until it serves.
const PATIENCE: Duration = Duration::from_mins(3);

/// A cluster that is to be made.
#[derive(Clone, Debug)]
pub struct NewCluster {
    /// What people will call it.
    pub name: String,
    /// The project.
    pub project_id: String,
    /// Where it is to be.
    pub region_id: String,
    /// What kind of compute unit.
    pub cu_type: String,
    /// How many.
    pub cu_size: i64,
    /// The ARN of its KMS key; without one it is stored in plain text.
    pub key_identifier: Option<String>,
    /// Whether a drop is to be refused.
    pub deletion_protection: bool,
}

/// What is told of a new cluster, once.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The cluster's id.
    pub cluster_id: String,
    /// Its first user.
    pub username: String,
    /// That user's password: it is shown once and kept nowhere.
    #[serde(serialize_with = "shown_once")]
    #[schema(value_type = String)]
    pub password: Zeroizing<String>,
    /// What to do now.
    pub prompt: String,
    /// The job that makes it.
    pub job_id: String,
}

fn shown_once<S: serde::Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl Control {
    /// Asks for a cluster. It serves once its status is RUNNING.
    pub async fn create_cluster(&self, caller: &Caller, new: &NewCluster) -> Result<Created, Refused> {
        self.make_cluster(caller, new, None).await
    }

    /// The same, from a backup if there is one.
    pub(crate) async fn make_cluster(
        &self,
        caller: &Caller,
        new: &NewCluster,
        from: Option<&Restoring>,
    ) -> Result<Created, Refused> {
        let project = &new.project_id;
        let plan = project::get(&self.db, caller, project, Privilege::ManageClusters).await?.plan;
        must_have_dedicated(plan)?;
        let label = name("clusterName", &new.name)?;
        let region = Region::parse(new.region_id.trim())?.id();
        check_unit(new)?;
        if let Some(arn) = &new.key_identifier {
            plan.must_offer_cmek()?;
            caller.must(Privilege::UseKeys, project)?;
            key_for_cluster(&mut *self.db.pool().acquire().await?, project, &region, arn).await?;
        }
        // 128 random bits, shown once; what is kept is the hash, and that only until the node has made its user.
        let password = Zeroizing::new(random::digits()?);
        let hash = password::hash(password.clone()).await.map_err(Refused::internal)?;
        let id = random::id("in01")?;
        let mut change = self.db.change().await?;
        let taken =
            sqlx::query_scalar!("SELECT count(*) FROM clusters WHERE project_id = ? AND name = ?", project, label);
        if taken.fetch_one(&mut *change).await? > 0 {
            return Err(Refused::conflict(format!(
                "the project has a cluster {label:?} already: choose another name, or drop that one first"
            )));
        }
        let key = still_fits(&mut change, new, &region).await?;
        let port = self.free_port(&mut change).await?;
        let (phase, now) = (Phase::Creating.as_str(), now());
        sqlx::query!(
            "INSERT INTO clusters (id, project_id, name, region_id, cu_type, cu_size, key_id, phase, port, token, root_hash,
                                   deletion_protection, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?)",
            id,
            project,
            label,
            region,
            new.cu_type,
            new.cu_size,
            key,
            phase,
            port,
            hash,
            new.deletion_protection,
            now
        )
        .execute(&mut *change)
        .await?;
        let job = ask_job(&mut change, project, &id, from).await?;
        let encrypted = if key.is_some() { "encrypted" } else { "unencrypted" };
        append(&mut change, Deed::by(caller, project, "cluster.create", &id).saying(encrypted)).await?;
        if let Some(from) = from {
            from.note(&mut change, caller, &id).await?;
        }
        change.commit().await?;
        Ok(Created {
            prompt: format!(
                "The cluster is being made: GET /v2/clusters/{id} says RUNNING once it serves. The password is shown this once"
            ),
            cluster_id: id,
            username: USER.to_owned(),
            password,
            job_id: job,
        })
    }

    /// A port for one more node.
    async fn free_port(&self, change: &mut Change) -> Result<u16, Refused> {
        let used = sqlx::query_scalar!("SELECT port FROM clusters").fetch_all(&mut **change).await?;
        let settings = &self.nodes.settings;
        let mut free = settings.ports.clone().filter(|port| !used.contains(&i64::from(*port)));
        // Another program may have it.
        free.find(|port| std::net::TcpListener::bind((settings.host, *port)).is_ok()).ok_or_else(|| {
            Refused::new(
                Kind::Unavailable,
                format!(
                    "every port of {}-{} is taken: drop a cluster, or have the operator widen node_ports",
                    settings.ports.start(),
                    settings.ports.end()
                ),
            )
        })
    }

    /// The job: makes the cluster's process, and waits until it serves.
    pub(crate) async fn create(&self, job: &Due) -> Result<(), Refused> {
        let Some(row) = row::find(&self.db, &job.cluster).await? else {
            // Undone by an earlier try, whose last word was lost.
            return self.end_job(job, JobStatus::Failed, Some("it was undone")).await;
        };
        if row.phase != Phase::Creating {
            return self.end_job(job, JobStatus::Successful, None).await;
        }
        let restores = job.kind == JobKind::RestoreCluster;
        if restores && job::is_unwanted(&self.db, &job.id).await? {
            return self.undo_create(job, JobStatus::Canceled, None).await;
        }
        // A node that is at it goes on with it. Else, whatever an earlier try left: nobody has used it yet.
        if !restores || !self.nodes.has_process(&job.cluster) {
            self.nodes.forget_work(&job.id);
            self.clear(&job.cluster).await?;
        }
        job::tell(&self.db, &job.id, if restores { 0 } else { 20 }, "its node is starting").await?;
        self.nodes.begin(&job.cluster);
        if restores {
            match self.follow_work(job, Given::Configured).await? {
                Ended::Done(_) => {}
                Ended::Failed(why) => return self.undo_create(job, JobStatus::Failed, Some(&why)).await,
                Ended::Canceled => return self.undo_create(job, JobStatus::Canceled, None).await,
            }
        }
        match self.until_it_serves(&job.cluster).await {
            Ok(()) => self.created(job).await,
            Err(why) => self.undo_create(job, JobStatus::Failed, Some(&why)).await,
        }
    }

    async fn until_it_serves(&self, cluster: &str) -> Result<(), String> {
        let mut live = self.nodes.watch(cluster);
        let ended = live.wait_for(|live| {
            live.problem().is_some() || live.report().is_some_and(|report| !matches!(report.state, NodeState::Starting))
        });
        let ended = match tokio::time::timeout(PATIENCE, ended).await {
            Err(_) => return Err(format!("its node did not serve within {} s", PATIENCE.as_secs())),
            Ok(Err(_)) => return Err("the control plane is stopping".to_owned()),
            Ok(Ok(live)) => live.clone(),
        };
        match (ended.problem(), ended.report().map(|report| &report.state)) {
            (_, Some(NodeState::Serving)) => Ok(()),
            (_, Some(NodeState::Sealed { reason, .. })) => Err(reason.clone()),
            (problem, _) => Err(problem.unwrap_or("its node ended").to_owned()),
        }
    }

    async fn created(&self, job: &Due) -> Result<(), Refused> {
        let (running, status) = (Phase::Running.as_str(), super::ClusterStatus::Running.as_str());
        let mut change = self.db.change().await?;
        sqlx::query!(
            "UPDATE clusters SET phase = ?, status = ?, root_hash = NULL WHERE id = ?",
            running,
            status,
            job.cluster
        )
        .execute(&mut *change)
        .await?;
        append(&mut change, Deed::ours(&job.project, "cluster.created", &job.cluster, status)).await?;
        job::end(&mut change, &job.id, JobStatus::Successful, None, None).await?;
        change.commit().await?;
        self.forget_work(job);
        self.nodes.follow(&job.cluster);
        Ok(())
    }

    /// Leaves nothing of a cluster that could not be made.
    async fn undo_create(&self, job: &Due, status: JobStatus, why: Option<&str>) -> Result<(), Refused> {
        tracing::warn!(cluster = job.cluster, %status, why, "a cluster could not be made, and is undone");
        self.clear(&job.cluster).await?;
        let mut change = self.db.change().await?;
        sqlx::query!("DELETE FROM clusters WHERE id = ?", job.cluster).execute(&mut *change).await?;
        let said = if why.is_some() { "it could not be made" } else { "it was given up" };
        append(&mut change, Deed::ours(&job.project, "cluster.undone", &job.cluster, said)).await?;
        job::end(&mut change, &job.id, status, why, None).await?;
        change.commit().await?;
        self.forget_work(job);
        self.nodes.forget(&job.cluster);
        Ok(())
    }

    /// Ends a cluster's process and removes all that it has written.
    async fn clear(&self, cluster: &str) -> Result<(), Refused> {
        self.nodes.end(cluster).await;
        let destroyed = self.nodes.storage.destroy(cluster).await;
        destroyed.map_err(|error| Refused::new(Kind::Unavailable, format!("its files can't be removed: {error}")))?;
        self.nodes.remove_directory(cluster)
    }
}

/// Writes the job down that makes a cluster.
async fn ask_job(
    change: &mut Change,
    project: &str,
    cluster: &str,
    from: Option<&Restoring>,
) -> Result<String, Refused> {
    let Some(from) = from else {
        return job::ask(change, job::New::of(JobKind::CreateCluster, project, cluster)).await;
    };
    let terms = from.terms()?;
    let new = job::New::of(JobKind::RestoreCluster, project, cluster);
    job::ask(change, job::New { backup: Some(from.backup()), terms: Some(&terms), ..new }).await
}

fn must_have_dedicated(plan: Plan) -> Result<(), Refused> {
    if plan.has_dedicated() {
        return Ok(());
    }
    Err(Refused::new(
        Kind::Forbidden,
        format!("dedicated clusters are not part of the plan {plan}: change the project's plan first"),
    ))
}

fn check_unit(new: &NewCluster) -> Result<(), Refused> {
    if !CU_TYPES.contains(&new.cu_type.as_str()) {
        return Err(Refused::invalid(format!("cuType {:?} is unknown: {}", new.cu_type, CU_TYPES.join(", "))));
    }
    if !CU_SIZES.contains(&new.cu_size) {
        return Err(Refused::invalid(format!("cuSize is {} to {}", CU_SIZES.start(), CU_SIZES.end())));
    }
    Ok(())
}

/// The key of a new cluster, by its ARN: of the same project, provider and region, available, and allowed to be used.
async fn key_for_cluster(
    connection: &mut SqliteConnection,
    project: &str,
    region: &str,
    arn: &str,
) -> Result<String, Refused> {
    let arn = arn.trim();
    let found = sqlx::query!(
        "SELECT id, region_id, status, reason, allow_clusters FROM keys WHERE project_id = ? AND arn = ?",
        project,
        arn
    );
    let found = found.fetch_optional(connection).await?.ok_or_else(|| {
        Refused::invalid(format!(
            "keyIdentifier {arn:?} is no key of this project: add it first (Network > CMEK), and give its full ARN"
        ))
    })?;
    if found.region_id != region {
        return Err(Refused::invalid(format!(
            "the key is in region {}, and the cluster is to be in {region}: they must have the same provider and region",
            found.region_id
        )));
    }
    let allowed: Vec<String> = serde_json::from_str(&found.allow_clusters).map_err(Refused::internal)?;
    if !allowed.iter().any(|id| id == "*") {
        return Err(Refused::new(
            Kind::Forbidden,
            "the key's owner allows no new clusters under it: its allow list would have to say \"clusters\": [\"*\"]",
        ));
    }
    if found.status != KeyStatus::Available.as_str() {
        return Err(Refused::conflict(format!(
            "the key is {}{}: a cluster can be made under it once it is AVAILABLE (POST …/keys/{}/check looks now)",
            found.status,
            found.reason.map(|reason| format!(", {reason}")).unwrap_or_default(),
            found.id
        )));
    }
    Ok(found.id)
}

/// What was looked at before the password was hashed may have changed meanwhile. Returns the id of the key.
async fn still_fits(change: &mut Change, new: &NewCluster, region: &str) -> Result<Option<String>, Refused> {
    let project = &new.project_id;
    let plan = sqlx::query_scalar!("SELECT plan FROM projects WHERE id = ?", project);
    let plan = plan.fetch_optional(&mut **change).await?;
    let plan: Plan = plan.ok_or_else(|| Refused::not_found("project", project))?.parse()?;
    must_have_dedicated(plan)?;
    let Some(arn) = &new.key_identifier else { return Ok(None) };
    plan.must_offer_cmek()?;
    Ok(Some(key_for_cluster(change, project, region, arn).await?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, control::tests::Plane};

    #[tokio::test]
    async fn a_key_that_is_taken_away_while_the_password_is_hashed_gets_no_cluster() {
        let plane = Plane::new(Options::default()).await;
        plane.add_key("cmek-1").await;
        let new = NewCluster {
            name: "cluster".to_owned(),
            project_id: plane.project.clone(),
            region_id: "local-dev".to_owned(),
            cu_type: CU_TYPES[0].to_owned(),
            cu_size: 1,
            key_identifier: Some("cmek-1".to_owned()),
            deletion_protection: false,
        };
        for (taken, kind) in [
            ("UPDATE keys SET name = name", None),
            ("UPDATE keys SET status = 'REVOKED'", Some(Kind::Conflict)),
            ("UPDATE keys SET status = 'AVAILABLE', allow_clusters = '[]'", Some(Kind::Forbidden)),
            ("DELETE FROM keys", Some(Kind::Invalid)),
        ] {
            sqlx::query(taken).execute(plane.control.db.pool()).await.unwrap();
            let mut change = plane.control.db.change().await.unwrap();
            let fits = still_fits(&mut change, &new, "local-dev").await;
            assert_eq!(fits.err().map(|refused| refused.kind), kind, "{taken}");
        }
    }
}
