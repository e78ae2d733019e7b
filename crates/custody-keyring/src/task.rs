//! The task that renews one lease.

use std::pin::pin;
use std::sync::Arc;

use custody_kms::{KeyArn, KmsError};
use tokio::sync::{mpsc, oneshot};

use crate::lease::Lease;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCheck {
    /// The root key.
    pub key: KeyArn,
    /// Whether it could be proven; `None` if no zone that is not sealed by hand is under it.
    pub result: Option<Result<(), KmsError>>,
}

/// Asks a lease's task for a check now.
pub(crate) type Request = oneshot::Sender<KeyCheck>;

enum Event {
    Asked(Option<Request>),
    Changed,
    Due,
}

/// Renews `lease` until nobody can ask for a check any more. One check runs at a time, and the end of the lease is
/// watched through all of it: a check that hangs holds nothing up.
pub(crate) async fn renew(lease: Arc<Lease>, mut requests: mpsc::Receiver<Request>) {
    loop {
        let request = match guard(&lease, next(&lease, &mut requests)).await {
            Event::Asked(None) => return,
            Event::Asked(request) => request,
            Event::Changed if !lease.term.take_due() => continue,
            Event::Changed | Event::Due => None,
        };
        let result = guard(&lease, lease.check()).await;
        if let Some(Ok(session)) = &result {
            guard(&lease, lease.reopen(session.as_ref())).await;
        }
        if let Some(request) = request {
            let result = result.map(|result| result.map(drop));
            // Whoever asked may have gone away; the check counts all the same.
            let _ = request.send(KeyCheck { key: lease.key.key_arn().clone(), result });
        }
    }
}

async fn next(lease: &Lease, requests: &mut mpsc::Receiver<Request>) -> Event {
    let due = async {
        match lease.next_check() {
            Some(moment) => lease.around.clock.sleep_until(moment).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        request = requests.recv() => Event::Asked(request),
        () = lease.term.changed() => Event::Changed,
        () = due => Event::Due,
    }
}

/// Runs `work` to its end, and seals the lease's zones when its term is over meanwhile.
async fn guard<T>(lease: &Lease, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            () = lease.term.over() => lease.expire(),
            done = &mut work => return done,
        }
    }
}
