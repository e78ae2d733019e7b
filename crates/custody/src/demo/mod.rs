//! `custody demo`: the whole story on one machine. Every claim is a check with its figure; one that fails fails the demo.

mod backup;
mod cluster;
mod digits;
mod report;
mod scan;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use custody_kms::{KeyArn, LocalKeys};

use crate::Failure;
use cluster::Cluster;
use digits::Digits;
use report::Report;
use scan::Finds;

/// How often the demo's cluster checks its key.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Scheduling slack on top of the two intervals within which a cluster goes dark and comes back.
const SLACK: Duration = Duration::from_millis(500);
/// Neighbours asked for.
const NEIGHBOURS: usize = 10;
/// The recall that the graph must reach on the digits.
const MIN_RECALL: f64 = 0.98;
/// The share of digits whose nearest neighbour must be the same digit. Exact search gives 0.988.
const MIN_ACCURACY: f64 = 0.97;

/// `custody demo`.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Leave the data in this directory, which must be empty or not exist [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs the demo; an error if any check failed.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let root = match &args.keep {
        Some(kept) => prepare(kept)?,
        None => temporary.path().to_owned(),
    };
    let mut report = Report::new();
    let told = tokio::select! {
        told = tell(&root, &mut report) => told,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    told?;
    report.close(args.keep.as_deref())
}

fn prepare(kept: &Path) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(kept)?;
    let used = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        return Err(format!("--keep {}: the directory is not empty: choose another one", path.display()).into());
    }
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

async fn tell(root: &Path, report: &mut Report) -> Result<(), Failure> {
    let digits = Digits::load()?;
    let keys = LocalKeys::new(root.join("local-kms.json"));
    let key = keys.create()?;
    Report::say(&format!("1. A root key in the local development KMS\n   {key}"));

    Report::say("2. An encrypted cluster under it, and 1,797 handwritten digits inserted over gRPC");
    let mut cluster = Cluster::start(&root.join("encrypted"), Some((&key, keys.path())), CHECK_INTERVAL).await?;
    fill(&mut cluster, &digits, report).await?;

    Report::say("3. Searches whose result proves itself: a digit's neighbours show the same digit");
    let before = search(&cluster, &digits, report).await?;

    Report::say("4. What lies on the disk");
    cluster.flush().await?;
    scan_both(root, &cluster, &digits, report).await?;

    Report::say("5. The key is disabled: the cluster goes dark");
    revoke(&cluster, &keys, &key, report).await?;

    Report::say("6. The key is enabled: the cluster comes back by itself");
    recover(&mut cluster, &keys, &key, report).await?;
    let after = digits.recall(&cluster.search_all(&digits, NEIGHBOURS, |_| {}).await?, NEIGHBOURS);
    report.check(
        "it finds what it found before",
        after >= MIN_RECALL,
        &format!("recall@10 {after:.4}, before {before:.4}"),
    );
    let directory = cluster.directory().to_owned();
    cluster.stop().await?;

    Report::say("7. A backup, restored under another key, and without one");
    let chapter = backup::Chapter { root, digits: &digits, keys: &keys, key: &key, cluster: &directory };
    chapter.tell(report).await
}

async fn fill(cluster: &mut Cluster, digits: &Digits, report: &mut Report) -> Result<(), Failure> {
    let progress = Report::progress("inserting", digits.len());
    let started = Instant::now();
    cluster.create_collection().await?;
    cluster.insert(digits, |rows| progress.set_position(rows as u64)).await?;
    progress.finish_and_clear();
    let count = cluster.count().await?;
    report.check(
        "every acknowledged row is there",
        count == digits.len() as u64,
        &format!("{count} rows in {:.2} s", started.elapsed().as_secs_f64()),
    );
    cluster.wait_for_index().await
}

/// Searches for every digit; gives the recall.
async fn search(cluster: &Cluster, digits: &Digits, report: &mut Report) -> Result<f64, Failure> {
    let progress = Report::progress("searching", digits.len());
    let started = Instant::now();
    let answers = cluster.search_all(digits, NEIGHBOURS, |done| progress.set_position(done as u64)).await?;
    let seconds = started.elapsed().as_secs_f64();
    progress.finish_and_clear();
    let accuracy = digits.label_accuracy(&answers);
    report.check(
        "label accuracy of the nearest neighbour",
        accuracy >= MIN_ACCURACY,
        &format!("{accuracy:.4} (at least {MIN_ACCURACY})"),
    );
    let recall = digits.recall(&answers, NEIGHBOURS);
    report.check(
        "recall@10 of the graph against exact search",
        recall >= MIN_RECALL,
        &format!("{recall:.4} (at least {MIN_RECALL}), {} searches in {seconds:.2} s", answers.len()),
    );
    Ok(recall)
}

/// Scans the cluster's files for plaintext, and a plain cluster's for the same, which shows that the scan can find it.
async fn scan_both(root: &Path, cluster: &Cluster, digits: &Digits, report: &mut Report) -> Result<(), Failure> {
    let found = scan::scan(cluster.directory(), digits)?;
    report.check(
        "no vector, no label and no name in plain text",
        found.is_clean(),
        &format!("{} files, {} bytes scanned: {}", found.files, found.bytes, found.summary()),
    );
    let progress = Report::progress("an unencrypted cluster, for comparison", digits.len());
    let plain = Cluster::start(&root.join("plain"), None, CHECK_INTERVAL).await?;
    plain.create_collection().await?;
    plain.insert(digits, |rows| progress.set_position(rows as u64)).await?;
    plain.flush().await?;
    progress.finish_and_clear();
    let Finds { vectors, names, .. } = scan::scan(plain.directory(), digits)?;
    report.check(
        "the same scan finds them in an unencrypted cluster",
        vectors == digits.len() && names > 0,
        &format!("{vectors} vectors, {names} names found"),
    );
    plain.stop().await
}

async fn revoke(cluster: &Cluster, keys: &LocalKeys, key: &KeyArn, report: &mut Report) -> Result<(), Failure> {
    keys.disable(key)?;
    let started = Instant::now();
    let limit = 2 * CHECK_INTERVAL + SLACK;
    let reason = loop {
        match cluster.count().await {
            Err(error) if error.to_string().contains("sealed") => break Some(error.to_string()),
            // A connection that ends just then is not yet the answer.
            Ok(_) | Err(_) if started.elapsed() > 10 * limit => break None,
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let took = started.elapsed();
    let figure = format!("after {:.2} s (at most {:.1} s)", took.as_secs_f64(), limit.as_secs_f64());
    report.check("every call is refused", reason.is_some() && took <= limit, &figure);
    let reason = reason.unwrap_or_default();
    report.check(
        "the refusal names the reason",
        reason.contains("disabled"),
        "the message says that the key is disabled",
    );
    Ok(())
}

async fn recover(cluster: &mut Cluster, keys: &LocalKeys, key: &KeyArn, report: &mut Report) -> Result<(), Failure> {
    keys.enable(key)?;
    let started = Instant::now();
    let limit = 2 * CHECK_INTERVAL + SLACK;
    let count = loop {
        match cluster.count().await {
            Ok(count) => break Some(count),
            Err(_) if started.elapsed() > 10 * limit => break None,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let took = started.elapsed();
    let figure = format!("after {:.2} s (at most {:.1} s)", took.as_secs_f64(), limit.as_secs_f64());
    report.check(
        "it serves again, without a restart",
        count.is_some() && took <= limit && cluster.is_running(),
        &figure,
    );
    let rows = count.unwrap_or_default();
    report.check("nothing is lost", rows == Digits::COUNT as u64, &format!("{rows} rows"));
    Ok(())
}
