//! Columns as clients read them: Arrow to `FieldData`.
//!
//! Every column has one value for every row, with something in the place of a null, and tells which are null: this is how
//! pymilvus reads them. Validity is written in both places where clients look for it.

use std::collections::BTreeSet;

use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type},
};
use custody_engine::{DYNAMIC_FIELD, DataType, Field, PrimaryKeys, Rows, Schema};
use milvus::proto::schema::{
    ArrayArray, BoolArray, DoubleArray, FieldData, FloatArray, IDs, IntArray, JsonArray, LongArray, ScalarField,
    StringArray, VectorField, field_data::Field as Payload, i_ds::IdField, scalar_field::Data as Scalars,
    vector_field::Data as Vectors,
};
use serde_json::{Map, Value as Json};

use super::{ConvertError, schema::wire_type};

/// The name under which a count is asked for and answered.
pub(crate) const COUNT: &str = "count(*)";

/// Which fields a client wants to read.
#[derive(Debug, PartialEq)]
pub(crate) struct Output {
    /// The declared fields wanted, and the dynamic one if it or something in it is.
    pub(crate) fields: Vec<String>,
    /// The names as the client gave them, with `*` spelled out; names of dynamic fields among them.
    pub(crate) names: Vec<String>,
    /// The dynamic fields wanted; `None` is all of them.
    dynamic: Option<BTreeSet<String>>,
}

impl Output {
    /// Reads the names that a client gave.
    pub(crate) fn of(schema: &Schema, given: &[String]) -> Result<Self, ConvertError> {
        let mut output = Self { fields: Vec::new(), names: Vec::new(), dynamic: Some(BTreeSet::new()) };
        for name in given {
            match name.trim() {
                "*" | "%" => {
                    for column in schema.columns() {
                        output.add(&column.name);
                    }
                }
                name => output.add_named(schema, name)?,
            }
        }
        Ok(output)
    }

    fn add_named(&mut self, schema: &Schema, name: &str) -> Result<(), ConvertError> {
        if schema.field(name).is_some() || (schema.dynamic && name == DYNAMIC_FIELD) {
            self.add(name);
            return Ok(());
        }
        if !schema.dynamic {
            return Err(ConvertError::UnknownField(name.to_owned()));
        }
        // `$meta["name"]` is another way to say `name`.
        let key = name.strip_prefix(DYNAMIC_FIELD).map_or(name, |path| path.trim_matches(['[', ']', '"', '\'']));
        if let Some(keys) = &mut self.dynamic {
            keys.insert(key.to_owned());
        }
        push_once(&mut self.names, key);
        push_once(&mut self.fields, DYNAMIC_FIELD);
        Ok(())
    }

    fn add(&mut self, name: &str) {
        if name == DYNAMIC_FIELD {
            self.dynamic = None;
        }
        push_once(&mut self.names, name);
        push_once(&mut self.fields, name);
    }

    /// Adds the primary key, which a query always returns.
    pub(crate) fn with_key(mut self, schema: &Schema) -> Self {
        self.add(&schema.primary().name);
        self
    }

    /// The columns wanted, as clients read them.
    pub(crate) fn columns(&self, rows: &Rows) -> Vec<FieldData> {
        let wanted = |name: &String| rows.columns.iter().find(|(field, _)| field.name == *name);
        self.fields.iter().filter_map(wanted).map(|(field, column)| self.column(field, column)).collect()
    }

    fn column(&self, field: &Field, column: &ArrayRef) -> FieldData {
        if field.name == DYNAMIC_FIELD {
            return dynamic_column(field, column, self.dynamic.as_ref());
        }
        self::column(field, column)
    }
}

fn push_once(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// One column.
pub(crate) fn column(field: &Field, column: &ArrayRef) -> FieldData {
    let valid: Vec<bool> =
        if field.nullable { (0..column.len()).map(|row| column.is_valid(row)).collect() } else { Vec::new() };
    let payload = match &field.data_type {
        DataType::FloatVector { dim } => Payload::Vectors(VectorField {
            dim: i64::from(*dim),
            valid_data: valid.clone(),
            data: Some(Vectors::FloatVector(FloatArray { data: floats(column) })),
        }),
        data_type => {
            Payload::Scalars(ScalarField { data: Some(scalars(data_type, column)), valid_data: valid.clone() })
        }
    };
    FieldData {
        r#type: wire_type(&field.data_type).into(),
        field_name: field.name.clone(),
        field_id: field.id,
        is_dynamic: false,
        valid_data: valid,
        field: Some(payload),
    }
}

fn floats(column: &ArrayRef) -> Vec<f32> {
    // A slice of a fixed-size list has the values of its rows alone.
    column.as_fixed_size_list().values().as_primitive::<Float32Type>().values().to_vec()
}

fn scalars(data_type: &DataType, column: &dyn Array) -> Scalars {
    match data_type {
        DataType::Bool => {
            let bits = column.as_boolean();
            Scalars::BoolData(BoolArray { data: bits.iter().map(Option::unwrap_or_default).collect() })
        }
        DataType::Int8 => Scalars::IntData(IntArray { data: numbers::<Int8Type, i32>(column) }),
        DataType::Int16 => Scalars::IntData(IntArray { data: numbers::<Int16Type, i32>(column) }),
        DataType::Int32 => Scalars::IntData(IntArray { data: numbers::<Int32Type, i32>(column) }),
        DataType::Int64 => Scalars::LongData(LongArray { data: numbers::<Int64Type, i64>(column) }),
        DataType::Float => Scalars::FloatData(FloatArray { data: numbers::<Float32Type, f32>(column) }),
        DataType::Double => Scalars::DoubleData(DoubleArray { data: numbers::<Float64Type, f64>(column) }),
        DataType::VarChar { .. } => Scalars::StringData(StringArray {
            data: column.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect(),
        }),
        DataType::Json => Scalars::JsonData(JsonArray {
            data: column.as_string::<i32>().iter().map(|text| text.unwrap_or_default().into()).collect(),
        }),
        DataType::Array { element, .. } => Scalars::ArrayData(ArrayArray {
            data: column
                .as_list::<i32>()
                .iter()
                .map(|cell| ScalarField { data: cell.map(|cell| scalars(element, &cell)), valid_data: Vec::new() })
                .collect(),
            element_type: wire_type(element).into(),
        }),
        // Vectors are no scalars: `column` writes them.
        DataType::FloatVector { .. } => Scalars::FloatData(FloatArray::default()),
    }
}

fn numbers<T, N>(column: &dyn Array) -> Vec<N>
where
    T: ArrowPrimitiveType,
    N: From<T::Native> + Default,
{
    column.as_primitive::<T>().iter().map(|number| number.map_or_else(N::default, N::from)).collect()
}

/// The dynamic field, with the wanted keys alone. A row without dynamic fields has an empty object.
fn dynamic_column(field: &Field, column: &ArrayRef, wanted: Option<&BTreeSet<String>>) -> FieldData {
    let cell = |text: Option<&str>| match (text, wanted) {
        (None, _) => b"{}".to_vec(),
        (Some(text), None) => text.into(),
        (Some(text), Some(wanted)) => {
            let mut object: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
            object.retain(|key, _| wanted.contains(key));
            Json::Object(object).to_string().into_bytes()
        }
    };
    let data = column.as_string::<i32>().iter().map(cell).collect();
    FieldData {
        r#type: wire_type(&field.data_type).into(),
        field_name: field.name.clone(),
        field_id: field.id,
        is_dynamic: true,
        valid_data: Vec::new(),
        field: Some(Payload::Scalars(ScalarField {
            data: Some(Scalars::JsonData(JsonArray { data })),
            valid_data: Vec::new(),
        })),
    }
}

/// The answer to `count(*)`.
pub(crate) fn count_column(count: u64) -> FieldData {
    let data = vec![i64::try_from(count).unwrap_or(i64::MAX)];
    FieldData {
        r#type: wire_type(&DataType::Int64).into(),
        field_name: COUNT.to_owned(),
        field: Some(Payload::Scalars(ScalarField {
            data: Some(Scalars::LongData(LongArray { data })),
            valid_data: Vec::new(),
        })),
        ..FieldData::default()
    }
}

/// Primary keys as clients read them.
pub(crate) fn ids(keys: PrimaryKeys) -> IDs {
    let id_field = match keys {
        PrimaryKeys::Int(data) => IdField::IntId(LongArray { data }),
        PrimaryKeys::Text(data) => IdField::StrId(StringArray { data }),
    };
    IDs { id_field: Some(id_field) }
}

#[cfg(test)]
#[path = "results_tests.rs"]
mod tests;
