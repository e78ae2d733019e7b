//! How a node went in the last hour, in memory alone: what the console draws.

use std::collections::VecDeque;

use custody_link::Figures;
use serde::Serialize;

/// An hour, at one point each five seconds.
const KEPT: usize = 720;

/// What a node did between two tellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Until when, in milliseconds since 1970.
    pub at: i64,
    /// For how long.
    pub span_ms: i64,
    /// Calls that were answered.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How long all of them took together, in microseconds.
    pub micros: u64,
    /// The process's memory then, in bytes.
    pub resident: u64,
}

/// The points there are.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<(i64, Figures)>,
    points: VecDeque<Point>,
}

impl History {
    /// Takes what a node counted since its process began. The first telling is where counting begins.
    pub(super) fn told(&mut self, now: i64, figures: Figures) {
        let Some((then, before)) = self.last.replace((now, figures)) else { return };
        // A process that was started anew counts from nothing.
        let begins = figures.requests < before.requests;
        let since = |now: u64, before: u64| if begins { now } else { now.saturating_sub(before) };
        if self.points.len() == KEPT {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            at: now,
            span_ms: (now - then).max(1),
            requests: since(figures.requests, before.requests),
            failed: since(figures.failed, before.failed),
            micros: since(figures.micros, before.micros),
            resident: figures.resident,
        });
    }

    /// Oldest first.
    pub(super) fn points(&self) -> Vec<Point> {
        self.points.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(requests: u64, failed: u64) -> Figures {
        Figures { requests, failed, micros: requests * 100, resident: 7 }
    }

    #[test]
    fn a_point_is_what_came_since_the_telling_before_also_over_a_restart() {
        let mut history = History::default();
        history.told(0, figures(40, 1));
        history.told(5_000, figures(50, 3));
        history.told(10_000, figures(4, 0));
        let told: Vec<_> = history.points().iter().map(|it| (it.at, it.span_ms, it.requests, it.failed)).collect();
        assert_eq!(told, [(5_000, 5_000, 10, 2), (10_000, 5_000, 4, 0)]);
        assert_eq!(history.points()[0].micros, 1_000);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut history = History::default();
        (0..2_000).for_each(|number| history.told(number * 5_000, figures(0, 0)));
        let points = history.points();
        assert_eq!((points.len(), points[0].at), (KEPT, (2_000 - 720) * 5_000));
    }
}
