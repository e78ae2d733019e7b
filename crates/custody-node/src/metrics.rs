//! Figures for Prometheus. Labels are calls, codes and ids; never a name or a value.

use std::{sync::Arc, time::Duration};

use custody_engine::Engine;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::tally::Tally;

/// The label of calls that are not answered: their names come from the client.
const OTHER: &str = "other";

/// Metrics that could not be set up or written out.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// The node's figures.
pub(crate) struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    errors: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    pub(crate) connections: IntGauge,
    denied: IntCounterVec,
    zones: IntGaugeVec,
    grace: IntGaugeVec,
    databases: IntGauge,
    collections: IntGauge,
    rows: IntGauge,
    tally: Arc<Tally>,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        // From a trivial call to a scan of a large collection.
        let buckets = prometheus::exponential_buckets(0.000_5, 2.5, 12)?;
        let options = HistogramOpts::new("custody_call_duration_seconds", "Time to answer a call").buckets(buckets);
        let seconds = HistogramVec::new(options, &["call"])?;
        registry.register(Box::new(seconds.clone()))?;
        let zones = Opts::new("custody_zone_open", "1 while a zone's key is at hand, 0 while it is sealed");
        let zones = IntGaugeVec::new(zones, &["zone"])?;
        registry.register(Box::new(zones.clone()))?;
        let grace = Opts::new("custody_zone_grace", "1 while a zone is served although its key can't be reached");
        let grace = IntGaugeVec::new(grace, &["zone"])?;
        registry.register(Box::new(grace.clone()))?;
        Ok(Self {
            calls: counters("custody_calls_total", "Calls by gRPC code", &["call", "code"])?,
            errors: counters("custody_call_errors_total", "Calls that failed with a Milvus error", &["call", "error"])?,
            seconds,
            in_flight: gauge("custody_calls_in_flight", "Calls being answered")?,
            connections: gauge("custody_connections", "Open connections")?,
            denied: counters("custody_denied_total", "Calls turned away before they were looked at", &["reason"])?,
            zones,
            grace,
            databases: gauge("custody_databases", "Databases, sealed ones included")?,
            collections: gauge("custody_collections_open", "Collections that are open")?,
            rows: gauge("custody_rows_in_memory", "Rows in memory")?,
            tally: Arc::default(),
            registry,
        })
    }

    /// Counts calls in a tally of somebody else's besides.
    pub(crate) fn counting_in(self, tally: Arc<Tally>) -> Self {
        Self { tally, ..self }
    }

    /// A call is being answered until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A call was answered. `call` must be one of the calls that are answered, not what the client sent.
    pub(crate) fn answered(&self, call: Option<&'static str>, code: tonic::Code, error: Option<i32>, took: Duration) {
        self.tally.count(code != tonic::Code::Ok || error.is_some(), took);
        let call = call.unwrap_or(OTHER);
        self.calls.with_label_values(&[call, code_name(code)]).inc();
        self.seconds.with_label_values(&[call]).observe(took.as_secs_f64());
        if let Some(error) = error {
            self.errors.with_label_values(&[call, error.to_string().as_str()]).inc();
        }
    }

    /// A call was turned away.
    pub(crate) fn denied(&self, reason: &'static str) {
        self.denied.with_label_values(&[reason]).inc();
    }

    /// Everything in Prometheus' text format.
    pub(crate) async fn render(&self, engine: &Engine) -> Result<Vec<u8>, MetricsError> {
        let stats = engine.stats();
        self.databases.set(gauge(stats.databases));
        self.collections.set(gauge(stats.collections_open));
        self.rows.set(gauge(stats.rows));
        self.zones.reset();
        self.grace.reset();
        for zone in engine.zones().await {
            let id = zone.zone.to_string();
            self.zones.with_label_values(&[id.as_str()]).set(i64::from(zone.status.is_usable()));
            let grace = zone.status.is_usable() && zone.status.outcome().is_some();
            self.grace.with_label_values(&[id.as_str()]).set(i64::from(grace));
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::Unknown => "UNKNOWN",
    }
}

/// Counts a call as being answered.
pub(crate) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&metrics.registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn calls_are_counted_by_their_own_name_and_code() {
        let metrics = Metrics::new().unwrap();
        metrics.answered(Some("Search"), tonic::Code::Ok, Some(100), Duration::from_millis(3));
        metrics.answered(None, tonic::Code::Unimplemented, None, Duration::ZERO);
        let text = text(&metrics);
        assert!(text.contains(r#"custody_calls_total{call="Search",code="OK"} 1"#), "{text}");
        assert!(text.contains(r#"custody_call_errors_total{call="Search",error="100"} 1"#));
        assert!(text.contains(r#"custody_calls_total{call="other",code="UNIMPLEMENTED"} 1"#));
    }

    #[test]
    fn calls_are_tallied_by_whether_they_failed() {
        let metrics = Metrics::new().unwrap();
        metrics.answered(Some("Search"), tonic::Code::Ok, None, Duration::from_millis(3));
        metrics.answered(Some("Search"), tonic::Code::Ok, Some(100), Duration::from_millis(1));
        metrics.answered(None, tonic::Code::Unimplemented, None, Duration::ZERO);
        let counted = metrics.tally.counted();
        assert_eq!((counted.requests, counted.failed, counted.micros), (3, 2, 4_000));
    }

    #[test]
    fn a_call_is_in_flight_until_its_guard_is_dropped() {
        let metrics = Metrics::new().unwrap();
        let guard = metrics.begin();
        assert_eq!(metrics.in_flight.get(), 1);
        drop(guard);
        assert_eq!(metrics.in_flight.get(), 0);
    }
}
