//! Nothing is opened below its anchor, and nothing that is sound is ever taken for that (rule 6). On real local files.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod moments;
mod sound;

use common::*;
use custody_engine::{Anchor, Below, BelowAnchor, Engine, EngineError, MapAnchor, MapName, NewDatabase, QueryResult};
use custody_store::ZoneId;
use files::{Files, SPELLINGS};

/// What a call on the test collection came to.
fn below<T>(result: Result<T, EngineError>) -> BelowAnchor {
    match result {
        Err(EngineError::BelowAnchor(below)) => below,
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it opened"),
    }
}

async fn rows_of(engine: &Engine) -> Result<usize, EngineError> {
    match engine.query("", NAME, everything()).await? {
        QueryResult::Rows(rows) => Ok(rows.len),
        QueryResult::Count(_) => panic!("rows expected"),
    }
}

/// A cluster with three batches of rows, as it lay on the disk when the last of them was acknowledged, and its anchor then.
async fn filled() -> (Files, Anchor) {
    let files = Files::new();
    let engine = Engine::create(files.zones()).await.unwrap();
    loaded(&engine).await;
    for batch in 0..3 {
        engine.insert("", NAME, rows(batch * 10..batch * 10 + 10)).await.unwrap();
    }
    let (anchor, left) = (engine.anchor(), files.copy());
    engine.close().await;
    (left, anchor)
}

/// The zone of the default database, and what the anchor says of the one collection in it.
fn collection_of(anchor: &Anchor) -> (ZoneId, i64, MapAnchor) {
    let (zone, found) = anchor.zones.iter().find(|(_, zone)| !zone.collections.is_empty()).unwrap();
    let (id, map) = found.collections.iter().next().unwrap();
    (*zone, *id, *map)
}

#[tokio::test]
async fn a_log_whose_end_was_cut_off_is_opened_in_silence_without_an_anchor_and_refused_with_one() {
    let (files, anchor) = filled().await;
    let (zone, id, expected) = collection_of(&anchor);
    let place = format!("zones/{zone}/collections/{id:016x}/rows");
    let cut = files.cut_log(&place, 2);

    let unguarded = files.copy();
    let engine = Engine::open(unguarded.zones()).await.unwrap();
    assert_eq!(rows_of(&engine).await.unwrap(), 10, "what an anchor is for");
    engine.close().await;

    let before = files.under(&place);
    let engine = Engine::open_above(files.zones(), &anchor, Below::Refuse).await.unwrap();
    let refused = below(rows_of(&engine).await);
    let found = MapAnchor { log: expected.log - 2, ..expected };
    assert_eq!(refused, BelowAnchor::Map { name: MapName { zone, collection: Some(id) }, expected, found });
    let said = refused.to_string();
    for part in [&format!("{id:016x}"), &zone.to_string(), &found.to_string(), &expected.to_string(), "rolled back"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(engine.below_anchor(), [(zone, refused)]);
    below(engine.insert("", NAME, rows([100])).await);
    below(engine.row_count("", NAME).await);
    below(engine.load_collection("", NAME).await);
    assert_eq!(files.under(&place), before, "what is refused is left as it is");
    assert_eq!(collection_of(&engine.anchor()).2, expected, "it is still asked for");

    // Put back, it opens without another start.
    cut.put_back();
    assert_eq!(rows_of(&engine).await.unwrap(), 30);
    assert!(engine.below_anchor().is_empty());
    engine.close().await;
}

#[tokio::test]
async fn an_object_of_a_log_under_another_spelling_of_its_number_is_missed_as_if_it_were_deleted() {
    let (files, anchor) = filled().await;
    let (zone, id, expected) = collection_of(&anchor);
    let place = format!("zones/{zone}/collections/{id:016x}/rows");
    for spelling in SPELLINGS {
        let end = files.copy();
        end.rename_in_log(&place, 0, spelling);
        let engine = Engine::open_above(end.zones(), &anchor, Below::Refuse).await.unwrap();
        let found = MapAnchor { log: expected.log - 1, ..expected };
        let refused = below(rows_of(&engine).await);
        assert_eq!(refused, BelowAnchor::Map { name: MapName { zone, collection: Some(id) }, expected, found });
        engine.close().await;

        // In the middle it needs no anchor.
        let middle = files.copy();
        let name = middle.rename_in_log(&place, 1, spelling);
        let engine = Engine::open(middle.zones()).await.unwrap();
        let refused = rows_of(&engine).await;
        assert!(
            matches!(&refused, Err(EngineError::LogIncomplete(missing)) if missing.ends_with(&name)),
            "{refused:?}"
        );
        engine.close().await;
    }
}

#[tokio::test]
async fn an_older_state_put_back_is_refused_as_a_whole_and_in_parts() {
    let (older, _) = filled().await;
    let files = older.copy();
    let engine = Engine::open(files.zones()).await.unwrap();
    engine.insert("", NAME, rows([100])).await.unwrap();
    engine.create_user("late", "hash").await.unwrap();
    engine.create_collection("", new_collection("late")).await.unwrap();
    engine.close().await;
    let anchor = engine.anchor();
    let (zone, id, _) = collection_of(&anchor);

    let refused = below(Engine::open_above(older.copy().zones(), &anchor, Below::Refuse).await);
    assert!(matches!(refused, BelowAnchor::Map { name, .. } if name == catalog(ZoneId::CLUSTER)), "{refused}");
    Engine::open(older.copy().zones()).await.unwrap().close().await;

    // The catalog of a database alone: all of the cluster is in doubt.
    let part = files.copy();
    part.replace(&older, &format!("zones/{zone}/catalog"));
    let refused = below(Engine::open_above(part.zones(), &anchor, Below::Refuse).await);
    assert!(matches!(refused, BelowAnchor::Map { name, .. } if name == catalog(zone)), "{refused}");

    // The rows of a collection alone: they are refused when they are asked for.
    let part = files.copy();
    part.replace(&older, &format!("zones/{zone}/collections/{id:016x}"));
    let engine = Engine::open_above(part.zones(), &anchor, Below::Refuse).await.unwrap();
    let refused = below(rows_of(&engine).await);
    assert!(matches!(refused, BelowAnchor::Map { name, .. } if name.collection == Some(id)), "{refused}");
    assert_eq!(engine.row_count("", "late").await.unwrap(), 0, "the others serve");
    engine.close().await;

    // A manifest alone: its log objects are there, and what it had sorted is not.
    let part = files.copy();
    part.remove_newest(&format!("zones/{zone}/catalog/manifest"));
    let refused = below(Engine::open_above(part.zones(), &anchor, Below::Refuse).await);
    assert!(refused.to_string().contains("manifest"), "{refused}");

    // Nothing at all: no new cluster is made in the place of the old one.
    let nothing = Files::new();
    let refused = below(Engine::create_above(nothing.zones(), &anchor, Below::Refuse).await);
    assert_eq!((refused, nothing.under("").len()), (BelowAnchor::Empty, 0));
    Engine::create_above(nothing.zones(), &anchor, Below::Warn).await.unwrap().close().await;

    let engine = Engine::open_above(files.zones(), &anchor, Below::Refuse).await.unwrap();
    assert_eq!(rows_of(&engine).await.unwrap(), 31, "what was not touched opens");
    engine.close().await;
}

fn catalog(zone: ZoneId) -> MapName {
    MapName { zone, collection: None }
}

fn new_collection(name: &str) -> custody_engine::NewCollection {
    custody_engine::NewCollection { name: name.into(), schema: schema(), shards: 1, consistency: 0 }
}

#[tokio::test]
async fn what_was_dropped_or_made_since_the_anchor_is_no_rollback() {
    let files = Files::new();
    let engine = Engine::create(files.zones()).await.unwrap();
    loaded(&engine).await;
    engine.create_database(NewDatabase { name: "second".into(), ..NewDatabase::default() }).await.unwrap();
    engine.create_collection("second", new_collection("there")).await.unwrap();
    let old = engine.anchor();
    assert_eq!((old.zones.len(), old.zones.values().map(|zone| zone.collections.len()).sum::<usize>()), (3, 2));
    engine.drop_collection("second", "there").await.unwrap();
    engine.drop_database("second").await.unwrap();
    engine.drop_collection("", NAME).await.unwrap();
    engine.create_collection("", new_collection("new")).await.unwrap();
    engine.close().await;

    let engine = Engine::open_above(files.zones(), &old, Below::Refuse).await.unwrap();
    assert_eq!(engine.row_count("", "new").await.unwrap(), 0);
    let now = engine.anchor();
    assert_eq!((now.zones.len(), now.zones.values().map(|zone| zone.collections.len()).sum::<usize>()), (2, 1));
    assert_ne!(collection_of(&now).1, collection_of(&old).1);
    engine.close().await;
}

#[tokio::test]
async fn the_override_opens_what_is_below_and_the_anchor_is_taken_anew() {
    let (files, anchor) = filled().await;
    let (zone, id, expected) = collection_of(&anchor);
    let place = format!("zones/{zone}/collections/{id:016x}/rows");
    drop(files.cut_log(&place, 2));
    let engine = Engine::open_above(files.zones(), &anchor, Below::Warn).await.unwrap();
    let taken = collection_of(&engine.anchor()).2;
    assert_eq!(taken, MapAnchor { log: expected.log - 2, ..expected }, "although nobody has opened it yet");
    assert_eq!(rows_of(&engine).await.unwrap(), 10);
    engine.insert("", NAME, rows([50])).await.unwrap();
    let (now, left) = (engine.anchor(), files.copy());
    let again = left.copy();
    engine.close().await;

    let engine = Engine::open_above(left.zones(), &now, Below::Refuse).await.unwrap();
    assert_eq!(rows_of(&engine).await.unwrap(), 11);
    engine.close().await;
    drop(again.cut_log(&place, 1));
    let engine = Engine::open_above(again.zones(), &now, Below::Refuse).await.unwrap();
    below(rows_of(&engine).await);
    engine.close().await;
}
