//! A cluster as it is shown.

use std::{fmt, str::FromStr};

use custody_link::{NodeState, ROLLED_BACK, ZoneReport, ZoneState};
use serde::Serialize;

use super::{Phase, Row};
use crate::{db::rfc3339, node::Live, project::Plan, refusal::Refused};

/// How a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ClusterStatus {
    /// It is being made.
    Creating,
    /// It serves.
    Running,
    /// It should serve and does not; the reason is told.
    Abnormal,
    /// It is stopped.
    Suspended,
    /// It is dropped; until its time has come it can be taken back.
    Deleting,
}

impl ClusterStatus {
    pub(crate) const ALL: [Self; 5] = [Self::Creating, Self::Running, Self::Abnormal, Self::Suspended, Self::Deleting];

    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Running => "RUNNING",
            Self::Abnormal => "ABNORMAL",
            Self::Suspended => "SUSPENDED",
            Self::Deleting => "DELETING",
        }
    }
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ClusterStatus {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a cluster's stored status is {text:?}")))
    }
}

/// A database of an encrypted cluster: its zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterZone {
    /// The zone's id. The database's name is sealed, and not known here.
    pub zone_id: String,
    /// The root key that it is under.
    pub key_arn: String,
    /// The newest version of the zone's own key.
    pub key_version: u32,
    /// `AVAILABLE`, `GRACE` or `SEALED`.
    pub state: &'static str,
    /// Why it is sealed, or why its key could not be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it seals, if it is served on grace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_until: Option<String>,
}

/// The state of a zone, as it stands in the API.
pub(crate) fn state_of(zone: &ZoneReport) -> &'static str {
    match zone.status {
        ZoneState::Available => "AVAILABLE",
        ZoneState::Grace => "GRACE",
        ZoneState::Sealed => "SEALED",
    }
}

impl From<&ZoneReport> for ClusterZone {
    fn from(zone: &ZoneReport) -> Self {
        Self {
            zone_id: zone.zone.clone(),
            key_arn: zone.key_arn.clone(),
            key_version: zone.key_version,
            state: state_of(zone),
            reason: zone.reason.clone(),
            grace_until: zone.grace_until_unix_ms.and_then(|at| i64::try_from(at).ok()).map(rfc3339),
        }
    }
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its id.
    pub cluster_id: String,
    /// What people call it.
    pub cluster_name: String,
    /// Its project.
    pub project_id: String,
    /// Where it is.
    pub region_id: String,
    /// The project's plan.
    pub plan: Plan,
    /// What kind of compute unit it was asked for.
    pub cu_type: String,
    /// How many.
    pub cu_size: i64,
    /// How it is.
    pub status: ClusterStatus,
    /// Why it is so, where that needs a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Where Milvus clients connect to.
    pub connect_address: String,
    /// When it was made.
    pub create_time: String,
    /// The ARN of its KMS key; without one it is stored in plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_identifier: Option<String>,
    /// Whether a drop is refused.
    pub deletion_protection: bool,
    /// Whether it is sealed by hand, or waits for somebody to unseal it.
    pub sealed: bool,
    /// Whether its storage, or that of one of its databases, was put back below its anchor: `openBelowAnchor` opens it all the
    /// same.
    pub rolled_back: bool,
    /// When it is destroyed, if it is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_time: Option<String>,
    /// The zones of an encrypted cluster, as its node told last.
    pub zones: Vec<ClusterZone>,
}

impl Cluster {
    pub(super) fn of(row: Row, plan: Plan, live: &Live, address: String) -> Self {
        let (status, status_reason) = status(&row, live);
        let zones = match live.report() {
            Some(report) => report.zones.iter().map(ClusterZone::from).collect(),
            None => Vec::new(),
        };
        Self {
            status,
            status_reason,
            plan,
            zones,
            connect_address: address,
            create_time: rfc3339(row.created_at),
            sealed: row.is_held(),
            rolled_back: live.is_rolled_back(),
            drop_time: row.drop_at.map(rfc3339),
            cluster_id: row.id,
            cluster_name: row.name,
            project_id: row.project_id,
            region_id: row.region_id,
            cu_type: row.cu_type,
            cu_size: row.cu_size,
            key_identifier: row.key_arn,
            deletion_protection: row.deletion_protection,
        }
    }
}

/// How a cluster is, from what it is meant to be and what its node tells.
pub(crate) fn status(row: &Row, live: &Live) -> (ClusterStatus, Option<String>) {
    match row.phase {
        Phase::Creating => (ClusterStatus::Creating, None),
        Phase::Suspended => (ClusterStatus::Suspended, None),
        Phase::Deleting => {
            let when =
                row.drop_at.map(|at| format!("it is destroyed at {}; undrop takes it back until then", rfc3339(at)));
            (ClusterStatus::Deleting, when)
        }
        Phase::Running => match live.report().map(|report| (&report.state, &report.zones)) {
            Some((NodeState::Serving, zones)) => (ClusterStatus::Running, darkened(zones)),
            Some((NodeState::Sealed { reason, outcome, .. }, _)) if outcome.as_deref() == Some(ROLLED_BACK) => {
                let here = format!("{reason}. Here that is POST /v2/clusters/{}/openBelowAnchor", row.id);
                (ClusterStatus::Abnormal, Some(here))
            }
            Some((NodeState::Sealed { reason, .. }, _)) => (ClusterStatus::Abnormal, Some(reason.clone())),
            Some((NodeState::Starting, _)) => (ClusterStatus::Abnormal, Some("its node is opening the data".into())),
            None => not_connected(row, live),
        },
    }
}

/// How a cluster is whose node is not connected.
fn not_connected(row: &Row, live: &Live) -> (ClusterStatus, Option<String>) {
    if let Some(known) = row.status.filter(|_| live.is_between()) {
        return (known, row.status_reason.clone());
    }
    let why = live.problem().map(|problem| format!(" again; its last process ended: {problem}"));
    (ClusterStatus::Abnormal, Some(format!("its node is starting{}", why.unwrap_or_default())))
}

/// The databases that are dark, or will be, in a cluster that serves.
fn darkened(zones: &[ZoneReport]) -> Option<String> {
    let told = troubled(zones).map(|zone| {
        let reason = zone.reason.as_deref().unwrap_or("no reason is known");
        let state = match zone.status {
            ZoneState::Sealed => "is sealed",
            ZoneState::Grace => "is served on grace",
            ZoneState::Available => "is not whole",
        };
        format!("zone {} under {} {state}: {reason}", zone.zone, zone.key_arn)
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn troubled(zones: &[ZoneReport]) -> impl Iterator<Item = &ZoneReport> {
    let rolled_back = |zone: &ZoneReport| zone.outcome.as_deref() == Some(ROLLED_BACK);
    zones.iter().filter(move |zone| zone.status != ZoneState::Available || rolled_back(zone))
}

/// The ids of the zones that are dark: what an alert is raised for when it changes. Reasons change their words too often.
pub(crate) fn dark_zones(live: &Live) -> String {
    let zones = live.report().map(|report| report.zones.as_slice()).unwrap_or_default();
    let mut dark: Vec<&str> = troubled(zones).map(|zone| zone.zone.as_str()).collect();
    dark.sort_unstable();
    dark.join(",")
}
