//! Puts that were not answered, and what may lie in their place.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStoreExt, PutOptions, PutPayload, PutResult, Result};

use crate::error::StoreError;
use crate::sealed::Shared;

/// The paths of new objects whose put ended without a definite answer.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(Mutex<HashSet<Path>>);

impl Unanswered {
    fn note(&self, location: &Path, result: &Result<PutResult>) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) | Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotImplemented { .. }) => {
                paths.remove(location);
            }
            Err(_) => {
                paths.insert(location.clone());
            }
        }
    }

    fn contains(&self, location: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(location)
    }
}

impl Shared {
    /// Puts a sealed object.
    ///
    /// Storage that is torn in a put leaves half an object. Whoever tries again finds one in its place, and takes it for his
    /// own by the id in its attributes: SlateDB does, without looking into it. So what lies where a put of this store went
    /// unanswered has to open first; if it doesn't, it goes.
    pub(crate) async fn put(&self, location: &Path, sealed: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let mut result = self.inner.put_opts(location, sealed.clone(), opts.clone()).await;
        if matches!(result, Err(Error::AlreadyExists { .. })) && self.unanswered.contains(location) {
            if !self.is_torn(location).await? {
                return result;
            }
            tracing::warn!(%location, "a put was torn: what it left is replaced");
            self.inner.delete(location).await?;
            result = self.inner.put_opts(location, sealed, opts).await;
        }
        self.unanswered.note(location, &result);
        result
    }

    /// Whether an object is there that does not open.
    async fn is_torn(&self, location: &Path) -> Result<bool> {
        let opened = match self.get(location, GetOptions::default()).await {
            Ok(found) => found.bytes().await.map(drop),
            Err(error) => Err(error),
        };
        match opened {
            Ok(()) => Ok(false),
            Err(error) if matches!(StoreError::find(&error), Some(StoreError::Tampered { .. })) => Ok(true),
            Err(error) => Err(error),
        }
    }
}
