//! What is known of a cluster's node at this moment.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use custody_link::{NodeState, ROLLED_BACK, Report, ZoneReport, ZoneState};

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

    /// Whether it says that it is sealed by hand, and stays so by this order or a later one.
    pub(crate) fn is_sealed_by(&self, order: u64) -> bool {
        self.report().is_some_and(|report| matches!(report.state, NodeState::Sealed { heeded, .. } if heeded >= order))
    }

    /// Whether it serves a zone whose key gave no answer, as it told last, and goes on doing so at this time.
    pub(super) fn is_on_grace(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let runs = |until: Option<u64>| until.is_none_or(|until| u128::from(until) > now);
        let on_grace = |zone: &ZoneReport| zone.status == ZoneState::Grace && runs(zone.grace_until_unix_ms);
        self.report().is_some_and(|report| report.zones.iter().any(on_grace))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: NodeState, zones: Vec<ZoneReport>) -> Live {
        let mut live = Live::default();
        live.told(Report { state, zones, pid: 1 });
        live
    }

    #[test]
    fn a_node_is_sealed_by_an_order_once_it_says_so_of_that_one() {
        let sealed = |heeded| NodeState::Sealed { reason: "sealed".to_owned(), outcome: None, heeded };
        assert!(!told(sealed(0), Vec::new()).is_sealed_by(7), "its key was refused, and may be back");
        assert!(!told(sealed(6), Vec::new()).is_sealed_by(7), "it may have been unsealed since");
        assert!(told(sealed(7), Vec::new()).is_sealed_by(7) && told(sealed(8), Vec::new()).is_sealed_by(7));
        assert!(!told(NodeState::Starting, Vec::new()).is_sealed_by(7) && !Live::default().is_sealed_by(7));
    }

    #[test]
    fn grace_lasts_to_its_end_whatever_zone_has_it() {
        let zone = |status, grace_until_unix_ms| ZoneReport {
            zone: "0".repeat(32),
            key_arn: "arn".to_owned(),
            key_version: 1,
            status,
            outcome: None,
            reason: None,
            grace_until_unix_ms,
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let on_grace = |zones| told(NodeState::Serving, zones).is_on_grace(now);
        let available = || zone(ZoneState::Available, None);
        assert!(on_grace(vec![available(), zone(ZoneState::Grace, Some(10_001))]));
        assert!(
            !on_grace(vec![available(), zone(ZoneState::Grace, Some(10_000))]),
            "it has ended, and nothing is forfeited"
        );
        assert!(!on_grace(vec![available()]) && !Live::default().is_on_grace(now));
    }
}
