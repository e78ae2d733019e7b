//! The control plane's figures for Prometheus. Labels are ids, statuses and codes: never the name of anything (rule 15).

use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::{
    Control,
    backup::BackupStatus,
    cluster::{self, ClusterStatus},
    cmek::KeyStatus,
    job::JobStatus,
    refusal::Refused,
};

/// The media type of Prometheus' text format.
pub(crate) const KIND: &str = "text/plain; version=0.0.4";

impl From<prometheus::Error> for Refused {
    fn from(error: prometheus::Error) -> Self {
        Self::internal(error)
    }
}

impl Control {
    /// All figures, as they are now. Whoever asks has been let in before.
    pub(crate) async fn figures(&self) -> Result<Vec<u8>, Refused> {
        let figures = Figures::default();
        self.of_keys(&figures).await?;
        self.of_clusters(&figures).await?;
        self.of_backups(&figures).await?;
        self.of_work(&figures).await?;
        let calls =
            figures.counters("kms_calls_total", "Calls to KMS and STS, nodes' included", &["action", "outcome"])?;
        for ((action, outcome), count) in self.ledger.counts() {
            calls.with_label_values(&[&action, &outcome]).inc_by(count);
        }
        let requests = figures.counters("requests_total", "Requests over REST", &["status"])?;
        for (status, count) in self.requests.all() {
            requests.with_label_values(&[status.to_string()]).inc_by(count);
        }
        figures.text()
    }

    async fn of_keys(&self, figures: &Figures) -> Result<(), Refused> {
        let by_status = figures.gauges("keys", "Customer-managed keys by status", &["status"])?;
        for status in KeyStatus::ALL {
            by_status.with_label_values(&[status.as_str()]).set(0);
        }
        let proven = figures.gauges(
            "key_last_success_timestamp_seconds",
            "When a key last decrypted for the control plane",
            &["key"],
        )?;
        let keys = sqlx::query!("SELECT id, status, last_success_at FROM keys").fetch_all(self.db.pool()).await?;
        for key in keys {
            by_status.with_label_values(&[&key.status]).inc();
            proven.with_label_values(&[&key.id]).set(key.last_success_at / 1_000);
        }
        Ok(())
    }

    async fn of_clusters(&self, figures: &Figures) -> Result<(), Refused> {
        let by_status = figures.gauges("clusters", "Clusters by status", &["status"])?;
        for status in ClusterStatus::ALL {
            by_status.with_label_values(&[status.as_str()]).set(0);
        }
        let running = figures.gauges("cluster_running", "1 while a cluster serves", &["cluster"])?;
        let zones = figures.gauges(
            "cluster_zones",
            "Zones of an encrypted cluster by state, as its node told last",
            &["cluster", "state"],
        )?;
        for row in cluster::all(&self.db).await? {
            let live = self.nodes.live(&row.id);
            let (status, _) = cluster::status(&row, &live);
            by_status.with_label_values(&[status.as_str()]).inc();
            running.with_label_values(&[&row.id]).set(i64::from(status == ClusterStatus::Running));
            for zone in live.report().map(|report| report.zones.as_slice()).unwrap_or_default() {
                let state = cluster::state_of(zone);
                zones.with_label_values(&[row.id.as_str(), state]).inc();
            }
        }
        let starts = figures.counters("node_starts_total", "Processes started for a cluster", &["cluster"])?;
        for (cluster, count) in self.nodes.starts.all() {
            starts.with_label_values(&[&cluster]).inc_by(count);
        }
        Ok(())
    }

    async fn of_backups(&self, figures: &Figures) -> Result<(), Refused> {
        let by_status = figures.gauges("backups", "Backups by status", &["status"])?;
        for status in BackupStatus::ALL {
            by_status.with_label_values(&[status.as_str()]).set(0);
        }
        let counts = sqlx::query!("SELECT status, count(*) AS count FROM backups GROUP BY status");
        for found in counts.fetch_all(self.db.pool()).await? {
            by_status.with_label_values(&[&found.status]).set(found.count);
        }
        let newest = figures.gauges(
            "backup_last_success_timestamp_seconds",
            "When the newest backup that there is of a cluster was complete",
            &["cluster"],
        )?;
        let ends = sqlx::query!(
            r#"SELECT cluster_id AS "cluster_id!", max(ended_at) AS "at!: i64" FROM backups WHERE ended_at IS NOT NULL GROUP BY cluster_id"#
        );
        for found in ends.fetch_all(self.db.pool()).await? {
            newest.with_label_values(&[&found.cluster_id]).set(found.at / 1_000);
        }
        Ok(())
    }

    async fn of_work(&self, figures: &Figures) -> Result<(), Refused> {
        let jobs = figures.gauges("jobs", "Jobs that have not ended, by status", &["status"])?;
        for status in [JobStatus::Pending, JobStatus::PendingApproval, JobStatus::Running] {
            jobs.with_label_values(&[status.as_str()]).set(0);
        }
        let open = sqlx::query!("SELECT status, count(*) AS count FROM jobs WHERE ended_at IS NULL GROUP BY status");
        for found in open.fetch_all(self.db.pool()).await? {
            jobs.with_label_values(&[&found.status]).set(found.count);
        }
        let waiting =
            figures.gauges("alert_deliveries_waiting", "Deliveries to webhooks that are still to arrive", &[])?;
        let count = sqlx::query_scalar!("SELECT count(*) FROM deliveries WHERE next_at IS NOT NULL");
        waiting.with_label_values::<&str>(&[]).set(count.fetch_one(self.db.pool()).await?);
        Ok(())
    }
}

/// Figures that are gathered for one answer.
#[derive(Default)]
struct Figures(Registry);

impl Figures {
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Refused> {
        let gauges = IntGaugeVec::new(Opts::new(format!("custody_control_{name}"), help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Refused> {
        let counters = IntCounterVec::new(Opts::new(format!("custody_control_{name}"), help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn text(&self) -> Result<Vec<u8>, Refused> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text)?;
        Ok(text)
    }
}
