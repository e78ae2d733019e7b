//! The object storage fails around every operation: it answers with errors, tears what is put, is slow, loses answers, or
//! is gone for a while. A cluster that lives through all of it keeps what it acknowledged, leaves nothing half made, and
//! goes on by itself once the storage is back.

mod expected;
mod life;
mod store;

use std::{sync::Arc, time::Duration};

use life::Life;
use store::{Fault, FaultyStore, Plan};
use tokio::{sync::Semaphore, task::JoinSet};

/// Lives at a time: most of one is waiting for the next try.
const AT_ONCE: usize = 400;
/// A life whose storage fails once takes seconds.
const PATIENCE: Duration = Duration::from_mins(5);

/// How many operations a life has whose storage never fails.
async fn operations() -> u64 {
    let store = FaultyStore::new(Plan::Never);
    Life::new(store.clone()).live().await;
    store.operations()
}

/// Lives with one fault each, at every operation.
async fn at_every_operation(fault: Fault) {
    let operations = operations().await;
    assert!(operations > 500, "only {operations} operations: the test would prove little");
    let (permits, mut lives) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for number in 0..operations {
        let permits = Arc::clone(&permits);
        lives.spawn(async move {
            let _permit = permits.acquire().await.expect("never closed");
            let store = FaultyStore::new(Plan::At { number, fault });
            let ended = tokio::time::timeout(PATIENCE, Life::new(store.clone()).live()).await;
            assert!(ended.is_ok(), "{fault:?} at {}: still not done", store.hit());
            store.was_hit()
        });
    }
    let (mut hit, mut failed) = (0, Vec::new());
    while let Some(life) = lives.join_next().await {
        match life {
            Ok(was_hit) => hit += u64::from(was_hit),
            Err(ended) => failed.push(ended),
        }
    }
    // Each has said why.
    assert!(failed.is_empty(), "{} of {operations} lives went wrong", failed.len());
    // Background work makes one life a little longer than another.
    assert!(hit * 10 >= operations * 8, "only {hit} of {operations} faults came");
}

macro_rules! at_every_operation {
    ($($name:ident: $fault:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            at_every_operation($fault).await;
        }
    )*};
}

at_every_operation! {
    an_operation_that_fails_loses_nothing: Fault::Error;
    an_operation_whose_answer_is_lost_is_not_done_twice: Fault::Lost;
    an_operation_that_is_torn_is_not_taken_for_done: Fault::Torn;
    an_operation_that_is_slow_changes_nothing: Fault::Delay;
    storage_that_is_gone_for_a_while_loses_nothing: Fault::Outage;
}
