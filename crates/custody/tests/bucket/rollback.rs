//! Older states put back, and objects deleted. What goes unnoticed here is what docs/threat-model.md says does: an older
//! state of a whole, and the end of a log. It is then exactly an older state, never a mixture.

use custody_engine::EngineError;
use object_store::path::Path;

use crate::{
    anchor::anchor_of,
    common::Failure,
    contents::Contents,
    files::{Objects, Stopped},
};

/// The objects of one log, oldest first.
fn log(objects: &Objects, zone: &str, collection: &str) -> Vec<Path> {
    let prefix = format!("zones/{zone}/collections/{collection}/rows/wal/");
    objects.keys().filter(|path| path.as_ref().starts_with(&prefix)).cloned().collect()
}

/// The zone of the default database and its collections' directories.
fn default_zone(stopped: &Stopped) -> String {
    // Only in the default database is a collection whose index is kept.
    let path = stopped.objects.keys().find(|path| path.as_ref().contains("/indexes/")).expect("an index is kept");
    path.parts().nth(1).expect("a zone").as_ref().to_owned()
}

fn kept_index_of(stopped: &Stopped) -> String {
    let path = stopped.objects.keys().find(|path| path.as_ref().contains("/indexes/")).expect("an index is kept");
    path.parts().nth(3).expect("a collection").as_ref().to_owned()
}

fn without(objects: &Objects, prefix: &str) -> Objects {
    let mut left = objects.clone();
    left.retain(|path, _| !path.as_ref().starts_with(prefix));
    assert!(left.len() < objects.len(), "there was something under {prefix}");
    left
}

fn error(opened: Result<Contents, EngineError>, case: &str) -> String {
    match opened {
        Ok(_) => panic!("{case}: it opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_objects_are_missed_and_never_taken_for_emptiness() -> Result<(), Failure> {
    let stopped = Stopped::make().await?;
    let zone = default_zone(&stopped);
    let whole = stopped.read(&stopped.objects).await?;
    let anchor = anchor_of(&stopped.objects);
    assert!(stopped.read_above(&stopped.objects, &anchor).await? == whole, "nothing is missing");
    let cases = [
        (format!("zones/{zone}/collections/0000000000000001/"), "are missing: they were deleted"),
        (format!("zones/{zone}/collections/0000000000000001/rows/"), "are missing: they were deleted"),
        (format!("zones/{zone}/catalog/"), "the catalog is missing"),
        (format!("zones/{zone}/keyring/"), "has no keyring"),
        (format!("zones/{zone}/"), "has no keyring"),
        (format!("zones/{}/catalog/", "0".repeat(32)), "the catalog is missing"),
        (format!("zones/{}/", "0".repeat(32)), "has no keyring"),
    ];
    for (prefix, said) in cases {
        let said_then = error(stopped.read(&without(&stopped.objects, &prefix)).await, &prefix);
        assert!(said_then.contains(said) || said_then.contains("there is no zone"), "{prefix}: {said_then}");
    }
    // An index is made anew from the rows.
    let rebuilt = stopped
        .read(&without(&stopped.objects, &format!("zones/{zone}/collections/{}/indexes/", kept_index_of(&stopped))))
        .await?;
    assert_eq!((rebuilt.rows("many"), rebuilt.rows("points")), (whole.rows("many"), whole.rows("points")));

    // Each single object: the cluster is whole, or older by the end of a log, or does not open.
    for path in stopped.objects.keys() {
        let left = without(&stopped.objects, path.as_ref());
        match stopped.read(&left).await {
            Ok(contents) if contents == whole => {}
            Ok(contents) => {
                let newest = stopped.objects.keys().rfind(|other| parent(other) == parent(path));
                let is_log_end = path.as_ref().contains("/wal/") && newest == Some(path);
                let is_manifest = path.as_ref().contains("/manifest/") && newest == Some(path);
                let is_index = path.as_ref().contains("/indexes/");
                let rows = |name| (contents.rows(name), whole.rows(name));
                assert!(
                    is_log_end || is_manifest || is_index,
                    "{path}: points {:?}, many {:?}, late {:?}",
                    rows("points"),
                    rows("many"),
                    rows("late")
                );
                if !is_index {
                    let refused = stopped.read_above(&left, &anchor).await;
                    assert!(matches!(refused, Err(EngineError::BelowAnchor(_))), "{path} with an anchor");
                }
                eprintln!(
                    "{path} goes unnoticed: points {:?}, many {:?}, late {:?}",
                    rows("points"),
                    rows("many"),
                    rows("late")
                );
            }
            Err(error) => {
                assert!(!matches!(error, EngineError::Fenced), "{path}: nobody has opened it");
                eprintln!("{path}: {error}");
                if path.as_ref().contains("/manifest/") {
                    let own = matches!(error, EngineError::ManifestBehind(_) | EngineError::BelowAnchor(_));
                    assert!(own, "{path}: {error}");
                }
            }
        }
    }
    Ok(())
}

fn parent(path: &Path) -> String {
    path.as_ref().rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_state_put_back_is_exactly_that_state() -> Result<(), Failure> {
    let stopped = Stopped::make().await?;
    let zone = default_zone(&stopped);
    let earlier = stopped.read(&stopped.earlier).await?;
    assert_eq!((earlier.rows("points"), earlier.rows("late")), (Some(680), None));
    let anchor = anchor_of(&stopped.objects);
    let refused = error(stopped.read_above(&stopped.earlier, &anchor).await, "an older cluster with an anchor");
    assert!(refused.contains("below its anchor"), "{refused}");

    // The end of a log, object by object: each time some batches less, from the newest on.
    let points = log(&stopped.objects, &zone, "0000000000000001");
    let mut objects = stopped.objects.clone();
    let mut rows = 780;
    for path in points.iter().rev().take(4) {
        objects.remove(path);
        match stopped.read(&objects).await {
            Ok(contents) => {
                let now = contents.rows("points").expect("the collection is there");
                assert!(now <= rows && [780, 680].contains(&now), "{path}: {now} rows");
                rows = now;
            }
            Err(error) => eprintln!("{path}: {error}"),
        }
    }

    // An index that covers rows which are no longer there gives an older state of the rows away.
    let many = kept_index_of(&stopped);
    let rows = format!("zones/{zone}/collections/{many}/rows/");
    let mut early = stopped.earlier.clone();
    early.retain(|path, _| {
        let name = path.as_ref().strip_prefix(&rows);
        name.is_none_or(|name| name.starts_with("wal/") || name == "manifest/00000000000000000001.manifest")
    });
    let mut noticed = 0;
    for path in log(&early.clone(), &zone, &many).iter().rev() {
        early.remove(path);
        let said = error(stopped.read(&early).await, path.as_ref());
        noticed += usize::from(said.contains("an index snapshot covers them"));
    }
    assert!(noticed > 0, "some of these states are sound but for the index");

    // The catalog of a database put back alone, older than a collection that was made later.
    let mut objects = without(&stopped.objects, &format!("zones/{zone}/catalog/"));
    let old = stopped.earlier.iter().filter(|(path, _)| path.as_ref().starts_with(&format!("zones/{zone}/catalog/")));
    objects.extend(old.map(|(path, bytes)| (path.clone(), bytes.clone())));
    let said = error(stopped.read(&objects).await, "an older catalog of a database");
    assert!(said.contains("older than"), "{said}");
    Ok(())
}
