//! The REST calls of rows: what is written, read, found and deleted, and what is refused.

use crate::common::{Running, all, plain, points, root};
use serde_json::{Value as Json, json};

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
