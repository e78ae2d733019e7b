//! Charts: lines over time as SVG, with what they show in words beside them.

use std::fmt::Write;

use custody_control::cluster::ClusterFigures;

/// The drawing's size, in units of its own.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 80.0;
/// The shortest time that is drawn, so that a new cluster's line is no dot.
const SHORTEST: i64 = 300_000;
const MEBIBYTE: f64 = 1_048_576.0;

/// A chart.
pub(crate) struct Chart {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// The newest value, with its unit.
    pub(crate) now: String,
    /// What a screen reader says in place of the drawing.
    pub(crate) words: String,
    /// The highest value that is drawn, or why none is.
    pub(crate) top: String,
    /// The line, as SVG has it; none while there is nothing to draw.
    pub(crate) line: Option<String>,
    /// The same, closed to the ground.
    pub(crate) area: String,
    /// For how long it goes back.
    pub(crate) since: String,
}

struct Series {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    digits: usize,
    /// None where there is nothing to tell: a gap.
    points: Vec<(i64, Option<f64>)>,
    /// More, in words.
    more: String,
}

/// The charts of a cluster: requests, latency, memory, calls to KMS.
pub(crate) fn charts(figures: &ClusterFigures, now: i64) -> Vec<Chart> {
    let points = &figures.points;
    let rate = |it: &custody_control::Point| float(it.requests) * 1_000.0 / float(it.span_ms.unsigned_abs());
    // Nobody waited where nobody asked.
    let latency =
        |it: &custody_control::Point| (it.requests > 0).then(|| float(it.micros) / float(it.requests) / 1_000.0);
    let failed: u64 = points.iter().map(|it| it.failed).sum();
    let refused: i64 = figures.kms.iter().map(|it| it.failed).sum();
    let series = [
        Series {
            id: "requests",
            title: "Requests",
            unit: "/s",
            digits: 1,
            points: points.iter().map(|it| (it.at, Some(rate(it)))).collect(),
            more: format!("{failed} failed"),
        },
        Series {
            id: "latency",
            title: "Latency",
            unit: "ms",
            digits: 1,
            points: points.iter().map(|it| (it.at, latency(it))).collect(),
            more: "mean of all calls".to_owned(),
        },
        Series {
            id: "memory",
            title: "Memory",
            unit: "MiB",
            digits: 0,
            points: points.iter().map(|it| (it.at, Some(float(it.resident) / MEBIBYTE))).collect(),
            more: "of the node's process".to_owned(),
        },
        Series {
            id: "kms",
            title: "KMS calls",
            unit: "/min",
            digits: 0,
            points: minutes(figures, now),
            more: format!("{refused} failed"),
        },
    ];
    series.into_iter().map(|series| series.drawn(now)).collect()
}

/// Every minute since the first call, those without one too. The minute that still runs is not told yet.
fn minutes(figures: &ClusterFigures, now: i64) -> Vec<(i64, Option<f64>)> {
    const MINUTE: i64 = 60_000;
    let Some(first) = figures.kms.first() else { return Vec::new() };
    let whole = (first.at..now - MINUTE).step_by(60_000);
    whole
        .map(|at| {
            let calls = figures.kms.iter().find(|minute| minute.at == at).map_or(0, |minute| minute.calls);
            (at + MINUTE, Some(float(calls.unsigned_abs())))
        })
        .collect()
}

impl Series {
    fn drawn(self, now: i64) -> Chart {
        let Self { id, title, unit, digits, points, more } = self;
        let said =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$} {unit}"));
        let highest = points.iter().filter_map(|(_, value)| *value).reduce(f64::max);
        let last = points.last().and_then(|(_, value)| *value);
        let first = points.first().map_or(now, |(at, _)| *at).min(now - SHORTEST);
        let scale = highest.filter(|highest| *highest > 0.0).unwrap_or(1.0);
        let place = |at: i64, value: f64| {
            let x = float(at.abs_diff(first)) / float(now.abs_diff(first)).max(1.0) * WIDTH;
            (x.min(WIDTH), HEIGHT - value / scale * (HEIGHT - 8.0) - 1.0)
        };
        let (mut line, mut area) = (String::new(), String::new());
        for part in points.split(|(_, value)| value.is_none()) {
            let places: Vec<_> = part.iter().filter_map(|(at, value)| Some(place(*at, (*value)?))).collect();
            let drawn = path(&places);
            if let Some((begin, end)) = places.first().zip(places.last()) {
                // Writing to a string can't fail.
                let _ = write!(area, "{drawn}L{:.1} {HEIGHT}L{:.1} {HEIGHT}Z", end.0, begin.0);
            }
            line += &drawn;
        }
        let minutes = now.abs_diff(first).div_ceil(60_000);
        let since = format!("{minutes} min");
        let (words, top) = match highest {
            _ if points.is_empty() => (format!("{title}: no figures yet"), "no figures yet".to_owned()),
            None => (format!("{title}: no requests in the last {since}; {more}"), "no requests".to_owned()),
            highest => {
                let most = said(highest);
                let words = format!("{title}: {} now, {most} at most in the last {since}; {more}", said(last));
                (words, format!("at most {most}"))
            }
        };
        let line = (points.len() > 1 && highest.is_some()).then_some(line);
        Chart { id, title, now: said(last), words, top, line, area, since }
    }
}

/// A line without a gap, as SVG has it; one place alone is a dot.
fn path(places: &[(f64, f64)]) -> String {
    let mut line = String::new();
    for (number, (x, y)) in places.iter().enumerate() {
        // Writing to a string can't fail.
        let _ = write!(line, "{}{x:.1} {y:.1}", if number == 0 { "M" } else { "L" });
    }
    if places.len() == 1 { line + "h0" } else { line }
}

/// Counts of an hour are far below what a double holds exactly.
#[expect(clippy::cast_precision_loss, reason = "a drawing needs no more digits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use custody_control::{Point, cluster::KmsMinute};

    use super::*;

    fn figures(points: Vec<Point>) -> ClusterFigures {
        let kms = vec![KmsMinute { at: 0, calls: 3, failed: 1 }, KmsMinute { at: 120_000, calls: 1, failed: 0 }];
        ClusterFigures { points, kms, renewals: BTreeMap::new() }
    }

    #[test]
    fn a_chart_says_in_words_what_it_draws() {
        let point = |at, requests| Point {
            at,
            span_ms: 5_000,
            requests,
            failed: 1,
            micros: requests * 2_000,
            resident: 3 << 20,
        };
        let drawn = charts(&figures(vec![point(5_000, 50), point(10_000, 10)]), 200_000);
        let words: Vec<&str> = drawn.iter().map(|chart| chart.words.as_str()).collect();
        assert_eq!(words[0], "Requests: 2.0 /s now, 10.0 /s at most in the last 5 min; 2 failed");
        assert_eq!(words[1], "Latency: 2.0 ms now, 2.0 ms at most in the last 5 min; mean of all calls");
        assert_eq!(words[2], "Memory: 3 MiB now, 3 MiB at most in the last 5 min; of the node's process");
        assert_eq!(words[3], "KMS calls: 1 /min now, 3 /min at most in the last 5 min; 1 failed");
        assert!(drawn[0].line.as_ref().is_some_and(|line| line.starts_with('M') && line.contains('L')));
    }

    #[test]
    fn no_request_is_a_gap_in_the_latency_and_no_latency_of_zero() {
        let point =
            |at, requests| Point { at, span_ms: 5_000, requests, failed: 0, micros: requests * 2_000, resident: 0 };
        let counts = [10, 10, 0, 5, 0];
        let points: Vec<Point> = (1..).zip(counts).map(|(number, count)| point(number * 5_000, count)).collect();
        let drawn = charts(&figures(points), 200_000);
        let (latency, line) = (&drawn[1], drawn[1].line.as_deref().unwrap_or_default());
        assert_eq!(latency.now, "–");
        assert_eq!(latency.words, "Latency: – now, 2.0 ms at most in the last 5 min; mean of all calls");
        assert_eq!(
            (line.matches('M').count(), line.matches("h0").count(), latency.area.matches('Z').count()),
            (2, 1, 2)
        );
        let idle = charts(&figures(vec![point(5_000, 0), point(10_000, 0)]), 200_000);
        assert!(idle[1].line.is_none() && idle[1].words.contains("no requests") && idle[1].top == "no requests");
        assert_eq!(idle[0].now, "0.0 /s");
    }

    #[test]
    fn a_cluster_without_figures_has_charts_that_say_so() {
        let none = ClusterFigures { points: Vec::new(), kms: Vec::new(), renewals: BTreeMap::new() };
        let drawn = charts(&none, 1_000_000);
        assert!(drawn.iter().all(|chart| chart.line.is_none() && chart.words.ends_with("no figures yet")));
    }

    #[test]
    fn a_minute_without_a_call_is_drawn_as_none() {
        let told = minutes(&figures(Vec::new()), 260_000);
        let drawn = [(60_000, 3.0), (120_000, 0.0), (180_000, 1.0), (240_000, 0.0)];
        assert_eq!(told, drawn.map(|(at, calls)| (at, Some(calls))));
    }
}
