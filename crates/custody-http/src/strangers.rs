//! Connections of clients who have not shown a credential yet. When there is no room for another connection, the oldest of
//! these goes: whoever opens thousands and says nothing pushes out his own, while known clients stay and new ones get in.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// By age: the number grows with time.
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// All connections whose client is a stranger.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<Open>);

impl Strangers {
    /// A new connection.
    pub(crate) fn admit(self: &Arc<Self>) -> Standing {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        let away = Arc::new(Notify::new());
        open.waiting.insert(number, Arc::clone(&away));
        Standing { number, away, strangers: Arc::clone(self) }
    }

    /// Closes the oldest connection of a stranger, if there is one.
    pub(crate) fn send_away_the_oldest(&self) {
        let oldest = self.0.lock().unwrap_or_else(PoisonError::into_inner).waiting.pop_first();
        if let Some((_, away)) = oldest {
            away.notify_one();
        }
    }
}

/// One connection's place among the strangers.
#[derive(Debug)]
pub(crate) struct Standing {
    number: u64,
    away: Arc<Notify>,
    strangers: Arc<Strangers>,
}

impl Standing {
    /// Waits until the connection must make room.
    pub(crate) async fn sent_away(&self) {
        self.away.notified().await;
    }

    /// The client is no stranger any more, or gone.
    pub(crate) fn leave_strangers(&self) {
        self.strangers.0.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&self.number);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.leave_strangers();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_oldest_stranger_makes_room_and_the_known_stay() {
        let strangers = Arc::new(Strangers::default());
        let (known, old, young) = (strangers.admit(), strangers.admit(), strangers.admit());
        known.leave_strangers();
        strangers.send_away_the_oldest();
        assert!(known.sent_away().now_or_never().is_none());
        assert!(old.sent_away().now_or_never().is_some());
        assert!(young.sent_away().now_or_never().is_none());
    }

    #[test]
    fn connections_that_end_are_forgotten() {
        let strangers = Arc::new(Strangers::default());
        drop(strangers.admit());
        assert!(strangers.0.lock().unwrap().waiting.is_empty());
        strangers.send_away_the_oldest();
    }
}
