//! Arrow columns, typed once per evaluation.

use arrow_array::{
    Array, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray,
};
use arrow_buffer::NullBuffer;

use crate::{FieldType, FilterError, list::List, value::Scalar};

/// The columns that a filter is evaluated over.
pub trait Columns {
    /// The column of a field, or `None` if there is none of that name.
    fn column(&self, name: &str) -> Option<&dyn Array>;
}

impl Columns for RecordBatch {
    fn column(&self, name: &str) -> Option<&dyn Array> {
        self.column_by_name(name).map(AsRef::as_ref)
    }
}

/// A column with its Arrow type found out.
pub(crate) enum Column<'a> {
    Bool(&'a BooleanArray),
    Int8(&'a Int8Array),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float(&'a Float32Array),
    Double(&'a Float64Array),
    /// VarChar, or JSON text.
    Text(&'a StringArray),
    Array(&'a ListArray, Box<Column<'a>>),
}

impl<'a> Column<'a> {
    /// Types a column as the schema says; it must have `rows` rows.
    pub(crate) fn bind(array: &'a dyn Array, field_type: &FieldType, rows: usize) -> Result<Self, FilterError> {
        if array.len() != rows {
            return Err(FilterError::of_columns("a column has another number of rows than was said"));
        }
        Self::typed(array, field_type).ok_or_else(|| {
            FilterError::of_columns(format!("a column has another Arrow type than {} asks for", field_type.name()))
        })
    }

    fn typed(array: &'a dyn Array, field_type: &FieldType) -> Option<Self> {
        let any = array.as_any();
        Some(match field_type {
            FieldType::Bool => Self::Bool(any.downcast_ref()?),
            FieldType::Int8 => Self::Int8(any.downcast_ref()?),
            FieldType::Int16 => Self::Int16(any.downcast_ref()?),
            FieldType::Int32 => Self::Int32(any.downcast_ref()?),
            FieldType::Int64 => Self::Int64(any.downcast_ref()?),
            FieldType::Float => Self::Float(any.downcast_ref()?),
            FieldType::Double => Self::Double(any.downcast_ref()?),
            FieldType::VarChar | FieldType::Json => Self::Text(any.downcast_ref()?),
            FieldType::Array(element) => {
                let list: &ListArray = any.downcast_ref()?;
                Self::Array(list, Box::new(Self::typed(list.values().as_ref(), element)?))
            }
            FieldType::Vector => return None,
        })
    }

    fn array(&self) -> &'a dyn Array {
        match self {
            Self::Bool(array) => *array,
            Self::Int8(array) => *array,
            Self::Int16(array) => *array,
            Self::Int32(array) => *array,
            Self::Int64(array) => *array,
            Self::Float(array) => *array,
            Self::Double(array) => *array,
            Self::Text(array) => *array,
            Self::Array(array, _) => *array,
        }
    }

    /// Which rows have a value; `None` if all have.
    pub(crate) fn nulls(&self) -> Option<&'a NullBuffer> {
        self.array().nulls().filter(|nulls| nulls.null_count() > 0)
    }

    /// The value of a row.
    pub(crate) fn scalar(&self, row: usize) -> Option<Scalar<'_>> {
        if self.array().is_null(row) {
            return None;
        }
        Some(match self {
            Self::Bool(array) => Scalar::Bool(array.value(row)),
            Self::Int8(array) => Scalar::Int(array.value(row).into()),
            Self::Int16(array) => Scalar::Int(array.value(row).into()),
            Self::Int32(array) => Scalar::Int(array.value(row).into()),
            Self::Int64(array) => Scalar::Int(array.value(row)),
            Self::Float(array) => Scalar::Float(array.value(row).into()),
            Self::Double(array) => Scalar::Float(array.value(row)),
            Self::Text(array) => Scalar::Text(array.value(row)),
            Self::Array(array, elements) => {
                // Arrow's offsets are never negative.
                let place = |row: usize| usize::try_from(array.value_offsets()[row]).unwrap_or_default();
                let (start, end) = (place(row), place(row + 1));
                Scalar::List(List::Elements { elements, start, len: end - start })
            }
        })
    }
}
