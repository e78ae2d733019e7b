//! A cluster: how it is, its zones, its figures, and what can be done with it. Its data the page's script gets from its node.

use std::{sync::Arc, time::SystemTime};

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use custody_control::{
    Control, Kind, Refused,
    access::Caller,
    cluster::{Cluster, ClusterChange, ClusterStatus, DROP_WAIT},
    cmek::{Key, KeyStatus},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::clusters::{drop_of, keys_by_arn};
use crate::{
    answer::{Answer, Done, with_node},
    chart::{Chart, charts},
    frame::{At, Frame},
    markup::{Badge, KEY, Moment, of_cluster, of_zone, region_name},
    session::{Ids, Meant, Nothing, Signed},
};

pub(super) fn router() -> Router<Arc<Control>> {
    const CLUSTER: &str = "/{project}/clusters/{cluster}";
    let at = |rest: &str| format!("{CLUSTER}/{rest}");
    Router::new()
        .route(CLUSTER, get(overview))
        .route(&at("collection"), get(collection))
        .route(&at("suspend"), post(suspend))
        .route(&at("resume"), post(resume))
        .route(&at("seal"), post(seal))
        .route(&at("unseal"), post(unseal))
        .route(&at("open-below-anchor"), post(open_below_anchor))
        .route(&at("protection"), post(protection))
        .route(&at("drop"), post(drop_it))
        .route(&at("undrop"), post(undrop))
}

/// A zone with the key that it is under.
struct ZoneRow {
    id: String,
    badge: Badge,
    /// What stands in place of its database's name, which only its node knows.
    unnamed: &'static str,
    key_arn: String,
    key: Option<KeyLink>,
    key_version: u32,
    renewed: Option<Moment>,
    reason: Option<String>,
    grace_until: Option<String>,
}

/// The way to a key's page.
struct KeyLink {
    name: String,
    path: String,
}

impl KeyLink {
    fn of(key: &Key, project: &str) -> Self {
        Self { name: key.name.clone(), path: format!("/projects/{project}/cmek/{}", key.key_id) }
    }
}

/// What stands across the page while something is wrong.
struct Banner {
    title: &'static str,
    message: String,
    bad: bool,
}

#[derive(Template)]
#[template(path = "cluster.html")]
struct ClusterPage {
    frame: Frame,
    badge: Badge,
    region: String,
    key: Option<KeyLink>,
    banner: Option<Banner>,
    zones: Vec<ZoneRow>,
    charts: Vec<Chart>,
    origins: String,
    drop_wait: i64,
    cluster: Cluster,
}

impl ClusterPage {
    /// Whether it has a process, or should have.
    fn is_running(&self) -> bool {
        matches!(self.cluster.status, ClusterStatus::Running | ClusterStatus::Abnormal)
    }

    /// Whether it, or a part of it, is refused since its storage is older than it was, which somebody can take as it is.
    fn is_rolled_back(&self) -> bool {
        self.is_running() && self.cluster.rolled_back
    }

    fn is_suspended(&self) -> bool {
        self.cluster.status == ClusterStatus::Suspended
    }

    fn is_deleting(&self) -> bool {
        self.cluster.status == ClusterStatus::Deleting
    }

    /// Whether it can be dropped.
    fn is_droppable(&self) -> bool {
        !matches!(self.cluster.status, ClusterStatus::Deleting | ClusterStatus::Creating)
    }
}

/// A cluster of the project; that of another is not found here.
async fn of_project(control: &Control, caller: &Caller, project: &str, id: &str) -> Result<Cluster, Refused> {
    let cluster = control.cluster(caller, id).await?;
    if cluster.project_id == project { Ok(cluster) } else { Err(Refused::not_found("cluster", id)) }
}

/// In place of the page of a cluster that there is no more: who is at it when it is destroyed is led to where that is told.
async fn gone(control: &Control, caller: &Caller, project: &str, id: &str, refused: Refused) -> Answer<Response> {
    if refused.kind != Kind::NotFound || drop_of(control, caller, project, id).await?.is_none() {
        return Err(refused.into());
    }
    Ok(Redirect::to(&format!("/projects/{project}?destroyed={id}")).into_response())
}

async fn overview(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids((project, id)): Ids<(String, String)>,
) -> Answer<Response> {
    let cluster = match of_project(&control, &visitor.caller, &project, &id).await {
        Ok(cluster) => cluster,
        Err(refused) => return gone(&control, &visitor.caller, &project, &id, refused).await,
    };
    let frame = Frame::inside(&control, &visitor, &project, At::Clusters, &cluster.cluster_name).await?;
    let keys = keys_by_arn(&control, &visitor, frame.may, &project).await?;
    let figures = control.cluster_figures(&visitor.caller, &id).await?;
    let own = cluster.key_identifier.as_ref().and_then(|arn| keys.get(arn));
    let zones = cluster.zones.iter().map(|zone| ZoneRow {
        id: zone.zone_id.clone(),
        badge: of_zone(zone.state),
        unnamed: if zone.state == "SEALED" { "sealed" } else { "connect below to see its name" },
        key: keys.get(&zone.key_arn).map(|key| KeyLink::of(key, &project)),
        renewed: figures.renewals.get(&zone.key_arn).copied().map(Moment),
        key_arn: zone.key_arn.clone(),
        key_version: zone.key_version,
        reason: zone.reason.clone(),
        grace_until: zone.grace_until.clone(),
    });
    let address = cluster.connect_address.clone();
    let page = ClusterPage {
        badge: of_cluster(cluster.status),
        region: region_name(&cluster.region_id),
        banner: banner(&cluster, own),
        zones: zones.collect(),
        charts: charts(&figures, now()),
        origins: control.console_origins().join(" "),
        drop_wait: if cluster.key_identifier.is_some() { DROP_WAIT } else { 0 },
        key: own.map(|key| KeyLink::of(key, &project)),
        frame,
        cluster,
    };
    Ok(with_node(page, &address))
}

/// What is wrong with a cluster's key, or with the cluster itself.
fn banner(cluster: &Cluster, key: Option<&Key>) -> Option<Banner> {
    let reason = cluster.status_reason.clone().unwrap_or_default();
    if cluster.sealed && cluster.status == ClusterStatus::Abnormal {
        let title = "This cluster is sealed until somebody unseals it";
        return Some(Banner { title, message: reason, bad: true });
    }
    let key = key.filter(|key| key.status != KeyStatus::Available);
    match (cluster.status, key) {
        (ClusterStatus::Abnormal, Some(key)) => Some(Banner {
            title: "This cluster's key is refused or out of reach, and it serves nothing",
            message: format!(
                "The key is {}. No process holds a key or data of this cluster. It comes back by itself once the key is there \
                 again: enable the key in your KMS, or mend its policy.\n{reason}",
                key.status
            ),
            bad: true,
        }),
        (ClusterStatus::Abnormal, None) => {
            Some(Banner { title: "This cluster serves nothing at the moment", message: reason, bad: true })
        }
        (ClusterStatus::Running, Some(key)) => Some(Banner {
            title: "This cluster's key gave no proof at the last check",
            message: format!(
                "The key is {}. {}",
                key.status,
                key.reason.as_deref().unwrap_or("The cluster goes dark unless the key is there at its next check.")
            ),
            bad: false,
        }),
        (ClusterStatus::Running, None) if !reason.is_empty() => {
            Some(Banner { title: "A part of this cluster needs your attention", message: reason, bad: false })
        }
        _ => None,
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[derive(Template)]
#[template(path = "collection.html")]
struct CollectionPage {
    frame: Frame,
    badge: Badge,
    banner: Option<Banner>,
    origins: String,
    cluster: Cluster,
}

/// The page of a collection. Which one stands in the part of its address that browsers don't send.
async fn collection(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids((project, id)): Ids<(String, String)>,
) -> Answer<Response> {
    let cluster = match of_project(&control, &visitor.caller, &project, &id).await {
        Ok(cluster) => cluster,
        Err(refused) => return gone(&control, &visitor.caller, &project, &id, refused).await,
    };
    let frame = Frame::inside(&control, &visitor, &project, At::Clusters, "Collection").await?;
    let keys = keys_by_arn(&control, &visitor, frame.may, &project).await?;
    let own = cluster.key_identifier.as_ref().and_then(|arn| keys.get(arn));
    let address = cluster.connect_address.clone();
    let page = CollectionPage {
        badge: of_cluster(cluster.status),
        banner: banner(&cluster, own),
        origins: control.console_origins().join(" "),
        frame,
        cluster,
    };
    Ok(with_node(page, &address))
}

#[derive(Deserialize)]
struct Suspend {
    force: Option<String>,
}

async fn suspend(
    State(control): State<Arc<Control>>,
    Ids((project, id)): Ids<(String, String)>,
    form: Meant<Suspend>,
) -> Answer<Done> {
    of_project(&control, &form.visitor.caller, &project, &id).await?;
    control.suspend_cluster(&form.visitor.caller, &id, form.given.force.is_some()).await?;
    Ok(back(&project, &id))
}

macro_rules! acts {
    ($($name:ident $service:ident;)*) => {$(
        async fn $name(
            State(control): State<Arc<Control>>,
            Ids((project, id)): Ids<(String, String)>,
            Meant { visitor, given: Nothing {} }: Meant<Nothing>,
        ) -> Answer<Done> {
            of_project(&control, &visitor.caller, &project, &id).await?;
            control.$service(&visitor.caller, &id).await?;
            Ok(back(&project, &id))
        }
    )*};
}

acts! {
    resume resume_cluster;
    seal seal_cluster;
    unseal unseal_cluster;
    open_below_anchor open_below_anchor;
    undrop undrop_cluster;
}

#[derive(Deserialize)]
struct Protection {
    on: bool,
}

async fn protection(
    State(control): State<Arc<Control>>,
    Ids((project, id)): Ids<(String, String)>,
    form: Meant<Protection>,
) -> Answer<Done> {
    of_project(&control, &form.visitor.caller, &project, &id).await?;
    let change = ClusterChange { deletion_protection: Some(form.given.on), ..ClusterChange::default() };
    control.change_cluster(&form.visitor.caller, &id, &change).await?;
    Ok(back(&project, &id))
}

#[derive(Deserialize)]
struct Drop {
    /// The cluster's name, typed by whoever drops it.
    name: String,
    wait_days: i64,
    password: String,
}

async fn drop_it(
    State(control): State<Arc<Control>>,
    Ids((project, id)): Ids<(String, String)>,
    form: Meant<Drop>,
) -> Answer<Done> {
    let cluster = of_project(&control, &form.visitor.caller, &project, &id).await?;
    if form.given.name.trim() != cluster.cluster_name {
        return Err(Refused::invalid("that is not the cluster's name: type it as it is shown, and nothing else").into());
    }
    let sure = control.confirm(&form.visitor, Zeroizing::new(form.given.password)).await?;
    control.drop_cluster(&sure, &id, Some(form.given.wait_days)).await?;
    Ok(back(&project, &id))
}

fn back(project: &str, id: &str) -> Done {
    Done::at(format!("/projects/{project}/clusters/{id}"))
}
