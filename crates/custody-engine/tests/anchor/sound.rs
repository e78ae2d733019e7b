//! A sound cluster is never refused, whatever `SlateDB` does with its files.

use std::time::Duration;

use custody_engine::{Anchor, Below, Engine};
use object_store::path::Path;
use slatedb::{
    admin::Admin,
    config::{GarbageCollectorDirectoryOptions, GarbageCollectorOptions},
};

use crate::{collection_of, common::*, files::Files, rows_of};

/// Collects all that nothing needs any more, however young: fences and old manifests too.
async fn collect_garbage(files: &Files, map: &str) {
    let all = Some(GarbageCollectorDirectoryOptions { min_age: Duration::ZERO, interval: None, dry_run: false });
    let options = GarbageCollectorOptions {
        manifest_options: all,
        wal_options: all,
        wal_fence_options: all,
        compacted_options: all,
        // Local files have no conditional overwrite.
        boundary_files_enabled: false,
        ..GarbageCollectorOptions::default()
    };
    Admin::builder(Path::from(map), files.store()).build().run_gc_once(options).await.unwrap();
}

async fn compacted(files: &Files, map: &str) -> bool {
    let admin = Admin::builder(Path::from(map), files.store()).build();
    !admin.read_manifest(None).await.unwrap().unwrap().compacted().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_garbage_collection_and_restarts_never_bring_a_cluster_below_its_anchor() {
    let files = Files::new();
    let engine = Engine::create(files.zones()).await.unwrap();
    loaded(&engine).await;
    let mut anchor = engine.anchor();
    engine.close().await;
    let (zone, id, _) = collection_of(&anchor);
    let map = format!("zones/{zone}/collections/{id:016x}/rows");

    let mut expected = 0;
    let mut seen_compacted = false;
    for start in 0..8 {
        let engine = Engine::open_above(files.zones(), &anchor, Below::Refuse).await.unwrap();
        assert_eq!(rows_of(&engine).await.unwrap(), usize::try_from(expected).unwrap(), "start {start}");
        for _ in 0..3 {
            engine.insert("", NAME, rows(expected..expected + 5)).await.unwrap();
            engine.flush("", NAME).await.unwrap();
            expected += 5;
        }
        if start == 2 {
            for _ in 0..1_200 {
                seen_compacted = compacted(&files, &map).await;
                if seen_compacted {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let count = |kind| files.under(&format!("{map}/{kind}")).len();
        let before = (count("wal"), count("manifest"));
        for map in [&map, &format!("zones/{zone}/catalog"), &format!("zones/{}/catalog", "0".repeat(32))] {
            collect_garbage(&files, map).await;
        }
        assert!(count("wal") < before.0 && count("manifest") < before.1, "or nothing was collected");
        let now = engine.anchor();
        grows(&anchor, &now);
        // Every other start is after a kill: what comes now is on a copy of what lay there, under the anchor of then.
        if start % 2 == 0 {
            engine.close().await;
            anchor = engine.anchor();
            grows(&now, &anchor);
        } else {
            anchor = now;
            let left = files.copy();
            engine.close().await;
            let engine = Engine::open_above(left.zones(), &anchor, Below::Refuse).await.unwrap();
            assert_eq!(rows_of(&engine).await.unwrap(), usize::try_from(expected).unwrap());
            engine.close().await;
        }
    }
    assert!(seen_compacted, "or it was not tried");
}

/// Each number is at least what it was.
fn grows(before: &Anchor, now: &Anchor) {
    for (zone, before) in &before.zones {
        let now = &now.zones[zone];
        let maps = std::iter::once((before.catalog.unwrap(), now.catalog.unwrap()));
        let collections = before.collections.iter().map(|(id, map)| (*map, now.collections[id]));
        for (before, now) in maps.chain(collections) {
            assert!(now.manifest >= before.manifest && now.log >= before.log, "{before:?} {now:?}");
        }
    }
}
