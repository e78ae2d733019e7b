//! Long pieces of work that nodes do for jobs: given to a node, again when it connects anew, and what is heard of them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use custody_link::{ToNode, WorkOrder, WorkReport, WorkState};
use tokio::sync::watch;

use super::Nodes;
use crate::{cluster::Row, job, refusal::Refused};

/// The pieces of work that there are, by their jobs.
#[derive(Default)]
pub(super) struct Works(Mutex<HashMap<String, Piece>>);

struct Piece {
    cluster: String,
    /// What its node is told, if not by its configuration.
    order: Option<WorkOrder>,
    heard: watch::Sender<Option<WorkReport>>,
}

impl Piece {
    fn of(cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), order: None, heard: watch::Sender::new(None) }
    }

    fn has_ended(&self) -> bool {
        self.heard.borrow().as_ref().is_some_and(|report| report.state != WorkState::Running)
    }
}

impl Works {
    fn pieces(&self) -> MutexGuard<'_, HashMap<String, Piece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a piece of work up. What was heard of it before counts.
    fn begin(&self, cluster: &str, job: &str, order: Option<WorkOrder>) -> watch::Receiver<Option<WorkReport>> {
        let mut pieces = self.pieces();
        let piece = pieces.entry(job.to_owned()).or_insert_with(|| Piece::of(cluster));
        piece.order = order;
        piece.heard.subscribe()
    }

    /// What a cluster's node is to be told. One that has ended its work is not told again: it might begin anew.
    fn orders(&self, cluster: &str) -> Vec<WorkOrder> {
        let pieces = self.pieces();
        let open = pieces.values().filter(|piece| piece.cluster == cluster && !piece.has_ended());
        open.filter_map(|piece| piece.order.clone()).collect()
    }

    /// Takes what a cluster's node says of its work; false if the job is not known.
    fn hear(&self, cluster: &str, report: &WorkReport) -> bool {
        let pieces = self.pieces();
        let Some(piece) = pieces.get(&report.job) else { return false };
        // Of another cluster's work it has nothing to say.
        if piece.cluster == cluster && !piece.has_ended() {
            piece.heard.send_replace(Some(report.clone()));
        }
        true
    }

    fn withdraw(&self, job: &str) {
        if let Some(piece) = self.pieces().get_mut(job) {
            piece.order = None;
        }
    }

    fn is_done(&self, job: &str) -> bool {
        let pieces = self.pieces();
        let report = pieces.get(job).and_then(|piece| piece.heard.borrow().clone());
        report.is_some_and(|report| matches!(report.state, WorkState::Done(_)))
    }

    fn forget(&self, job: &str) {
        self.pieces().remove(job);
    }
}

impl Nodes {
    /// Has a cluster's node do a piece of work, now or when it connects; returns what is heard of it.
    pub(crate) async fn give(
        &self,
        cluster: &str,
        job: &str,
        order: Option<WorkOrder>,
    ) -> watch::Receiver<Option<WorkReport>> {
        let heard = self.works.begin(cluster, job, order);
        self.give_again(cluster).await;
        heard
    }

    /// Tells a cluster's node what it is to do. What it has begun already it does not begin again.
    pub(super) async fn give_again(&self, cluster: &str) {
        for order in self.works.orders(cluster) {
            self.send(cluster, &ToNode::Work(Box::new(order))).await;
        }
    }

    /// Tells a cluster's node to give a piece of work up.
    pub(crate) async fn cancel_work(&self, cluster: &str, job: &str) {
        self.send(cluster, &ToNode::CancelWork { job: job.to_owned() }).await;
    }

    /// Has a piece of work given to no node any more.
    pub(crate) fn withdraw_work(&self, job: &str) {
        self.works.withdraw(job);
    }

    /// Forgets a piece of work whose job has ended, or begins again.
    pub(crate) fn forget_work(&self, job: &str) {
        self.works.forget(job);
    }

    /// Whether a node has said that a job's work is done.
    pub(super) fn has_done(&self, job: &str) -> bool {
        self.works.is_done(job)
    }

    /// Takes what a node says of its work.
    pub(super) async fn worked(&self, row: &Row, report: &WorkReport) {
        if let Err(error) = self.try_worked(row, report).await {
            tracing::error!(cluster = row.id, job = report.job, %error, "what a node said of its work could not be taken");
        }
    }

    async fn try_worked(&self, row: &Row, report: &WorkReport) -> Result<(), Refused> {
        if self.works.hear(&row.id, report) {
            return Ok(());
        }
        if job::is_running(&self.db, &report.job, &row.id).await? {
            // Its job has not come to it yet: this process was started meanwhile.
            self.works.pieces().entry(report.job.clone()).or_insert_with(|| Piece::of(&row.id));
            self.works.hear(&row.id, report);
        } else if report.state == WorkState::Running {
            tracing::warn!(
                cluster = row.id,
                job = report.job,
                "a node works for a job that has ended: it is to give that up"
            );
            self.cancel_work(&row.id, &report.job).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use custody_link::{BackupOrder, Work, WorkDone};

    use super::*;

    fn order() -> WorkOrder {
        let order = BackupOrder { backup: "backup-1".into(), storage: "/b".into(), only: None };
        WorkOrder { job: "job-1".into(), work: Work::Backup(order) }
    }

    fn report(state: WorkState) -> WorkReport {
        WorkReport { job: "job-1".into(), done: 1, total: 2, state }
    }

    #[test]
    fn a_node_is_told_again_until_it_has_ended_its_work() {
        let works = Works::default();
        assert!(!works.hear("in01-a", &report(WorkState::Running)));
        let heard = works.begin("in01-a", "job-1", Some(order()));
        assert!(works.orders("in01-a") == [order()] && works.orders("in01-b").is_empty());
        assert!(works.hear("in01-a", &report(WorkState::Running)));
        assert_eq!(*heard.borrow(), Some(report(WorkState::Running)));
        assert!(works.orders("in01-a") == [order()] && !works.is_done("job-1"));
        works.hear("in01-a", &report(WorkState::Done(WorkDone::default())));
        assert!(works.orders("in01-a").is_empty() && works.is_done("job-1"));
        works.hear("in01-a", &report(WorkState::Running));
        assert!(works.is_done("job-1"), "a late word takes nothing back");
        works.forget("job-1");
        assert!(!works.is_done("job-1"));
    }

    #[test]
    fn what_is_withdrawn_is_given_to_nobody() {
        let works = Works::default();
        let heard = works.begin("in01-a", "job-1", Some(order()));
        works.withdraw("job-1");
        assert!(works.orders("in01-a").is_empty());
        works.hear("in01-a", &report(WorkState::Canceled));
        assert_eq!(*heard.borrow(), Some(report(WorkState::Canceled)), "and is still heard of");
    }

    #[test]
    fn a_node_has_nothing_to_say_of_another_clusters_work() {
        let works = Works::default();
        let heard = works.begin("in01-a", "job-1", Some(order()));
        works.hear("in01-b", &report(WorkState::Done(WorkDone::default())));
        assert!(heard.borrow().is_none() && !works.is_done("job-1"));
    }

    #[test]
    fn what_was_heard_before_the_job_came_to_it_counts() {
        let works = Works::default();
        works.pieces().insert("job-1".into(), Piece::of("in01-a"));
        works.hear("in01-a", &report(WorkState::Running));
        assert_eq!(*works.begin("in01-a", "job-1", None).borrow(), Some(report(WorkState::Running)));
    }
}
