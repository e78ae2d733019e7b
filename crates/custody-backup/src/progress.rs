//! How far a piece of work is, and the word to give it up.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::BackupError;

/// Shared between who works and who watches.
#[derive(Debug)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    canceled: watch::Sender<bool>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { done: AtomicU64::default(), total: AtomicU64::default(), canceled: watch::Sender::new(false) }
    }
}

impl Progress {
    /// Bytes done with, and all bytes; the latter is 0 before it is known. Steps that copy nothing count as a byte.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done.load(Ordering::Acquire), self.total.load(Ordering::Acquire))
    }

    /// Asks for the work to be given up.
    pub fn cancel(&self) {
        self.canceled.send_replace(true);
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Refuses if it is to be given up.
    pub(crate) fn must_go_on(&self) -> Result<(), BackupError> {
        if *self.canceled.borrow() { Err(BackupError::Canceled) } else { Ok(()) }
    }

    /// Works until it is done, or given up.
    pub(crate) async fn unless_canceled<T>(
        &self,
        work: impl Future<Output = Result<T, BackupError>>,
    ) -> Result<T, BackupError> {
        let mut canceled = self.canceled.subscribe();
        tokio::select! {
            biased;
            _ = canceled.wait_for(|canceled| *canceled) => Err(BackupError::Canceled),
            done = work => done,
        }
    }
}
