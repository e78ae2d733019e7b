//! Backups of a cluster: made while it serves, opened and checked without a cluster, restored into another one.
//!
//! A backup is a copy of sealed objects as they lie in the storage, with a sealed manifest for each zone that says what they
//! are. `docs/backup.md` specifies it. [`make`] makes one, [`BackupStore`] shows the objects of one where a keyring and sealed
//! stores look for them, [`Backup::open`] proves its manifests, [`Backup::verify`] all of it, and [`Backup::restore`] brings it
//! into a cluster.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attempt;
mod digest;
mod error;
mod layout;
mod make;
mod manifest;
mod open;
mod plan;
mod pooling;
mod progress;
mod restore;
mod store;
mod verify;

pub use attempt::listed;
pub use error::BackupError;
pub use layout::{BackupId, POOL, is_list, marker};
pub use make::{Made, Order, Sealed, make};
pub use open::Backup;
pub use progress::Progress;
pub use restore::{Chosen, Restored, Restoring, Target, restored};
pub use store::BackupStore;
pub use verify::Verified;
