//! Clusters: made, looked at, changed, sealed, dropped. Each is a process of its own, which [`crate::node`] keeps.

mod change;
mod create;
mod drop;
mod figures;
mod look;
mod row;
mod seal;
mod shape;

pub use change::ClusterChange;
pub use create::{Created, NewCluster};
pub use drop::{DROP_WAIT, Dropped};
pub use figures::{ClusterFigures, KmsMinute};
pub use shape::{Cluster, ClusterStatus, ClusterZone};

pub(crate) use row::{Phase, Row, all, find, get};
pub(crate) use shape::{dark_zones, state_of, status};
