//! Anchors against rollback (rule 6), under the real program: what a node tells, and what it does with what it is told.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use custody_link::{Access, KeyPolicy, NodeState, Report, ToNode};
use serde_json::Value;

use crate::{CLUSTER, Command, Failure, Instant, PATIENCE, PROGRAM, READER, World, get, post, spawn};

impl World {
    fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    fn log(&self) -> Result<String, Failure> {
        Ok(fs::read_to_string(self.directory.path().join("node.log"))?)
    }

    /// A call over REST while the control plane does its part.
    async fn call(&mut self, call: &'static str, body: String) -> Result<Value, Failure> {
        let address = self.address;
        let asked = thread::spawn(move || post(address, call, READER, &body));
        self.until("an answer", |_| asked.is_finished()).await?;
        let (_, answer) = asked.join().map_err(|_| "the caller panicked")??;
        let body = answer.split("\r\n\r\n").nth(1).ok_or("no body")?;
        let answer: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))?;
        if answer["code"] == 0 { Ok(answer) } else { Err(answer.to_string().into()) }
    }

    async fn insert(&mut self, key: i64) -> Result<(), Failure> {
        let body = format!("{{\"collectionName\":\"points\",\"data\":[{{\"id\":{key},\"vector\":[1.0,2.0]}}]}}");
        self.call("entities/insert", body).await.map(drop)
    }

    async fn count(&mut self) -> Result<i64, Failure> {
        let body = "{\"collectionName\":\"points\",\"filter\":\"\",\"outputFields\":[\"count(*)\"]}".to_owned();
        let answer = self.call("entities/query", body).await?;
        answer["data"][0]["count(*)"].as_i64().ok_or_else(|| answer.to_string().into())
    }

    async fn refuses_the_rows(&mut self) -> Result<(), Failure> {
        let said = match self.count().await {
            Ok(rows) => format!("{rows} rows"),
            Err(error) => error.to_string(),
        };
        assert!(said.contains("below its anchor"), "{said}");
        Ok(())
    }

    /// What the anchor says of the log of the one collection.
    fn anchored_log(&self) -> Option<u64> {
        let anchor: Value = serde_json::from_str(self.anchor.as_deref()?).ok()?;
        let zones = anchor["zones"].as_object()?.values();
        let mut collections = zones.filter_map(|zone| zone["collections"].as_object()).flat_map(|all| all.values());
        collections.next()?["log"].as_u64()
    }

    /// kill -9, and a new process on the anchor that was told last.
    async fn restart(&mut self) -> Result<(), Failure> {
        self.stop_by_kill().await?;
        self.start().await
    }

    async fn stop_by_kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        // What was sent before the end is heard first.
        while self.connection.is_some() {
            self.step().await?;
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), Failure> {
        self.child = spawn(self.directory.path())?;
        self.accept().await
    }

    async fn ended(&mut self) -> Result<std::process::ExitStatus, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            assert!(Instant::now() < end, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Copies a storage as a kill leaves it, though a node may work on in it: what names other files comes first, in the order in
/// which `SlateDB` reads it, then what is named.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    [Some("compactions"), Some("manifest"), None].into_iter().try_for_each(|kind| copy_kind(from, to, kind))
}

fn copy_kind(from: &Path, to: &Path, kind: Option<&str>) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    let found = ["compactions", "manifest"].into_iter().find(|kind| from.ends_with(kind));
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_kind(&entry.path(), &place, kind)?;
        } else if found == kind {
            match fs::copy(entry.path(), place) {
                // It was being written, and has its own name by now.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => drop(copied?),
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_opens_on_the_anchor_that_it_told_last_and_a_rolled_back_storage_waits_for_a_person()
-> Result<(), Failure> {
    let mut world = World::new(|_| KeyPolicy::default()).await?;
    world.access = Access::Admin;
    world.serving().await?;
    world.call("collections/create", "{\"collectionName\":\"points\",\"dimension\":2}".to_owned()).await?;
    let mut rows = 0;
    for kill in 0..4 {
        for _ in 0..8 + kill * 5 {
            world.insert(rows).await?;
            rows += 1;
        }
        if kill == 0 {
            world.until("an anchor of the rows", |world| world.anchored_log().is_some_and(|log| log > 8)).await?;
        }
        world.restart().await?;
        world.serving().await?;
        assert_eq!(world.count().await?, rows, "after kill {kill}");
    }

    taken_over(&mut world, &mut rows).await?;

    // A clean stop tells the last of it.
    world.restart().await?;
    world.serving().await?;
    let older = world.directory.path().join("older");
    copy(&world.storage(), &older)?;
    world.insert(rows).await?;
    world.send(&ToNode::Stop).await?;
    let told = world.anchor.take();
    assert!(world.ended().await?.success());
    while world.connection.is_some() {
        world.step().await?;
    }
    assert!(world.anchor.is_some() && world.anchor != told, "after the close all is in sorted files");

    by_hand(&world)?;

    fs::remove_dir_all(world.storage())?;
    copy(&older, &world.storage())?;
    waits_for_a_person(&mut world).await?;
    assert_eq!(world.count().await?, rows);

    let log = world.anchored_log();
    world.insert(rows).await?;
    world.until("an anchor of the row", |world| world.anchored_log() > log).await?;
    without_its_rows(&mut world, &older).await?;

    world.anchor = Some("{}".to_owned());
    world.restart().await?;
    assert!(!world.ended().await?.success());
    assert!(world.log()?.contains("the anchor can't be read"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_storage_is_empty_is_not_begun_anew_encrypted_or_not() -> Result<(), Failure> {
    for plain in [true, false] {
        let mut world = World::make(|_| KeyPolicy::default(), plain).await?;
        world.serving().await?;
        world.until("an anchor", |world| world.anchor.is_some()).await?;
        world.stop_by_kill().await?;
        let whole = world.directory.path().join("whole");
        fs::rename(world.storage(), &whole)?;
        world.start().await?;
        world.sealed(Some("rolled_back")).await?;
        world.stays_sealed().await?;
        drop(fs::remove_dir_all(world.storage()));
        fs::rename(&whole, world.storage())?;
        world.send(&ToNode::Unseal).await?;
        world.serving().await?;
        world.send(&ToNode::Stop).await?;
        assert!(world.ended().await?.success());
    }
    Ok(())
}

/// An image that takes over is held to what the one before it has told, not to what that was started on.
async fn taken_over(world: &mut World, rows: &mut i64) -> Result<(), Failure> {
    let (started, whole) = (world.directory.path().join("started"), world.directory.path().join("whole"));
    copy(&world.storage(), &started)?;
    let before = world.anchored_log();
    world.insert(*rows).await?;
    *rows += 1;
    world.until("an anchor of the row", |world| world.anchored_log() > before).await?;
    let told = world.anchor.clone();
    world.send(&ToNode::Seal).await?;
    world.sealed(None).await?;
    fs::rename(world.storage(), &whole)?;
    copy(&started, &world.storage())?;
    world.send(&ToNode::Unseal).await?;
    world.serving().await?;
    world.refuses_the_rows().await?;
    world.stop_by_kill().await?;
    fs::remove_dir_all(world.storage())?;
    fs::rename(&whole, world.storage())?;
    world.anchor = told;
    world.start().await?;
    world.serving().await?;
    assert_eq!(world.count().await?, *rows);
    Ok(())
}

/// On a storage that is below the anchor no node serves, and the process stays the same until a person decides.
async fn waits_for_a_person(world: &mut World) -> Result<(), Failure> {
    world.start().await?;
    world.sealed(Some("rolled_back")).await?;
    let reason = match &world.report {
        Some(Report { state: NodeState::Sealed { reason, .. }, .. }) => reason.clone(),
        other => return Err(format!("{other:?}").into()),
    };
    assert!(reason.contains("below its anchor") && reason.contains("the catalog of zone"), "{reason}");
    let before = (world.log()?.matches("refused:").count(), world.anchor.clone());
    world.stays_sealed().await?;
    assert_eq!((world.log()?.matches("refused:").count(), world.anchor.clone()), before, "it does not look again");
    assert!(world.child.try_wait()?.is_none());

    // A person lets it look again: still below. Then a person gives up what is missing.
    world.send(&ToNode::Unseal).await?;
    world
        .until("another look", |world| world.log().is_ok_and(|log| log.matches("refused:").count() > before.0))
        .await?;
    world.sealed(Some("rolled_back")).await?;
    world.below_anchor = true;
    world.send(&ToNode::Configure(Box::new(world.config()))).await?;
    world.send(&ToNode::Unseal).await?;
    world.serving().await?;
    world.below_anchor = false;
    let log = world.log()?;
    let warned: Vec<_> = log.lines().filter(|line| line.contains("opened below its anchor")).collect();
    assert!(warned.len() >= 2 && warned.iter().all(|line| line.contains("WARN")), "{warned:?}");
    assert!(warned.iter().any(|line| line.contains("collection")), "although nobody has asked for it: {warned:?}");
    world.until("the anchor taken anew", |world| world.anchor != before.1).await?;
    world.restart().await?;
    world.serving().await?;
    Ok(())
}

/// The rows of the collection alone are put back: the others would be served, and the zone shows it.
async fn without_its_rows(world: &mut World, older: &Path) -> Result<(), Failure> {
    world.stop_by_kill().await?;
    for zone in fs::read_dir(older.join("clusters").join(CLUSTER).join("zones"))? {
        let zone = zone?;
        let place = world.storage().join("clusters").join(CLUSTER).join("zones").join(zone.file_name());
        if zone.path().join("collections").exists() {
            fs::remove_dir_all(place.join("collections"))?;
            copy(&zone.path().join("collections"), &place.join("collections"))?;
        }
    }
    world.start().await?;
    world.serving().await?;
    world.refuses_the_rows().await?;
    world
        .until("the zone's outcome", |world| {
            let zones = world.report.iter().flat_map(|report| &report.zones);
            zones.filter(|zone| zone.outcome.as_deref() == Some("rolled_back") && zone.reason.is_some()).count() == 1
        })
        .await?;
    Ok(())
}

/// The same by hand, with files.
fn by_hand(world: &World) -> Result<(), Failure> {
    let directory = world.directory.path();
    let anchor = directory.join("anchor.json");
    fs::write(&anchor, world.anchor.as_deref().ok_or("no anchor")?)?;
    let run = |storage: &str, more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("node").args(["--cluster-id", CLUSTER, "--key-arn", &world.key, "--allow-swap", "--data-dir"]);
        command.arg(directory).arg("--storage").arg(directory.join(storage));
        command.args(["--listen", &world.address.to_string(), "--anchor"]).arg(&anchor).args(more);
        command
    };
    let scratch = directory.join("scratch");
    copy(&directory.join("older"), &scratch)?;
    for (storage, said) in [("scratch", "below its anchor"), ("nothing", "the storage holds nothing of this cluster")] {
        let output = run(storage, &[]).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{storage}: {error}");
    }
    assert!(!directory.join("nothing").exists() || fs::read_dir(directory.join("nothing/clusters"))?.count() <= 1);
    for (storage, more) in [("storage", &[][..]), ("scratch", &["--below-anchor"][..])] {
        let log = fs::File::create(directory.join("by-hand.log"))?;
        let mut child = run(storage, more).stdout(log.try_clone()?).stderr(log).spawn()?;
        let end = Instant::now() + PATIENCE;
        while get(world.address, "/readyz").ok().is_none_or(|(status, _)| status != 200) {
            assert!(child.try_wait()?.is_none() && Instant::now() < end, "{storage} is not served");
            thread::sleep(Duration::from_millis(50));
        }
        child.kill()?;
        child.wait()?;
        let log = fs::read_to_string(directory.join("by-hand.log"))?;
        assert_eq!(log.contains("opened below its anchor"), storage == "scratch", "{log}");
    }
    Ok(())
}
