//! What clients send.

use std::sync::LazyLock;

use custody_engine::Schema;
use custody_node::fuzzing;

pub(crate) static SCHEMA: LazyLock<Schema> = LazyLock::new(custody_engine::fuzzing::schema);

/// A protobuf request, whose kind the first byte says.
pub fn request(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let refused = match kind % 4 {
        0 => fuzzing::insert(bytes, &SCHEMA).err(),
        1 => fuzzing::collection_schema(bytes).err(),
        2 => fuzzing::search(bytes).err(),
        _ => match fuzzing::vectors(bytes) {
            Ok(floats) => {
                assert!(floats * 4 <= bytes.len(), "more vectors were read than sent");
                None
            }
            Err(error) => Some(error),
        },
    };
    assert!(refused.is_none_or(|error| !error.is_empty()), "a refusal that says nothing");
}

/// Seeds of [`request`].
pub(crate) fn requests() -> Vec<Vec<u8>> {
    (0_u8..).zip(fuzzing::requests(&SCHEMA)).map(|(kind, bytes)| [&[kind], &bytes[..]].concat()).collect()
}

/// The body of a REST call, which the first byte says, or rows alone.
pub fn rest(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let refused = match fuzzing::REST_CALLS.get(usize::from(*kind)) {
        Some(call) => fuzzing::rest_body(call, bytes),
        None => fuzzing::rest_rows(bytes, &SCHEMA, kind % 2 == 0),
    };
    assert!(refused.err().is_none_or(|error| !error.is_empty()), "a refusal that says nothing");
}

/// What REST calls may be sent: everything that any of them knows.
const REST_BODY: &str = r#"{"dbName": "d", "collectionName": "c", "newCollectionName": "n", "partitionName": "p",
    "partitionNames": ["p"], "aliasName": "a", "indexName": "i", "userName": "u", "password": "secret", "newPassword": "s",
    "properties": {"k": 1, "cipher.enabled": true}, "propertyKeys": ["k"], "dimension": "2", "metricType": "L2",
    "idType": "VarChar", "autoID": true, "params": {"max_length": 9, "consistencyLevel": "Strong"}, "jobID": 7,
    "indexParams": [{"fieldName": "v", "indexType": "HNSW", "params": {"M": 8}}], "id": [1, "2"], "filter": "id == {x}",
    "exprParams": {"x": [1, 2.5, "y", true]}, "outputFields": ["*"], "limit": 3, "offset": 1, "data": [[1, 0.5]],
    "schema": {"autoId": true, "fields": [{"fieldName": "id", "dataType": "Int64", "isPrimary": true},
    {"fieldName": "n", "dataType": "Int8", "defaultValue": 1},
    {"fieldName": "v", "dataType": "FloatVector", "elementTypeParams": {"dim": 2}}]},
    "annsField": "v", "searchParams": {"metricType": "L2", "params": {"radius": 1.5}}}"#;

const REST_ROWS: &str = r#"[{"id": 9223372036854775807, "flag": true, "large": "-1", "vector": [0.5, 1], "new": {"a": [1e3]}},
    {"id": "2", "vector": [1, 2], "text": null, "doc": {"a": "\ud83d\ude00"}}]"#;

/// Seeds of [`rest`].
pub(crate) fn rest_requests() -> Vec<Vec<u8>> {
    let calls = (0_u8..=u8::MAX).take(fuzzing::REST_CALLS.len());
    let bodies = calls.map(|kind| [&[kind], REST_BODY.as_bytes()].concat());
    let small = [0_u8, 3, 7].map(|kind| [&[kind], br#"{"dbName": "d", "collectionName": "c"}"#.as_slice()].concat());
    let rows = [254_u8, 255].map(|kind| [&[kind], REST_ROWS.as_bytes()].concat());
    bodies.chain(small).chain(rows).collect()
}

/// An `authorization` header: it means at most two credentials, itself and what it holds as base64.
pub fn authorization(bytes: &[u8]) {
    let meanings = fuzzing::authorization(bytes);
    assert!(meanings <= 2 && (meanings == 0 || !bytes.is_empty()), "{meanings} meanings");
}
