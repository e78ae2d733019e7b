//! What a sealed store refuses, besides what the store below it does.

use std::error::Error;

use custody_keyring::ZoneError;
use custody_seal::{OpenError, RandomError, SealError, TooLong};
use object_store::path::Path;
use slatedb_common::retry::NonRetryable;

/// Why a sealed store gave nothing, or took nothing.
///
/// It arrives as the source of an [`object_store::Error`]; [`StoreError::find`] gets it out again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The zone is sealed, or doesn't have the version of its key that the file names.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// The object does not open: it was altered, cut, moved, or never sealed.
    #[error("{path} does not open: {error}")]
    Tampered {
        /// The object.
        path: String,
        /// What is wrong with it.
        error: OpenError,
    },
    /// A path that is not an object of this zone.
    #[error("{path} is no object of this zone, whose objects lie under {root}")]
    OutsideZone {
        /// The path.
        path: String,
        /// The zone's root.
        root: String,
    },
    /// A sealed file of another chunk size than the store's, whose lengths a listing would get wrong.
    #[error(
        "{path} is sealed in chunks of {found} bytes, and this store's files in {expected}: open the cluster with the build that wrote it"
    )]
    ChunkSize {
        /// The object.
        path: String,
        /// The store's chunk size.
        expected: u32,
        /// The file's.
        found: u32,
    },
    /// The object changed again and again while it was read.
    #[error("{path} changed each time it was read: try again when whoever writes it is done")]
    Unsteady {
        /// The object.
        path: String,
    },
    /// The object could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An upload that failed, was completed or was aborted is used again, or is completed before all its parts are there.
    #[error("the upload of {path} can't go on: {why}")]
    Upload {
        /// The object.
        path: String,
        /// What happened to it.
        why: &'static str,
    },
}

impl StoreError {
    /// The store's name in the errors of `object_store`.
    pub(crate) const STORE: &'static str = "custody";

    pub(crate) fn tampered(path: &Path, error: impl Into<OpenError>) -> Self {
        Self::Tampered { path: path.to_string(), error: error.into() }
    }

    /// Finds the error of a sealed store in an error of whatever was built on one, however deep it is wrapped.
    pub fn find<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        loop {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            // `io::Error::source` skips what it wraps.
            error = match error.downcast_ref::<std::io::Error>() {
                Some(io) => io.get_ref()?,
                None => error.source()?,
            };
        }
    }

    /// An error of whatever was built on a sealed store, in words: what the store found, if that lies in it, else the error and
    /// those of its causes that it doesn't tell itself.
    #[must_use]
    pub fn why(error: &(dyn Error + 'static)) -> String {
        if let Some(found) = Self::find(error) {
            return found.to_string();
        }
        let mut told = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !told.contains(&text) {
                told.push_str(": ");
                told.push_str(&text);
            }
            next = cause.source();
        }
        told
    }
}

impl From<RandomError> for StoreError {
    fn from(error: RandomError) -> Self {
        Self::Seal(error.into())
    }
}

impl From<TooLong> for StoreError {
    fn from(error: TooLong) -> Self {
        Self::Seal(error.into())
    }
}

/// SlateDB tries again, without end, on every error it doesn't know. None of these gets better by that.
impl From<StoreError> for object_store::Error {
    fn from(error: StoreError) -> Self {
        Self::Generic { store: StoreError::STORE, source: Box::new(NonRetryable(Box::new(error))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As SlateDB's are: its text tells the cause below it, and not what caused that.
    #[derive(Debug, thiserror::Error)]
    #[error("the log is unavailable ({source})")]
    struct Outer {
        source: Inner,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the store failed")]
    struct Inner {
        source: object_store::Error,
    }

    fn wrapped(source: object_store::Error) -> Outer {
        Outer { source: Inner { source } }
    }

    #[test]
    fn what_went_wrong_is_told_down_to_its_first_cause_and_once() {
        let full = std::io::Error::from_raw_os_error(28);
        let error = object_store::Error::Generic { store: "disk", source: Box::new(full) };
        assert_eq!(
            StoreError::why(&wrapped(error)),
            "the log is unavailable (the store failed): Generic disk error: No space left on device (os error 28)"
        );
    }

    #[test]
    fn what_a_sealed_store_found_is_told_alone() {
        let found = StoreError::Unsteady { path: "a/b".to_owned() };
        let text = found.to_string();
        assert_eq!(StoreError::why(&wrapped(found.into())), text);
    }
}
