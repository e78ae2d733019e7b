//! Backups: made, listed, restored into a new cluster, deleted; and when they are made by themselves.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use custody_control::{
    Control, Refused,
    access::Privilege,
    backup::{
        Backup, BackupFilter, BackupPolicy, BackupStatus, CreationMethod, How, NewBackup, NewPolicy, NewRestore,
        RestoreMode,
    },
    cluster::ClusterStatus,
    cmek::Key,
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::create::{CreatedPage, First, Offer, chosen_key};
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
}

struct BackupRow {
    badge: Badge,
    size: String,
    copied: String,
    is_automatic: bool,
    is_available: bool,
    /// The name of the key that it is opened with, where the project has it.
    key: Option<String>,
    backup: Backup,
}

impl BackupRow {
    fn of(backup: Backup, keys: &[Key]) -> Self {
        let bytes = |count: i64| bytes_name(u64::try_from(count).unwrap_or_default());
        let key = keys.iter().find(|key| Some(&key.key_arn) == backup.key_identifier.as_ref());
        Self {
            badge: of_backup(backup.status),
            size: bytes(backup.size),
            copied: bytes(backup.copied),
            is_automatic: backup.creation_method == CreationMethod::Auto,
            is_available: backup.status == BackupStatus::Available,
            key: key.map(|key| key.name.clone()),
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
    clusters: Vec<ClusterRow>,
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
    let backups = found.map(|backup| BackupRow::of(backup, &keys)).collect();
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
    Ok(Page(BackupsPage { frame, backups, clusters }))
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

#[derive(Deserialize)]
struct Wanted {
    cluster: String,
    name: String,
}

async fn make(State(control): State<Arc<Control>>, Ids(project): Ids<String>, form: Meant<Wanted>) -> Answer<Done> {
    let Meant { visitor, given } = form;
    let name = Some(given.name).filter(|name| !name.trim().is_empty());
    control.create_backup(&visitor.caller, &given.cluster, &NewBackup { name, only: None }).await?;
    Ok(backups_of(&project))
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
    backup: Backup,
}

async fn restore_page(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids((project, cluster, id)): Ids<(String, String, String)>,
) -> Answer<Page<RestorePage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Backups, "Restore").await?;
    visitor.caller.must(Privilege::ManageClusters, &project)?;
    let backup = control.backup(&visitor.caller, &cluster, &id).await?;
    let first = First {
        region: Some(backup.region_id.clone()),
        key: backup.key_identifier.clone().filter(|_| frame.may.use_keys),
        cu_size: Some(backup.cu_size),
    };
    let offer = Offer::of(&control, &visitor, &frame, first).await?;
    let size = bytes_name(u64::try_from(backup.size).unwrap_or_default());
    Ok(Page(RestorePage { frame, offer, size, backup }))
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
    let password = given.password.filter(|password| !password.is_empty());
    let created = match password {
        Some(password) => {
            let sure = control.confirm(&visitor, Zeroizing::new(password)).await?;
            control.restore_cluster(&sure, &cluster, &backup, &new).await?
        }
        None => control.restore_cluster(&visitor.caller, &cluster, &backup, &new).await?,
    };
    Ok(Page(CreatedPage::of(&control, &visitor, &project, created).await?))
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

    #[test]
    fn how_files_become_the_new_clusters_is_left_to_the_keys_owners_unless_it_is_chosen() {
        assert_eq!(chosen_mode("").unwrap(), None);
        assert_eq!(chosen_mode("rekey").unwrap(), Some(RestoreMode::Rekey));
        assert_eq!(chosen_mode("reencrypt").unwrap(), Some(RestoreMode::Reencrypt));
        assert!(chosen_mode("Rekey").is_err());
    }
}
