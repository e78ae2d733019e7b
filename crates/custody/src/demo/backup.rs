//! The chapter of backups: one is made of the demo's cluster, which is then restored under another key, and without one.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use custody_kms::{KeyArn, LocalKeys};
use tokio::process::Command;

use super::{
    CHECK_INTERVAL, MIN_RECALL, NEIGHBOURS,
    cluster::{Cluster, ID},
    digits::Digits,
    report::Report,
    scan,
};
use crate::Failure;

const BACKUP: &str = "demo-backup";

/// What the chapter is about.
pub(super) struct Chapter<'a> {
    pub(super) root: &'a Path,
    pub(super) digits: &'a Digits,
    pub(super) keys: &'a LocalKeys,
    /// The key that the cluster is under.
    pub(super) key: &'a KeyArn,
    /// Where the cluster lies, whose node has ended.
    pub(super) cluster: &'a Path,
}

impl Chapter<'_> {
    pub(super) async fn tell(&self, report: &mut Report) -> Result<(), Failure> {
        let other = self.keys.create()?;
        let started = Instant::now();
        self.custody("backup", self.cluster, Some(self.key), &["--backup", BACKUP]).await?;
        let found = scan::scan(&self.backups(), self.digits)?;
        report.check(
            "the backup is ciphertext, too",
            found.is_clean(),
            &format!("{} files, {} bytes, made in {:.2} s", found.files, found.bytes, started.elapsed().as_secs_f64()),
        );
        let (rekeyed, plain) = (self.root.join("restored"), self.root.join("restored-plain"));
        self.restore(&rekeyed, Some(&other)).await?;
        self.restore(&plain, None).await?;
        // From here on the old key opens nothing any more.
        self.keys.disable(self.key)?;
        let refused = self.restore(&self.root.join("refused"), Some(&other)).await;
        let reason = refused.err().map(|error| error.to_string()).unwrap_or_default();
        report.check(
            "with the backup's key disabled, no restore",
            reason.contains("disabled") && !self.root.join("refused").join("storage/clusters").join(ID).exists(),
            "it is refused with the reason, and nothing is left",
        );
        self.look("restored under another key", &rekeyed, Some(&other), report).await?;
        self.look("restored without a key", &plain, None, report).await
    }

    /// Serves a restored cluster, counts, searches, and looks at its files.
    async fn look(
        &self,
        what: &str,
        directory: &Path,
        key: Option<&KeyArn>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let keys = key.map(|key| (key, self.keys.path()));
        let cluster = Cluster::start(directory, keys, CHECK_INTERVAL).await?;
        let count = cluster.count().await?;
        cluster.wait_for_index().await?;
        let recall = self.digits.recall(&cluster.search_all(self.digits, NEIGHBOURS, |_| {}).await?, NEIGHBOURS);
        cluster.stop().await?;
        let found = scan::scan(directory, self.digits)?;
        report.check(
            &format!("{what}, it is the same cluster"),
            count == Digits::COUNT as u64 && recall >= MIN_RECALL,
            &format!("{count} rows, recall@10 {recall:.4}"),
        );
        report.check(
            &format!("{what}, its files are {}", if key.is_some() { "ciphertext" } else { "plain" }),
            found.is_clean() == key.is_some(),
            &found.summary(),
        );
        Ok(())
    }

    async fn restore(&self, to: &Path, key: Option<&KeyArn>) -> Result<(), Failure> {
        let from = ["--from-cluster", ID, "--from-backup", BACKUP, "--from-key-arn", self.key.as_str()];
        self.custody("restore", to, key, &from).await
    }

    fn backups(&self) -> PathBuf {
        self.root.join("backups")
    }

    /// Runs a command on a cluster that no node serves.
    async fn custody(&self, command: &str, data: &Path, key: Option<&KeyArn>, more: &[&str]) -> Result<(), Failure> {
        let mut process = Command::new(std::env::current_exe()?);
        process.arg(command).args(["--cluster-id", ID, "--log", "warn", "--allow-swap"]).arg("--data-dir").arg(data);
        process.arg("--backup-storage").arg(self.backups()).arg("--kms-file").arg(self.keys.path()).args(more);
        match key {
            Some(key) => process.args(["--key-arn", key.as_str()]),
            None => process.arg("--unencrypted"),
        };
        let output = process.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("custody {command} failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
    }
}
