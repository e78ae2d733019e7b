//! Restoring a backup: into a cluster that is made for it, or collections of it into one that there is. What opens the backup
//! is known here, and never taken from its storage (rule 1).

use custody_link::{Renamed, RestoreMode};

use super::{
    Chosen, Ended, Terms,
    delete::must_be_available,
    follow::Given,
    order,
    row::{self, Row},
};
use crate::{
    Control,
    access::{Caller, Privilege},
    alert::{self, AlertKind},
    audit::{Deed, append},
    cluster::{Created, NewCluster},
    cmek::KeyStatus,
    db::Change,
    job::{self, Due, JobKind, JobStatus},
    project::{self, DecryptedRestore},
    refusal::{Kind, Refused},
    region::Region,
};

/// A cluster that is to be made from a backup.
#[derive(Clone, Debug)]
pub struct NewRestore {
    /// The project that it comes into.
    pub project_id: String,
    /// What people will call it.
    pub cluster_name: String,
    /// How many compute units.
    pub cu_size: i64,
    /// What kind; the backup's, if it is left out.
    pub cu_type: Option<String>,
    /// Where it is to be; where the backup's cluster was, if it is left out.
    pub region_id: Option<String>,
    /// The ARN of its KMS key; without one it is stored in plain text.
    pub key_identifier: Option<String>,
    /// Whether a drop is to be refused.
    pub deletion_protection: bool,
    /// How it is done.
    pub how: How,
}

/// Collections that are to come into a cluster that there is. There is no `Debug`: names are in it.
#[derive(Clone)]
pub struct CollectionsRestore {
    /// The cluster.
    pub cluster_id: String,
    /// Only these; without it, all of the backup.
    pub only: Option<Vec<RenamedCollection>>,
    /// How it is done.
    pub how: How,
}

/// A collection of a backup, and what it is to become.
#[derive(Clone, PartialEq, Eq)]
pub struct RenamedCollection {
    /// The database that it was in; the default one's may be left empty.
    pub database: String,
    /// What it was called.
    pub collection: String,
    /// The database that it comes into.
    pub to_database: String,
    /// What it will be called.
    pub to_collection: String,
}

/// How a restore is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Whether sealed bodies stay as they are under new headers, or everything is sealed anew.
    pub mode: Option<RestoreMode>,
    /// Whether databases that had keys of their own keep them. They do, unless this says otherwise.
    pub keep_database_keys: Option<bool>,
    /// Whether what was loaded is loaded again.
    pub load: bool,
}

/// Where a backup is to come to.
struct Target<'a> {
    project: &'a str,
    region: &'a str,
    /// The cluster, if there is one already.
    cluster: Option<&'a str>,
    key: Option<&'a str>,
}

/// A restore that is to be written down.
pub(crate) struct Restoring {
    row: Row,
    terms: Terms,
    decrypts: bool,
}

impl Control {
    /// Asks for a cluster that is made from a backup, all of it or nothing. It serves once its status is RUNNING.
    pub async fn restore_cluster(
        &self,
        caller: &Caller,
        cluster: &str,
        backup: &str,
        new: &NewRestore,
    ) -> Result<Created, Refused> {
        let row = self.backup_for(caller, cluster, backup, Privilege::ManageClusters).await?;
        let region = new.region_id.as_deref().unwrap_or(&row.region_id).trim();
        let region = Region::parse(region)?.id();
        let key = new.key_identifier.as_deref().map(str::trim);
        let target = Target { project: &new.project_id, region: &region, cluster: None, key };
        caller.must(Privilege::ManageClusters, target.project)?;
        let restoring = self.restoring(caller, &row, &target, new.how, false).await?;
        let wanted = NewCluster {
            name: new.cluster_name.clone(),
            project_id: new.project_id.clone(),
            cu_type: new.cu_type.clone().unwrap_or_else(|| row.cu_type.clone()),
            cu_size: new.cu_size,
            key_identifier: key.map(str::to_owned),
            deletion_protection: new.deletion_protection,
            region_id: region,
        };
        self.make_cluster(caller, &wanted, Some(&restoring)).await
    }

    /// Asks that collections of a backup come into a cluster that serves; returns the job.
    pub async fn restore_collections(
        &self,
        caller: &Caller,
        cluster: &str,
        backup: &str,
        wanted: &CollectionsRestore,
    ) -> Result<String, Refused> {
        let row = self.backup_for(caller, cluster, backup, Privilege::ManageClusters).await?;
        let to = self.cluster_for(caller, &wanted.cluster_id, Privilege::ManageClusters).await?;
        self.must_serve(&to)?;
        let key = to.key_arn.as_deref();
        let target = Target { project: &to.project_id, region: &to.region_id, cluster: Some(&to.id), key };
        let restoring = self.restoring(caller, &row, &target, wanted.how, wanted.only.is_some()).await?;
        let mut change = self.db.change().await?;
        let terms = restoring.terms.text()?;
        let new = job::New {
            backup: Some(&row.id),
            terms: Some(&terms),
            ..job::New::of(JobKind::RestoreCollection, &to.project_id, &to.id)
        };
        let job = job::ask(&mut change, new).await?;
        restoring.note(&mut change, caller, &to.id).await?;
        if let Some(only) = &wanted.only {
            // Before the job can begin.
            self.names.choose(&job, Chosen::Restore(only.iter().map(Renamed::from).collect()));
        }
        change.commit().await?;
        Ok(job)
    }

    /// What a restore is, if the caller may have it.
    async fn restoring(
        &self,
        caller: &Caller,
        row: &Row,
        target: &Target<'_>,
        how: How,
        chosen: bool,
    ) -> Result<Restoring, Refused> {
        must_be_available(row)?;
        if row.is_encrypted() {
            caller.must(Privilege::UseKeys, &row.project_id)?;
            self.must_open(row).await?;
        }
        let decrypts = row.is_encrypted() && target.key.is_none();
        if decrypts {
            project::known(&self.db, &row.project_id).await?.decrypted_restore.must_allow()?;
            caller.must_have_confirmed()?;
        }
        let terms = Terms {
            mode: how.mode.unwrap_or_else(|| usual_mode(row, target)),
            anew_across_accounts: how.mode.is_none(),
            keep_database_keys: self.keeps_keys(row, target, how.keep_database_keys).await?,
            load: how.load,
            chosen,
        };
        Ok(Restoring { row: row.clone(), terms, decrypts })
    }

    /// Refuses a backup one of whose keys is known not to open it. One that was deleted here is for its node to try.
    async fn must_open(&self, row: &Row) -> Result<(), Refused> {
        for key in &row.keys {
            let listed = sqlx::query!(
                "SELECT id, status, reason FROM keys WHERE project_id = ? AND arn = ?",
                row.project_id,
                key.arn
            );
            let Some(listed) = listed.fetch_optional(self.db.pool()).await? else { continue };
            if listed.status != KeyStatus::Available.as_str() {
                return Err(Refused::conflict(format!(
                    "the backup can't be opened: its key {} is {}{}. It can be restored once the key is AVAILABLE (POST …/keys/{}/check \
                     looks now)",
                    key.arn,
                    listed.status,
                    listed.reason.map(|reason| format!(", {reason}")).unwrap_or_default(),
                    listed.id
                )));
            }
        }
        Ok(())
    }

    /// Whether databases keep keys of their own. To put them under the cluster's key instead takes a word: whoever holds the
    /// tenant's key could not revoke them alone any more.
    async fn keeps_keys(&self, row: &Row, target: &Target<'_>, asked: Option<bool>) -> Result<bool, Refused> {
        let tenants = row.keys.iter().skip(1);
        if target.key.is_none() && asked == Some(true) {
            return Err(Refused::invalid("keepDatabaseKeys is for an encrypted cluster, and none without a key is"));
        }
        if target.key.is_none() || tenants.len() == 0 || asked == Some(false) {
            return Ok(false);
        }
        for key in tenants {
            let listed = sqlx::query_scalar!(
                "SELECT allow_databases FROM keys WHERE project_id = ? AND region_id = ? AND arn = ?",
                target.project,
                target.region,
                key.arn
            );
            let listed = listed.fetch_optional(self.db.pool()).await?;
            let allowed: Vec<String> =
                listed.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text)).map_err(Refused::internal)?;
            if !allowed.iter().any(|id| id == "*" || Some(id.as_str()) == target.cluster) {
                return Err(Refused::conflict(format!(
                    "a database of the backup was under {}, which is no key that databases of the cluster may be made under: add it to \
                     project {} in region {}, allow it there, or say \"keepDatabaseKeys\": false to put such databases under the \
                     cluster's key",
                    key.arn, target.project, target.region
                )));
            }
        }
        Ok(true)
    }

    /// The job: has a cluster's node take collections of a backup in.
    pub(crate) async fn restore_into(&self, job: &Due) -> Result<(), Refused> {
        let Some(row) = row::find(&self.db, job.backup()?).await? else {
            return self.end_job(job, JobStatus::Failed, Some("the backup is no more")).await;
        };
        let (terms, chosen) = (Terms::parse(job.terms.as_deref())?, self.names.chosen(&job.id));
        let storage = &self.nodes.settings.backup_storage;
        let order = order::restore(&self.db, &job.id, &row, storage, terms, chosen).await?;
        let ended = self.follow_work(job, Given::to_node(order)).await?;
        let (status, action, said) = match ended {
            Ended::Done(done) => {
                let said = format!("{} collections, {} bytes", done.collections, done.bytes);
                (JobStatus::Successful, "backup.restored", said)
            }
            Ended::Failed(why) => (JobStatus::Failed, "backup.notRestored", self.written(job, terms.chosen, why)),
            Ended::Canceled => (JobStatus::Canceled, "backup.notRestored", "it was given up".to_owned()),
        };
        let mut change = self.db.change().await?;
        let detail = format!("into cluster {}: {status}", job.cluster);
        append(&mut change, Deed::ours(&row.project_id, action, &row.id, &detail)).await?;
        job::end(&mut change, &job.id, status, Some(&said), None).await?;
        change.commit().await?;
        self.forget_work(job);
        Ok(())
    }
}

impl Restoring {
    /// The backup.
    pub(crate) fn backup(&self) -> &str {
        &self.row.id
    }

    /// How it is done, as it is kept with its job.
    pub(crate) fn terms(&self) -> Result<String, Refused> {
        self.terms.text()
    }

    /// Writes down that a backup is restored into a cluster, in the change that asks for it. What was looked at before may have
    /// changed meanwhile.
    pub(crate) async fn note(&self, change: &mut Change, caller: &Caller, cluster: &str) -> Result<(), Refused> {
        let (id, project) = (&self.row.id, &self.row.project_id);
        let row = row::find_in(change, id).await?.ok_or_else(|| Refused::not_found("backup", id))?;
        must_be_available(&row)?;
        let how = match self.terms.mode {
            _ if self.decrypts => "decrypted",
            _ if !row.is_encrypted() => "as it is",
            RestoreMode::Rekey => "under new headers",
            RestoreMode::Reencrypt => "sealed anew",
        };
        append(
            change,
            Deed::by(caller, project, "backup.restore", id).saying(&format!("into cluster {cluster}, {how}")),
        )
        .await?;
        if !self.decrypts {
            return Ok(());
        }
        project::decrypted_restore(change, project).await?.must_allow()?;
        let message = format!(
            "backup {id} of cluster {}, which is encrypted, is being restored without encryption into cluster {cluster}, as {} asked",
            row.cluster_id,
            caller.id()
        );
        alert::raise(change, project, AlertKind::DecryptedRestore, id, &message).await
    }
}

impl DecryptedRestore {
    /// Refuses where it is not allowed (rule 34).
    fn must_allow(self) -> Result<(), Refused> {
        match self {
            Self::Allow => Ok(()),
            Self::Deny => Err(Refused::new(
                Kind::Forbidden,
                "the backup is encrypted, and its project does not allow restores without encryption: give a keyIdentifier, or have \
                 its key custodian set decryptedRestore to allow",
            )),
        }
    }
}

/// New headers over the same bodies are the price of a copy, but whoever kept an old header and has the old key opens a body
/// by them: across projects and owners of keys everything is sealed anew (rule 33). Whose the key of a database is that a
/// collection comes into, its node looks.
fn usual_mode(row: &Row, target: &Target<'_>) -> RestoreMode {
    let account = |arn: &str| arn.split(':').nth(4).map(str::to_owned);
    let owner = target.key.and_then(account);
    let same_owner = owner.is_none() || row.keys.iter().all(|key| account(&key.arn) == owner);
    if target.project == row.project_id && same_owner { RestoreMode::Rekey } else { RestoreMode::Reencrypt }
}

impl From<&RenamedCollection> for Renamed {
    fn from(renamed: &RenamedCollection) -> Self {
        Self {
            database: renamed.database.clone(),
            collection: renamed.collection.clone(),
            to_database: renamed.to_database.clone(),
            to_collection: renamed.to_collection.clone(),
        }
    }
}
