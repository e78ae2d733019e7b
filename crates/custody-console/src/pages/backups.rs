//! Backups: made, listed, restored into a new cluster or one that there is, deleted; and when they are made by themselves.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use custody_control::{
    Control, DecryptedRestore, Refused,
    access::{Caller, Privilege, Visitor},
    backup::{
        Backup, BackupFilter, BackupPolicy, BackupStatus, ChosenCollections, CollectionsRestore, CreationMethod, How,
        NewBackup, NewPolicy, NewRestore, RenamedCollection, RestoreMode,
    },
    cluster::{Cluster, ClusterStatus},
    cmek::Key,
    job::{Job, JobKind, JobStatus},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    create::{CreatedPage, First, Offer, chosen_key},
    record::{LISTED, is_cancelable},
};
use crate::{
    answer::{Answer, Done, Page},
    frame::{At, Frame},
    markup::{Badge, KEY, bytes_name, of_backup},
    session::{Ids, Meant, Signed},
};

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/{project}/backups", get(list).post(make))
        .route("/{project}/backups/policy", post(set_policy))
        .route("/{project}/backups/{cluster}/{backup}/delete", post(delete))
        .route("/{project}/backups/{cluster}/{backup}/restore", get(restore_page).post(restore))
        .route("/{project}/backups/{cluster}/{backup}/restore-into", post(restore_into))
}

struct BackupRow {
    badge: Badge,
    size: String,
    copied: String,
    is_automatic: bool,
    is_available: bool,
    /// The name of the key that it is opened with, where the project has it.
    key: Option<String>,
    /// The job that makes it, while that can be taken back.
    job: Option<String>,
    backup: Backup,
}

impl BackupRow {
    fn of(backup: Backup, keys: &[Key], jobs: &[Job]) -> Self {
        let makes = |job: &&Job| job.kind == JobKind::CreateBackup && job.backup_id.as_ref() == Some(&backup.backup_id);
        let bytes = |count: i64| bytes_name(u64::try_from(count).unwrap_or_default());
        let key = keys.iter().find(|key| Some(&key.key_arn) == backup.key_identifier.as_ref());
        Self {
            badge: of_backup(backup.status),
            size: bytes(backup.size),
            copied: bytes(backup.copied),
            is_automatic: backup.creation_method == CreationMethod::Auto,
            is_available: backup.status == BackupStatus::Available,
            key: key.map(|key| key.name.clone()),
            job: jobs.iter().find(makes).filter(|job| is_cancelable(job)).map(|job| job.job_id.clone()),
            backup,
        }
    }
}

/// A cluster of which backups can be made.
struct ClusterRow {
    id: String,
    name: String,
    /// Whether one can be made now.
    serves: bool,
    days: String,
    /// The days that the form offers.
    choices: Vec<Choice>,
    policy: BackupPolicy,
}

/// Days of the week that the form offers.
#[derive(Debug, PartialEq)]
struct Choice {
    /// As the service takes them: `1,3,5`.
    frequency: String,
    words: String,
    /// Whether the policy has them now.
    chosen: bool,
}

#[derive(Template)]
#[template(path = "backups.html")]
struct BackupsPage {
    frame: Frame,
    backups: Vec<BackupRow>,
    /// The newest backup that failed, unless its cluster has had one since.
    failed: Option<Job>,
    clusters: Vec<ClusterRow>,
}

/// Of jobs, newest first: the backup that failed last, unless one of its cluster was made since.
fn failed(jobs: &[Job]) -> Option<Job> {
    let backups: Vec<&Job> = jobs.iter().filter(|job| job.kind == JobKind::CreateBackup).collect();
    let made_since = |number: usize, cluster: &str| {
        backups[..number].iter().any(|job| job.status == JobStatus::Successful && job.cluster_id == cluster)
    };
    let mut numbered = backups.iter().enumerate();
    let found = numbered.find(|(number, job)| job.status == JobStatus::Failed && !made_since(*number, &job.cluster_id));
    found.map(|(_, job)| (*job).clone())
}

impl BackupsPage {
    /// Whether there is a cluster of which a backup can be made now.
    fn can_make(&self) -> bool {
        self.clusters.iter().any(|cluster| cluster.serves)
    }
}

async fn list(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids(project): Ids<String>,
) -> Answer<Page<BackupsPage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Backups, "Backups").await?;
    let keys = if frame.may.see_keys { control.keys(&visitor.caller, &project).await? } else { Vec::new() };
    let wanted = BackupFilter { project_id: Some(project.clone()), ..BackupFilter::default() };
    let found = control.backups(&visitor.caller, &wanted).await?.into_iter();
    let jobs = control.jobs(&visitor.caller, &project, LISTED).await?;
    let backups = found.map(|backup| BackupRow::of(backup, &keys, &jobs)).collect();
    let mut clusters = Vec::new();
    for cluster in control.clusters(&visitor.caller, Some(&project)).await? {
        if cluster.status == ClusterStatus::Deleting {
            continue;
        }
        let policy = control.backup_policy(&visitor.caller, &cluster.cluster_id).await?;
        clusters.push(ClusterRow {
            serves: cluster.status == ClusterStatus::Running,
            days: days(policy.frequency.as_deref().unwrap_or_default()),
            choices: choices(policy.frequency.as_deref().unwrap_or("1,2,3,4,5,6,7")),
            id: cluster.cluster_id,
            name: cluster.cluster_name,
            policy,
        });
    }
    Ok(Page(BackupsPage { frame, backups, failed: failed(&jobs), clusters }))
}

/// Days of the week as people say them.
fn days(frequency: &str) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let named = |day: &str| day.trim().parse::<usize>().ok().and_then(|day| DAYS.get(day.checked_sub(1)?).copied());
    let named: Vec<&str> = frequency.split(',').filter_map(named).collect();
    if named.len() == DAYS.len() { "every day".to_owned() } else { named.join(", ") }
}

/// What the form offers, the policy's own days among it: a form that showed others would change them as it is saved.
fn choices(now: &str) -> Vec<Choice> {
    const OFFERED: [&str; 5] = ["1,2,3,4,5,6,7", "1,3,5", "2,4,6", "1,2,3,4,5", "7"];
    let own = OFFERED.iter().all(|it| *it != now).then_some(now);
    let choice =
        |frequency: &str| Choice { frequency: frequency.into(), words: days(frequency), chosen: frequency == now };
    OFFERED.into_iter().chain(own).map(choice).collect()
}

/// There is no `Debug`: names of collections are in it.
#[derive(Deserialize)]
struct Wanted {
    cluster: String,
    name: String,
    /// What is to be taken, one a line; all of the cluster if it is empty.
    only: String,
}

async fn make(State(control): State<Arc<Control>>, Ids(project): Ids<String>, form: Meant<Wanted>) -> Answer<Done> {
    let Meant { visitor, given } = form;
    let name = Some(given.name).filter(|name| !name.trim().is_empty());
    let only = chosen_collections(&given.only)?;
    control.create_backup(&visitor.caller, &given.cluster, &NewBackup { name, only }).await?;
    Ok(backups_of(&project))
}

/// What stands in a field of several lines.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// `database/collection`; the database's name may be left empty. Names are not told again: they go to a node, and nowhere else.
fn database_and_collection(text: &str) -> Result<(String, String), Refused> {
    match text.trim().split_once('/') {
        Some((database, collection)) if !collection.is_empty() && !collection.contains('/') => {
            Ok((database.to_owned(), collection.to_owned()))
        }
        _ => Err(Refused::invalid("write one collection a line, as database/collection, such as default/documents")),
    }
}

/// The collections of a backup that is to be made: `database/collection` a line, or a database alone for all of it.
fn chosen_collections(text: &str) -> Result<Option<Vec<ChosenCollections>>, Refused> {
    let mut chosen: Vec<(String, Vec<Option<String>>)> = Vec::new();
    for line in lines(text) {
        let (database, collection) = if line.contains('/') {
            let (database, collection) = database_and_collection(line)?;
            (database, Some(collection))
        } else {
            (line.to_owned(), None)
        };
        match chosen.iter_mut().find(|(of, _)| *of == database) {
            Some((_, collections)) => collections.push(collection),
            None => chosen.push((database, vec![collection])),
        }
    }
    // A database that is wanted as a whole is, whatever else is wanted of it.
    let group = |(database, collections): (String, Vec<Option<String>>)| ChosenCollections {
        database,
        collections: collections.into_iter().collect::<Option<Vec<String>>>().unwrap_or_default(),
    };
    Ok(Some(chosen.into_iter().map(group).collect()).filter(|groups: &Vec<_>| !groups.is_empty()))
}

/// The collections of a backup that are to be restored: `database/collection` a line, and ` as database/collection` behind it for
/// one that is to be called otherwise.
fn renamed_collections(text: &str) -> Result<Option<Vec<RenamedCollection>>, Refused> {
    let renamed = |line: &str| {
        let (from, to) = line.split_once(" as ").unwrap_or((line, line));
        let ((database, collection), (to_database, to_collection)) =
            (database_and_collection(from)?, database_and_collection(to)?);
        Ok(RenamedCollection { database, collection, to_database, to_collection })
    };
    let all = lines(text).map(renamed).collect::<Result<Vec<_>, Refused>>()?;
    Ok(Some(all).filter(|all| !all.is_empty()))
}

#[derive(Deserialize)]
struct WantedPolicy {
    cluster: String,
    enabled: Option<String>,
    frequency: String,
    start_time: String,
    retention: i64,
}

async fn set_policy(
    State(control): State<Arc<Control>>,
    Ids(project): Ids<String>,
    form: Meant<WantedPolicy>,
) -> Answer<Done> {
    let Meant { visitor, given } = form;
    let policy = NewPolicy {
        enabled: given.enabled.is_some(),
        frequency: Some(given.frequency),
        start_time: Some(given.start_time),
        retention_days: Some(given.retention),
    };
    control.set_backup_policy(&visitor.caller, &given.cluster, &policy).await?;
    Ok(backups_of(&project))
}

#[derive(Deserialize)]
struct Sure {
    password: String,
}

async fn delete(
    State(control): State<Arc<Control>>,
    Ids((project, cluster, backup)): Ids<(String, String, String)>,
    form: Meant<Sure>,
) -> Answer<Done> {
    let sure = control.confirm(&form.visitor, Zeroizing::new(form.given.password)).await?;
    control.delete_backup(&sure, &cluster, &backup).await?;
    Ok(backups_of(&project))
}

#[derive(Template)]
#[template(path = "restore.html")]
struct RestorePage {
    frame: Frame,
    offer: Offer,
    size: String,
    /// The clusters that collections of it can be restored into now.
    clusters: Vec<Target>,
    backup: Backup,
}

struct Target {
    id: String,
    name: String,
}

async fn restore_page(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids((project, cluster, id)): Ids<(String, String, String)>,
) -> Answer<Page<RestorePage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Backups, "Restore").await?;
    visitor.caller.must(Privilege::ManageClusters, &project)?;
    let backup = control.backup(&visitor.caller, &cluster, &id).await?;
    let from = control.project(&visitor.caller, &backup.project_id).await?;
    let must_encrypt = backup.encrypted && from.decrypted_restore == DecryptedRestore::Deny;
    let first = First {
        must_encrypt,
        region: Some(backup.region_id.clone()),
        key: backup.key_identifier.clone().filter(|_| frame.may.use_keys),
        cu_size: Some(backup.cu_size),
    };
    let offer = Offer::of(&control, &visitor, &frame, first).await?;
    let size = bytes_name(u64::try_from(backup.size).unwrap_or_default());
    let clusters = control.clusters(&visitor.caller, Some(&project)).await?.into_iter();
    let takes = |cluster: &Cluster| {
        cluster.status == ClusterStatus::Running && (cluster.key_identifier.is_some() || !must_encrypt)
    };
    let target = |cluster: Cluster| Target { id: cluster.cluster_id, name: cluster.cluster_name };
    let clusters = clusters.filter(takes).map(target).collect();
    Ok(Page(RestorePage { frame, offer, size, clusters, backup }))
}

#[derive(Deserialize)]
struct WantedRestore {
    name: String,
    region: String,
    cu_type: String,
    cu_size: i64,
    /// Encryption at Rest with CMEK.
    cmek: Option<String>,
    key: Option<String>,
    protection: Option<String>,
    mode: String,
    /// Of an encrypted backup: decrypting it is more than a session may do by itself.
    password: Option<String>,
}

async fn restore(
    State(control): State<Arc<Control>>,
    Ids((project, cluster, backup)): Ids<(String, String, String)>,
    form: Meant<WantedRestore>,
) -> Answer<Page<CreatedPage>> {
    let Meant { visitor, given } = form;
    let mode = chosen_mode(&given.mode)?;
    let new = NewRestore {
        project_id: project.clone(),
        cluster_name: given.name,
        cu_size: given.cu_size,
        cu_type: Some(given.cu_type),
        region_id: Some(given.region),
        key_identifier: chosen_key(given.cmek.is_some(), given.key)?,
        deletion_protection: given.protection.is_some(),
        how: How { mode, keep_database_keys: None, load: true },
    };
    let caller = as_sure_as_given(&control, &visitor, given.password).await?;
    let created = control.restore_cluster(&caller, &cluster, &backup, &new).await?;
    Ok(Page(CreatedPage::of(&control, &visitor, &project, created).await?))
}

/// Who asks for a restore, with the password if it was given: it is needed to restore without encryption.
async fn as_sure_as_given(control: &Control, visitor: &Visitor, password: Option<String>) -> Result<Caller, Refused> {
    match password.filter(|password| !password.is_empty()) {
        Some(password) => control.confirm(visitor, Zeroizing::new(password)).await,
        None => Ok(visitor.caller.clone()),
    }
}

/// There is no `Debug`: names of collections are in it.
#[derive(Deserialize)]
struct WantedInto {
    into: String,
    /// Which collections, one a line; all of the backup if it is empty.
    only: String,
    mode: String,
    password: Option<String>,
}

async fn restore_into(
    State(control): State<Arc<Control>>,
    Ids((project, cluster, backup)): Ids<(String, String, String)>,
    form: Meant<WantedInto>,
) -> Answer<Done> {
    let Meant { visitor, given } = form;
    let how = How { mode: chosen_mode(&given.mode)?, keep_database_keys: None, load: true };
    let wanted = CollectionsRestore { cluster_id: given.into, only: renamed_collections(&given.only)?, how };
    let caller = as_sure_as_given(&control, &visitor, given.password).await?;
    control.restore_collections(&caller, &cluster, &backup, &wanted).await?;
    Ok(Done::at(format!("/projects/{project}/jobs")))
}

/// How sealed files become the new cluster's; if nothing was chosen, as the keys' owners make it right (rule 33).
fn chosen_mode(text: &str) -> Result<Option<RestoreMode>, Refused> {
    match text {
        "" => Ok(None),
        "rekey" => Ok(Some(RestoreMode::Rekey)),
        "reencrypt" => Ok(Some(RestoreMode::Reencrypt)),
        other => Err(Refused::invalid(format!("mode is rekey or reencrypt, not {other:?}"))),
    }
}

fn backups_of(project: &str) -> Done {
    Done::at(format!("/projects/{project}/backups"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_told_as_people_say_them() {
        assert_eq!(days("1,3,5"), "Mon, Wed, Fri");
        assert_eq!(days("1,2,3,4,5,6,7"), "every day");
        assert_eq!(days(""), "");
    }

    #[test]
    fn the_form_shows_the_days_that_the_policy_has() {
        for (now, words, offered) in [("1,3,5", "Mon, Wed, Fri", 5), ("2,7", "Tue, Sun", 6)] {
            let choices = choices(now);
            let chosen: Vec<_> = choices.iter().filter(|it| it.chosen).collect();
            assert_eq!(chosen, [&Choice { frequency: now.into(), words: words.into(), chosen: true }]);
            assert_eq!(choices.len(), offered);
        }
    }

    fn backup_job(id: &str, cluster: &str, status: JobStatus) -> Job {
        Job {
            job_id: id.into(),
            kind: JobKind::CreateBackup,
            status,
            progress: 0,
            message: None,
            project_id: "proj-1".into(),
            cluster_id: cluster.into(),
            backup_id: None,
            create_time: String::new(),
            due_time: String::new(),
            end_time: None,
            receipt: None,
        }
    }

    #[test]
    fn a_backup_that_failed_is_told_of_until_its_cluster_has_another() {
        use JobStatus::{Failed, Running, Successful};
        let told = |jobs: &[Job]| failed(jobs).map(|job| job.job_id);
        let jobs = [
            backup_job("running", "a", Running),
            backup_job("made", "a", Successful),
            backup_job("mended", "a", Failed),
            backup_job("other", "b", Failed),
            backup_job("older", "b", Failed),
        ];
        assert_eq!(told(&jobs).as_deref(), Some("other"));
        assert_eq!(told(&jobs[..3]), None);
        assert_eq!(told(&jobs[2..]).as_deref(), Some("mended"));
    }

    #[test]
    fn collections_are_chosen_one_a_line() {
        let chosen = |text| chosen_collections(text).unwrap().unwrap_or_default();
        let group = |database: &str, collections: &[&str]| ChosenCollections {
            database: database.into(),
            collections: collections.iter().map(|it| (*it).to_owned()).collect(),
        };
        assert!(chosen("").is_empty() && chosen(" \r\n").is_empty());
        assert!(chosen("d/a\r\n /b\nd/c\n") == [group("d", &["a", "c"]), group("", &["b"])]);
        assert!(chosen("d/a\nd\ne") == [group("d", &[]), group("e", &[])]);
        let renamed = renamed_collections("d/a\nd/b as e/c").unwrap().unwrap_or_default();
        let names: Vec<_> = renamed
            .iter()
            .map(|it| (it.collection.as_str(), it.to_database.as_str(), it.to_collection.as_str()))
            .collect();
        assert_eq!(names, [("a", "d", "a"), ("b", "e", "c")]);
        assert!(renamed_collections("").unwrap().is_none());
        for wrong in ["secret/", "secret/a/b", "/"] {
            let refused = [chosen_collections(wrong).err(), renamed_collections(wrong).err()];
            assert!(refused.iter().flatten().count() == 2, "{wrong}");
            assert!(!refused.iter().flatten().any(|it| it.message.contains("secret")));
        }
        assert!(renamed_collections("alone").is_err());
    }

    #[test]
    fn how_files_become_the_new_clusters_is_left_to_the_keys_owners_unless_it_is_chosen() {
        assert_eq!(chosen_mode("").unwrap(), None);
        assert_eq!(chosen_mode("rekey").unwrap(), Some(RestoreMode::Rekey));
        assert_eq!(chosen_mode("reencrypt").unwrap(), Some(RestoreMode::Reencrypt));
        assert!(chosen_mode("Rekey").is_err());
    }
}
