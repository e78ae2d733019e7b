//! The REST calls of databases, collections, partitions, aliases, indexes and users: what they do, and what they refuse.

use crate::common::{all, plain, points};
use serde_json::{Value as Json, json};

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
    let empty = json!({ "collectionName": "points", "partitionNames": [] });
    assert_eq!(node.rest_fails("partitions/load", empty.clone()).await.0, 1802);
    assert_eq!(node.rest_fails("partitions/release", empty).await.0, 1802);
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
    for second in [
        json!({ "fieldName": "id", "indexType": "IVF_PQ" }),
        json!({ "fieldName": "missing" }),
        json!({ "fieldName": "v", "indexName": "again" }),
    ] {
        let several = json!({ "collectionName": "c", "indexParams": [{ "fieldName": "v" }, second] });
        node.rest_fails("indexes/create", several).await;
        assert_eq!(list().await, json!(["keys"]), "one that is wrong makes none");
    }
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
