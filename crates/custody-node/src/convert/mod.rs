//! From Milvus' messages to the engine's types, and back.

pub(crate) mod columns;
pub(crate) mod params;
pub(crate) mod results;
pub(crate) mod schema;

use milvus::proto::schema::DataType as WireType;

/// A message that can't be turned into what the engine takes. None of these carries a value of a row.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("{0} is not supported by Custody")]
    Unsupported(String),
    #[error("illegal schema: {0}")]
    Schema(String),
    #[error("the column of field '{field}' has {given} rows, {expected} were announced")]
    Rows { field: String, given: usize, expected: usize },
    #[error("vectors of field '{field}' have {given} dimensions, the field has {expected}")]
    Dimension { field: String, given: i64, expected: u32 },
    #[error("the vectors of field '{field}' are cut: {floats} floats are no multiple of {dim} dimensions")]
    CutVector { field: String, floats: usize, dim: u32 },
    #[error("the column of field '{field}' is of type {given}, the field is of type {expected}")]
    Type { field: String, given: &'static str, expected: &'static str },
    #[error("the column of field '{field}' holds a number that does not fit {expected}")]
    Range { field: String, expected: &'static str },
    #[error("the column of field '{field}' holds JSON that is not UTF-8")]
    NotUtf8 { field: String },
    #[error("field '{field}': null elements inside an array are not supported by Custody")]
    NullElement { field: String },
    #[error("field '{field}': a value is missing, and the field is neither nullable nor has a default")]
    Missing { field: String },
    #[error("the collection has no field '{0}', and its dynamic field is off")]
    UnknownField(String),
    #[error("field '{0}' is given twice")]
    Twice(String),
    #[error("parameter '{name}': {why}")]
    Param { name: String, why: String },
    #[error("parameter '{0}' is missing")]
    Required(String),
    #[error("row {row}: field '{field}' {why}")]
    Cell { row: usize, field: String, why: &'static str },
    #[error("the message can't be read: {0}")]
    Decode(#[from] prost::DecodeError),
}

/// The name of a type on the wire, by its number.
pub(crate) fn wire_name(number: i32) -> &'static str {
    WireType::try_from(number).map_or("an unknown type", |known| known.as_str_name())
}
