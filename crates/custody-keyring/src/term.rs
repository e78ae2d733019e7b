//! The end of a lease, looked at on every use of a zone key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};

use crate::clock::{Clock, Moment};

/// Until when the zones of one key may be used. Shared by the lease, which moves the end, and its zones, which look at it.
pub(crate) struct Term {
    clock: Arc<dyn Clock>,
    end: watch::Sender<Option<Moment>>,
    due: AtomicBool,
    changed: Notify,
}

impl Term {
    /// A term that is over.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, end: watch::Sender::new(None), due: AtomicBool::new(false), changed: Notify::new() }
    }

    /// Whether zone keys may be used now, by both clocks.
    pub(crate) fn is_live(&self) -> bool {
        self.end().is_some_and(|end| !end.is_past(self.clock.now()))
    }

    pub(crate) fn end(&self) -> Option<Moment> {
        *self.end.borrow()
    }

    pub(crate) fn set_end(&self, end: Option<Moment>) {
        self.end.send_replace(end);
    }

    /// Sleeps until the term is over, wherever its end is moved meanwhile; for ever while there is none.
    pub(crate) async fn over(&self) {
        let mut ends = self.end.subscribe();
        loop {
            let end = *ends.borrow_and_update();
            let moved = async {
                // The sender is a field of `self`: waiting can't fail.
                let _ = ends.changed().await;
            };
            match end {
                Some(end) => tokio::select! {
                    () = self.clock.sleep_until(end) => return,
                    () = moved => {}
                },
                None => moved.await,
            }
        }
    }

    /// Asks for a check at once, by whoever noticed that one is needed.
    pub(crate) fn wake(&self) {
        self.due.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// Lets the lease's task look again at what it has to do.
    pub(crate) fn reschedule(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn take_due(&self) -> bool {
        self.due.swap(false, Ordering::SeqCst)
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
