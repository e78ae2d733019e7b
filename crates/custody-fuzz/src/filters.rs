//! Filters, and the values of their placeholders.

use std::sync::{Arc, LazyLock};

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int64Array, ListArray, RecordBatch, StringArray,
    types::Int64Type,
};
use custody_filter::{FieldType, Filter, Params, Schema};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::new()
        .primary("id", FieldType::Int64)
        .field("flag", FieldType::Bool)
        .field("tiny", FieldType::Int8)
        .field("price", FieldType::Float)
        .field("exact", FieldType::Double)
        .field("name", FieldType::VarChar)
        .field("doc", FieldType::Json)
        .field("numbers", FieldType::Array(Box::new(FieldType::Int64)))
        .field("vector", FieldType::Vector)
        .field("$meta", FieldType::Json)
        .dynamic("$meta")
});

static BATCH: LazyLock<RecordBatch> = LazyLock::new(|| {
    let lists = vec![Some(vec![Some(1), Some(2)]), Some(vec![]), None, Some(vec![Some(i64::MIN)])];
    let docs = || StringArray::from(vec![Some(r#"{"a": [1, {"b": "x"}], "c": 1.5}"#), Some("[]"), None, Some("{")]);
    let columns: [(&str, ArrayRef); 9] = [
        ("id", Arc::new(Int64Array::from(vec![i64::MIN, -1, 0, i64::MAX]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
        ("tiny", Arc::new(Int8Array::from(vec![Some(-128), Some(0), None, Some(127)]))),
        ("price", Arc::new(Float32Array::from(vec![Some(0.1), Some(-0.0), None, Some(f32::MAX)]))),
        ("exact", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::MIN), None, Some(f64::MAX)]))),
        ("name", Arc::new(StringArray::from(vec![Some("ada"), Some(""), None, Some("ä%_\\")]))),
        ("doc", Arc::new(docs())),
        ("numbers", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
        ("$meta", Arc::new(docs())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
});

/// A filter; after a zero byte, its placeholders' values as JSON. It is read, or refused without a panic, and it says of
/// every row whether it is among the found, the same each time.
pub fn filter(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let Ok(text) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let params: Params = parts.next().and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let rows = BATCH.num_rows();
    match Filter::parse(text, &SCHEMA, &params) {
        Ok(filter) => {
            let first = filter.evaluate(&*BATCH, rows);
            if let Ok(found) = &first {
                assert_eq!(found.len(), rows);
            }
            assert_eq!(first.ok(), filter.evaluate(&*BATCH, rows).ok(), "two evaluations differ");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Seeds of [`filter`].
pub(crate) const FILTERS: [&str; 12] = [
    "",
    "id > 1 and name like 'a%'",
    "not (flag or id in [1, 2, 3])",
    "1 < tiny <= 5 || price == 0.1",
    "doc[\"a\"][1][\"b\"] == 'x' and exists doc[\"c\"]",
    "array_contains(numbers, 1) or array_length(numbers) == 2",
    "json_contains_any(doc[\"a\"], [1, 'x'])",
    "name is null and exact is not null",
    "id ** 2 / 3 % 7 - -5 != 0x1f",
    "other == \"\\u0041\\x41\\101\"",
    "id in {keys} and name == {name}\0{\"keys\": [1, 2], \"name\": \"ada\"}",
    "array_contains_all(numbers, [1, [2, [3]]])",
];
