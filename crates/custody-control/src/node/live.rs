//! What is known of a cluster's node at this moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use custody_link::{NodeState, ROLLED_BACK, Report};

/// How long a process may be without a link before that is taken for what it is.
const BETWEEN: Duration = Duration::from_secs(10);

/// How a node is.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// Its process.
    pid: Option<u32>,
    /// What it told last, while it is connected.
    report: Option<Arc<Report>>,
    /// Whether this process was connected before, to us or to the control plane before us: then it is about to be again.
    known: bool,
    /// When it last told anything, or was started.
    heard: Instant,
    /// Since when it has not served.
    dark_since: Option<Instant>,
    /// Why its last process ended.
    problem: Option<String>,
}

impl Default for Live {
    fn default() -> Self {
        let now = Instant::now();
        Self { pid: None, report: None, known: false, heard: now, dark_since: Some(now), problem: None }
    }
}

impl Live {
    /// What the node told last; nothing if it is not connected.
    pub(crate) fn report(&self) -> Option<&Report> {
        self.report.as_deref()
    }

    /// Why the last process ended.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whether it says that its storage, or a part of it, is below the cluster's anchor.
    pub(crate) fn is_rolled_back(&self) -> bool {
        let Some(report) = &self.report else { return false };
        let is = |outcome: &Option<String>| outcome.as_deref() == Some(ROLLED_BACK);
        let whole = matches!(&report.state, NodeState::Sealed { outcome, .. } if is(outcome));
        whole || report.zones.iter().any(|zone| is(&zone.outcome))
    }

    /// For how long nothing was heard of it.
    pub(super) fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// For how long it has not served.
    pub(super) fn dark_for(&self) -> Duration {
        self.dark_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether it is between two images or two control planes: what was known of it last still holds.
    pub(crate) fn is_between(&self) -> bool {
        self.known && self.report.is_none() && self.heard.elapsed() < BETWEEN
    }

    /// A process was started, or one that ran already is taken over.
    pub(super) fn began(&mut self, pid: u32, known: bool) {
        (self.pid, self.known) = (Some(pid), known);
        self.heard = Instant::now();
    }

    pub(super) fn told(&mut self, report: Report) {
        self.heard = Instant::now();
        if report.state == NodeState::Serving {
            self.dark_since = None;
            self.problem = None;
        } else {
            self.dark_since.get_or_insert_with(Instant::now);
        }
        (self.known, self.report) = (true, Some(Arc::new(report)));
    }

    pub(super) fn disconnected(&mut self) {
        self.report = None;
        self.dark_since.get_or_insert_with(Instant::now);
    }

    /// Its process is this one.
    pub(super) fn is_of(&self, pid: u32) -> bool {
        self.pid == Some(pid)
    }

    pub(super) fn ended(&mut self, problem: Option<String>) {
        (self.pid, self.known) = (None, false);
        self.problem = problem;
        self.disconnected();
    }
}
