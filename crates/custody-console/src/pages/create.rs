//! Making a cluster, and watching it come about.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use custody_control::{
    Control, Refused, Region,
    access::{Privilege, Visitor},
    backup::BackupFilter,
    cluster::{ClusterStatus, Created, NewCluster},
    cmek::{Key, KeyStatus},
    job::{Job, JobStatus},
};
use serde::Deserialize;

use super::record::is_cancelable;
use crate::{
    answer::{Answer, Page},
    frame::{At, Frame},
    markup::{Badge, of_job, of_key, of_this_key, provider_name},
    session::{Asked, Ids, Meant, Signed},
};

const USUAL_REGION: &str = "aws-us-west-2";

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/{project}/clusters/new", get(page))
        .route("/{project}/clusters", post(make))
        .route("/{project}/clusters/{cluster}/progress", get(progress))
}

/// Where a cluster can be made, and under which keys.
pub(super) struct Offer {
    pub(super) regions: Vec<RegionRow>,
    pub(super) keys: Vec<KeyRow>,
    /// The provider that is chosen at first.
    pub(super) provider: &'static str,
    /// Whether the local development KMS can be chosen.
    pub(super) local: bool,
    /// Whether Encryption at Rest with CMEK is on at first.
    pub(super) cmek: bool,
    /// Whether it has to be.
    pub(super) must_encrypt: bool,
    pub(super) cu_size: i64,
}

pub(super) struct RegionRow {
    pub(super) id: String,
    pub(super) provider: &'static str,
    pub(super) city: &'static str,
    pub(super) chosen: bool,
}

pub(super) struct KeyRow {
    pub(super) badge: Badge,
    pub(super) provider: &'static str,
    /// Why no cluster can be made under it, wherever.
    pub(super) why: Option<String>,
    pub(super) chosen: bool,
    pub(super) key: Key,
}

/// What is chosen at first.
#[derive(Default)]
pub(super) struct First {
    pub(super) region: Option<String>,
    pub(super) key: Option<String>,
    pub(super) cu_size: Option<i64>,
    /// Whether a cluster without encryption would be refused.
    pub(super) must_encrypt: bool,
}

impl Offer {
    /// What a project offers. Where its keys are, a cluster is likely to be wanted.
    pub(super) async fn of(control: &Control, visitor: &Visitor, frame: &Frame, first: First) -> Result<Self, Refused> {
        let keys = if frame.may.see_keys { control.keys(&visitor.caller, frame.id()).await? } else { Vec::new() };
        let usable = keys.iter().find(|key| key.status == KeyStatus::Available);
        let wanted = first.region.clone().or_else(|| usable.map(|key| key.region_id.clone()));
        let wanted = wanted.unwrap_or_else(|| USUAL_REGION.to_owned());
        let local = control.offers_local_keys();
        let regions = Region::all().iter().filter(|region| local || region.provider().as_str() != "local");
        let regions: Vec<RegionRow> = regions
            .map(|region| RegionRow {
                chosen: region.id() == wanted,
                id: region.id(),
                provider: region.provider().as_str(),
                city: region.city(),
            })
            .collect();
        let provider = regions.iter().find(|region| region.chosen).map_or("aws", |region| region.provider);
        let row = |key: Key| KeyRow {
            badge: of_key(key.status),
            provider: provider_name(&key.provider),
            why: unavailable(&key),
            chosen: first.key.as_ref() == Some(&key.key_arn),
            key,
        };
        Ok(Self {
            regions,
            cmek: first.key.is_some(),
            must_encrypt: first.must_encrypt,
            keys: keys.into_iter().map(row).collect(),
            provider,
            local,
            cu_size: first.cu_size.unwrap_or(1),
        })
    }
}

#[derive(Template)]
#[template(path = "create.html")]
struct CreatePage {
    frame: Frame,
    offer: Offer,
}

async fn page(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids(project): Ids<String>,
) -> Answer<Page<CreatePage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Clusters, "Create cluster").await?;
    visitor.caller.must(Privilege::ManageClusters, &project)?;
    let offer = Offer::of(&control, &visitor, &frame, First::default()).await?;
    Ok(Page(CreatePage { frame, offer }))
}

/// Why no cluster can be made under a key now.
fn unavailable(key: &Key) -> Option<String> {
    if key.status != KeyStatus::Available {
        let told = |reason| format!(": {}", of_this_key(reason, &key.key_arn));
        let reason = key.reason.as_deref().map(told).unwrap_or_default();
        return Some(format!("It is {}{reason}", key.status));
    }
    let allowed = key.allow.clusters.iter().any(|id| id == "*");
    (!allowed).then(|| "Its custodian allows no new clusters under it".to_owned())
}

#[derive(Deserialize)]
struct Wanted {
    name: String,
    region: String,
    cu_type: String,
    cu_size: i64,
    /// Encryption at Rest with CMEK.
    cmek: Option<String>,
    key: Option<String>,
    protection: Option<String>,
}

/// The key that was chosen for a cluster, if it is to have one.
pub(super) fn chosen_key(cmek: bool, key: Option<String>) -> Result<Option<String>, Refused> {
    match (cmek, key.filter(|key| !key.is_empty())) {
        (false, _) => Ok(None),
        (true, Some(key)) => Ok(Some(key)),
        (true, None) => Err(Refused::invalid(
            "Encryption at Rest with CMEK is on and no key is chosen: choose a key, or add one in Network > CMEK",
        )),
    }
}

#[derive(Template)]
#[template(path = "created.html")]
pub(super) struct CreatedPage {
    frame: Frame,
    created: Created,
    address: String,
    name: String,
    progress: Progress,
}

impl CreatedPage {
    /// What is shown of a new cluster, once.
    pub(super) async fn of(
        control: &Control,
        visitor: &Visitor,
        project: &str,
        created: Created,
    ) -> Result<Self, Refused> {
        let cluster = control.cluster(&visitor.caller, &created.cluster_id).await?;
        let job = control.job(&visitor.caller, &created.job_id).await?;
        let frame = Frame::inside(control, visitor, project, At::Clusters, "Create cluster").await?;
        let progress = Progress::of(control, visitor, &job, project).await?;
        Ok(Self { frame, created, address: cluster.connect_address, name: cluster.cluster_name, progress })
    }
}

async fn make(
    State(control): State<Arc<Control>>,
    Ids(project): Ids<String>,
    form: Meant<Wanted>,
) -> Answer<Page<CreatedPage>> {
    let Meant { visitor, given } = form;
    let key = chosen_key(given.cmek.is_some(), given.key)?;
    let new = NewCluster {
        name: given.name,
        project_id: project.clone(),
        region_id: given.region,
        cu_type: given.cu_type,
        cu_size: given.cu_size,
        key_identifier: key,
        deletion_protection: given.protection.is_some(),
    };
    let created = control.create_cluster(&visitor.caller, &new).await?;
    Ok(Page(CreatedPage::of(&control, &visitor, &project, created).await?))
}

/// How far a cluster that is being made is.
struct Progress {
    badge: Badge,
    percent: i64,
    message: String,
    done: bool,
    failed: bool,
    /// Where one tries again, if it failed.
    again: String,
    /// Whether it can be taken back.
    cancels: bool,
    job: String,
    cluster: String,
    project: String,
}

impl Progress {
    async fn of(control: &Control, visitor: &Visitor, job: &Job, project: &str) -> Result<Self, Refused> {
        let may = visitor.caller.may(Privilege::ManageClusters, Some(project));
        let said = match job.status {
            JobStatus::Pending => "its turn comes at once",
            JobStatus::Successful => "the cluster serves",
            _ => "its process, its zone and its first files are being made",
        };
        Ok(Self {
            again: again(control, visitor, job, project).await?,
            cancels: may && is_cancelable(job),
            badge: of_job(job.status),
            percent: job.progress,
            message: job.message.clone().unwrap_or_else(|| said.to_owned()),
            done: job.status == JobStatus::Successful,
            failed: matches!(job.status, JobStatus::Failed | JobStatus::Canceled),
            job: job.job_id.clone(),
            cluster: job.cluster_id.clone(),
            project: project.to_owned(),
        })
    }
}

/// Where one tries again what a job did: for a restore, where its backup is restored, if that is still there.
async fn again(control: &Control, visitor: &Visitor, job: &Job, project: &str) -> Result<String, Refused> {
    let Some(id) = &job.backup_id else { return Ok(format!("/projects/{project}/clusters/new")) };
    let backups = control.backups(&visitor.caller, &BackupFilter::default()).await?;
    let backup = backups.into_iter().find(|backup| backup.backup_id == *id);
    Ok(backup.map_or_else(
        || format!("/projects/{project}/backups"),
        |backup| format!("/projects/{project}/backups/{}/{id}/restore", backup.cluster_id),
    ))
}

#[derive(Template)]
#[template(path = "progress.html")]
struct ProgressPage {
    frame: Frame,
    progress: Progress,
}

#[derive(Deserialize)]
struct Watched {
    job: String,
}

async fn progress(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids((project, cluster)): Ids<(String, String)>,
    Asked(watched): Asked<Watched>,
) -> Answer<Page<ProgressPage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Clusters, "Create cluster").await?;
    let job = control.job(&visitor.caller, &watched.job).await?;
    if job.cluster_id != cluster || job.project_id != project {
        return Err(Refused::not_found("job", &watched.job).into());
    }
    let mut progress = Progress::of(&control, &visitor, &job, &project).await?;
    // The job ends a moment before its node's first report.
    if progress.done {
        let serves =
            control.cluster(&visitor.caller, &cluster).await.is_ok_and(|it| it.status == ClusterStatus::Running);
        progress.done = serves;
    }
    Ok(Page(ProgressPage { frame, progress }))
}
