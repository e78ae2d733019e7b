//! What can go wrong with a backup, one variant a fact.

use custody_engine::EngineError;
use custody_store::{StoreError, ZoneId, ZoneStatus, ZonesError};
use object_store::path::Path;

use crate::layout::BackupId;

/// Why a backup was not made, opened or restored. Messages name what failed, why, and what to do; of names they have only
/// those that the caller gave.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The cluster could not give, or take, what was asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A storage failed.
    #[error("the {place} failed: {why}")]
    Storage {
        /// Which of the two.
        place: &'static str,
        /// What it said; what a sealed store found stands in it.
        why: String,
    },
    /// There is no such backup, or it was never completed.
    #[error("there is no complete backup {0} here: its manifest is missing")]
    NotFound(BackupId),
    /// There is one of this id already.
    #[error("there is a backup {0} already: choose another id")]
    Exists(BackupId),
    /// An object that backups share, or the list of those that are needed, was removed while the backup was made.
    #[error("{0} was removed from the backups' storage while the backup was made: back up again")]
    Gone(String),
    /// What is stored is not what the manifest says.
    #[error("{path} of the backup is not what was backed up: {why}. Restore it from a copy of the backup's storage")]
    Tampered {
        /// The object's path in the cluster.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// An object of the backup is not there.
    #[error("{0} of the backup is missing: restore it from a copy of the backup's storage")]
    Missing(String),
    /// A key of the backup can't be used.
    #[error("zone {zone} of the backup can't be opened: {status}. Make its key available, and restore again")]
    Key {
        /// The zone.
        zone: ZoneId,
        /// Why.
        status: ZoneStatus,
    },
    /// A zone of the backup can't be opened.
    #[error("zone {zone} of the backup can't be opened: {why}")]
    Zone {
        /// The zone.
        zone: ZoneId,
        /// Why.
        why: String,
    },
    /// A manifest that this version does not understand, or that is of something else.
    #[error("the manifest of zone {zone} can't be used: {why}")]
    Manifest {
        /// The zone.
        zone: ZoneId,
        /// Why.
        why: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Request(String),
    /// It was given up, as was asked.
    #[error("it was canceled")]
    Canceled,
}

/// Who says that an object is not what a manifest tells of it.
pub(crate) const BACKUP: &str = "backup";

impl BackupError {
    /// What it says without any name of a database or collection: for logs, and for who keeps no names (rule 15).
    pub fn without_names(&self) -> String {
        match self {
            Self::Engine(
                error @ (EngineError::Sealed(_)
                | EngineError::Storage(_)
                | EngineError::Zone(_)
                | EngineError::Fenced
                | EngineError::Fault
                | EngineError::Closing
                | EngineError::BelowAnchor(_)
                | EngineError::LogIncomplete(_)
                | EngineError::ManifestBehind(_)
                | EngineError::RowsMissing(_)
                | EngineError::RowsRolledBack(_)
                | EngineError::CatalogMissing(_)
                | EngineError::Record(_)),
            ) => error.to_string(),
            Self::Engine(_) => "a database or collection can't be taken as it is called: its name is unknown, or taken in the cluster. \
                 Choose collections by name, and give them others"
                .to_owned(),
            Self::Request(_) => "what was chosen is not there: look at the names".to_owned(),
            other => other.to_string(),
        }
    }

    /// The cluster's own storage failed.
    pub(crate) fn cluster(error: object_store::Error) -> Self {
        Self::Storage { place: "cluster's storage", why: StoreError::why(&error) }
    }

    /// The backups' storage failed; one object of the cluster was concerned.
    pub(crate) fn backup(path: &Path, error: object_store::Error) -> Self {
        if let object_store::Error::NotFound { .. } = error {
            return Self::Missing(path.to_string());
        }
        match StoreError::find(&error) {
            Some(found) => Self::Tampered { path: path.to_string(), why: found.to_string() },
            None => Self::Storage { place: "backups' storage", why: StoreError::why(&error) },
        }
    }

    /// An object of the backup that a manifest tells of could not be read to its end.
    pub(crate) fn read(path: &Path, error: object_store::Error) -> Self {
        match &error {
            object_store::Error::Generic { store: BACKUP, source } => {
                Self::Tampered { path: path.to_string(), why: source.to_string() }
            }
            _ => Self::backup(path, error),
        }
    }

    pub(crate) fn manifest(zone: ZoneId, why: impl Into<String>) -> Self {
        Self::Manifest { zone, why: why.into() }
    }

    pub(crate) fn zone(zone: ZoneId, error: ZonesError) -> Self {
        match error {
            ZonesError::Sealed(status) => Self::Key { zone, status },
            error => Self::Zone { zone, why: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_full_text_names_what_a_user_has_named() {
        let named = "quarterly_salaries".to_owned();
        for error in [
            BackupError::Engine(EngineError::CollectionExists(named.clone())),
            BackupError::Engine(EngineError::DatabaseNotFound(named.clone())),
            BackupError::Engine(EngineError::InvalidDatabase(named.clone())),
            BackupError::Request(format!("the backup has no collection '{named}'")),
        ] {
            let unnamed = error.without_names();
            assert!(error.to_string().contains(&named) && !unnamed.contains(&named), "{error}");
            assert!(!unnamed.contains("  "), "{unnamed}");
        }
        let sealed = BackupError::Engine(EngineError::Storage("no space".into()));
        assert_eq!(sealed.without_names(), sealed.to_string());
    }
}
