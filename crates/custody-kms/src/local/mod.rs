//! The local development KMS: a file of keys on this machine, with real encryption.
//!
//! It stands in for AWS in the demo and in development. Whoever can read the file can open the data, so it is no
//! protection for anything real.

mod connector;
pub(crate) mod file;
mod keys;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::KmsError;
use crate::gate::Gate;
use crate::key_ref::RootKeyRef;
use crate::ledger::Ledger;
use crate::local::connector::LocalConnector;
pub use crate::local::file::LocalFileError;
pub use crate::local::keys::{LocalKey, LocalKeyError, LocalKeys};
use crate::retry::RetryPolicy;
use crate::root::{KmsSession, Purpose, RootKms};

/// The local development KMS. The file is read anew for every session, so that a key which another process disables is
/// disabled at once.
pub struct LocalKms(Gate<LocalConnector>);

impl LocalKms {
    /// Uses the keys in the file at `path`, which [`LocalKeys`] manages. The file need not exist yet.
    pub fn new(path: impl Into<PathBuf>, ledger: Arc<dyn Ledger>) -> Self {
        Self(Gate::new(LocalConnector::new(path.into()), ledger, RetryPolicy::NONE))
    }
}

#[async_trait]
impl RootKms for LocalKms {
    async fn session(&self, key: &RootKeyRef, purpose: Purpose) -> Result<Box<dyn KmsSession>, KmsError> {
        self.0.session(key, purpose).await
    }
}
