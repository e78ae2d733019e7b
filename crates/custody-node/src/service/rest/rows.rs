//! Rows as REST brings them, objects one after another, to the columns that gRPC brings.
//!
//! What a row gives beside the declared fields goes to the dynamic field, if there is one. A field that no row gives has no
//! column: what that means is for the engine to say.

use std::collections::BTreeMap;

use custody_engine::{DYNAMIC_FIELD, DataType, Field, Schema};
use milvus::proto::schema::{
    ArrayArray, BoolArray, DoubleArray, FieldData, FloatArray, IntArray, JsonArray, LongArray, ScalarField,
    StringArray, VectorField, field_data::Field as Payload, scalar_field::Data as Scalars,
    vector_field::Data as Vectors,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    Result,
    body::{Entries, integer},
};
use crate::convert::{ConvertError, params::param, schema::wire_type};

/// The rows of `data`: a list of objects, or one alone.
pub(super) fn split(data: &RawValue) -> Result<Vec<&RawValue>> {
    if !data.get().starts_with('[') {
        return Ok(vec![data]);
    }
    serde_json::from_str(data.get()).map_err(|_| param("data", "it must be a list of objects"))
}

/// The columns of rows. Those of a partial update must all give the same fields.
pub(super) fn columns(schema: &Schema, rows: &[&RawValue], partial: bool) -> Result<Vec<FieldData>> {
    let places: BTreeMap<&str, usize> =
        schema.fields.iter().enumerate().map(|(place, field)| (field.name.as_str(), place)).collect();
    let mut cells: Vec<Vec<Option<&RawValue>>> = vec![Vec::new(); schema.fields.len()];
    let mut dynamic = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let Entries(entries) = serde_json::from_str(row.get())
            .map_err(|_| param(&format!("data[{number}]"), "it must be an object of fields and their values"))?;
        let mut beside = BTreeMap::new();
        for (name, value) in entries {
            let Some(place) = places.get(name.as_str()) else {
                if !schema.dynamic || name == DYNAMIC_FIELD {
                    return Err(ConvertError::UnknownField(name));
                }
                if beside.insert(name.clone(), value).is_some() {
                    return Err(ConvertError::Twice(name));
                }
                continue;
            };
            let column = &mut cells[*place];
            if column.len() > number {
                return Err(ConvertError::Twice(name));
            }
            column.resize(number, None);
            column.push(Some(value));
        }
        if !beside.is_empty() {
            dynamic.resize(number, b"{}".to_vec());
            dynamic.push(object(&beside));
        }
    }
    let mut columns = Vec::new();
    for (field, mut cells) in schema.fields.iter().zip(cells).filter(|(_, cells)| !cells.is_empty()) {
        cells.resize(rows.len(), None);
        if partial && cells.iter().any(Option::is_none) {
            return Err(param("data", format!("a partial update gives '{}' in every row, or in none", field.name)));
        }
        columns.push(column(field, &cells)?);
    }
    if !dynamic.is_empty() {
        dynamic.resize(rows.len(), b"{}".to_vec());
        columns.push(dynamic_column(dynamic));
    }
    Ok(columns)
}

/// The values as they were written, under their names.
fn object(entries: &BTreeMap<String, &RawValue>) -> Vec<u8> {
    let mut text = String::from("{");
    for (place, (name, value)) in entries.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(name.as_str()).to_string());
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    text.into_bytes()
}

fn dynamic_column(data: Vec<Vec<u8>>) -> FieldData {
    FieldData {
        r#type: wire_type(&DataType::Json).into(),
        field_name: DYNAMIC_FIELD.to_owned(),
        is_dynamic: true,
        field: Some(scalars(Scalars::JsonData(JsonArray { data }))),
        ..FieldData::default()
    }
}

fn scalars(data: Scalars) -> Payload {
    Payload::Scalars(ScalarField { data: Some(data), valid_data: Vec::new() })
}

/// One column: the values of the rows that have one, and which these are.
fn column(field: &Field, cells: &[Option<&RawValue>]) -> Result<FieldData> {
    let given: Vec<Option<&RawValue>> = cells.iter().map(|cell| cell.filter(|value| value.get() != "null")).collect();
    let valid: Vec<bool> = given.iter().map(Option::is_some).collect();
    let values = given.iter().enumerate();
    let values: Vec<Value<'_>> =
        values.filter_map(|(row, value)| value.map(|value| Value { field, row, text: value.get() })).collect();
    let payload = match &field.data_type {
        DataType::FloatVector { dim } => vectors(field, *dim, &values, cells.len())?,
        data_type => scalars(list(data_type, &values)?),
    };
    Ok(FieldData {
        r#type: wire_type(&field.data_type).into(),
        field_name: field.name.clone(),
        valid_data: if valid.contains(&false) { valid } else { Vec::new() },
        field: Some(payload),
        ..FieldData::default()
    })
}

fn vectors(field: &Field, dim: u32, values: &[Value<'_>], rows: usize) -> Result<Payload> {
    if values.len() != rows {
        return Err(ConvertError::Missing { field: field.name.clone() });
    }
    let mut floats = Vec::new();
    for value in values {
        let vector: Vec<f32> = value.parse("must be a list of numbers")?;
        if vector.len() != dim as usize {
            let given = i64::try_from(vector.len()).unwrap_or(i64::MAX);
            return Err(ConvertError::Dimension { field: field.name.clone(), given, expected: dim });
        }
        for float in vector {
            floats.push(value.finite(float, f32::is_finite)?);
        }
    }
    let data = Some(Vectors::FloatVector(FloatArray { data: floats }));
    Ok(Payload::Vectors(VectorField { dim: i64::from(dim), data, valid_data: Vec::new() }))
}

/// Values of one type, one after another.
fn list(data_type: &DataType, values: &[Value<'_>]) -> Result<Scalars> {
    fn all<'a, T>(values: &[Value<'a>], read: impl Fn(&Value<'a>) -> Result<T>) -> Result<Vec<T>> {
        values.iter().map(read).collect()
    }
    Ok(match data_type {
        DataType::Bool => {
            Scalars::BoolData(BoolArray { data: all(values, |value| value.parse("must be true or false"))? })
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 => {
            let narrow = |value: &Value<'_>| {
                i32::try_from(value.integer()?).map_err(|_| value.fail("holds a number that does not fit its type"))
            };
            Scalars::IntData(IntArray { data: all(values, narrow)? })
        }
        DataType::Int64 => Scalars::LongData(LongArray { data: all(values, Value::integer)? }),
        DataType::Float => {
            let float = |value: &Value<'_>| value.finite(value.parse("must be a number")?, f32::is_finite);
            Scalars::FloatData(FloatArray { data: all(values, float)? })
        }
        DataType::Double => {
            let double = |value: &Value<'_>| value.finite(value.parse("must be a number")?, f64::is_finite);
            Scalars::DoubleData(DoubleArray { data: all(values, double)? })
        }
        DataType::VarChar { .. } => {
            Scalars::StringData(StringArray { data: all(values, |value| value.parse("must be a string"))? })
        }
        DataType::Json => Scalars::JsonData(JsonArray { data: all(values, |value| Ok(value.text.into()))? }),
        DataType::Array { element, .. } => Scalars::ArrayData(ArrayArray {
            data: all(values, |value| value.elements(element))?,
            element_type: wire_type(element).into(),
        }),
        // `column` reads these.
        DataType::FloatVector { .. } => Scalars::FloatData(FloatArray::default()),
    })
}

/// A value as it was written, and where it stands.
struct Value<'a> {
    field: &'a Field,
    row: usize,
    text: &'a str,
}

impl Value<'_> {
    fn fail(&self, why: &'static str) -> ConvertError {
        ConvertError::Cell { row: self.row, field: self.field.name.clone(), why }
    }

    fn parse<T: DeserializeOwned>(&self, why: &'static str) -> Result<T> {
        serde_json::from_str(self.text).map_err(|_| self.fail(why))
    }

    fn integer(&self) -> Result<i64> {
        integer(self.text).ok_or_else(|| self.fail("must be a whole number of its type"))
    }

    /// JSON has no infinity, but numbers that are one in fewer bits.
    fn finite<T: Copy>(&self, number: T, is_finite: impl Fn(T) -> bool) -> Result<T> {
        if is_finite(number) { Ok(number) } else { Err(self.fail("holds a number that does not fit its type")) }
    }

    fn elements(&self, element: &DataType) -> Result<ScalarField> {
        let texts: Vec<&RawValue> = serde_json::from_str(self.text).map_err(|_| self.fail("must be a list"))?;
        if texts.iter().any(|text| text.get() == "null") {
            return Err(ConvertError::NullElement { field: self.field.name.clone() });
        }
        let values: Vec<Value<'_>> =
            texts.iter().map(|text| Value { field: self.field, row: self.row, text: text.get() }).collect();
        Ok(ScalarField { data: Some(list(element, &values)?), valid_data: Vec::new() })
    }
}

/// Reads rows for a schema as an insert does, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(schema: &Schema, data: &str, partial: bool) -> std::result::Result<(usize, Vec<FieldData>), String> {
    let read = |data| {
        let rows = split(data)?;
        Ok::<_, ConvertError>((rows.len(), columns(schema, &rows, partial)?))
    };
    let data: &RawValue = serde_json::from_str(data).map_err(|error| error.to_string())?;
    read(data).map_err(|error| error.to_string())
}
