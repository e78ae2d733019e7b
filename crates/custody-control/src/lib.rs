//! The control plane: projects, the customer's keys, encrypted clusters, and who may do what with them.
//!
//! It never holds a zone key or a row of data. What a node is to trust comes from here, never from the bucket.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod alert;
pub mod audit;
pub mod backup;
pub mod browser;
pub mod cluster;
pub mod cmek;
mod control;
mod db;
mod hex;
pub mod job;
mod metrics;
mod node;
mod project;
mod random;
mod refusal;
mod region;
mod rest;
mod tally;

pub use control::{Control, Options};
pub use db::{Db, OpenError, rfc3339};
pub use node::{ClusterStorage, Counts, Destroyed, NodeParts, NodeSettings, Point, StorageRole};
pub use project::{DecryptedRestore, Plan, Project};
pub use random::NoRandomness;
pub use refusal::{Kind, Refused};
pub use region::{Region, UnknownRegion};
pub use rest::router;
