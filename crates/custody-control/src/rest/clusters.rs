//! Clusters.

use std::sync::Arc;

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
    cluster::{Cluster, ClusterChange, Created, Dropped, NewCluster},
};

/// The most clusters on a page.
const LARGEST_PAGE: i64 = 1_000;

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(describe))
        .routes(routes!(modify))
        .routes(routes!(suspend))
        .routes(routes!(resume))
        .routes(routes!(seal))
        .routes(routes!(unseal))
        .routes(routes!(open_below_anchor))
        .routes(routes!(drop_it))
        .routes(routes!(undrop))
}

/// A cluster that is to be made. A field that is not known is refused: a `keyIdentifier` that is misspelt must not give a
/// cluster without encryption.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedCluster {
    /// 1 to 200 characters, once in a project.
    cluster_name: String,
    project_id: String,
    /// Such as `aws-us-west-2`.
    region_id: String,
    /// `Performance-optimized`, `Capacity-optimized` or `Tiered-storage`.
    cu_type: String,
    /// 1 to 256.
    cu_size: i64,
    /// The ARN of a key of the project: encryption at rest with CMEK is on.
    key_identifier: Option<String>,
    /// Refuse to drop it.
    #[serde(default)]
    deletion_protection: bool,
    /// Accepted as Zilliz's clients send it; it is the project's.
    #[expect(dead_code, reason = "accepted, and of no effect")]
    plan: Option<String>,
}

/// Makes a cluster, all of it or nothing. It serves once its status is `RUNNING`; the password is told this once.
#[utoipa::path(
    post,
    path = "/v2/clusters/createDedicated",
    tag = "clusters",
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
async fn create(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Body(wanted): Body<WantedCluster>,
) -> Result<Json<Data<Created>>, Refused> {
    let new = NewCluster {
        name: wanted.cluster_name,
        project_id: wanted.project_id,
        region_id: wanted.region_id,
        cu_type: wanted.cu_type,
        cu_size: wanted.cu_size,
        key_identifier: wanted.key_identifier,
        deletion_protection: wanted.deletion_protection,
    };
    Ok(data(control.create_cluster(&caller, &new).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Only those of this project.
    project_id: Option<String>,
    /// At most so many, 1 to 1,000.
    page_size: Option<i64>,
    /// Which page, from 1.
    current_page: Option<i64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ClusterList {
    /// How many there are on all pages.
    count: i64,
    current_page: i64,
    page_size: i64,
    clusters: Vec<Cluster>,
}

/// The clusters.
#[utoipa::path(
    get,
    path = "/v2/clusters",
    tag = "clusters",
    params(Asked),
    responses((status = 200, body = Data<ClusterList>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn list(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Data<ClusterList>>, Refused> {
    let all = control.clusters(&caller, asked.project_id.as_deref()).await?;
    let page_size = asked.page_size.unwrap_or(100).clamp(1, LARGEST_PAGE);
    let current_page = asked.current_page.unwrap_or(1).max(1);
    let before = (current_page - 1).saturating_mul(page_size);
    let (skipped, taken) = (usize::try_from(before).unwrap_or(usize::MAX), usize::try_from(page_size).unwrap_or(0));
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    let clusters = all.into_iter().skip(skipped).take(taken).collect();
    Ok(data(ClusterList { count, current_page, page_size, clusters }))
}

/// A cluster.
#[utoipa::path(
    get,
    path = "/v2/clusters/{clusterId}",
    tag = "clusters",
    params(("clusterId" = String, Path)),
    responses((status = 200, body = Data<Cluster>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn describe(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
) -> Result<Json<Data<Cluster>>, Refused> {
    Ok(data(control.cluster(&caller, &cluster).await?))
}

/// What is given is changed.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Modified {
    /// 1 to 200 characters, once in a project.
    cluster_name: Option<String>,
    /// 1 to 256.
    cu_size: Option<i64>,
    /// Always 1: a cluster is one process.
    replica: Option<i64>,
    /// Refuse to drop it.
    deletion_protection: Option<bool>,
}

/// Changes a cluster.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/modify",
    tag = "clusters",
    params(("clusterId" = String, Path)),
    request_body = Modified,
    responses(
        (status = 200, body = Data<Cluster>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn modify(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
    Body(modified): Body<Modified>,
) -> Result<Json<Data<Cluster>>, Refused> {
    if modified.replica.is_some_and(|count| count != 1) {
        return Err(Refused::invalid("replica is 1: a cluster is one process, and scales with its machine"));
    }
    let change = ClusterChange {
        name: modified.cluster_name,
        cu_size: modified.cu_size,
        deletion_protection: modified.deletion_protection,
    };
    Ok(data(control.change_cluster(&caller, &cluster, &change).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Force {
    /// Stop it although its key gives no answer: it stays dark until the key does.
    #[serde(default)]
    force: bool,
}

/// Stops a cluster; its data stays.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/suspend",
    tag = "clusters",
    params(("clusterId" = String, Path), Force),
    responses(
        (status = 200, body = Data<Cluster>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
        (status = 503, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn suspend(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
    Parameters(force): Parameters<Force>,
) -> Result<Json<Data<Cluster>>, Refused> {
    Ok(data(control.suspend_cluster(&caller, &cluster, force.force).await?))
}

/// Starts a suspended cluster again.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/resume",
    tag = "clusters",
    params(("clusterId" = String, Path)),
    responses(
        (status = 200, body = Data<Cluster>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn resume(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
) -> Result<Json<Data<Cluster>>, Refused> {
    Ok(data(control.resume_cluster(&caller, &cluster).await?))
}

/// Seals an encrypted cluster by hand: once this is answered, no process holds its keys. KMS is not asked.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/seal",
    tag = "clusters",
    params(("clusterId" = String, Path)),
    responses(
        (status = 200, body = Data<Cluster>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn seal(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
) -> Result<Json<Data<Cluster>>, Refused> {
    Ok(data(control.seal_cluster(&caller, &cluster).await?))
}

/// Ends a seal by hand, or the wait for a person after a revocation. The cluster opens as soon as its key is proven.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/unseal",
    tag = "clusters",
    params(("clusterId" = String, Path)),
    responses(
        (status = 200, body = Data<Cluster>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn unseal(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
) -> Result<Json<Data<Cluster>>, Refused> {
    Ok(data(control.unseal_cluster(&caller, &cluster).await?))
}

/// Opens a cluster although its storage was rolled back, or lost the newest of what was written: that is lost then.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/openBelowAnchor",
    tag = "clusters",
    params(("clusterId" = String, Path)),
    responses(
        (status = 200, body = Data<Cluster>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn open_below_anchor(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
) -> Result<Json<Data<Cluster>>, Refused> {
    Ok(data(control.open_below_anchor(&caller, &cluster).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Wait {
    /// 0 to 30; by default 7 of an encrypted cluster, 0 of another.
    wait_days: Option<i64>,
}

/// Drops a cluster: it is dark at once, and destroyed when the wait is over, its keyrings first.
#[utoipa::path(
    delete,
    path = "/v2/clusters/{clusterId}/drop",
    tag = "clusters",
    params(("clusterId" = String, Path), Wait),
    responses(
        (status = 200, body = Data<Dropped>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn drop_it(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Json<Data<Dropped>>, Refused> {
    Ok(data(control.drop_cluster(&caller, &cluster, wait.wait_days).await?))
}

/// Takes a drop back.
#[utoipa::path(
    post,
    path = "/v2/clusters/{clusterId}/undrop",
    tag = "clusters",
    params(("clusterId" = String, Path)),
    responses(
        (status = 200, body = Data<Cluster>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn undrop(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(cluster): Ids<String>,
) -> Result<Json<Data<Cluster>>, Refused> {
    Ok(data(control.undrop_cluster(&caller, &cluster).await?))
}
