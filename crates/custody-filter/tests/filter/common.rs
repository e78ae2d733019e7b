//! Seven rows that the tests ask about. Row 7 has no value wherever it may lack one.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray,
    types::{Float32Type, Int64Type},
};
use custody_filter::{FieldType, Filter, FilterError, Params, Schema};

/// The schema of [`batch`].
pub(crate) fn schema() -> Schema {
    let array = |element| FieldType::Array(Box::new(element));
    Schema::new()
        .primary("id", FieldType::Int64)
        .field("flag", FieldType::Bool)
        .field("tiny", FieldType::Int8)
        .field("short", FieldType::Int16)
        .field("year", FieldType::Int32)
        .field("big", FieldType::Int64)
        .field("price", FieldType::Float)
        .field("score", FieldType::Double)
        .field("name", FieldType::VarChar)
        .field("doc", FieldType::Json)
        .field("nums", array(FieldType::Int64))
        .field("rates", array(FieldType::Float))
        .field("tags", array(FieldType::VarChar))
        .field("marks", array(FieldType::Bool))
        .field("vector", FieldType::Vector)
        .dynamic("$meta")
}

fn texts(rows: &[Option<&[&str]>]) -> ListArray {
    let mut builder = arrow_array::builder::ListBuilder::new(arrow_array::builder::StringBuilder::new());
    for row in rows {
        builder.append_option(row.map(|row| row.iter().map(|text| Some(*text))));
    }
    builder.finish()
}

fn flags(rows: &[Option<&[bool]>]) -> ListArray {
    let mut builder = arrow_array::builder::ListBuilder::new(arrow_array::builder::BooleanBuilder::new());
    for row in rows {
        builder.append_option(row.map(|row| row.iter().map(|flag| Some(*flag))));
    }
    builder.finish()
}

fn nums(rows: &[Option<&[i64]>]) -> ListArray {
    ListArray::from_iter_primitive::<Int64Type, _, _>(
        rows.iter().map(|row| row.map(|row| row.iter().map(|number| Some(*number)).collect::<Vec<_>>())),
    )
}

/// The rows.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn batch() -> RecordBatch {
    let rates = ListArray::from_iter_primitive::<Float32Type, _, _>([
        Some(vec![Some(0.1), Some(0.2)]),
        Some(vec![Some(0.5)]),
        None,
        None,
        None,
        None,
        None,
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5, 6, 7]))),
        (
            "flag",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                Some(true),
                Some(false),
                Some(true),
                Some(false),
                None,
            ])),
        ),
        ("tiny", Arc::new(Int8Array::from(vec![Some(-128), Some(-1), Some(0), Some(1), Some(2), Some(127), None]))),
        ("short", Arc::new(Int16Array::from(vec![Some(10), Some(20), Some(30), Some(40), Some(50), Some(60), None]))),
        (
            "year",
            Arc::new(Int32Array::from(vec![
                Some(1990),
                Some(1995),
                Some(2000),
                Some(2005),
                Some(2010),
                Some(2015),
                None,
            ])),
        ),
        (
            "big",
            Arc::new(Int64Array::from(vec![
                Some(i64::MIN),
                Some(-9_007_199_254_740_993),
                Some(0),
                Some(9_007_199_254_740_992),
                Some(9_007_199_254_740_993),
                Some(i64::MAX),
                None,
            ])),
        ),
        (
            "price",
            Arc::new(Float32Array::from(vec![
                Some(0.1),
                Some(9.99),
                Some(10.0),
                Some(-1.5),
                Some(100.0),
                Some(0.0),
                None,
            ])),
        ),
        (
            "score",
            Arc::new(Float64Array::from(vec![
                Some(0.1),
                Some(0.5),
                Some(9_007_199_254_740_992.0),
                Some(-2.0),
                Some(3.0),
                Some(-0.0),
                None,
            ])),
        ),
        (
            "name",
            Arc::new(StringArray::from(vec![
                Some("alpha"),
                Some("beta"),
                Some("Gamma"),
                Some("50% off"),
                Some("it's \"quoted\""),
                Some(""),
                None,
            ])),
        ),
        (
            "doc",
            Arc::new(StringArray::from(vec![
                Some(
                    r#"{"n": 1, "s": "x", "b": true, "list": [1, 2, "three"], "deep": {"er": [{"k": 10}, {"k": 20}]}}"#,
                ),
                Some(r#"{"n": 1.0, "s": "y", "b": false, "list": [1, [2, 3]], "deep": {"er": []}}"#),
                Some(r#"{"n": "1", "s": null, "b": "true", "list": [], "deep": 5}"#),
                Some(r#"{"n": 9007199254740993, "s": "x\"\u00e9", "list": "no list"}"#),
                Some(r#"{"n": -2.5, "s": 7, "list": [true, null, 2.0], "m": 3}"#),
                Some(r"[10, 20]"),
                None,
            ])),
        ),
        (
            "nums",
            Arc::new(nums(&[
                Some(&[1, 2, 3]),
                Some(&[4]),
                Some(&[]),
                Some(&[1, 1, 1]),
                Some(&[3, 2, 1]),
                Some(&[-5, 0]),
                None,
            ])),
        ),
        ("rates", Arc::new(rates)),
        (
            "tags",
            Arc::new(texts(&[
                Some(&["red", "blue"]),
                Some(&["red"]),
                Some(&[]),
                Some(&["green"]),
                Some(&["red", "green", "blue"]),
                Some(&[""]),
                None,
            ])),
        ),
        ("marks", Arc::new(flags(&[Some(&[true]), Some(&[false]), Some(&[]), Some(&[true, false]), None, None, None]))),
        (
            "$meta",
            Arc::new(StringArray::from(vec![
                Some(r#"{"color": "red", "size": 3, "in": 1, "größe": 5}"#),
                Some(r#"{"color": "blue", "size": 4.5}"#),
                Some(r#"{"color": "red", "size": "3"}"#),
                Some(r#"{"size": 10, "nested": {"color": "red"}}"#),
                Some(r#"{"color": null}"#),
                Some("{}"),
                None,
            ])),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// The ids of the rows that a filter finds.
pub(crate) fn find_with(text: &str, params: &Params) -> Result<Vec<usize>, FilterError> {
    let filter = Filter::parse(text, &schema(), params)?;
    let found = filter.evaluate(&batch(), 7)?;
    Ok(found.set_indices().map(|row| row + 1).collect())
}

/// The same without placeholders, for a filter that must be right.
pub(crate) fn find(text: &str) -> Vec<usize> {
    find_with(text, &Params::new()).unwrap_or_else(|error| panic!("{text}: {error}"))
}
