//! A project's home: its clusters.

use std::{collections::HashMap, sync::Arc};

use askama::Template;
use axum::{Router, extract::State, routing::get};
use custody_control::{
    Control, Refused,
    access::{Caller, Visitor},
    cluster::Cluster,
    cmek::Key,
    job::{Job, JobKind, JobStatus},
};
use serde::Deserialize;

use crate::{
    answer::{Answer, Page},
    frame::{At, Frame, May},
    markup::{Badge, KEY, of_cluster, region_name},
    session::{Asked, Ids, Signed},
};

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route("/{project}", get(list))
}

struct Row {
    badge: Badge,
    region: String,
    /// The address of its key's page, for those who may see keys.
    key: Option<String>,
    cluster: Cluster,
}

#[derive(Template)]
#[template(path = "clusters.html")]
struct ClustersPage {
    frame: Frame,
    clusters: Vec<Row>,
    /// The drop that one is told of who was at a cluster's page when it came to its end.
    destroyed: Option<Job>,
}

/// The job that has destroyed a cluster of a project, if one has.
pub(super) async fn drop_of(
    control: &Control,
    caller: &Caller,
    project: &str,
    cluster: &str,
) -> Result<Option<Job>, Refused> {
    const LISTED: i64 = 1_000;
    let is_it = |job: &Job| {
        job.kind == JobKind::DropCluster && job.status == JobStatus::Successful && job.cluster_id == cluster
    };
    Ok(control.jobs(caller, project, LISTED).await?.into_iter().find(is_it))
}

#[derive(Deserialize)]
struct Told {
    /// The cluster that was destroyed.
    destroyed: Option<String>,
}

/// The keys of a project by their ARN; none for who may not see them.
pub(super) async fn keys_by_arn(
    control: &Control,
    visitor: &Visitor,
    may: May,
    project: &str,
) -> Result<HashMap<String, Key>, Refused> {
    if !may.see_keys {
        return Ok(HashMap::new());
    }
    let keys = control.keys(&visitor.caller, project).await?;
    Ok(keys.into_iter().map(|key| (key.key_arn.clone(), key)).collect())
}

async fn list(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids(project): Ids<String>,
    Asked(told): Asked<Told>,
) -> Answer<Page<ClustersPage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Clusters, "Clusters").await?;
    let keys = keys_by_arn(&control, &visitor, frame.may, &project).await?;
    let row = |cluster: Cluster| Row {
        badge: of_cluster(cluster.status),
        region: region_name(&cluster.region_id),
        key: cluster
            .key_identifier
            .as_ref()
            .and_then(|arn| keys.get(arn))
            .map(|key| format!("/projects/{project}/cmek/{}", key.key_id)),
        cluster,
    };
    let clusters = control.clusters(&visitor.caller, Some(&project)).await?.into_iter().map(row).collect();
    let destroyed = match &told.destroyed {
        Some(cluster) => drop_of(&control, &visitor.caller, &project, cluster).await?,
        None => None,
    };
    Ok(Page(ClustersPage { frame, clusters, destroyed }))
}
