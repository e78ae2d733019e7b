//! The REST calls, family by family: what they do, and what they refuse.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Running, plain, root};
use serde_json::{Value as Json, json};

/// A node with a collection of five points on a line: the key is the place.
async fn points() -> Running {
    let node = plain().await;
    let quick = json!({ "collectionName": "points", "dimension": 2, "metricType": "L2" });
    node.rest("collections/create", quick).await;
    let rows: Vec<Json> = (0..5).map(|n| json!({ "id": n, "vector": [n, 0], "colour": format!("c{n}") })).collect();
    let written = node.rest("entities/insert", json!({ "collectionName": "points", "data": rows })).await;
    assert_eq!(written, json!({ "insertCount": 5, "insertIds": [0, 1, 2, 3, 4] }));
    node
}

async fn all(node: &Running, collection: &str) -> Vec<Json> {
    let found = node.rest("entities/query", json!({ "collectionName": collection, "outputFields": ["*"] })).await;
    found.as_array().unwrap().clone()
}

#[tokio::test]
async fn databases_are_made_described_altered_and_dropped() {
    let node = plain().await;
    node.rest("databases/create", json!({ "dbName": "tenant", "properties": { "owner": "me", "size": 3 } })).await;
    assert_eq!(node.rest("databases/list", json!({})).await, json!(["default", "tenant"]));
    let described = node.rest("databases/describe", json!({ "dbName": "tenant" })).await;
    assert_eq!(described["dbName"], "tenant");
    let has = |described: &Json, key: &str, value: &str| {
        described["properties"].as_array().unwrap().contains(&json!({ "key": key, "value": value }))
    };
    assert!(has(&described, "owner", "me") && has(&described, "size", "3"), "{described}");
    assert!(has(&described, "cipher.enabled", "false"), "{described}");
    node.rest("databases/alter", json!({ "dbName": "tenant", "properties": { "owner": "you" } })).await;
    node.rest("databases/drop_properties", json!({ "dbName": "tenant", "propertyKeys": ["size"] })).await;
    let described = node.rest("databases/describe", json!({ "dbName": "tenant" })).await;
    assert!(has(&described, "owner", "you") && !has(&described, "size", "3"), "{described}");
    node.rest("databases/drop", json!({ "dbName": "tenant" })).await;
    assert_eq!(node.rest("databases/list", json!({})).await, json!(["default"]));

    assert_eq!(node.rest_fails("databases/describe", json!({ "dbName": "tenant" })).await.0, 800);
    assert_eq!(node.rest_fails("databases/create", json!({})).await, (1802, "parameter 'dbName' is missing".into()));
    assert_eq!(node.rest_fails("databases/create", json!({ "dbName": "no spaces" })).await.0, 802);
    let (code, why) = node.rest_fails("databases/create", json!({ "dbName": "b", "replicaNumber": 2 })).await;
    assert!(code == 1100 && why.contains("replicaNumber"), "{why}");
    assert_eq!(node.rest("databases/list", json!({})).await, json!(["default"]), "what is refused leaves nothing");
}

#[tokio::test]
async fn a_collection_made_by_its_dimension_has_an_index_and_is_loaded() {
    let node = plain().await;
    node.rest("collections/create", json!({ "collectionName": "quick", "dimension": 4 })).await;
    let told = node.rest("collections/describe", json!({ "collectionName": "quick" })).await;
    assert_eq!(told["load"], "LoadStateLoaded");
    assert_eq!(told["indexes"], json!([{ "indexName": "vector", "fieldName": "vector", "metricType": "COSINE" }]));
    assert_eq!((&told["enableDynamicField"], &told["autoId"]), (&json!(true), &json!(false)));
    let fields = told["fields"].as_array().unwrap();
    assert_eq!(
        (&fields[0]["name"], &fields[0]["type"], &fields[0]["primaryKey"]),
        (&json!("id"), &json!("Int64"), &json!(true))
    );
    assert_eq!(
        (&fields[1]["type"], &fields[1]["params"]),
        (&json!("FloatVector"), &json!([{ "key": "dim", "value": "4" }]))
    );

    let own = json!({
        "collectionName": "own", "dimension": "3", "metricType": "IP", "idType": "VarChar", "autoID": true,
        "primaryFieldName": "key", "vectorFieldName": "place",
        "params": { "max_length": 99, "enableDynamicField": false, "consistencyLevel": "Strong" },
    });
    node.rest("collections/create", own).await;
    let told = node.rest("collections/describe", json!({ "collectionName": "own" })).await;
    assert_eq!((&told["autoId"], &told["enableDynamicField"]), (&json!(true), &json!(false)));
    assert_eq!((&told["indexes"][0]["metricType"], &told["consistencyLevel"]), (&json!("IP"), &json!("Strong")));
    assert_eq!(told["fields"][0]["params"], json!([{ "key": "max_length", "value": "99" }]));
    let written =
        node.rest("entities/insert", json!({ "collectionName": "own", "data": { "place": [1, 2, 3] } })).await;
    assert!(written["insertIds"][0].is_string(), "{written}");

    for (wrong, named) in [
        (json!({ "collectionName": "x" }), "dimension"),
        (json!({ "dimension": 2 }), "collectionName"),
        (json!({ "collectionName": "x", "dimension": 0 }), "dim"),
        (json!({ "collectionName": "x", "dimension": "many" }), "dimension"),
        (json!({ "collectionName": "x", "dimension": 2, "metricType": "HAMMING" }), "L2, IP or COSINE"),
        (json!({ "collectionName": "x", "dimension": 2, "idType": "Float" }), "idType"),
        (json!({ "collectionName": "x", "dimension": 2, "params": { "ttlSeconds": 3 } }), "ttlSeconds"),
        (json!({ "collectionName": "x", "dimension": 2, "properties": { "collection.ttl.seconds": 3 } }), "ttl"),
        (json!({ "collectionName": "x", "dimension": 2, "consistencyLevel": "Perfect" }), "consistencyLevel"),
    ] {
        let (_, why) = node.rest_fails("collections/create", wrong).await;
        assert!(why.contains(named), "{named}: {why}");
    }
    assert_eq!(node.rest("collections/has", json!({ "collectionName": "x" })).await, json!({ "has": false }));
}

/// A schema with one field of each type.
fn everything() -> Json {
    json!({
        "autoId": false, "enableDynamicField": true, "description": "one of each",
        "fields": [
            { "fieldName": "id", "dataType": "Int64", "isPrimary": true },
            { "fieldName": "flag", "dataType": "Bool" },
            { "fieldName": "tiny", "dataType": "Int8" },
            { "fieldName": "small", "dataType": "Int16" },
            { "fieldName": "medium", "dataType": "Int32" },
            { "fieldName": "large", "dataType": "Int64", "nullable": true },
            { "fieldName": "ratio", "dataType": "Float" },
            { "fieldName": "exact", "dataType": "Double" },
            { "fieldName": "word", "dataType": "VarChar", "elementTypeParams": { "max_length": 64 } },
            { "fieldName": "doc", "dataType": "JSON" },
            { "fieldName": "numbers", "dataType": "Array", "elementDataType": "Int64", "elementTypeParams": { "max_capacity": "8" } },
            { "fieldName": "level", "dataType": "Int32", "defaultValue": 7 },
            { "fieldName": "v", "dataType": "FloatVector", "elementTypeParams": { "dim": "2" } },
        ],
    })
}

fn everything_row() -> Json {
    json!({
        "id": i64::MAX, "flag": true, "tiny": -128, "small": 32_767, "medium": "-2147483648", "large": i64::MIN,
        "ratio": 0.1, "exact": 0.1, "word": "ünï \"⚙\"", "doc": { "b": [1, 2.50, null], "a": 12_345_678_901_234_567_890_u64 },
        "numbers": [i64::MAX, -1], "level": 3, "v": [0.25, 1], "beside": 9_007_199_254_740_993_i64,
    })
}

async fn everything_collection(node: &Running) {
    let index = json!([{ "fieldName": "v", "indexName": "graph", "metricType": "L2", "indexType": "HNSW",
                         "params": { "M": 8, "efConstruction": 64 } }]);
    // The metric beside a schema is what one client always sends; the index's own counts.
    let create =
        json!({ "collectionName": "all", "metricType": "COSINE", "schema": everything(), "indexParams": index });
    node.rest("collections/create", create).await;
}

#[tokio::test]
async fn every_type_comes_back_as_it_was_written() {
    let node = plain().await;
    everything_collection(&node).await;
    node.rest("entities/insert", json!({ "collectionName": "all", "data": [everything_row()] })).await;
    let mut expected = everything_row();
    expected["medium"] = json!(i32::MIN);
    expected["v"] = json!([0.25, 1.0]);
    assert_eq!(all(&node, "all").await, [expected]);

    let told = node.rest("collections/describe", json!({ "collectionName": "all" })).await;
    assert_eq!(told["indexes"], json!([{ "indexName": "graph", "fieldName": "v", "metricType": "L2" }]));
    let field =
        |name: &str| told["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap().clone();
    assert_eq!((&field("level")["defaultValue"], &field("large")["nullable"]), (&json!(7), &json!(true)));
    assert_eq!(field("numbers")["elementType"], "Int64");
}

#[tokio::test]
async fn the_text_of_numbers_and_of_json_is_kept_to_the_digit() {
    let node = plain().await;
    everything_collection(&node).await;
    let row = everything_row().to_string();
    node.rest(
        "entities/insert",
        serde_json::from_str(&format!(r#"{{"collectionName": "all", "data": {row}}}"#)).unwrap(),
    )
    .await;
    let (_, _, text) = node
        .http(
            &format!("POST /v2/vectordb/entities/get HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nAccept-Type-Allow-Int64: false\r\n", root()),
            br#"{"collectionName": "all", "id": "9223372036854775807"}"#,
        )
        .await;
    for kept in [
        r#""id":"9223372036854775807""#,
        r#""large":"-9223372036854775808""#,
        r#""numbers":["9223372036854775807","-1"]"#,
        r#""ratio":0.1,"#,
        r#""exact":0.1,"#,
        r#""a":12345678901234567890"#,
        r#""beside":9007199254740993"#,
        r#""medium":-2147483648"#,
    ] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
}

#[tokio::test]
async fn what_a_row_leaves_out_is_null_or_its_default_and_nothing_else() {
    let node = plain().await;
    everything_collection(&node).await;
    let mut rows = [everything_row(), everything_row(), everything_row()];
    for (number, row) in rows.iter_mut().enumerate() {
        row["id"] = json!(number);
    }
    rows[0]["large"] = Json::Null;
    rows[1].as_object_mut().unwrap().remove("large");
    rows[1].as_object_mut().unwrap().remove("level");
    rows[1].as_object_mut().unwrap().remove("beside");
    node.rest("entities/insert", json!({ "collectionName": "all", "data": rows })).await;
    let found = all(&node, "all").await;
    assert_eq!(
        (&found[0]["large"], &found[1]["large"], &found[2]["large"]),
        (&Json::Null, &Json::Null, &json!(i64::MIN))
    );
    assert_eq!((&found[0]["level"], &found[1]["level"]), (&json!(3), &json!(7)));
    assert_eq!((found[0].get("beside").is_some(), found[1].get("beside").is_some()), (true, false));
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_refused_with_its_field_and_without_its_value() {
    let node = plain().await;
    everything_collection(&node).await;
    for (field, wrong) in [
        ("id", "1.5"),
        ("id", "9223372036854775808"),
        ("id", "\"secret\""),
        ("id", "null"),
        ("flag", "1"),
        ("tiny", "128"),
        ("small", "-32769"),
        ("medium", "2147483648"),
        ("ratio", "1e39"),
        ("ratio", "\"NaN\""),
        ("exact", "1e400"),
        ("exact", "true"),
        ("word", "7"),
        ("word", "null"),
        ("numbers", "[1, null]"),
        ("numbers", "[1, \"secret\"]"),
        ("numbers", "7"),
        ("v", "[1]"),
        ("v", "[1, 2, 3]"),
        ("v", "[1, \"secret\"]"),
        ("v", "[1, 1e39]"),
        ("v", "null"),
        ("doc", "null"),
    ] {
        let mut row = everything_row();
        row.as_object_mut().unwrap().remove(field);
        let row = row.to_string();
        let body = format!(r#"{{"collectionName": "all", "data": [{}, "{field}": {wrong}}}]}}"#, &row[..row.len() - 1]);
        let (code, why) = node.rest_text_fails("entities/insert", &body).await;
        assert!(code == 1100 && why.contains(&format!("'{field}'")), "{field} {wrong}: {code} {why}");
        assert!(!why.contains("secret"), "{why}");
    }
    for (data, named) in [
        (json!([]), "no rows"),
        (json!([7]), "data[0]"),
        (json!("rows"), "data[0]"),
        (json!([[everything_row()]]), "data[0]"),
        (Json::Null, "data"),
    ] {
        let (_, why) = node.rest_fails("entities/insert", json!({ "collectionName": "all", "data": data })).await;
        assert!(why.contains(named), "{named}: {why}");
    }
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for field in ["doc", "beside", "v", "numbers", "word"] {
        let mut row = everything_row();
        row.as_object_mut().unwrap().remove(field);
        let row = row.to_string();
        let body = format!(r#"{{"collectionName": "all", "data": [{}, "{field}": {deep}}}]}}"#, &row[..row.len() - 1]);
        node.rest_text_fails("entities/insert", &body).await;
    }
    let twice = r#"{"collectionName": "all", "data": [{"id": 1, "id": 2}]}"#;
    assert!(node.rest_text_fails("entities/insert", twice).await.1.contains("'id' is given twice"));
    let twice = r#"{"collectionName": "all", "data": [{"new": 1, "new": 2}]}"#;
    assert!(node.rest_text_fails("entities/insert", twice).await.1.contains("'new' is given twice"));
    assert_eq!(all(&node, "all").await, [] as [Json; 0], "what is refused leaves nothing");
}

#[tokio::test]
async fn an_unknown_field_goes_to_the_dynamic_field_only_where_there_is_one() {
    let node = plain().await;
    let strict = json!({ "collectionName": "strict", "dimension": 1, "params": { "enableDynamicField": false } });
    node.rest("collections/create", strict).await;
    let row = json!({ "id": 1, "vector": [1], "colour": "red" });
    let (code, why) = node.rest_fails("entities/insert", json!({ "collectionName": "strict", "data": [row] })).await;
    assert!(code == 1100 && why.contains("'colour'") && !why.contains("red"), "{why}");
    node.rest("collections/create", json!({ "collectionName": "loose", "dimension": 1 })).await;
    node.rest("entities/insert", json!({ "collectionName": "loose", "data": [row] })).await;
    let row = json!({ "id": 1, "vector": [1], "$meta": { "colour": "red" } });
    let (_, why) = node.rest_fails("entities/insert", json!({ "collectionName": "loose", "data": [row] })).await;
    assert!(why.contains("$meta"), "{why}");
    assert_eq!(all(&node, "loose").await, [json!({ "id": 1, "vector": [1.0], "colour": "red" })]);
}

#[tokio::test]
async fn rows_are_upserted_whole_and_in_part_and_deleted() {
    let node = points().await;
    let row = json!([{ "id": 1, "vector": [10, 0], "colour": "new" }, { "id": 7, "vector": [7, 0] }]);
    let written = node.rest("entities/upsert", json!({ "collectionName": "points", "data": row })).await;
    assert_eq!(written, json!({ "upsertCount": 2, "upsertIds": [1, 7] }));
    let part = json!({ "collectionName": "points", "partialUpdate": true, "data": [{ "id": 1, "vector": [11, 0] }] });
    node.rest("entities/upsert", part).await;
    let get = |id: Json| node.rest("entities/get", json!({ "collectionName": "points", "id": id }));
    assert_eq!(get(json!([1])).await, json!([{ "id": 1, "vector": [11.0, 0.0], "colour": "new" }]));
    let uneven = json!([{ "id": 1, "vector": [1, 0] }, { "id": 2 }]);
    let part = json!({ "collectionName": "points", "partialUpdate": true, "data": uneven });
    assert!(node.rest_fails("entities/upsert", part).await.1.contains("'vector'"));

    let delete = |filter: &str| json!({ "collectionName": "points", "filter": filter });
    assert_eq!(node.rest("entities/delete", delete("id in [0, 1]")).await, json!({ "deleteCount": 2 }));
    assert_eq!(get(json!([0, 1, "7", 2])).await.as_array().unwrap().len(), 2);
    for filter in ["", "   ", "id in [", "no_such == 1 and"] {
        node.rest_fails("entities/delete", delete(filter)).await;
    }
    let with_params = json!({ "collectionName": "points", "filter": "id in {ids}", "exprParams": { "ids": [2, 3] } });
    assert_eq!(node.rest("entities/delete", with_params).await, json!({ "deleteCount": 2 }));
    let missing = json!({ "collectionName": "nowhere", "filter": "id > 0" });
    assert_eq!(node.rest_fails("entities/delete", missing).await.0, 100);
}

#[tokio::test]
async fn rows_are_found_by_key_and_by_filter() {
    let node = points().await;
    let get = |id: Json| json!({ "collectionName": "points", "id": id, "outputFields": ["colour"] });
    assert_eq!(node.rest("entities/get", get(json!(3))).await, json!([{ "id": 3, "colour": "c3" }]));
    assert_eq!(node.rest("entities/get", get(json!([99]))).await, json!([]));
    for wrong in [json!(["x"]), json!([1.5]), json!([[1]]), json!([{}])] {
        assert!(node.rest_fails("entities/get", get(wrong)).await.1.contains("'id'"));
    }
    assert_eq!(node.rest_fails("entities/get", json!({ "collectionName": "points" })).await.0, 1802);

    let query = |more: Json| {
        let mut body = json!({ "collectionName": "points", "outputFields": ["id"] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.rest("entities/query", body)
    };
    let ids = |ids: &[i64]| ids.iter().map(|id| json!({ "id": id })).collect::<Json>();
    assert_eq!(query(json!({ "filter": "id > 2" })).await, ids(&[3, 4]));
    assert_eq!(query(json!({ "filter": "colour == 'c1'" })).await, ids(&[1]));
    assert_eq!(query(json!({ "limit": 2, "offset": 1 })).await, ids(&[1, 2]));
    let params =
        json!({ "filter": "colour in {some} or id == {one}", "exprParams": { "some": ["c0", "c2"], "one": 4 } });
    assert_eq!(query(params).await, ids(&[0, 2, 4]));
    let count = json!({ "filter": "id < 3", "outputFields": ["count(*)"], "limit": 10 });
    assert_eq!(query(count).await, json!([{ "count(*)": 3 }]));
    for wrong in [
        json!({ "filter": "id >" }),
        json!({ "filter": 7 }),
        json!({ "limit": 0 }),
        json!({ "limit": -5 }),
        json!({ "offset": -1 }),
        json!({ "outputFields": 7 }),
        json!({ "filter": "id == {one}" }),
        json!({ "filter": "id == {one}", "exprParams": { "one": {} } }),
        json!({ "partitionNames": ["missing"] }),
        json!({ "groupByFields": ["id"] }),
    ] {
        let mut body = json!({ "collectionName": "points" });
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        node.rest_fails("entities/query", body).await;
    }
}

#[tokio::test]
async fn a_search_tells_keys_and_distances_in_order() {
    let node = points().await;
    let body = json!({ "collectionName": "points", "data": [[0.9, 0], [4, 0]], "annsField": "vector", "limit": 2,
                       "outputFields": ["colour"], "consistencyLevel": "Bounded" });
    let (_, answer) = node.post("entities/search", Some(&root()), &body.to_string()).await;
    assert_eq!(answer["topks"], json!([2, 2]));
    let found = answer["data"].as_array().unwrap();
    let ids: Vec<i64> = found.iter().map(|row| row["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 0, 4, 3]);
    assert_eq!(found[2], json!({ "id": 4, "distance": 0.0, "colour": "c4" }));
    assert!((found[0]["distance"].as_f64().unwrap() - 0.01).abs() < 1e-6, "{answer}");

    let search = |more: Json| {
        let mut body = json!({ "collectionName": "points", "data": [[0, 0]], "limit": 9 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let ids = async |more: Json| {
        let found = node.rest("entities/search", search(more)).await;
        found.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(ids(json!({ "filter": "id % 2 == 1" })).await, [1, 3]);
    assert_eq!(ids(json!({ "offset": 3 })).await, [3, 4]);
    assert_eq!(
        ids(json!({ "searchParams": { "metricType": "L2", "params": { "radius": 10, "range_filter": 4 } } })).await,
        [2, 3]
    );
    for wrong in [
        json!({ "data": [] }),
        json!({ "data": [[1]] }),
        json!({ "data": ["text"] }),
        json!({ "data": [[1, "x"]] }),
        json!({ "data": [[1, 1e39]] }),
        json!({ "data": [{ "1": 0.5 }] }),
        json!({ "limit": 0 }),
        json!({ "limit": 20_000 }),
        json!({ "annsField": "colour" }),
        json!({ "searchParams": { "metricType": "IP" } }),
        json!({ "searchParams": { "topk": 3 } }),
        json!({ "searchParams": { "params": "radius" } }),
        json!({ "groupingField": "colour" }),
        json!({ "filter": "colour ==" }),
        json!({ "outputFields": [["id"]] }),
    ] {
        node.rest_fails("entities/search", search(wrong)).await;
    }
    assert_eq!(node.rest_fails("entities/search", search(json!({ "collectionName": "nowhere" }))).await.0, 100);
}

#[tokio::test]
async fn the_key_of_a_search_is_called_id_whatever_the_field_is_called() {
    let node = plain().await;
    let quick = json!({ "collectionName": "books", "dimension": 1, "idType": "VarChar", "primaryFieldName": "isbn" });
    node.rest("collections/create", quick).await;
    let data = json!([{ "isbn": "978-'3\"", "vector": [1], "distance": "far" }]);
    node.rest("entities/insert", json!({ "collectionName": "books", "data": data })).await;
    let body = json!({ "collectionName": "books", "data": [[1]], "outputFields": ["isbn", "distance"] });
    let found = node.rest("entities/search", body).await;
    assert_eq!(
        (&found[0]["id"], &found[0]["isbn"], found[0]["distance"].is_number()),
        (&json!("978-'3\""), &json!("978-'3\""), true)
    );
    let get = json!({ "collectionName": "books", "id": ["978-'3\""], "outputFields": ["distance"] });
    assert_eq!(node.rest("entities/get", get).await, json!([{ "isbn": "978-'3\"", "distance": "far" }]));
}

#[tokio::test]
async fn collections_are_renamed_loaded_released_counted_altered_and_dropped() {
    let node = points().await;
    let named = |name: &str| json!({ "collectionName": name });
    node.rest("collections/rename", json!({ "collectionName": "points", "newCollectionName": "dots" })).await;
    assert_eq!(node.rest("collections/list", json!({})).await, json!(["dots"]));
    assert_eq!(node.rest("collections/has", named("points")).await, json!({ "has": false }));
    assert_eq!(node.rest("collections/has", named("dots")).await, json!({ "has": true }));
    assert_eq!(node.rest("collections/get_stats", named("dots")).await, json!({ "rowCount": 5 }));

    node.rest("collections/release", named("dots")).await;
    let state = node.rest("collections/get_load_state", named("dots")).await;
    assert_eq!((&state["loadState"], &state["loadProgress"]), (&json!("LoadStateNotLoad"), &json!(0)));
    let search = json!({ "collectionName": "dots", "data": [[0, 0]] });
    assert_eq!(node.rest_fails("entities/search", search).await.0, 101);
    node.rest("collections/load", named("dots")).await;
    let state = node.rest("collections/get_load_state", named("dots")).await;
    assert_eq!((&state["loadState"], &state["loadProgress"]), (&json!("LoadStateLoaded"), &json!(100)));
    let part = json!({ "collectionName": "dots", "loadFields": ["id"] });
    assert!(node.rest_fails("collections/load", part).await.1.contains("load_fields"));

    node.rest("collections/flush", named("dots")).await;
    let job = node.rest("collections/compact", named("dots")).await;
    let state = json!({ "jobID": job["compactionID"] });
    while node.rest("collections/get_compaction_state", state.clone()).await["state"] != "Completed" {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let state = node.rest("collections/get_compaction_state", state).await;
    assert_eq!((&state["completedPlanNumber"], &state["failedPlanNumber"]), (&json!(1), &json!(0)));
    assert!(node.rest_fails("collections/get_compaction_state", json!({ "jobID": 7 })).await.1.contains('7'));

    let set = json!({ "collectionName": "dots", "properties": { "owner": "me" } });
    node.rest("collections/alter_properties", set).await;
    let told = node.rest("collections/describe", named("dots")).await;
    assert_eq!(told["properties"], json!([{ "key": "owner", "value": "me" }]));
    let unset = json!({ "collectionName": "dots", "propertyKeys": ["owner"] });
    node.rest("collections/drop_properties", unset).await;
    assert_eq!(node.rest("collections/describe", named("dots")).await["properties"], json!([]));
    let ttl = json!({ "collectionName": "dots", "properties": { "collection.ttl.seconds": 60 } });
    assert!(node.rest_fails("collections/alter_properties", ttl).await.1.contains("ttl"));

    node.rest("collections/drop", named("dots")).await;
    assert_eq!(node.rest("collections/list", json!({})).await, json!([]));
    for call in ["describe", "load", "release", "get_load_state", "get_stats", "flush", "compact"] {
        assert_eq!(node.rest_fails(&format!("collections/{call}"), named("dots")).await.0, 100, "{call}");
        assert_eq!(node.rest_fails(&format!("collections/{call}"), json!({})).await.0, 1802, "{call}");
    }
}

#[tokio::test]
async fn a_schema_that_makes_no_sense_or_is_not_supported_leaves_nothing() {
    let node = plain().await;
    let key = json!({ "fieldName": "id", "dataType": "Int64", "isPrimary": true });
    let vector = json!({ "fieldName": "v", "dataType": "FloatVector", "elementTypeParams": { "dim": 2 } });
    let with = |field: Json| json!({ "fields": [key, vector, field] });
    let create = |schema: Json, index: Json| json!({ "collectionName": "c", "schema": schema, "indexParams": index });
    for (schema, index, named) in [
        (json!({ "fields": [] }), json!([]), "schema.fields"),
        (json!({ "fields": [vector] }), json!([]), "primary"),
        (json!({ "fields": [key, vector], "functions": [{ "name": "f" }] }), json!([]), "functions"),
        (with(json!({ "fieldName": "x" })), json!([]), "schema.fields[2].dataType"),
        (with(json!({ "dataType": "Int8" })), json!([]), "schema.fields[2].fieldName"),
        (with(json!({ "fieldName": "x", "dataType": "Int9" })), json!([]), "schema.fields[2].dataType"),
        (with(json!({ "fieldName": "x", "dataType": "SparseFloatVector" })), json!([]), "SparseFloatVector"),
        (with(json!({ "fieldName": "x", "dataType": "VarChar" })), json!([]), "max_length"),
        (with(json!({ "fieldName": "x", "dataType": "Int8", "isClusteringKey": true })), json!([]), "clustering"),
        (with(json!({ "fieldName": "x", "dataType": "Int8", "defaultValue": "x" })), json!([]), "defaultValue"),
        (with(json!({ "fieldName": "x", "dataType": "Int8", "colour": "red" })), json!([]), "colour"),
        (json!({ "fields": [key, vector] }), json!([{ "fieldName": "w" }]), "'w'"),
        (json!({ "fields": [key, vector] }), json!([{ "fieldName": "v", "indexType": "IVF_FLAT" }]), "IVF_FLAT"),
        (json!({ "fields": [key, vector] }), json!([{ "fieldName": "v" }, { "fieldName": "v" }]), "already"),
        (json!({ "fields": [key, vector] }), json!([{ "indexName": "v" }]), "indexParams[0].fieldName"),
        (json!("schema"), json!([]), "schema"),
    ] {
        let (_, why) = node.rest_fails("collections/create", create(schema, index)).await;
        assert!(why.contains(named), "{named}: {why}");
    }
    assert_eq!(node.rest("collections/list", json!({})).await, json!([]));
}

#[tokio::test]
async fn partitions_hold_rows_of_their_own() {
    let node = points().await;
    let part = |name: &str| json!({ "collectionName": "points", "partitionName": name });
    node.rest("partitions/create", part("west")).await;
    assert_eq!(node.rest("partitions/list", json!({ "collectionName": "points" })).await, json!(["_default", "west"]));
    assert_eq!(node.rest("partitions/has", part("west")).await, json!({ "has": true }));
    assert_eq!(node.rest("partitions/has", part("east")).await, json!({ "has": false }));
    let data = json!([{ "id": 9, "vector": [9, 0] }]);
    node.rest("entities/insert", json!({ "collectionName": "points", "partitionName": "west", "data": data })).await;
    assert_eq!(node.rest("partitions/get_stats", part("west")).await, json!({ "rowCount": 1 }));
    let query = json!({ "collectionName": "points", "partitionNames": ["west"], "outputFields": ["id"] });
    assert_eq!(node.rest("entities/query", query).await, json!([{ "id": 9 }]));
    let named = json!({ "collectionName": "points", "partitionNames": ["west"] });
    node.rest("partitions/load", named.clone()).await;
    node.rest("partitions/release", named).await;
    node.rest("partitions/drop", part("west")).await;
    assert_eq!(
        node.rest("collections/get_stats", json!({ "collectionName": "points" })).await,
        json!({ "rowCount": 5 })
    );

    assert_eq!(node.rest_fails("partitions/get_stats", part("west")).await.0, 200);
    let none = json!({ "collectionName": "points", "partitionNames": [] });
    assert_eq!(node.rest_fails("partitions/load", none.clone()).await.0, 1802);
    assert_eq!(node.rest_fails("partitions/release", none).await.0, 1802);
    assert_eq!(node.rest_fails("partitions/create", json!({ "collectionName": "points" })).await.0, 1802);
    assert_eq!(node.rest_fails("partitions/list", json!({ "collectionName": "nowhere" })).await.0, 100);
}

#[tokio::test]
async fn an_alias_stands_for_its_collection() {
    let node = points().await;
    node.rest("collections/create", json!({ "collectionName": "other", "dimension": 2 })).await;
    let alias = |collection: &str| json!({ "collectionName": collection, "aliasName": "live" });
    node.rest("aliases/create", alias("points")).await;
    assert_eq!(node.rest("aliases/list", json!({ "dbName": "default" })).await, json!(["live"]));
    assert_eq!(node.rest("aliases/list", json!({ "collectionName": "other" })).await, json!([]));
    let told = node.rest("aliases/describe", json!({ "aliasName": "live" })).await;
    assert_eq!(told, json!({ "dbName": "default", "aliasName": "live", "collectionName": "points" }));
    assert_eq!(all(&node, "live").await.len(), 5);
    node.rest("aliases/alter", alias("other")).await;
    assert_eq!(all(&node, "live").await.len(), 0);
    assert_eq!(node.rest_fails("aliases/create", alias("points")).await.0, 1602);
    node.rest("aliases/drop", json!({ "aliasName": "live" })).await;
    assert_eq!(node.rest_fails("aliases/describe", json!({ "aliasName": "live" })).await.0, 1600);
    assert_eq!(node.rest_fails("aliases/create", json!({ "collectionName": "points" })).await.0, 1802);
}

#[tokio::test]
async fn indexes_are_made_listed_described_and_dropped() {
    let node = plain().await;
    let fields = json!([
        { "fieldName": "id", "dataType": "Int64", "isPrimary": true },
        { "fieldName": "v", "dataType": "FloatVector", "elementTypeParams": { "dim": 2 } },
    ]);
    node.rest("collections/create", json!({ "collectionName": "c", "schema": { "fields": fields } })).await;
    let list = || node.rest("indexes/list", json!({ "collectionName": "c" }));
    assert_eq!(list().await, json!([]), "no index is no error");
    let params = json!([
        { "fieldName": "v", "indexName": "graph", "metricType": "IP", "params": { "index_type": "HNSW", "M": 8 } },
        { "fieldName": "id", "indexName": "keys", "indexType": "INVERTED" },
    ]);
    node.rest("indexes/create", json!({ "collectionName": "c", "indexParams": params })).await;
    assert_eq!(list().await, json!(["graph", "keys"]));
    let named = |name: &str| json!({ "collectionName": "c", "indexName": name });
    let told = node.rest("indexes/describe", named("graph")).await;
    assert_eq!(
        (&told[0]["fieldName"], &told[0]["indexType"], &told[0]["metricType"]),
        (&json!("v"), &json!("HNSW"), &json!("IP"))
    );
    assert_eq!((&told[0]["indexState"], &told[0]["totalRows"]), (&json!("Finished"), &json!(0)));
    node.rest("indexes/drop", named("graph")).await;
    assert_eq!(list().await, json!(["keys"]));
    assert_eq!(node.rest_fails("indexes/describe", named("graph")).await.0, 700);
    assert_eq!(node.rest_fails("indexes/create", json!({ "collectionName": "c" })).await.0, 1802);
    let wrong = json!({ "collectionName": "c", "indexParams": [{ "fieldName": "v", "indexType": "IVF_PQ" }] });
    assert!(node.rest_fails("indexes/create", wrong).await.1.contains("IVF_PQ"));
}

#[tokio::test]
async fn users_are_managed_by_root_and_change_their_own_password() {
    let node = plain().await;
    node.rest("users/create", json!({ "userName": "ada", "password": "first-one" })).await;
    assert_eq!(node.rest("users/list", json!({})).await, json!(["ada", "root"]));
    assert_eq!(node.rest("users/describe", json!({ "userName": "ada" })).await, json!([]), "there are no roles");
    let change = json!({ "userName": "ada", "password": "first-one", "newPassword": "second-one" }).to_string();
    assert_eq!(node.post("users/update_password", Some("ada:first-one"), &change).await.1["code"], 0);
    assert_eq!(node.post("collections/list", Some("ada:first-one"), "{}").await.0, 401);
    assert_eq!(node.post("collections/list", Some("ada:second-one"), "{}").await.0, 200);
    let (status, answer) = node.post("users/update_password", Some("ada:second-one"), &change).await;
    assert_eq!((status, &answer["code"]), (200, &json!(1100)), "the old password is wrong: {answer}");

    for call in ["users/list", "users/drop", "users/create"] {
        let body = r#"{"userName": "eve", "password": "password"}"#;
        let body = if call == "users/list" {
            "{}"
        } else if call == "users/drop" {
            r#"{"userName": "eve"}"#
        } else {
            body
        };
        let (status, answer) = node.post(call, Some("ada:second-one"), body).await;
        assert_eq!((status, &answer["code"]), (403, &json!(1401)), "{call}: {answer}");
    }
    let (_, why) = node.rest_fails("users/create", json!({ "userName": "bob", "password": "short" })).await;
    assert!(why.contains("6 to 72") && !why.contains("short"), "{why}");
    assert!(node.rest_fails("users/drop", json!({ "userName": "root" })).await.1.contains("root"));
    node.rest("users/drop", json!({ "userName": "ada" })).await;
    assert_eq!(node.post("collections/list", Some("ada:second-one"), "{}").await.0, 401);
    node.rest_fails("users/describe", json!({ "userName": "ada" })).await;
}
