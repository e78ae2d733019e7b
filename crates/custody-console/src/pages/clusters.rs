//! A project's home: its clusters.

use std::{collections::HashMap, sync::Arc};

use askama::Template;
use axum::{Router, extract::State, routing::get};
use custody_control::{Control, Refused, access::Visitor, cluster::Cluster, cmek::Key};

use crate::{
    answer::{Answer, Page},
    frame::{At, Frame, May},
    markup::{Badge, KEY, of_cluster, region_name},
    session::{Ids, Signed},
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
    Ok(Page(ClustersPage { frame, clusters }))
}
