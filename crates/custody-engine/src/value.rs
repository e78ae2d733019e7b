//! One value of a row, and its passage to and from Arrow columns.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, ListArray, StringArray,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type},
};
use arrow_schema::{DataType as ArrowType, Field as ArrowField};
use serde::{Deserialize, Serialize};

use crate::{DataType, EngineError, Field, json};

/// One value of a row. It has no `Display`, and its `Debug` says only the kind, for values must not reach a log.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// No value.
    Null,
    /// Of a Bool field.
    Bool(bool),
    /// Of an integer field of any width.
    Int(i64),
    /// Of a Float field.
    Float(f32),
    /// Of a Double field.
    Double(f64),
    /// Of a VarChar field.
    Text(String),
    /// Of a JSON field: its text.
    Json(String),
    /// Of an Array field.
    Array(#[serde(deserialize_with = "crate::elements::values")] Vec<Value>),
    /// Of a FloatVector field.
    Vector(Vec<f32>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool(..)",
            Self::Int(_) => "Int(..)",
            Self::Float(_) => "Float(..)",
            Self::Double(_) => "Double(..)",
            Self::Text(_) => "Text(..)",
            Self::Json(_) => "Json(..)",
            Self::Array(_) => "Array(..)",
            Self::Vector(_) => "Vector(..)",
        })
    }
}

impl Value {
    /// Checks that the value may stand in the field.
    pub fn check(&self, field: &Field) -> Result<(), EngineError> {
        let fail = |why: String| Err(EngineError::InvalidRows(format!("field '{}': {why}", field.name)));
        if matches!(self, Self::Null) {
            return if field.nullable {
                Ok(())
            } else {
                fail("a value is missing and the field is not nullable".into())
            };
        }
        match check_type(self, &field.data_type) {
            Ok(()) => Ok(()),
            Err(why) => fail(why),
        }
    }

    /// The value at a place of a column.
    pub(crate) fn read(column: &dyn Array, row: usize, data_type: &DataType) -> Self {
        if column.is_null(row) {
            return Self::Null;
        }
        match data_type {
            DataType::Bool => Self::Bool(column.as_boolean().value(row)),
            DataType::Int8 => Self::Int(column.as_primitive::<Int8Type>().value(row).into()),
            DataType::Int16 => Self::Int(column.as_primitive::<Int16Type>().value(row).into()),
            DataType::Int32 => Self::Int(column.as_primitive::<Int32Type>().value(row).into()),
            DataType::Int64 => Self::Int(column.as_primitive::<Int64Type>().value(row)),
            DataType::Float => Self::Float(column.as_primitive::<Float32Type>().value(row)),
            DataType::Double => Self::Double(column.as_primitive::<Float64Type>().value(row)),
            DataType::VarChar { .. } => Self::Text(column.as_string::<i32>().value(row).to_owned()),
            DataType::Json => Self::Json(column.as_string::<i32>().value(row).to_owned()),
            DataType::Array { element, .. } => {
                let items = column.as_list::<i32>().value(row);
                Self::Array((0..items.len()).map(|place| Self::read(&*items, place, element)).collect())
            }
            DataType::FloatVector { .. } => {
                let items = column.as_fixed_size_list().value(row);
                Self::Vector(items.as_primitive::<Float32Type>().values().to_vec())
            }
        }
    }
}

fn check_type(value: &Value, data_type: &DataType) -> Result<(), String> {
    let range = |low: i64, high: i64, kind: &str| match value {
        Value::Int(number) if (low..=high).contains(number) => Ok(()),
        Value::Int(_) => Err(format!("a number does not fit {kind}")),
        _ => Err(format!("{kind} expected")),
    };
    match data_type {
        DataType::Int8 => range(i8::MIN.into(), i8::MAX.into(), "Int8"),
        DataType::Int16 => range(i16::MIN.into(), i16::MAX.into(), "Int16"),
        DataType::Int32 => range(i32::MIN.into(), i32::MAX.into(), "Int32"),
        DataType::Int64 => range(i64::MIN, i64::MAX, "Int64"),
        DataType::Bool => matches!(value, Value::Bool(_)).then_some(()).ok_or("Bool expected".into()),
        DataType::Float => match value {
            Value::Float(number) if number.is_finite() => Ok(()),
            Value::Float(_) => Err("NaN and infinity are not allowed".into()),
            _ => Err("Float expected".into()),
        },
        DataType::Double => match value {
            Value::Double(number) if number.is_finite() => Ok(()),
            Value::Double(_) => Err("NaN and infinity are not allowed".into()),
            _ => Err("Double expected".into()),
        },
        DataType::VarChar { max_length } => match value {
            Value::Text(text) if text.len() <= *max_length as usize => Ok(()),
            Value::Text(text) => Err(format!("a text of {} bytes is longer than max_length {max_length}", text.len())),
            _ => Err("VarChar expected".into()),
        },
        DataType::Json => match value {
            Value::Json(text) if text.len() > MAX_JSON => {
                Err(format!("a JSON value of {} bytes is longer than {MAX_JSON}", text.len()))
            }
            // serde_json's messages tell what is wrong and where, and nothing of the text.
            Value::Json(text) => json::check(text).map_err(|error| format!("not valid JSON: {error}")),
            _ => Err("JSON expected".into()),
        },
        DataType::Array { element, capacity } => match value {
            Value::Array(items) if items.len() > *capacity as usize => {
                Err(format!("an array of {} elements is longer than max_capacity {capacity}", items.len()))
            }
            Value::Array(items) => items.iter().try_for_each(|item| check_type(item, element)),
            _ => Err("Array expected".into()),
        },
        DataType::FloatVector { dim } => match value {
            Value::Vector(items) if items.len() != *dim as usize => {
                Err(format!("a vector has {} dimensions, the field has {dim}", items.len()))
            }
            Value::Vector(items) if items.iter().any(|item| !item.is_finite()) => {
                Err("a vector holds NaN or infinity".into())
            }
            Value::Vector(_) => Ok(()),
            _ => Err("FloatVector expected".into()),
        },
    }
}

/// The longest JSON value, in bytes, as Milvus has it.
const MAX_JSON: usize = 65_536;

/// Builds a column from values that were checked against its type; a value of another kind becomes null.
pub(crate) fn column<'a>(values: impl Iterator<Item = &'a Value> + Clone, data_type: &DataType) -> ArrayRef {
    fn int(value: &Value) -> Option<i64> {
        if let Value::Int(number) = value { Some(*number) } else { None }
    }
    fn text(value: &Value) -> Option<&str> {
        if let Value::Text(text) | Value::Json(text) = value { Some(text) } else { None }
    }
    macro_rules! ints {
        ($array:ty, $native:ty) => {
            Arc::new(
                values.map(|value| int(value).and_then(|number| <$native>::try_from(number).ok())).collect::<$array>(),
            )
        };
    }
    match data_type {
        DataType::Bool => Arc::new(
            values.map(|value| if let Value::Bool(bit) = value { Some(*bit) } else { None }).collect::<BooleanArray>(),
        ),
        DataType::Int8 => ints!(Int8Array, i8),
        DataType::Int16 => ints!(Int16Array, i16),
        DataType::Int32 => ints!(Int32Array, i32),
        DataType::Int64 => ints!(Int64Array, i64),
        DataType::Float => Arc::new(
            values
                .map(|value| if let Value::Float(number) = value { Some(*number) } else { None })
                .collect::<Float32Array>(),
        ),
        DataType::Double => Arc::new(
            values
                .map(|value| if let Value::Double(number) = value { Some(*number) } else { None })
                .collect::<Float64Array>(),
        ),
        DataType::VarChar { .. } | DataType::Json => Arc::new(values.map(text).collect::<StringArray>()),
        DataType::Array { element, .. } => Arc::new(list_column(values, element)),
        DataType::FloatVector { dim } => Arc::new(vector_column(values, *dim)),
    }
}

fn list_column<'a>(values: impl Iterator<Item = &'a Value> + Clone, element: &DataType) -> ListArray {
    use arrow_buffer::{NullBuffer, OffsetBuffer};
    fn items(value: &Value) -> &[Value] {
        if let Value::Array(items) = value { items } else { &[] }
    }
    let lengths = values.clone().map(|value| items(value).len());
    let valid: NullBuffer = values.clone().map(|value| matches!(value, Value::Array(_))).collect::<Vec<bool>>().into();
    let inner = values.flat_map(items).collect::<Vec<_>>();
    let inner = column(inner.iter().copied(), element);
    let field = Arc::new(ArrowField::new("item", element.arrow(), true));
    ListArray::new(field, OffsetBuffer::from_lengths(lengths), inner, Some(valid))
}

fn vector_column<'a>(values: impl Iterator<Item = &'a Value>, dim: u32) -> FixedSizeListArray {
    let width = dim as usize;
    let mut floats = Vec::new();
    for value in values {
        match value {
            Value::Vector(items) if items.len() == width => floats.extend_from_slice(items),
            _ => floats.extend(std::iter::repeat_n(0.0, width)),
        }
    }
    vectors_from(floats, dim)
}

/// A vector column over consecutive floats, `dim` a row.
pub(crate) fn vectors_from(floats: Vec<f32>, dim: u32) -> FixedSizeListArray {
    let ArrowType::FixedSizeList(field, width) = (DataType::FloatVector { dim }).arrow() else {
        unreachable!("a FloatVector is a fixed-size list in Arrow")
    };
    FixedSizeListArray::new(field, width, Arc::new(Float32Array::from(floats)), None)
}
