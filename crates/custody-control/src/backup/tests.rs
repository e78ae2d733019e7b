//! Backups from asking to the end, with nodes and a storage that do as they are told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use custody_kms::Providers;
use custody_link::{NodeState, Omitted, Work, WorkDone, WorkState};

use super::*;
use crate::{
    Control, Counts, Destroyed, Kind, NodeParts, Options, Plan, Refused,
    access::{Caller, Role, callers},
    alert::AlertKind,
    cmek::DbLedger,
    db::{now, tests::fresh},
    job::{Job, JobKind, JobStatus},
    node::{ClusterStorage, tests::settings},
    project::DecryptedRestore,
};

const ARN: &str = "arn:custody:kms:local-dev:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER_ARN: &str = "arn:custody:kms:local-dev:000000000000:key/9999abcd-12ab-34cd-56ef-1234567890ab";
const CLUSTER: &str = "in01-a";

/// Keeps what it was asked.
#[derive(Default)]
struct Recorded(Mutex<Vec<String>>);

impl Recorded {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[async_trait]
impl BackupStorage for Recorded {
    async fn delete(&self, cluster: &str, backup: &str) -> Result<Freed, String> {
        self.note(format!("delete {cluster} {backup}"));
        Ok(Freed { objects: 3, bytes: 7 })
    }

    async fn clean_up(&self, cluster: &str, backups: &Known) -> Result<Freed, String> {
        self.note(format!("clean up {cluster} but {:?}", backups.owned));
        Ok(Freed::default())
    }

    async fn clusters(&self) -> Result<Vec<String>, String> {
        Ok(vec![CLUSTER.to_owned()])
    }
}

#[async_trait]
impl ClusterStorage for Recorded {
    async fn keep_audit_head(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn count(&self, _: &str) -> Result<Counts, String> {
        Ok(Counts::default())
    }

    async fn destroy(&self, cluster: &str) -> Result<Destroyed, String> {
        self.note(format!("destroy {cluster}"));
        Ok(Destroyed::default())
    }
}

struct World {
    control: Arc<Control>,
    storage: Arc<Recorded>,
    project: String,
    owner: Caller,
    _directory: tempfile::TempDir,
}

impl World {
    /// A project with two keys, and a cluster under the first that serves.
    async fn new() -> Self {
        let world = Self::at_rest().await;
        tokio::spawn(Arc::clone(&world.control).run_jobs());
        world
    }

    /// The same, where no job is carried out.
    async fn at_rest() -> Self {
        let (db, directory) = fresh().await;
        let ledger = DbLedger::start(db.clone());
        let storage = Arc::new(Recorded::default());
        let parts = NodeParts {
            storage: Arc::clone(&storage) as _,
            backups: Arc::clone(&storage) as _,
            sessions: None,
            local_keys: true,
        };
        let (kms, options) = (Arc::new(Providers::new()), Options::default());
        let control = Control::new(db, kms, ledger, options, settings(directory.path()), parts);
        let (control, owner) = (Arc::new(control), callers::owner());
        let project = control.create_project(&owner, "project", Plan::BusinessCritical).await.unwrap();
        let world = Self { control, storage, project, owner, _directory: directory };
        world.add_key("cmek-1", ARN).await;
        world.add_key("cmek-2", OTHER_ARN).await;
        world.add_cluster(CLUSTER, Some("cmek-1")).await;
        world
    }

    async fn add_key(&self, id: &str, arn: &str) {
        sqlx::query(
            "INSERT INTO keys (id, project_id, name, provider, arn, region_id, status, checked_at, next_check_at, grace_seconds, created_at)
             VALUES (?, ?, ?, 'local', ?, 'local-dev', 'AVAILABLE', 0, 0, 0, 0)",
        )
        .bind(id)
        .bind(&self.project)
        .bind(id)
        .bind(arn)
        .execute(self.control.db.pool())
        .await
        .unwrap();
    }

    async fn add_cluster(&self, id: &str, key: Option<&str>) {
        let ports = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM clusters").fetch_one(self.control.db.pool());
        sqlx::query(
            "INSERT INTO clusters (id, project_id, name, region_id, cu_type, cu_size, key_id, phase, port, token, created_at)
             VALUES (?, ?, ?, 'local-dev', 'Performance-optimized', 1, ?, 'running', ?, '', 0)",
        )
        .bind(id)
        .bind(&self.project)
        .bind(format!("{id}-name"))
        .bind(key)
        .bind(1_000 + ports.await.unwrap())
        .execute(self.control.db.pool())
        .await
        .unwrap();
        self.control.nodes.says(id, NodeState::Serving);
    }

    async fn set(&self, table: &str, id: &str, status: &str) {
        let query = format!("UPDATE {table} SET status = ? WHERE id = ?");
        sqlx::query(sqlx::AssertSqlSafe(query)).bind(status).bind(id).execute(self.control.db.pool()).await.unwrap();
    }

    async fn ask(&self) -> BackupAsked {
        self.control.create_backup(&self.owner, CLUSTER, &NewBackup::default()).await.unwrap()
    }

    /// Asks for a backup and has it made.
    async fn backed_up(&self) -> Backup {
        let asked = self.ask().await;
        self.until(&asked.job_id, JobStatus::Running).await;
        self.control.nodes.works(CLUSTER, &asked.job_id, WorkState::Done(done())).await;
        self.until(&asked.job_id, JobStatus::Successful).await;
        self.storage.take();
        self.control.backup(&self.owner, CLUSTER, &asked.backup_id).await.unwrap()
    }

    async fn until(&self, job: &str, status: JobStatus) -> Job {
        self.until_it(job, |found| found.status == status).await
    }

    /// Has the node tell that it is half way, and waits until that stands in the job: it has its turn by then.
    async fn half_way(&self, job: &str) -> Job {
        self.until(job, JobStatus::Running).await;
        self.control.nodes.works(CLUSTER, job, WorkState::Running).await;
        self.until_it(job, |found| found.progress == 50).await
    }

    async fn until_it(&self, job: &str, is: impl Fn(&Job) -> bool) -> Job {
        for _ in 0..200 {
            let found = self.control.job(&self.owner, job).await.unwrap();
            if is(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?}", self.control.job(&self.owner, job).await);
    }

    async fn alerts(&self) -> Vec<(AlertKind, String)> {
        let alerts = self.control.alerts(&self.owner, &self.project, 100).await.unwrap();
        alerts.into_iter().map(|it| (it.kind, it.message)).collect()
    }

    fn restore(&self, key: Option<&str>) -> NewRestore {
        NewRestore {
            project_id: self.project.clone(),
            cluster_name: "restored".to_owned(),
            cu_size: 1,
            cu_type: None,
            region_id: None,
            key_identifier: key.map(str::to_owned),
            deletion_protection: false,
            how: How { load: true, ..How::default() },
        }
    }

    async fn refused(&self, caller: &Caller, backup: &Backup, new: &NewRestore) -> Refused {
        let asked = self.control.restore_cluster(caller, CLUSTER, &backup.backup_id, new).await;
        asked.map(|created| created.cluster_id).unwrap_err()
    }
}

fn done() -> WorkDone {
    WorkDone {
        databases: 2,
        collections: 3,
        objects: 4,
        bytes: 100,
        copied: 60,
        keys: vec![ARN.to_owned()],
        omitted: vec![Omitted { zone: "7".repeat(32), reason: "sealed".to_owned() }],
        manifest: Some("ab".repeat(32)),
    }
}

#[tokio::test]
async fn a_backup_is_offered_once_it_is_complete() {
    let world = World::new().await;
    let asked = world.ask().await;
    assert_eq!(asked.backup_name, "in01-a-name_backup1");
    let made = world.control.backup(&world.owner, CLUSTER, &asked.backup_id).await.unwrap();
    assert_eq!((made.status, made.encrypted), (BackupStatus::Creating, true));
    let refused = world.refused(&world.owner, &made, &world.restore(Some(ARN))).await;
    assert!(refused.kind == Kind::Conflict && refused.message.contains("being made"), "{refused}");
    let refused = world.control.delete_backup(&world.owner, CLUSTER, &asked.backup_id).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    let job = world.half_way(&asked.job_id).await;
    assert_eq!((job.progress, job.message.as_deref()), (50, Some("1 of 2 bytes")));
    world.control.nodes.works(CLUSTER, &asked.job_id, WorkState::Done(done())).await;
    let job = world.until(&asked.job_id, JobStatus::Successful).await;
    assert_eq!((job.kind, job.progress, job.backup_id), (JobKind::CreateBackup, 100, Some(asked.backup_id.clone())));
    let made = world.control.backup(&world.owner, CLUSTER, &asked.backup_id).await.unwrap();
    assert_eq!((made.status, made.size, made.copied, made.objects), (BackupStatus::Available, 100, 60, 4));
    assert_eq!((made.key_identifier.as_deref(), made.omitted_zones.len()), (Some(ARN), 1));
    let key = world.control.key(&world.owner, &world.project, "cmek-1").await.unwrap();
    assert_eq!(key.backups, [asked.backup_id]);
}

#[tokio::test]
async fn one_that_fails_leaves_nothing_and_is_told() {
    let world = World::new().await;
    let asked = world.ask().await;
    world.until(&asked.job_id, JobStatus::Running).await;
    let reason = "the storage is full".to_owned();
    world.control.nodes.works(CLUSTER, &asked.job_id, WorkState::Failed { reason: reason.clone() }).await;
    let job = world.until(&asked.job_id, JobStatus::Failed).await;
    assert_eq!(job.message, Some(reason));
    assert_eq!(world.control.backup(&world.owner, CLUSTER, &asked.backup_id).await.unwrap_err().kind, Kind::NotFound);
    let alerts = world.alerts().await;
    assert!(alerts.iter().any(|(kind, said)| *kind == AlertKind::BackupFailed && said.contains("storage is full")));
    assert_eq!(world.storage.take()[0], format!("delete {CLUSTER} {}", asked.backup_id));
}

#[tokio::test]
async fn names_that_were_chosen_stand_in_no_table() {
    let world = World::new().await;
    let only = vec![ChosenCollections { database: "hush-db".into(), collections: vec!["hush-coll".into()] }];
    let new = NewBackup { name: None, only: Some(only) };
    let asked = world.control.create_backup(&world.owner, CLUSTER, &new).await.unwrap();
    world.until(&asked.job_id, JobStatus::Running).await;
    let chosen = world.control.names.chosen(&asked.job_id);
    assert!(matches!(chosen, Some(Chosen::Backup(only)) if only[0].collections == ["hush-coll"]));
    let reason = "there is no collection hush-coll".to_owned();
    world.control.nodes.works(CLUSTER, &asked.job_id, WorkState::Failed { reason: reason.clone() }).await;
    let job = world.until(&asked.job_id, JobStatus::Failed).await;
    assert_eq!(job.message, Some(reason), "who asked is told");
    let file = world.control.nodes.settings.data_dir.join("control.db");
    world.control.db.close().await;
    for name in [file.clone(), file.with_extension("db-wal")] {
        let bytes = std::fs::read(name).unwrap_or_default();
        assert!(!bytes.windows(5).any(|it| it == b"hush-"));
    }
}

#[tokio::test]
async fn one_that_is_not_wanted_any_more_is_given_up_under_way_and_before() {
    let world = World::new().await;
    let (first, second) = (world.ask().await, world.ask().await);
    world.until(&first.job_id, JobStatus::Running).await;
    let job = world.control.cancel_job(&world.owner, &second.job_id).await.unwrap();
    assert_eq!(job.status, JobStatus::Canceled, "it had to wait for its turn");
    world.control.cancel_job(&world.owner, &first.job_id).await.unwrap();
    world.control.nodes.works(CLUSTER, &first.job_id, WorkState::Canceled).await;
    world.until(&first.job_id, JobStatus::Canceled).await;
    assert!(world.control.backups(&world.owner, &BackupFilter::default()).await.unwrap().is_empty());
    let refused = world.control.cancel_job(&world.owner, &first.job_id).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert!(world.alerts().await.is_empty(), "that is no failure");
}

#[tokio::test]
async fn a_deletion_takes_the_row_last_and_waits_for_restores() {
    let world = World::new().await;
    let backup = world.backed_up().await;
    world.add_cluster("in01-b", None).await;
    let restore = CollectionsRestore { cluster_id: "in01-b".into(), only: None, how: How::default() };
    let job = world.control.restore_collections(&world.owner, CLUSTER, &backup.backup_id, &restore).await.unwrap();
    let refused = world.control.delete_backup(&world.owner, CLUSTER, &backup.backup_id).await.unwrap_err();
    assert!(refused.message.contains(&job), "{refused}");
    world.until(&job, JobStatus::Running).await;
    world.control.nodes.works("in01-b", &job, WorkState::Done(done())).await;
    world.until(&job, JobStatus::Successful).await;
    world.storage.take();
    let deleted = world.control.delete_backup(&world.owner, CLUSTER, &backup.backup_id).await.unwrap();
    world.until(&deleted.job_id, JobStatus::Successful).await;
    assert_eq!(world.storage.take()[0], format!("delete {CLUSTER} {}", backup.backup_id));
    assert_eq!(world.control.backup(&world.owner, CLUSTER, &backup.backup_id).await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test]
async fn who_manages_no_clusters_makes_deletes_and_restores_nothing() {
    let world = World::new().await;
    let backup = world.backed_up().await;
    let (id, new) = (&backup.backup_id, world.restore(Some(ARN)));
    for role in [Role::ProjectReadOnly, Role::ProjectReadWrite, Role::KeyCustodian] {
        let caller = callers::with(role, &world.project);
        assert_eq!(world.control.backups(&caller, &BackupFilter::default()).await.unwrap().len(), 1);
        let asked = world.control.create_backup(&caller, CLUSTER, &NewBackup::default()).await;
        assert_eq!(asked.unwrap_err().kind, Kind::Forbidden);
        assert_eq!(world.control.delete_backup(&caller, CLUSTER, id).await.unwrap_err().kind, Kind::Forbidden);
        assert_eq!(world.refused(&caller, &backup, &new).await.kind, Kind::Forbidden);
        let policy = world.control.set_backup_policy(&caller, CLUSTER, &NewPolicy::default()).await;
        assert_eq!(policy.unwrap_err().kind, Kind::Forbidden);
    }
    let elsewhere = callers::with(Role::ProjectAdmin, "proj-other");
    assert_eq!(world.control.backup(&elsewhere, CLUSTER, id).await.unwrap_err().kind, Kind::NotFound);
    assert!(world.control.backups(&elsewhere, &BackupFilter::default()).await.unwrap().is_empty());
    let admin = callers::with(Role::ProjectAdmin, &world.project);
    let other = world.control.create_project(&world.owner, "other", Plan::BusinessCritical).await.unwrap();
    let across = NewRestore { project_id: other, ..new };
    assert_eq!(world.refused(&admin, &backup, &across).await.kind, Kind::NotFound, "it takes rights in both projects");
}

#[tokio::test]
async fn whether_a_backup_may_be_decrypted_is_for_who_keeps_the_keys() {
    let world = World::new().await;
    let backup = world.backed_up().await;
    let admin = callers::with(Role::ProjectAdmin, &world.project);
    let set = async |caller: &Caller, wanted| world.control.set_decrypted_restore(caller, &world.project, wanted).await;
    assert_eq!(set(&admin, DecryptedRestore::Deny).await.unwrap_err().kind, Kind::Forbidden);
    set(&callers::with(Role::KeyCustodian, &world.project), DecryptedRestore::Deny).await.unwrap();
    let refused = world.refused(&admin, &backup, &world.restore(None)).await;
    assert!(refused.kind == Kind::Forbidden && refused.message.contains("decryptedRestore"), "{refused}");
    assert!(world.alerts().await.is_empty());
    set(&world.owner, DecryptedRestore::Allow).await.unwrap();
    let session = callers::in_session(Role::ProjectAdmin, &world.project);
    assert_eq!(world.refused(&session, &backup, &world.restore(None)).await.kind, Kind::Forbidden);
    let created = world.control.restore_cluster(&admin, CLUSTER, &backup.backup_id, &world.restore(None)).await;
    let created = created.map_err(|refused| refused.message).unwrap();
    let alerts = world.alerts().await;
    let (kind, said) = &alerts[0];
    assert_eq!(*kind, AlertKind::DecryptedRestore);
    assert!(said.contains(&backup.backup_id) && said.contains(&created.cluster_id), "{said}");
}

#[tokio::test]
async fn what_a_restore_is_made_from_comes_from_here() {
    let world = World::at_rest().await;
    let (asked, db) = (world.ask().await, &world.control.db);
    let row = row::find(db, &asked.backup_id).await.unwrap().unwrap();
    world.set("backups", &asked.backup_id, "AVAILABLE").await;
    sqlx::query("UPDATE backups SET manifest = 'ab12'").execute(db.pool()).await.unwrap();
    let new = world.restore(Some(OTHER_ARN));
    let created = world.control.restore_cluster(&world.owner, CLUSTER, &row.id, &new).await;
    let created = created.map_err(|refused| refused.message).unwrap();
    assert!(restore_of(db, "/backups", &created.cluster_id).await.unwrap().is_none(), "its job has not begun");
    world.set("jobs", &created.job_id, "RUNNING").await;
    let order = restore_of(db, "/backups", &created.cluster_id).await.unwrap().unwrap();
    let Work::Restore(order) = order.work else { panic!("another order") };
    assert_eq!((order.from.cluster.as_str(), order.from.backup), (CLUSTER, row.id));
    assert_eq!(order.from.key.map(|key| key.arn).as_deref(), Some(ARN));
    assert_eq!((order.from.manifest.as_deref(), order.mode, order.load), (Some("ab12"), RestoreMode::Rekey, true));
    assert!(order.only.is_none() && !order.keep_database_keys);
    // The keys and the place of the backup are this cluster's to use, and no other's.
    assert!(opens(db, &created.cluster_id, ARN).await.unwrap().is_some());
    assert!(opens(db, &created.cluster_id, OTHER_ARN).await.unwrap().is_none());
    assert!(restores_from(db, &created.cluster_id, CLUSTER).await.unwrap());
    assert!(!restores_from(db, "in01-z", CLUSTER).await.unwrap() && opens(db, "in01-z", ARN).await.unwrap().is_none());
    // And only while it is restored.
    world.set("jobs", &created.job_id, "SUCCESSFUL").await;
    assert!(opens(db, &created.cluster_id, ARN).await.unwrap().is_none());
    assert!(!restores_from(db, &created.cluster_id, CLUSTER).await.unwrap());
}

#[tokio::test]
async fn across_projects_everything_is_sealed_anew_unless_it_is_asked_for_otherwise() {
    let world = World::new().await;
    let backup = world.backed_up().await;
    let other = world.control.create_project(&world.owner, "other", Plan::BusinessCritical).await.unwrap();
    for (project, asked, mode) in [
        (&world.project, None, RestoreMode::Rekey),
        (&world.project, Some(RestoreMode::Reencrypt), RestoreMode::Reencrypt),
        (&other, None, RestoreMode::Reencrypt),
        (&other, Some(RestoreMode::Rekey), RestoreMode::Rekey),
    ] {
        let how = How { mode: asked, ..How::default() };
        let (project_id, cluster_name) = (project.clone(), format!("{mode:?}{asked:?}"));
        let new = NewRestore { project_id, cluster_name, how, ..world.restore(None) };
        let created = world.control.restore_cluster(&world.owner, CLUSTER, &backup.backup_id, &new).await;
        let job = created.map_err(|refused| refused.message).unwrap().job_id;
        let terms = sqlx::query_scalar::<_, String>("SELECT terms FROM jobs WHERE id = ?").bind(job);
        let terms = terms.fetch_one(world.control.db.pool()).await.unwrap();
        let terms = Terms::parse(Some(&terms)).unwrap();
        // A database's own key the node compares, unless somebody chose.
        assert_eq!((terms.mode, terms.anew_across_accounts), (mode, asked.is_none()), "{project} {asked:?}");
    }
}

#[tokio::test]
async fn a_tenants_key_is_kept_or_it_is_said_that_it_is_not() {
    let world = World::new().await;
    let asked = world.ask().await;
    world.until(&asked.job_id, JobStatus::Running).await;
    let two = WorkDone { keys: vec![ARN.to_owned(), OTHER_ARN.to_owned()], ..done() };
    world.control.nodes.works(CLUSTER, &asked.job_id, WorkState::Done(two)).await;
    world.until(&asked.job_id, JobStatus::Successful).await;
    let backup = world.control.backup(&world.owner, CLUSTER, &asked.backup_id).await.unwrap();
    assert_eq!(backup.key_identifiers, [ARN, OTHER_ARN]);
    let restore = |name: &str, keep| NewRestore {
        cluster_name: name.to_owned(),
        how: How { keep_database_keys: keep, ..How::default() },
        ..world.restore(Some(ARN))
    };
    world
        .control
        .restore_cluster(&world.owner, CLUSTER, &backup.backup_id, &restore("kept", None))
        .await
        .map(drop)
        .unwrap();
    sqlx::query("UPDATE keys SET allow_databases = '[]' WHERE id = 'cmek-2'")
        .execute(world.control.db.pool())
        .await
        .unwrap();
    let refused = world.refused(&world.owner, &backup, &restore("refused", None)).await;
    assert!(refused.kind == Kind::Conflict && refused.message.contains(OTHER_ARN), "{refused}");
    let given_up = restore("given-up", Some(false));
    world.control.restore_cluster(&world.owner, CLUSTER, &backup.backup_id, &given_up).await.map(drop).unwrap();
}

#[tokio::test]
async fn a_key_that_does_not_open_the_backup_is_named() {
    let world = World::new().await;
    let backup = world.backed_up().await;
    sqlx::query("UPDATE keys SET status = 'REVOKED', reason = 'disabled' WHERE id = 'cmek-1'")
        .execute(world.control.db.pool())
        .await
        .unwrap();
    let refused = world.refused(&world.owner, &backup, &world.restore(Some(OTHER_ARN))).await;
    assert!(refused.kind == Kind::Conflict && refused.message.contains(ARN), "{refused}");
    let deleted = world.control.delete_backup(&world.owner, CLUSTER, &backup.backup_id).await.unwrap();
    world.until(&deleted.job_id, JobStatus::Successful).await;
}

#[tokio::test]
async fn a_backup_keeps_its_project_and_its_key_also_when_its_cluster_is_gone() {
    let world = World::new().await;
    let backup = world.backed_up().await;
    sqlx::query("DELETE FROM clusters").execute(world.control.db.pool()).await.unwrap();
    assert_eq!(world.control.backup(&world.owner, CLUSTER, &backup.backup_id).await.unwrap(), backup);
    let (control, owner, project) = (&world.control, &world.owner, &world.project);
    let refused = control.delete_key(owner, project, "cmek-1", &[]).await.unwrap_err();
    assert!(refused.kind == Kind::Conflict && refused.message.contains(&backup.backup_id), "{refused}");
    control.delete_key(owner, project, "cmek-2", &[]).await.unwrap();
    control.delete_key(owner, project, "cmek-1", std::slice::from_ref(&backup.backup_id)).await.unwrap();
    let refused = control.delete_project(owner, project).await.unwrap_err();
    assert!(refused.kind == Kind::Conflict && refused.message.contains("1 backups"), "{refused}");
    let remains = control.backups_that_remain(CLUSTER).await.unwrap();
    assert_eq!(remains, [format!("backup {}, together with the KMS key {ARN}", backup.backup_id)]);
}

#[tokio::test]
async fn automatic_backups_come_when_they_are_due_and_go_when_their_time_is_over() {
    let world = World::new().await;
    let control = &world.control;
    let policy = NewPolicy {
        enabled: true,
        frequency: Some("1,2,3,4,5,6,7".into()),
        start_time: Some("02:00-04:00".into()),
        retention_days: Some(7),
    };
    control.set_backup_policy(&world.owner, CLUSTER, &policy).await.unwrap();
    let later = now() + 2 * policy::DAY;
    control.make_due(now()).await.unwrap();
    assert!(control.backups(&world.owner, &BackupFilter::default()).await.unwrap().is_empty());
    control.make_due(later).await.unwrap();
    control.make_due(later).await.unwrap();
    let backups = control.backups(&world.owner, &BackupFilter::default()).await.unwrap();
    assert_eq!(backups.len(), 1, "two were missed, and one makes up for them");
    assert_eq!(backups[0].creation_method, CreationMethod::Auto);
    let jobs = control.jobs(&world.owner, &world.project, 10).await.unwrap();
    world.until(&jobs[0].job_id, JobStatus::Running).await;
    control.delete_expired(later + 8 * policy::DAY).await.unwrap();
    control.nodes.works(CLUSTER, &jobs[0].job_id, WorkState::Done(done())).await;
    world.until(&jobs[0].job_id, JobStatus::Successful).await;
    control.delete_expired(later + 6 * policy::DAY).await.unwrap();
    let jobs = control.jobs(&world.owner, &world.project, 10).await.unwrap();
    assert_eq!(jobs.len(), 1, "neither one that is being made nor one that is to be kept is deleted");
    control.delete_expired(later + 7 * policy::DAY).await.unwrap();
    let jobs = control.jobs(&world.owner, &world.project, 10).await.unwrap();
    assert_eq!(jobs[0].kind, JobKind::DeleteBackup);
    world.until(&jobs[0].job_id, JobStatus::Successful).await;
    assert!(control.backups(&world.owner, &BackupFilter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cluster_that_does_not_serve_is_not_backed_up() {
    let world = World::new().await;
    let sealed = NodeState::Sealed { reason: "its key was revoked".into(), outcome: None, heeded: 0 };
    let asked = world.ask().await;
    world.until(&asked.job_id, JobStatus::Running).await;
    world.control.nodes.says(CLUSTER, sealed);
    let job = world.until(&asked.job_id, JobStatus::Failed).await;
    assert!(job.message.unwrap().contains("its key was revoked"));
    let refused = world.control.create_backup(&world.owner, CLUSTER, &NewBackup::default()).await.unwrap_err();
    assert!(refused.kind == Kind::Conflict && refused.message.contains("its key was revoked"), "{refused}");
}

/// A process that passes for a cluster's node, and ends when its input does.
fn process_of(world: &World, cluster: &str) -> std::process::Child {
    let data_dir = &world.control.nodes.settings.data_dir;
    std::fs::write(data_dir.join("node"), "read line").unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["node", "--link"]).arg(data_dir.join("link")).args(["--cluster-id", cluster]);
    command.current_dir(data_dir).stdin(std::process::Stdio::piped()).spawn().unwrap()
}

#[tokio::test]
async fn nothing_of_a_backup_is_removed_while_its_process_may_still_write() {
    let world = World::new().await;
    let mut process = process_of(&world, CLUSTER);
    let asked = world.ask().await;
    world.half_way(&asked.job_id).await;
    // Its process is being ended, and takes its time.
    sqlx::query("UPDATE clusters SET phase = 'suspended'").execute(world.control.db.pool()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.storage.take(), [""; 0]);
    assert_eq!(world.control.job(&world.owner, &asked.job_id).await.unwrap().status, JobStatus::Running);
    drop(process.stdin.take());
    process.wait().unwrap();
    let job = world.until(&asked.job_id, JobStatus::Failed).await;
    assert!(job.message.unwrap().contains("suspended"));
    assert_eq!(world.storage.take()[0], format!("delete {CLUSTER} {}", asked.backup_id));
}

#[tokio::test]
async fn what_nobody_needs_is_removed_at_the_start_but_not_beside_a_backup_that_is_made() {
    let world = World::new().await;
    Arc::clone(&world.control).clean_up_backups().await;
    assert_eq!(world.storage.take(), [format!("clean up {CLUSTER} but []")]);
    let asked = world.ask().await;
    world.half_way(&asked.job_id).await;
    let at_once = tokio::time::timeout(Duration::from_millis(500), Arc::clone(&world.control).clean_up_backups());
    assert!(at_once.await.is_err() && world.storage.take().is_empty(), "it waits for its turn");
}
