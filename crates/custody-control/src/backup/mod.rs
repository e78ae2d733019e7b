//! Backups: made, listed, restored, deleted; by hand, or by a policy. A cluster's node copies and seals; here it is written
//! down what there is, what opens it, and who asked.
//!
//! Names of databases and collections pass through to a node, in memory alone (rule 15).

mod clean_up;
mod create;
mod delete;
mod follow;
mod look;
mod names;
mod order;
mod policy;
mod restore;
mod row;
mod schedule;
mod shape;
#[cfg(test)]
mod tests;

pub use clean_up::{BackupStorage, Freed, Known};
pub use create::{BackupAsked, ChosenCollections, NewBackup};
pub use custody_link::RestoreMode;
pub use delete::BackupDeleted;
pub use look::BackupFilter;
pub use policy::{BackupPolicy, NewPolicy};
pub use restore::{CollectionsRestore, How, NewRestore, RenamedCollection};
pub use shape::{Backup, BackupKind, BackupStatus, CreationMethod, OmittedZone};

pub(crate) use clean_up::Turns;
pub(crate) use delete::take_back;
pub(crate) use follow::{Ended, Given};
pub(crate) use names::{Chosen, Names};
pub(crate) use order::{Terms, opens, restore_of, restores_from};
pub(crate) use restore::Restoring;
pub(crate) use row::{ids_under, of_project};
