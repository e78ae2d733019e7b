//! A collection's life: what was acknowledged is there, whatever happens to the process.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use custody_engine::{
    DataType, Engine, EngineError, Field, IndexKind, PrimaryKeys, QueryRequest, QueryResult, Schema, SearchRequest,
    WriteRequest,
};

#[tokio::test]
async fn what_was_inserted_is_found_by_query_and_search() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    let written = engine.insert("", NAME, rows(0..10)).await.unwrap();
    assert_eq!((written.count, written.keys), (10, PrimaryKeys::Int((0..10).collect())));
    assert_eq!(keys(&engine).await, (0..10).collect::<Vec<_>>());
    let found = engine.search("", NAME, near([6.2, 0.0], 3)).await.unwrap();
    assert_eq!(found.keys, PrimaryKeys::Int(vec![6, 7, 5]));
    assert_eq!(found.counts, [3]);
}

#[tokio::test]
async fn an_upsert_takes_the_place_of_the_row() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..3)).await.unwrap();
    let mut changed = rows([1]);
    changed.columns[0].1 = std::sync::Arc::new(arrow_array::StringArray::from(vec!["changed"]));
    engine.upsert("", NAME, changed).await.unwrap();
    let QueryResult::Rows(found) = engine.query("", NAME, everything()).await.unwrap() else { panic!() };
    assert_eq!(texts(&found, "text"), ["row 0", "changed", "row 2"]);
}

#[tokio::test]
async fn a_partial_upsert_keeps_what_is_not_given() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..2)).await.unwrap();
    let mut patch = rows([1]);
    patch.partial = true;
    patch.columns.remove(0);
    patch.columns[0].1 = vectors(&[[50.0, 0.0]]);
    engine.upsert("", NAME, patch).await.unwrap();
    let found =
        engine.search("", NAME, SearchRequest { output_fields: vec!["text".into()], ..near([50.0, 0.0], 1) }).await;
    assert_eq!(texts(&found.unwrap().rows, "text"), ["row 1"]);
}

#[tokio::test]
async fn deleted_rows_are_gone_by_key_and_by_filter_also_after_a_restart() {
    let store = store();
    let engine = create(&store).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..10)).await.unwrap();
    assert_eq!(engine.delete("", NAME, delete("id in [1, 3]")).await.unwrap().count, 2);
    assert_eq!(engine.delete("", NAME, delete("id > 6 and text like 'row%'")).await.unwrap().count, 3);
    assert_eq!(keys(&engine).await, [0, 2, 4, 5, 6]);
    engine.close().await;
    let engine = reopen(&store).await;
    assert_eq!(keys(&engine).await, [0, 2, 4, 5, 6]);
    let found = engine.search("", NAME, near([3.0, 0.0], 10)).await.unwrap();
    assert_eq!(found.counts, [5]);
}

#[tokio::test]
async fn a_process_that_just_ends_loses_nothing_acknowledged() {
    let store = store();
    let engine = create(&store).await;
    loaded(&engine).await;
    for key in 0..20 {
        engine.insert("", NAME, rows([key])).await.unwrap();
    }
    // Not closed: as if the process had been killed.
    drop(engine);
    let engine = reopen(&store).await;
    assert_eq!(keys(&engine).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn concurrent_writers_all_get_their_rows_in() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    let writers = (0..40).map(|writer| {
        let engine = std::sync::Arc::clone(&engine);
        tokio::spawn(async move { engine.insert("", NAME, rows(writer * 10..writer * 10 + 10)).await.unwrap() })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(keys(&engine).await, (0..400).collect::<Vec<_>>());
    assert_eq!(engine.row_count("", NAME).await.unwrap(), 400);
}

#[tokio::test]
async fn a_second_engine_fences_the_first_one_out() {
    let store = store();
    let first = create(&store).await;
    loaded(&first).await;
    first.insert("", NAME, rows(0..3)).await.unwrap();
    let second = reopen(&store).await;
    assert_eq!(keys(&second).await, [0, 1, 2]);
    let error = first.insert("", NAME, rows([9])).await.unwrap_err();
    assert!(matches!(error, EngineError::Fenced), "{error}");
    assert_eq!(keys(&second).await, [0, 1, 2]);
}

#[tokio::test]
async fn an_autoid_collection_makes_keys_that_no_restart_repeats() {
    let store = store();
    let engine = create(&store).await;
    let mut auto = schema();
    auto.fields[0].auto_id = true;
    make(&engine, auto).await;
    engine.load_collection("", NAME).await.unwrap();
    let without_key = || {
        let mut rows = rows(0..5);
        rows.columns.retain(|(name, _)| name != "id");
        rows
    };
    let mut made = Vec::new();
    for _ in 0..2 {
        let engine = reopen(&store).await;
        for _ in 0..2 {
            let PrimaryKeys::Int(keys) = engine.insert("", NAME, without_key()).await.unwrap().keys else { panic!() };
            made.extend(keys);
        }
    }
    let distinct: std::collections::BTreeSet<_> = made.iter().collect();
    assert_eq!((made.len(), distinct.len()), (20, 20));
    let engine = reopen(&store).await;
    assert_eq!(keys(&engine).await.len(), 20);
}

#[tokio::test]
async fn an_upsert_into_an_autoid_collection_names_only_keys_that_were_made() {
    let engine = create(&store()).await;
    let mut auto = schema();
    auto.fields[0].auto_id = true;
    make(&engine, auto).await;
    engine.load_collection("", NAME).await.unwrap();
    let mut new = rows(0..5);
    new.columns.retain(|(name, _)| name != "id");
    let PrimaryKeys::Int(made) = engine.insert("", NAME, new).await.unwrap().keys else { panic!() };
    assert_eq!(engine.upsert("", NAME, rows([made[2]])).await.unwrap().count, 1);
    // A key that is still to be made would be given to another row later, which would take this one's place.
    for key in [made[4] + 3, 0, -1, 1 << 40] {
        let error = engine.upsert("", NAME, rows([key])).await.unwrap_err().to_string();
        assert!(error.contains("autoID"), "{key}: {error}");
        let patch = WriteRequest { partial: true, ..rows([key]) };
        assert!(engine.upsert("", NAME, patch).await.is_err(), "{key}, in part");
    }
    assert_eq!(keys(&engine).await, made);
}

#[tokio::test]
async fn a_cluster_whose_catalog_is_gone_is_not_taken_for_an_empty_one() {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    let store = store();
    let engine = create(&store).await;
    loaded(&engine).await;
    engine.close().await;
    let catalog = object_store::path::Path::from(format!("zones/{}/catalog", custody_store::ZoneId::CLUSTER));
    let objects: Vec<_> = store.list(Some(&catalog)).try_collect().await.unwrap();
    for object in objects {
        store.delete(&object.location).await.unwrap();
    }
    let opened = Engine::open(std::sync::Arc::new(custody_store::PlainZones::new(std::sync::Arc::clone(&store)))).await;
    assert!(matches!(opened, Err(EngineError::CatalogMissing(_))));
    assert!(store.list(Some(&catalog)).try_next().await.unwrap().is_none(), "nothing was put in its place");
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_whole() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    let refused = async |change: fn(&mut WriteRequest), part: &str| {
        let mut request = rows(0..2);
        change(&mut request);
        let error = engine.insert("", NAME, request).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(|rows| drop(rows.columns.remove(0)), "'text' is missing").await;
    refused(|rows| rows.columns[0].0 = "other".into(), "unknown field 'other'").await;
    refused(|rows| rows.columns[1].1 = vectors(&[[f32::NAN, 0.0], [0.0, 0.0]]), "NaN").await;
    refused(|rows| rows.columns[1].1 = vectors(&[[0.0, 0.0]]), "has 1 rows").await;
    refused(
        |rows| {
            rows.columns[0].1 =
                std::sync::Arc::new(arrow_array::StringArray::from(vec!["a", "a text that is too long"]));
        },
        "max_length 20",
    )
    .await;
    assert!(keys(&engine).await.is_empty());
}

#[tokio::test]
async fn search_and_query_need_a_loaded_collection_but_writes_do_not() {
    let engine = create(&store()).await;
    make(&engine, schema()).await;
    engine.insert("", NAME, rows(0..3)).await.unwrap();
    assert_eq!(engine.row_count("", NAME).await.unwrap(), 3);
    assert!(matches!(engine.query("", NAME, everything()).await, Err(EngineError::NotLoaded(_))));
    assert!(matches!(engine.search("", NAME, near([0.0, 0.0], 1)).await, Err(EngineError::NotLoaded(_))));
    engine.load_collection("", NAME).await.unwrap();
    assert_eq!(keys(&engine).await, [0, 1, 2]);
    engine.release_collection("", NAME).await.unwrap();
    engine.delete("", NAME, delete("id == 1")).await.unwrap();
    engine.load_collection("", NAME).await.unwrap();
    assert_eq!(keys(&engine).await, [0, 2]);
}

#[tokio::test]
async fn partitions_keep_their_rows_apart() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    engine.create_partition("", NAME, "west").await.unwrap();
    engine.insert("", NAME, rows(0..3)).await.unwrap();
    engine.insert("", NAME, WriteRequest { partition: Some("west".into()), ..rows(10..12) }).await.unwrap();
    let west = QueryRequest { partitions: vec!["west".into()], ..everything() };
    let QueryResult::Rows(found) = engine.query("", NAME, west).await.unwrap() else { panic!() };
    assert_eq!(ints(&found, "id"), [10, 11]);
    let search = SearchRequest { partitions: vec!["west".into()], ..near([0.0, 0.0], 1) };
    assert_eq!(engine.search("", NAME, search).await.unwrap().keys, PrimaryKeys::Int(vec![10]));
    assert_eq!(engine.partition_row_count("", NAME, "west").await.unwrap(), 2);
    engine.drop_partition("", NAME, "west").await.unwrap();
    assert_eq!(keys(&engine).await, [0, 1, 2]);
    assert!(matches!(engine.drop_partition("", NAME, "_default").await, Err(EngineError::InvalidPartition(_))));
}

#[tokio::test]
async fn an_alias_names_the_collection_until_it_names_another() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..2)).await.unwrap();
    engine.create_alias("", NAME, "current").await.unwrap();
    assert_eq!(engine.row_count("", "current").await.unwrap(), 2);
    let other = custody_engine::NewCollection { name: "other".into(), schema: schema(), shards: 1, consistency: 0 };
    engine.create_collection("", other).await.unwrap();
    engine.alter_alias("", "other", "current").await.unwrap();
    assert_eq!(engine.row_count("", "current").await.unwrap(), 0);
    assert!(matches!(engine.create_alias("", NAME, "other").await, Err(EngineError::CollectionExists(_))));
}

#[tokio::test]
async fn dropping_a_collection_leaves_none_of_its_objects() {
    use futures::TryStreamExt;
    let store = store();
    let engine = create(&store).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..100)).await.unwrap();
    engine.flush("", NAME).await.unwrap();
    engine.drop_collection("", NAME).await.unwrap();
    let left: Vec<_> = store.list(None).try_collect().await.unwrap();
    let left: Vec<_> = left.iter().filter(|object| object.location.as_ref().contains("/collections/")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!engine.has_collection("", NAME).await.unwrap());
}

#[tokio::test]
async fn a_database_is_made_whole_and_dropped_whole() {
    use custody_engine::NewDatabase;
    let store = store();
    let engine = create(&store).await;
    let tenant = || NewDatabase { name: "tenant".into(), ..NewDatabase::default() };
    engine.create_database(tenant()).await.unwrap();
    assert!(matches!(engine.create_database(tenant()).await, Err(EngineError::DatabaseExists(_))));
    let new = custody_engine::NewCollection { name: NAME.into(), schema: schema(), shards: 1, consistency: 0 };
    engine.create_collection("tenant", new).await.unwrap();
    assert!(matches!(engine.drop_database("tenant").await, Err(EngineError::DatabaseNotEmpty(_))));
    let moved = engine.rename_collection("tenant", NAME, NAME, Some("default")).await;
    assert!(moved.unwrap_err().to_string().contains("encryption zone"));
    engine.drop_collection("tenant", NAME).await.unwrap();
    engine.drop_database("tenant").await.unwrap();
    assert!(matches!(reopen(&store).await.describe_database("tenant").await, Err(EngineError::DatabaseNotFound(_))));
}

#[tokio::test]
async fn a_plain_cluster_refuses_what_asks_for_encryption() {
    use custody_engine::NewDatabase;
    let engine = create(&store()).await;
    for (name, value) in [("cipher.enabled", "true"), ("cipher.key", "arn:x"), ("cipher.enabled", "maybe")] {
        let properties = [(name.to_owned(), value.to_owned())].into();
        let error = engine.create_database(NewDatabase { name: "tenant".into(), properties }).await.unwrap_err();
        assert!(matches!(error, EngineError::InvalidDatabase(_)), "{error}");
    }
    assert_eq!(engine.list_databases().await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_type_comes_back_as_it_went_in() {
    use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int8Array, StringArray};
    use std::sync::Arc;
    let store = store();
    let engine = create(&store).await;
    let nullable = |name: &str, data_type| Field { nullable: true, ..Field::new(name, data_type) };
    let schema = Schema {
        fields: vec![
            Field::primary("key", DataType::VarChar { max_length: 10 }),
            Field::new("flag", DataType::Bool),
            nullable("small", DataType::Int8),
            Field::new("double", DataType::Double),
            Field::new("json", DataType::Json),
            Field::new("vector", DataType::FloatVector { dim: 2 }),
        ],
        dynamic: true,
        ..schema()
    };
    make(&engine, schema).await;
    engine.load_collection("", NAME).await.unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from(vec!["b", "a"]))),
        ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
        ("small", Arc::new(Int8Array::from(vec![None, Some(-3)]))),
        ("double", Arc::new(Float64Array::from(vec![0.1, -2e300]))),
        ("json", Arc::new(StringArray::from(vec![r#"{"a":1}"#, "[1]"]))),
        ("vector", vectors(&[[1.0, 2.0], [3.0, 4.0]])),
        ("$meta", Arc::new(StringArray::from(vec![r#"{"colour":"red"}"#, "{}"]))),
    ];
    let columns: Vec<_> = columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect();
    engine
        .insert("", NAME, WriteRequest { len: 2, columns: columns.clone(), ..WriteRequest::default() })
        .await
        .unwrap();
    let engine = reopen(&store).await;
    let QueryResult::Rows(found) = engine.query("", NAME, everything()).await.unwrap() else { panic!() };
    let back = arrow_array::Int64Array::from(vec![1, 0]);
    for (name, column) in columns {
        let picks: Vec<(usize, usize)> = back.values().iter().map(|row| (0, usize::try_from(*row).unwrap())).collect();
        let expected = arrow_select::interleave::interleave(&[&*column], &picks).unwrap();
        assert_eq!(&common::column(&found, &name), &expected, "{name}");
    }
    let red =
        QueryRequest { filter: "colour == 'red'".into(), output_fields: vec!["count(*)".into()], ..Default::default() };
    assert!(matches!(engine.query("", NAME, red).await.unwrap(), QueryResult::Count(1)));
}

#[tokio::test]
async fn limit_and_offset_page_through_rows_in_key_order() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows((0..50).rev())).await.unwrap();
    let page = QueryRequest { filter: "id >= 10".into(), limit: Some(3), offset: 5, ..everything() };
    let QueryResult::Rows(found) = engine.query("", NAME, page).await.unwrap() else { panic!() };
    assert_eq!(ints(&found, "id"), [15, 16, 17]);
}

#[tokio::test]
async fn a_graph_answers_as_exact_search_does() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..3_000)).await.unwrap();
    indexed(&engine).await;
    engine.delete("", NAME, delete("id in [1500, 1501]")).await.unwrap();
    for point in [0.2, 700.4, 1_500.1, 2_999.9_f32] {
        let exact = SearchRequest { exact: true, ..near([point, 0.0], 10) };
        let exact = engine.search("", NAME, exact).await.unwrap();
        let graph = engine.search("", NAME, near([point, 0.0], 10)).await.unwrap();
        assert_eq!((graph.keys, graph.scores), (exact.keys, exact.scores), "near {point}");
    }
    let filtered = SearchRequest { filter: "id % 2 == 0".into(), ..near([1_001.0, 0.0], 2) };
    assert_eq!(engine.search("", NAME, filtered).await.unwrap().keys, PrimaryKeys::Int(vec![1_000, 1_002]));
}

#[tokio::test]
async fn an_index_snapshot_is_taken_up_after_a_restart() {
    use futures::TryStreamExt;
    let store = store();
    let engine = create(&store).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..6_000)).await.unwrap();
    let snapshots = async || {
        let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
        objects.iter().filter(|object| object.location.as_ref().contains("/indexes/")).count()
    };
    for _ in 0..12_000 {
        if snapshots().await > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(snapshots().await, 1);
    engine.close().await;
    let engine = reopen(&store).await;
    let found = engine.search("", NAME, near([4_000.2, 0.0], 2)).await.unwrap();
    assert_eq!(found.keys, PrimaryKeys::Int(vec![4_000, 4_001]));
    engine.drop_index("", NAME, "vector").await.unwrap();
    assert_eq!(snapshots().await, 0);
}

#[tokio::test]
async fn a_range_search_keeps_to_its_bounds() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..100)).await.unwrap();
    let ring = SearchRequest { radius: Some(10.0), range_filter: Some(4.0), ..near([50.0, 0.0], 10) };
    let found = engine.search("", NAME, ring).await.unwrap();
    assert_eq!(found.scores, [4.0, 4.0, 9.0, 9.0]);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_why() {
    let engine = create(&store()).await;
    loaded(&engine).await;
    engine.insert("", NAME, rows(0..2)).await.unwrap();
    let refused = async |request: SearchRequest, part: &str| {
        let error = engine.search("", NAME, request).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(SearchRequest { vectors: vec![vec![1.0]], ..near([0.0; 2], 1) }, "1 dimensions, the field has 2").await;
    refused(near([f32::INFINITY, 0.0], 1), "infinity").await;
    refused(near([0.0; 2], 0), "limit").await;
    refused(near([0.0; 2], 20_000), "16384").await;
    refused(SearchRequest { metric: Some(custody_engine::Metric::Ip), ..near([0.0; 2], 1) }, "metric type").await;
    refused(SearchRequest { filter: "id ==".into(), ..near([0.0; 2], 1) }, "filter").await;
    refused(SearchRequest { output_fields: vec!["no".into()], ..near([0.0; 2], 1) }, "'no' does not exist").await;
    let scalar =
        engine.create_index("", NAME, custody_engine::IndexSpec { field: "text".into(), ..index(IndexKind::Flat) });
    assert!(scalar.await.unwrap_err().to_string().contains("not a vector"));
}
