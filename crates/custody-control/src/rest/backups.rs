//! Backups.

use std::{sync::Arc, time::SystemTime};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{Data, Error, data},
    body::{Body, Ids, Parameters},
    who::Who,
};
use crate::{
    Control, Refused,
    backup::{
        Backup, BackupAsked, BackupDeleted, BackupFilter, BackupKind, BackupPolicy, ChosenCollections,
        CollectionsRestore, CreationMethod, How, NewBackup, NewPolicy, NewRestore, RenamedCollection, RestoreMode,
    },
    cluster::Created,
    db::at,
};

/// The most backups on a page.
const LARGEST_PAGE: i64 = 1_000;

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(policy, set_policy))
        .routes(routes!(describe, delete))
        .routes(routes!(restore_cluster))
        .routes(routes!(restore_collection))
}

/// Collections of a database.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Group {
    /// The database; the default one if it is left out.
    #[serde(default)]
    db_name: String,
    /// Its collections; all of them if there are none.
    #[serde(default)]
    collection_names: Vec<String>,
}

/// A backup that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    /// `CLUSTER`, or `COLLECTION` with what is to be taken.
    backup_type: BackupKind,
    /// 1 to 200 characters; a name with a number if it is left out.
    backup_name: Option<String>,
    /// What is to be taken.
    db_collections: Option<Vec<Group>>,
    /// All of this database, where `dbCollections` is left out.
    db_name: Option<String>,
}

impl Wanted {
    fn only(self) -> Result<Option<Vec<ChosenCollections>>, Refused> {
        let whole = self.db_name.map(|db_name| vec![Group { db_name, collection_names: Vec::new() }]);
        let groups = match (self.backup_type, self.db_collections) {
            // zilliz-cli sends the database of its context along.
            (BackupKind::Cluster, None) => return Ok(None),
            (BackupKind::Cluster, Some(_)) => {
                return Err(Refused::invalid(
                    "dbCollections is for backupType COLLECTION: a backup of a cluster is of all of it",
                ));
            }
            (BackupKind::Collection, groups) => groups.or(whole).filter(|groups| !groups.is_empty()),
        };
        let groups = groups.ok_or_else(|| {
            Refused::invalid("backupType COLLECTION needs dbCollections: [{\"dbName\": …, \"collectionNames\": […]}]")
        })?;
        let chosen = |group: Group| ChosenCollections { database: group.db_name, collections: group.collection_names };
        Ok(Some(groups.into_iter().map(chosen).collect()))
    }
}

/// Makes a backup of a cluster that serves. It can be restored once it is `AVAILABLE`.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/backups/create",
    tag = "backups",
    params(("clusterId" = String, Path)),
    request_body = Wanted,
    responses(
        (status = 200, body = Data<BackupAsked>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn create(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Data<BackupAsked>>, Refused> {
    let new = NewBackup { name: wanted.backup_name.clone(), only: wanted.only()? };
    Ok(data(control.create_backup(&caller, &cluster, &new).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Only those of this project.
    project_id: Option<String>,
    /// Only those of this cluster, which may be gone.
    cluster_id: Option<String>,
    /// `MANUAL` or `AUTO`.
    creation_method: Option<CreationMethod>,
    /// `CLUSTER` or `COLLECTION`.
    backup_type: Option<BackupKind>,
    /// Asked for then or later, such as `2026-01-31T12:00:00Z`.
    start_time: Option<String>,
    /// Asked for then or earlier.
    end_time: Option<String>,
    /// At most so many, 1 to 1,000.
    page_size: Option<i64>,
    /// Which page, from 1.
    current_page: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BackupList {
    /// How many there are on all pages.
    count: i64,
    current_page: i64,
    page_size: i64,
    /// Newest first.
    backups: Vec<Backup>,
}

fn time(what: &str, text: Option<&str>) -> Result<Option<i64>, Refused> {
    let parsed = text.map(humantime_serde::re::humantime::parse_rfc3339_weak).transpose();
    let parsed: Option<SystemTime> =
        parsed.map_err(|error| Refused::invalid(format!("{what} is no time such as 2026-01-31T12:00:00Z: {error}")))?;
    Ok(parsed.map(at))
}

/// The backups.
#[utoipa::path(
    get,
    path = "/v2/backups",
    tag = "backups",
    params(Asked),
    responses((status = 200, body = Data<BackupList>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn list(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Data<BackupList>>, Refused> {
    let wanted = BackupFilter {
        since: time("startTime", asked.start_time.as_deref())?,
        until: time("endTime", asked.end_time.as_deref())?,
        project_id: asked.project_id,
        cluster_id: asked.cluster_id,
        method: asked.creation_method,
        kind: asked.backup_type,
    };
    let all = control.backups(&caller, &wanted).await?;
    let page_size = asked.page_size.unwrap_or(100).clamp(1, LARGEST_PAGE);
    let current_page = asked.current_page.unwrap_or(1).max(1);
    let before = (current_page - 1).saturating_mul(page_size);
    let (skipped, taken) = (usize::try_from(before).unwrap_or(usize::MAX), usize::try_from(page_size).unwrap_or(0));
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let backups = all.into_iter().skip(skipped).take(taken).collect();
    Ok(data(BackupList { count, current_page, page_size, backups }))
}

/// A backup.
#[utoipa::path(
    get,
    path = "/v2/clusters/{clusterId}/backups/{backupId}",
    tag = "backups",
    params(("clusterId" = String, Path), ("backupId" = String, Path)),
    responses((status = 200, body = Data<Backup>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn describe(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((cluster, backup)): Ids<(String, String)>,
) -> Result<Json<Data<Backup>>, Refused> {
    Ok(data(control.backup(&caller, &cluster, &backup).await?))
}

/// Deletes a backup, and what no other backup needs of it. No key is needed for that.
#[utoipa::path(
    delete,
    path = "/v2/clusters/{clusterId}/backups/{backupId}",
    tag = "backups",
    params(("clusterId" = String, Path), ("backupId" = String, Path)),
    responses(
        (status = 200, body = Data<BackupDeleted>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn delete(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((cluster, backup)): Ids<(String, String)>,
) -> Result<Json<Data<BackupDeleted>>, Refused> {
    Ok(data(control.delete_backup(&caller, &cluster, &backup).await?))
}

/// When backups of a cluster are made by themselves.
#[utoipa::path(
    get,
    path = "/v2/clusters/{clusterId}/backups/policy",
    tag = "backups",
    params(("clusterId" = String, Path)),
    responses((status = 200, body = Data<BackupPolicy>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn policy(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
) -> Result<Json<Data<BackupPolicy>>, Refused> {
    Ok(data(control.backup_policy(&caller, &cluster).await?))
}

/// A policy that is to be followed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedPolicy {
    /// Whether backups are made by themselves; where they are not, nothing else counts.
    enabled: bool,
    /// Days of the week, 1 to 7 from Monday, such as `1,3,5`.
    frequency: Option<String>,
    /// Between which times in UTC, such as `02:00-04:00`; a backup begins at the first.
    start_time: Option<String>,
    /// How many days each is kept, 1 to 30.
    retention_days: Option<i64>,
    /// Always empty: backups are kept in one storage.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    cross_region_copies: Vec<serde_json::Value>,
}

/// Changes when backups of a cluster are made by themselves.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/backups/policy",
    tag = "backups",
    params(("clusterId" = String, Path)),
    request_body = WantedPolicy,
    responses(
        (status = 200, body = Data<BackupPolicy>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn set_policy(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
    Body(wanted): Body<WantedPolicy>,
) -> Result<Json<Data<BackupPolicy>>, Refused> {
    if !wanted.cross_region_copies.is_empty() {
        return Err(Refused::invalid(
            "crossRegionCopies must be empty: backups are kept in one storage, which its owner may copy",
        ));
    }
    let WantedPolicy { enabled, frequency, start_time, retention_days, .. } = wanted;
    let policy = NewPolicy { enabled, frequency, start_time, retention_days };
    Ok(data(control.set_backup_policy(&caller, &cluster, &policy).await?))
}

/// Whether what was loaded is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum CollectionStatus {
    /// As it was.
    Keep,
    /// It is.
    Loaded,
    /// It is not.
    NotLoaded,
}

impl CollectionStatus {
    fn loads(self) -> bool {
        self != Self::NotLoaded
    }
}

/// How sealed files become the new cluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// New headers over the same bodies: the price of a copy. Whoever kept an old header and has the old key opens a body by
    /// them.
    Rekey,
    /// Everything is sealed anew, under data keys of its own.
    Reencrypt,
}

impl From<Mode> for RestoreMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Rekey => Self::Rekey,
            Mode::Reencrypt => Self::Reencrypt,
        }
    }
}

/// A cluster that is to be made from a backup. A field that is not known is refused: a `keyIdentifier` that is misspelt must
/// not give a cluster without encryption.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedCluster {
    /// The project that it comes into.
    project_id: String,
    /// 1 to 200 characters, once in a project.
    cluster_name: String,
    /// 1 to 256.
    cu_size: i64,
    /// Whether what was loaded is loaded again.
    collection_status: CollectionStatus,
    /// The backup's, if it is left out.
    cu_type: Option<String>,
    /// Where the backup's cluster was, if it is left out.
    region_id: Option<String>,
    /// The ARN of a key of the project that it comes into. Without one the cluster is not encrypted, whatever the backup was.
    key_identifier: Option<String>,
    /// `rekey` within a project and for keys of one owner, else `reencrypt`.
    mode: Option<Mode>,
    /// Whether databases that had keys of their own keep them: they do, unless this says `false`.
    keep_database_keys: Option<bool>,
    /// Refuse to drop it.
    #[serde(default)]
    deletion_protection: bool,
}

/// Makes a cluster from a backup, all of it or nothing. It serves once its status is `RUNNING`; the password is told this once.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/backups/{backupId}/restoreCluster",
    tag = "backups",
    params(("clusterId" = String, Path), ("backupId" = String, Path)),
    request_body = WantedCluster,
    responses(
        (status = 200, body = Data<Created>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
        (status = 503, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn restore_cluster(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((cluster, backup)): Ids<(String, String)>,
    Body(wanted): Body<WantedCluster>,
) -> Result<Json<Data<Created>>, Refused> {
    let how = How {
        mode: wanted.mode.map(RestoreMode::from),
        keep_database_keys: wanted.keep_database_keys,
        load: wanted.collection_status.loads(),
    };
    let new = NewRestore {
        project_id: wanted.project_id,
        cluster_name: wanted.cluster_name,
        cu_size: wanted.cu_size,
        cu_type: wanted.cu_type,
        region_id: wanted.region_id,
        key_identifier: wanted.key_identifier,
        deletion_protection: wanted.deletion_protection,
        how,
    };
    Ok(data(control.restore_cluster(&caller, &cluster, &backup, &new).await?))
}

/// Collections of a database of the backup.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RestoredGroup {
    /// The database that they were in; the default one if it is left out.
    #[serde(default)]
    db_name: String,
    /// The database that they come into; one of the same name if it is left out.
    dest_db_name: Option<String>,
    /// Which.
    #[serde(default)]
    collections: Vec<RestoredCollection>,
}

/// A collection of the backup.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RestoredCollection {
    /// What it was called.
    collection_name: String,
    /// What it will be called; the same if it is left out.
    #[serde(alias = "targetCollectionName")]
    dest_collection_name: Option<String>,
    /// `LOADED` or `NOT_LOADED`, all of a request the same; not loaded if it is left out.
    #[serde(alias = "targetCollectionStatus")]
    dest_collection_status: Option<CollectionStatus>,
}

/// Collections that are to come into a cluster that there is.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedCollections {
    /// The cluster that they come into.
    dest_cluster_id: String,
    /// Which; all of the backup if it is left out.
    db_collections: Option<Vec<RestoredGroup>>,
    /// `rekey` within a project and for keys of one owner, else `reencrypt`.
    mode: Option<Mode>,
    /// Whether databases that had keys of their own keep them: they do, unless this says `false`.
    keep_database_keys: Option<bool>,
}

impl WantedCollections {
    /// Whether they are loaded: a restore loads all that were, or none.
    fn loads(&self) -> Result<bool, Refused> {
        let all = self.db_collections.iter().flatten().flat_map(|group| &group.collections);
        let mut wanted = all.map(|it| it.dest_collection_status.is_some_and(CollectionStatus::loads));
        let first = wanted.next().unwrap_or(false);
        if wanted.all(|loads| loads == first) {
            return Ok(first);
        }
        Err(Refused::invalid("destCollectionStatus must be the same for all collections of a request: ask twice"))
    }

    fn only(self) -> Result<Option<Vec<RenamedCollection>>, Refused> {
        let Some(groups) = self.db_collections else { return Ok(None) };
        if groups.iter().any(|group| group.collections.is_empty()) || groups.is_empty() {
            return Err(Refused::invalid(
                "dbCollections names no collections: name those that are wanted, or leave it out for all of the backup",
            ));
        }
        Ok(Some(groups.into_iter().flat_map(RestoredGroup::renamed).collect()))
    }
}

impl RestoredGroup {
    fn renamed(self) -> Vec<RenamedCollection> {
        let Self { db_name, dest_db_name, collections } = self;
        let to_database = dest_db_name.unwrap_or_else(|| db_name.clone());
        let renamed = |it: RestoredCollection| RenamedCollection {
            database: db_name.clone(),
            to_collection: it.dest_collection_name.unwrap_or_else(|| it.collection_name.clone()),
            collection: it.collection_name,
            to_database: to_database.clone(),
        };
        collections.into_iter().map(renamed).collect()
    }
}

/// What is told of a restore into a cluster that there is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RestoreAsked {
    /// The job that does it.
    job_id: String,
}

/// Brings collections of a backup into a cluster that serves.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/backups/{backupId}/restoreCollection",
    tag = "backups",
    params(("clusterId" = String, Path), ("backupId" = String, Path)),
    request_body = WantedCollections,
    responses(
        (status = 200, body = Data<RestoreAsked>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn restore_collection(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((cluster, backup)): Ids<(String, String)>,
    Body(wanted): Body<WantedCollections>,
) -> Result<Json<Data<RestoreAsked>>, Refused> {
    let how = How {
        mode: wanted.mode.map(RestoreMode::from),
        keep_database_keys: wanted.keep_database_keys,
        load: wanted.loads()?,
    };
    let (cluster_id, only) = (wanted.dest_cluster_id.clone(), wanted.only()?);
    let restore = CollectionsRestore { cluster_id, only, how };
    Ok(data(RestoreAsked { job_id: control.restore_collections(&caller, &cluster, &backup, &restore).await? }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only(body: serde_json::Value) -> Result<Option<Vec<ChosenCollections>>, Refused> {
        serde_json::from_value::<Wanted>(body).unwrap().only()
    }

    fn restored(body: serde_json::Value) -> WantedCollections {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_backup_of_collections_names_them_and_one_of_a_cluster_does_not() {
        assert!(only(json!({ "backupType": "CLUSTER" })).unwrap().is_none());
        assert!(only(json!({ "backupType": "CLUSTER", "dbName": "of-the-context" })).unwrap().is_none());
        assert!(only(json!({ "backupType": "CLUSTER", "dbCollections": [] })).is_err());
        assert!(only(json!({ "backupType": "COLLECTION" })).is_err());
        assert!(only(json!({ "backupType": "COLLECTION", "dbCollections": [] })).is_err());
        let groups = json!([{ "dbName": "d", "collectionNames": ["a", "b"] }]);
        let chosen =
            only(json!({ "backupType": "COLLECTION", "dbCollections": groups, "dbName": "d" })).unwrap().unwrap();
        assert!(chosen == [ChosenCollections { database: "d".into(), collections: vec!["a".into(), "b".into()] }]);
        let chosen = only(json!({ "backupType": "COLLECTION", "dbName": "d" })).unwrap().unwrap();
        assert!(chosen == [ChosenCollections { database: "d".into(), collections: Vec::new() }]);
    }

    #[test]
    fn collections_keep_their_names_unless_they_get_others() {
        let wanted = restored(json!({
            "destClusterId": "in01-a",
            "dbCollections": [{ "dbName": "d", "collections": [
                { "collectionName": "a" },
                { "collectionName": "b", "targetCollectionName": "c", "targetCollectionStatus": "NOT_LOADED" },
            ] }],
        }));
        assert!(!wanted.loads().unwrap());
        let names: Vec<_> =
            wanted.only().unwrap().unwrap().into_iter().map(|it| (it.to_database, it.to_collection)).collect();
        assert_eq!(names, [("d".to_owned(), "a".to_owned()), ("d".to_owned(), "c".to_owned())]);
        assert!(restored(json!({ "destClusterId": "in01-a" })).only().unwrap().is_none());
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        let nothing = restored(json!({ "destClusterId": "in01-a", "dbCollections": [{ "dbName": "d" }] }));
        assert!(nothing.only().is_err());
        let mixed = restored(json!({ "destClusterId": "in01-a", "dbCollections": [{ "collections": [
            { "collectionName": "a", "destCollectionStatus": "LOADED" }, { "collectionName": "b" },
        ] }] }));
        assert!(mixed.loads().is_err());
        let misspelt = json!({ "projectId": "p", "clusterName": "c", "cuSize": 1, "collectionStatus": "LOADED", "keyIdentifer": "k" });
        assert!(serde_json::from_value::<WantedCluster>(misspelt).is_err());
        assert!(time("startTime", Some("yesterday")).is_err());
        assert_eq!(time("startTime", Some("1970-01-01T00:00:01Z")).unwrap(), Some(1_000));
    }
}
