//! What a REST call answers, and how it is written.
//!
//! Rows go straight from columns to text: a number keeps all its digits, a float gets no more than it has, and a JSON value
//! is given back as it was written.

use std::collections::BTreeSet;

use milvus::proto::{
    common::KeyValuePair,
    schema::{
        FieldData, IDs, ScalarField, field_data::Field as Payload, i_ds::IdField, scalar_field::Data as Scalars,
        vector_field::Data as Vectors,
    },
};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::{Value as Json, json, value::RawValue};

use super::body::Entries;
use crate::{
    convert::params::pairs,
    errors::{Failure, MilvusCode},
};

/// The data of an answer.
pub(super) enum Answer {
    Data(Json),
    /// The keys of the rows that were written: how they are called, and how many there are.
    Written {
        count: &'static str,
        ids: &'static str,
        rows: i64,
        keys: IDs,
    },
    Rows(Table),
}

impl From<Json> for Answer {
    fn from(data: Json) -> Self {
        Self::Data(data)
    }
}

/// The answer of a call that has nothing to tell but that it is done.
pub(super) fn done(_: impl Sized) -> Answer {
    Answer::Data(json!({}))
}

/// Properties as REST tells them: pairs.
pub(super) fn properties(given: &[KeyValuePair]) -> Json {
    given.iter().map(|pair| json!({ "key": pair.key, "value": pair.value })).collect()
}

/// The number of rows in statistics.
pub(super) fn row_count(stats: &[KeyValuePair]) -> Answer {
    let rows = pairs(stats).get("row_count").and_then(|rows| rows.parse::<u64>().ok()).unwrap_or_default();
    json!({ "rowCount": rows }).into()
}

/// Rows, column by column; those of a search with their keys and scores.
#[derive(Default)]
pub(super) struct Table {
    pub(super) columns: Vec<FieldData>,
    pub(super) keys: Option<IDs>,
    pub(super) scores: Vec<f32>,
    /// How many rows belong to each query vector.
    pub(super) counts: Option<Vec<i64>>,
}

/// The names under which a search tells a row's key and score, whatever fields there are.
const KEY: &str = "id";
const SCORE: &str = "distance";

impl Answer {
    /// The whole answer with its envelope, of at most so many bytes.
    pub(super) fn write(self, int64_as_text: bool, largest: usize) -> Result<Vec<u8>, Failure> {
        let mut text = br#"{"code":0,"data":"#.to_vec();
        match self {
            Self::Data(data) => append(&mut text, &data)?,
            Self::Written { count, ids, rows, keys } => {
                let whole = Whole { int64_as_text };
                text.extend_from_slice(format!("{{\"{count}\":{rows},\"{ids}\":").as_bytes());
                append(&mut text, &Keys { keys: &keys, whole })?;
                text.push(b'}');
            }
            Self::Rows(table) => table.write(&mut text, Whole { int64_as_text }, largest)?,
        }
        text.push(b'}');
        Ok(text)
    }
}

fn append(text: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(text, value)
        .map_err(|_| Failure::Reply(MilvusCode::Unexpected, "the answer can't be written as JSON".to_owned()))
}

impl Table {
    fn rows(&self) -> usize {
        match self.keys {
            Some(_) => self.scores.len(),
            None => self.columns.first().map_or(0, rows),
        }
    }

    fn write(&self, text: &mut Vec<u8>, whole: Whole, largest: usize) -> Result<(), Failure> {
        let mut taken: BTreeSet<&str> = self.columns.iter().map(|column| column.field_name.as_str()).collect();
        if self.keys.is_some() {
            taken.extend([KEY, SCORE]);
        }
        text.push(b'[');
        for row in 0..self.rows() {
            if row > 0 {
                text.push(b',');
            }
            append(text, &Row { table: self, number: row, whole, taken: &taken })?;
            if text.len() > largest {
                let megabytes = largest / (1024 * 1024);
                let reason = format!("the answer is larger than {megabytes} MiB: ask for fewer rows or fields");
                return Err(Failure::invalid(reason));
            }
        }
        text.push(b']');
        if let Some(counts) = &self.counts {
            text.extend_from_slice(b",\"topks\":");
            append(text, counts)?;
        }
        Ok(())
    }
}

/// How many rows a column has. What this node writes has a value for every row, in the place of a null too.
fn rows(column: &FieldData) -> usize {
    match &column.field {
        Some(Payload::Scalars(ScalarField { data: Some(scalars), .. })) => values(scalars),
        Some(Payload::Vectors(vectors)) => match &vectors.data {
            Some(Vectors::FloatVector(floats)) => floats.data.len() / width(vectors.dim),
            _ => 0,
        },
        _ => 0,
    }
}

fn values(scalars: &Scalars) -> usize {
    match scalars {
        Scalars::BoolData(values) => values.data.len(),
        Scalars::IntData(values) => values.data.len(),
        Scalars::LongData(values) => values.data.len(),
        Scalars::FloatData(values) => values.data.len(),
        Scalars::DoubleData(values) => values.data.len(),
        Scalars::StringData(values) => values.data.len(),
        Scalars::JsonData(values) => values.data.len(),
        Scalars::ArrayData(values) => values.data.len(),
        _ => 0,
    }
}

fn width(dim: i64) -> usize {
    usize::try_from(dim).unwrap_or_default().max(1)
}

/// How integers of 64 bits are written.
#[derive(Clone, Copy)]
struct Whole {
    int64_as_text: bool,
}

impl Whole {
    fn write<S: Serializer>(self, number: i64, serializer: S) -> Result<S::Ok, S::Error> {
        if self.int64_as_text { serializer.collect_str(&number) } else { serializer.serialize_i64(number) }
    }
}

struct Keys<'a> {
    keys: &'a IDs,
    whole: Whole,
}

impl Serialize for Keys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.whole;
        match &self.keys.id_field {
            Some(IdField::IntId(keys)) => {
                serializer.collect_seq(keys.data.iter().map(|key| Int64 { number: *key, whole }))
            }
            Some(IdField::StrId(keys)) => serializer.collect_seq(&keys.data),
            _ => serializer.collect_seq(std::iter::empty::<i64>()),
        }
    }
}

struct Int64 {
    number: i64,
    whole: Whole,
}

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.whole.write(self.number, serializer)
    }
}

/// One row as an object.
struct Row<'a> {
    table: &'a Table,
    number: usize,
    whole: Whole,
    /// Names that a dynamic field can't have in the answer.
    taken: &'a BTreeSet<&'a str>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let searched = self.table.keys.is_some();
        match self.table.keys.as_ref().and_then(|keys| keys.id_field.as_ref()) {
            Some(IdField::IntId(keys)) => {
                let number = keys.data.get(self.number).copied().unwrap_or_default();
                object.serialize_entry(KEY, &Int64 { number, whole: self.whole })?;
            }
            Some(IdField::StrId(keys)) => object.serialize_entry(KEY, &keys.data.get(self.number))?,
            _ => {}
        }
        if searched {
            object.serialize_entry(SCORE, &self.table.scores.get(self.number))?;
        }
        for column in &self.table.columns {
            if column.is_dynamic {
                self.dynamic(column, &mut object)?;
            } else if !(searched && [KEY, SCORE].contains(&column.field_name.as_str())) {
                object.serialize_entry(&column.field_name, &Cell { column, row: self.number, whole: self.whole })?;
            }
        }
        object.end()
    }
}

impl Row<'_> {
    /// Dynamic fields stand beside the declared ones.
    fn dynamic<M: SerializeMap>(&self, column: &FieldData, object: &mut M) -> Result<(), M::Error> {
        let Some(Payload::Scalars(ScalarField { data: Some(Scalars::JsonData(values)), .. })) = &column.field else {
            return Ok(());
        };
        let text = values.data.get(self.number).map_or(&b"{}"[..], Vec::as_slice);
        let Entries(entries) = serde_json::from_slice(text).map_err(M::Error::custom)?;
        for (name, value) in entries {
            if !self.taken.contains(name.as_str()) {
                object.serialize_entry(&name, value)?;
            }
        }
        Ok(())
    }
}

/// The value of one field in one row.
struct Cell<'a> {
    column: &'a FieldData,
    row: usize,
    whole: Whole,
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.column.valid_data.get(self.row) == Some(&false) {
            return serializer.serialize_none();
        }
        match &self.column.field {
            Some(Payload::Scalars(ScalarField { data: Some(scalars), .. })) => {
                Scalar { scalars, row: self.row, whole: self.whole }.serialize(serializer)
            }
            Some(Payload::Vectors(vectors)) => match &vectors.data {
                Some(Vectors::FloatVector(floats)) => {
                    let width = width(vectors.dim);
                    serializer.collect_seq(floats.data.iter().skip(self.row * width).take(width))
                }
                _ => Err(S::Error::custom("a vector of a type that is not stored")),
            },
            _ => serializer.serialize_none(),
        }
    }
}

struct Scalar<'a> {
    scalars: &'a Scalars,
    row: usize,
    whole: Whole,
}

impl Serialize for Scalar<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.row;
        match self.scalars {
            Scalars::BoolData(values) => values.data.get(row).serialize(serializer),
            Scalars::IntData(values) => values.data.get(row).serialize(serializer),
            Scalars::LongData(values) => {
                let number = values.data.get(row).map(|number| Int64 { number: *number, whole: self.whole });
                number.serialize(serializer)
            }
            Scalars::FloatData(values) => values.data.get(row).serialize(serializer),
            Scalars::DoubleData(values) => values.data.get(row).serialize(serializer),
            Scalars::StringData(values) => values.data.get(row).serialize(serializer),
            Scalars::JsonData(values) => {
                let text = values.data.get(row).map_or(&b"null"[..], Vec::as_slice);
                let value: &RawValue = serde_json::from_slice(text).map_err(S::Error::custom)?;
                value.serialize(serializer)
            }
            Scalars::ArrayData(cells) => {
                let scalars = cells.data.get(row).and_then(|cell| cell.data.as_ref());
                let whole = self.whole;
                let elements = scalars
                    .into_iter()
                    .flat_map(|scalars| (0..values(scalars)).map(move |row| Scalar { scalars, row, whole }));
                serializer.collect_seq(elements)
            }
            _ => Err(S::Error::custom("a value of a type that is not stored")),
        }
    }
}

#[cfg(test)]
mod tests {
    use milvus::proto::schema::{BoolArray, DoubleArray, JsonArray, LongArray};

    use super::*;

    fn column(name: &str, data: Scalars, valid_data: Vec<bool>) -> FieldData {
        let field = Some(Payload::Scalars(ScalarField { data: Some(data), valid_data: Vec::new() }));
        FieldData { field_name: name.into(), valid_data, field, ..FieldData::default() }
    }

    fn numbers(data: Vec<i64>) -> Scalars {
        Scalars::LongData(LongArray { data })
    }

    fn dynamic(texts: &[&str]) -> FieldData {
        let data = texts.iter().map(|text| (*text).into()).collect();
        FieldData { is_dynamic: true, ..column("$meta", Scalars::JsonData(JsonArray { data }), Vec::new()) }
    }

    fn text(table: Table, int64_as_text: bool) -> String {
        String::from_utf8(Answer::Rows(table).write(int64_as_text, 1_000).unwrap()).unwrap()
    }

    #[test]
    fn rows_are_objects_with_nulls_where_there_is_no_value() {
        let flags = column("flag", Scalars::BoolData(BoolArray { data: vec![true, false] }), vec![true, false]);
        let columns = vec![column("id", numbers(vec![1, i64::MAX]), Vec::new()), flags];
        let rows = || Table { columns: columns.clone(), ..Table::default() };
        let as_numbers = r#"{"code":0,"data":[{"id":1,"flag":true},{"id":9223372036854775807,"flag":null}]}"#;
        assert_eq!(text(rows(), false), as_numbers);
        assert!(text(rows(), true).contains(r#"{"id":"9223372036854775807","flag":null}"#));
        assert_eq!(text(Table::default(), false), r#"{"code":0,"data":[]}"#);
    }

    #[test]
    fn a_dynamic_field_does_not_stand_in_for_a_declared_one_a_key_or_a_score() {
        let declared = column("price", Scalars::DoubleData(DoubleArray { data: vec![1.5] }), Vec::new());
        let table = Table {
            columns: vec![declared, dynamic(&[r#"{"price":9,"id":9,"distance":9,"size":1.50}"#])],
            keys: Some(IDs { id_field: Some(IdField::IntId(LongArray { data: vec![7] })) }),
            scores: vec![0.25],
            counts: Some(vec![1]),
        };
        let expected = r#"{"code":0,"data":[{"id":7,"distance":0.25,"price":1.5,"size":1.50}],"topks":[1]}"#;
        assert_eq!(text(table, false), expected);
    }

    #[test]
    fn an_answer_that_grows_too_large_is_an_error() {
        let rows = Table { columns: vec![column("id", numbers(vec![0; 1_000]), Vec::new())], ..Table::default() };
        let Err(Failure::Reply(code, reason)) = Answer::Rows(rows).write(false, 500) else { panic!("it was written") };
        assert!(code == MilvusCode::ParameterInvalid && reason.contains("fewer rows"), "{reason}");
    }

    #[test]
    fn stored_json_that_is_none_is_an_error_and_not_passed_on() {
        let rows = Table { columns: vec![dynamic(&["{\"a\": oops}"])], ..Table::default() };
        assert!(Answer::Rows(rows).write(false, 1_000).is_err());
    }
}
