//! Following a piece of work that a node does for a job: how far it is, whether it is still wanted, and when nothing is to be
//! expected of it any more.

use std::time::Duration;

use custody_link::{NodeState, WorkDone, WorkOrder, WorkReport, WorkState};
use tokio::time::Instant;

use crate::{
    Control,
    cluster::{self, Phase},
    job::{self, Due, JobKind, JobStatus},
    refusal::Refused,
};

/// Between two looks at what nobody tells by itself.
const TICK: Duration = Duration::from_millis(500);
/// How long a piece of work may come no further.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a node may take to say that it has given up what it is told to give up, before its process is looked for.
const ENDING: Duration = Duration::from_secs(30);
/// How long a node may take to connect after this process was started anew, and to say that it has the work.
const RECONNECTING: Duration = Duration::from_mins(1);

/// How a piece of work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is done.
    Done(WorkDone),
    /// It is not, and why.
    Failed(String),
    /// It was given up, as somebody asked.
    Canceled,
}

/// How a node learns of its work.
pub(crate) enum Given {
    /// By this.
    Order(Box<WorkOrder>),
    /// By its configuration.
    Configured,
    /// It has been told; what it was told is not known here any more.
    Before,
}

impl Given {
    /// By an order, if it is known.
    pub(super) fn to_node(order: Option<WorkOrder>) -> Self {
        order.map_or(Self::Before, |order| Self::Order(Box::new(order)))
    }
}

/// What is to be done next about a piece of work.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Wait,
    /// The node is to give it up.
    Cancel,
    /// It has ended, if the process that did it is gone: while that lives it may go on writing.
    EndIfGone(Ended),
    /// It has ended.
    End(Ended),
}

/// Why a cluster's node can't do its work.
struct Trouble {
    why: String,
    /// Whether nothing of the work goes on: else its process is to be gone first.
    over: bool,
}

/// How a piece of work comes along.
struct Pace {
    begun: Instant,
    /// How far it was, and since when it has not come further.
    at: (u64, u64),
    since: Instant,
    /// Whether only the node knows what it is.
    unknown: bool,
    /// Since when it is being given up, and what that makes of it.
    ending: Option<(Instant, Ended)>,
}

impl Pace {
    fn new(now: Instant, unknown: bool) -> Self {
        Self { begun: now, at: (0, 0), since: now, unknown, ending: None }
    }

    fn next(&mut self, now: Instant, report: Option<&WorkReport>, unwanted: bool) -> Step {
        match report.map(|report| &report.state) {
            Some(WorkState::Done(done)) => return Step::End(Ended::Done(done.clone())),
            Some(WorkState::Failed { reason }) => return Step::End(Ended::Failed(reason.clone())),
            Some(WorkState::Canceled) => {
                return Step::End(self.ending.take().map_or(Ended::Canceled, |(_, ended)| ended));
            }
            None if self.unknown && now - self.begun > RECONNECTING => {
                let lost = "the service was started anew, and the node that did it was, too: what was chosen by name is kept in \
                            memory alone and is lost. Ask again";
                return Step::End(Ended::Failed(lost.to_owned()));
            }
            Some(WorkState::Running) | None => {}
        }
        let at = report.map_or(self.at, |report| (report.done, report.total));
        if at != self.at {
            (self.at, self.since) = (at, now);
        }
        if self.ending.is_none() && unwanted {
            self.ending = Some((now, Ended::Canceled));
        }
        if self.ending.is_none() && now - self.since > PATIENCE {
            let slow = format!("the cluster's node came no further within {} minutes", PATIENCE.as_secs() / 60);
            self.ending = Some((now, Ended::Failed(slow)));
        }
        match &self.ending {
            None => Step::Wait,
            Some((since, ended)) if now - *since > ENDING => Step::EndIfGone(ended.clone()),
            Some(_) => Step::Cancel,
        }
    }
}

impl Control {
    /// Has a cluster's node do a piece of work for a job, and returns how that ended.
    pub(crate) async fn follow_work(&self, job: &Due, given: Given) -> Result<Ended, Refused> {
        let unknown = matches!(given, Given::Before);
        let order = if let Given::Order(order) = given { Some(*order) } else { None };
        let mut heard = self.nodes.give(&job.cluster, &job.id, order).await;
        let (mut pace, mut told) = (Pace::new(Instant::now(), unknown), None);
        loop {
            let report = heard.borrow_and_update().clone();
            let step = pace.next(Instant::now(), report.as_ref(), job::is_unwanted(&self.db, &job.id).await?);
            let trouble = self.trouble(job).await?;
            if matches!(step, Step::Cancel | Step::EndIfGone(_)) || trouble.is_some() {
                self.nodes.cancel_work(&job.cluster, &job.id).await;
            }
            let gone = || !self.nodes.has_process(&job.cluster);
            let ended = match (step, trouble) {
                (Step::End(ended), _) => Some(ended),
                (_, Some(Trouble { why, over })) => (over || gone()).then_some(Ended::Failed(why)),
                (Step::EndIfGone(ended), None) => gone().then_some(ended),
                (Step::Wait | Step::Cancel, None) => None,
            };
            if let Some(ended) = ended {
                // What it has made is undone now: no other process is to begin it.
                self.nodes.withdraw_work(&job.id);
                return Ok(ended);
            }
            if let Some(report) = report.filter(|report| told.as_ref() != Some(report)) {
                job::tell(&self.db, &job.id, hundredths(&report), &spoken(&report)).await?;
                told = Some(report);
            }
            // Whichever comes first; the sender lives as long as the job does.
            let _ = tokio::time::timeout(TICK, heard.changed()).await;
        }
    }

    /// Why the cluster's node can't do anything.
    async fn trouble(&self, job: &Due) -> Result<Option<Trouble>, Refused> {
        let ending = |why: String| Some(Trouble { why, over: false });
        let Some(row) = cluster::find(&self.db, &job.cluster).await? else {
            return Ok(ending("the cluster is no more".to_owned()));
        };
        let live = self.nodes.live(&job.cluster);
        // The image that did the work was replaced by one that has no key.
        let sealed = match live.report().map(|report| &report.state) {
            Some(NodeState::Sealed { reason, .. }) => {
                Some(Trouble { why: format!("the cluster is sealed: {reason}"), over: true })
            }
            _ => None,
        };
        let fallen = || live.problem().map(|why| Trouble { why: why.to_owned(), over: true });
        Ok(match (job.kind, row.phase) {
            // Whatever ends the process of a cluster that is being made is the end of it.
            (JobKind::RestoreCluster, _) => sealed.or_else(fallen),
            (_, Phase::Running) => sealed,
            (_, phase) => ending(format!("the cluster is {phase}")),
        })
    }

    /// What may be written down of why a job failed. What names something that was chosen is told while this process runs.
    pub(super) fn written(&self, job: &Due, chosen: bool, why: String) -> String {
        if !chosen {
            return why;
        }
        self.names.explain(&job.id, &why);
        "the cluster's node could not do it. Why may name what was chosen, and is told by the service that was asked, while it \
         runs"
            .to_owned()
    }

    /// Ends a job by itself.
    pub(crate) async fn end_job(&self, job: &Due, status: JobStatus, why: Option<&str>) -> Result<(), Refused> {
        let mut change = self.db.change().await?;
        job::end(&mut change, &job.id, status, why, None).await?;
        change.commit().await?;
        self.forget_work(job);
        Ok(())
    }

    /// Forgets what was kept in memory of a job that has ended.
    pub(crate) fn forget_work(&self, job: &Due) {
        self.nodes.forget_work(&job.id);
        self.names.forget(&job.id);
    }
}

/// How far it is: never done before it is.
fn hundredths(report: &WorkReport) -> i64 {
    let share = report.done.saturating_mul(100).checked_div(report.total).unwrap_or(0);
    i64::try_from(share.min(99)).unwrap_or(0)
}

fn spoken(report: &WorkReport) -> String {
    match report.total {
        0 => "its node prepares it".to_owned(),
        total => format!("{} of {total} bytes", report.done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(done: u64, state: WorkState) -> WorkReport {
        WorkReport { job: "job-1".into(), done, total: 100, state }
    }

    fn running(done: u64) -> WorkReport {
        report(done, WorkState::Running)
    }

    #[tokio::test]
    async fn work_that_comes_along_is_waited_for_and_work_that_does_not_is_given_up() {
        let start = Instant::now();
        let (minutes, mut pace) = (|count| start + Duration::from_mins(count), Pace::new(start, false));
        assert_eq!(pace.next(minutes(9), Some(&running(1)), false), Step::Wait);
        assert_eq!(pace.next(minutes(18), Some(&running(2)), false), Step::Wait);
        assert_eq!(pace.next(minutes(27), Some(&running(2)), false), Step::Wait);
        assert_eq!(pace.next(minutes(29), Some(&running(2)), false), Step::Cancel);
        let canceled = report(2, WorkState::Canceled);
        let ended = pace.next(minutes(29), Some(&canceled), false);
        assert!(matches!(&ended, Step::End(Ended::Failed(why)) if why.contains("10 minutes")), "{ended:?}");
    }

    #[tokio::test]
    async fn a_node_that_says_nothing_is_not_waited_for_for_ever() {
        let start = Instant::now();
        let mut pace = Pace::new(start, false);
        assert_eq!(pace.next(start + PATIENCE, None, false), Step::Wait);
        let late = start + PATIENCE + TICK;
        assert_eq!(pace.next(late, None, false), Step::Cancel);
        assert!(matches!(pace.next(late + ENDING + TICK, None, false), Step::EndIfGone(Ended::Failed(_))));
    }

    #[tokio::test]
    async fn what_is_not_wanted_any_more_is_given_up_unless_it_is_done() {
        let start = Instant::now();
        let mut pace = Pace::new(start, false);
        assert_eq!(pace.next(start, Some(&running(1)), true), Step::Cancel);
        assert_eq!(pace.next(start, Some(&report(1, WorkState::Canceled)), true), Step::End(Ended::Canceled));
        let mut pace = Pace::new(start, false);
        assert_eq!(pace.next(start, None, true), Step::Cancel);
        assert_eq!(pace.next(start + ENDING + TICK, None, true), Step::EndIfGone(Ended::Canceled));
        let canceled = report(1, WorkState::Canceled);
        assert_eq!(pace.next(start + ENDING + TICK, Some(&canceled), true), Step::End(Ended::Canceled));
        let done = report(100, WorkState::Done(WorkDone::default()));
        let mut pace = Pace::new(start, false);
        assert_eq!(pace.next(start, Some(&running(99)), true), Step::Cancel);
        assert_eq!(pace.next(start, Some(&done), true), Step::End(Ended::Done(WorkDone::default())));
    }

    #[tokio::test]
    async fn what_only_the_node_knew_goes_on_if_the_node_still_does() {
        let start = Instant::now();
        let late = start + RECONNECTING + TICK;
        let mut pace = Pace::new(start, true);
        assert_eq!(pace.next(late, Some(&running(5)), false), Step::Wait);
        let mut pace = Pace::new(start, true);
        assert_eq!(pace.next(start + RECONNECTING, None, false), Step::Wait);
        let ended = pace.next(late, None, false);
        assert!(matches!(&ended, Step::End(Ended::Failed(why)) if why.contains("Ask again")), "{ended:?}");
    }

    #[test]
    fn progress_is_told_in_hundredths_and_is_whole_only_at_the_end() {
        assert_eq!((hundredths(&running(0)), hundredths(&running(57)), hundredths(&running(100))), (0, 57, 99));
        let unknown = WorkReport { total: 0, ..running(7) };
        assert_eq!((hundredths(&unknown), spoken(&unknown).as_str()), (0, "its node prepares it"));
        assert_eq!(spoken(&running(7)), "7 of 100 bytes");
    }
}
