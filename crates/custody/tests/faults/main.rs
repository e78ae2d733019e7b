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
    live((0..operations).map(|number| Plan::At { number, fault })).await;
}

/// Lives through all plans.
async fn live(plans: impl Iterator<Item = Plan>) {
    let (permits, mut lives) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for plan in plans {
        let permits = Arc::clone(&permits);
        lives.spawn(async move {
            let _permit = permits.acquire().await.expect("never closed");
            let store = FaultyStore::new(plan);
            let ended = tokio::time::timeout(PATIENCE, Life::new(store.clone()).live()).await;
            assert!(ended.is_ok(), "{}: still not done", store.hit());
            store.was_hit()
        });
    }
    let (count, mut hit, mut failed) = (lives.len(), 0, Vec::new());
    while let Some(life) = lives.join_next().await {
        match life {
            Ok(was_hit) => hit += usize::from(was_hit),
            Err(ended) => failed.push(ended),
        }
    }
    // Each has said why.
    assert!(failed.is_empty(), "{} of {count} lives went wrong", failed.len());
    // Background work makes one life a little longer than another.
    assert!(hit * 10 >= count * 8, "only {hit} of {count} faults came");
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

/// The second outage comes while the maps that the first one ended are opened again: at each of the operations which that takes.
#[tokio::test(flavor = "multi_thread")]
async fn storage_that_is_gone_twice_loses_nothing() {
    let operations = operations().await;
    live((0..400).map(|life| Plan::Outages { number: life * operations / 400, after: life * 7 % 40 })).await;
}
