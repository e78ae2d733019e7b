//! Schemas: `CollectionSchema` to the engine's, and back.

use std::collections::BTreeMap;

use custody_engine::{DYNAMIC_FIELD, DataType, Field, Schema, Value};
use milvus::proto::{
    common::KeyValuePair,
    schema::{CollectionSchema, DataType as WireType, FieldSchema, ValueField, value_field::Data as Given},
};

use super::{ConvertError, params::pairs};

type Result<T> = std::result::Result<T, ConvertError>;

/// Settings of a field that say how Milvus keeps it; they mean nothing here and change no answer.
const KEPT_ELSEWHERE: [&str; 4] = ["mmap.enabled", "mmap_enabled", "warmup", "field.skipLoad"];

/// The type on the wire.
pub(crate) fn wire_type(data_type: &DataType) -> WireType {
    match data_type {
        DataType::Bool => WireType::Bool,
        DataType::Int8 => WireType::Int8,
        DataType::Int16 => WireType::Int16,
        DataType::Int32 => WireType::Int32,
        DataType::Int64 => WireType::Int64,
        DataType::Float => WireType::Float,
        DataType::Double => WireType::Double,
        DataType::VarChar { .. } => WireType::VarChar,
        DataType::Json => WireType::Json,
        DataType::Array { .. } => WireType::Array,
        DataType::FloatVector { .. } => WireType::FloatVector,
    }
}

/// A client's schema. The engine checks whether it makes sense.
pub(crate) fn from_wire(schema: CollectionSchema, properties: BTreeMap<String, String>) -> Result<Schema> {
    let refuse = |what: &str| Err(ConvertError::Unsupported(what.to_owned()));
    if !schema.struct_array_fields.is_empty() {
        return refuse("a field of type Array of Struct");
    }
    if !schema.functions.is_empty() {
        return refuse("a function in a schema");
    }
    if schema.enable_namespace {
        return refuse("enable_namespace");
    }
    if !schema.external_source.is_empty() || !schema.external_spec.is_empty() {
        return refuse("an external collection");
    }
    #[expect(deprecated, reason = "older clients mark autoID here")]
    let auto_id = schema.auto_id;
    let mut dynamic = schema.enable_dynamic_field;
    let mut fields = Vec::with_capacity(schema.fields.len());
    for field in schema.fields {
        if field.is_dynamic || field.name == DYNAMIC_FIELD {
            dynamic = true;
            continue;
        }
        let mut field = self::field(field)?;
        field.auto_id |= auto_id && field.primary;
        fields.push(field);
    }
    let mut all = pairs(&schema.properties);
    all.extend(properties);
    Ok(Schema { description: schema.description, fields, dynamic, properties: all })
}

fn field(field: FieldSchema) -> Result<Field> {
    let refuse = |what: &str| Err(ConvertError::Unsupported(format!("field '{}': {what}", field.name)));
    if field.is_clustering_key {
        return refuse("a clustering key");
    }
    if field.is_function_output || !field.external_field.is_empty() {
        return refuse("a field filled by a function or an external table");
    }
    if field.element_nullable {
        return refuse("null elements in an array");
    }
    let params = pairs(&field.type_params);
    for (key, value) in &params {
        let off = value.eq_ignore_ascii_case("false");
        let known = ["dim", "max_length", "max_capacity"].contains(&key.as_str());
        if !known && !off && !KEPT_ELSEWHERE.contains(&key.as_str()) {
            return refuse(&format!("the setting '{key}'"));
        }
    }
    let data_type = data_type(&field.name, field.data_type, Some(field.element_type), &params)?;
    let default = match field.default_value.and_then(|value| value.data) {
        Some(value) => Some(default_value(&field.name, value)?),
        None => None,
    };
    Ok(Field {
        id: 0,
        data_type,
        primary: field.is_primary_key,
        auto_id: field.auto_id,
        nullable: field.nullable,
        default,
        partition_key: field.is_partition_key,
        description: field.description,
        name: field.name,
    })
}

fn data_type(name: &str, number: i32, element: Option<i32>, params: &BTreeMap<String, String>) -> Result<DataType> {
    let number_of = |key: &str| match params.get(key) {
        None => Err(ConvertError::Schema(format!("field '{name}': {key} is missing"))),
        Some(text) => text
            .trim_matches('"')
            .parse::<u32>()
            .map_err(|_| ConvertError::Schema(format!("field '{name}': {key} must be a positive number"))),
    };
    Ok(match WireType::try_from(number) {
        Ok(WireType::Bool) => DataType::Bool,
        Ok(WireType::Int8) => DataType::Int8,
        Ok(WireType::Int16) => DataType::Int16,
        Ok(WireType::Int32) => DataType::Int32,
        Ok(WireType::Int64) => DataType::Int64,
        Ok(WireType::Float) => DataType::Float,
        Ok(WireType::Double) => DataType::Double,
        Ok(WireType::VarChar) => DataType::VarChar { max_length: number_of("max_length")? },
        Ok(WireType::Json) => DataType::Json,
        Ok(WireType::Array) => {
            let Some(element) = element else {
                return Err(ConvertError::Unsupported(format!("field '{name}': an array of arrays")));
            };
            DataType::Array {
                element: Box::new(data_type(name, element, None, params)?),
                capacity: number_of("max_capacity")?,
            }
        }
        Ok(WireType::FloatVector) => DataType::FloatVector { dim: number_of("dim")? },
        Ok(other) => {
            return Err(ConvertError::Unsupported(format!("field '{name}': the type {}", other.as_str_name())));
        }
        Err(_) => return Err(ConvertError::Unsupported(format!("field '{name}': the type numbered {number}"))),
    })
}

fn default_value(name: &str, value: Given) -> Result<Value> {
    Ok(match value {
        Given::BoolData(value) => Value::Bool(value),
        Given::IntData(value) => Value::Int(value.into()),
        Given::LongData(value) => Value::Int(value),
        Given::FloatData(value) => Value::Float(value),
        Given::DoubleData(value) => Value::Double(value),
        Given::StringData(value) => Value::Text(value),
        _ => return Err(ConvertError::Unsupported(format!("field '{name}': a default value of this type"))),
    })
}

/// The schema as clients read it; the dynamic field is told by its flag alone.
pub(crate) fn to_wire(name: &str, database: &str, schema: &Schema) -> CollectionSchema {
    CollectionSchema {
        name: name.to_owned(),
        description: schema.description.clone(),
        fields: schema.fields.iter().map(field_to_wire).collect(),
        enable_dynamic_field: schema.dynamic,
        properties: to_pairs(&schema.properties),
        db_name: database.to_owned(),
        ..CollectionSchema::default()
    }
}

fn field_to_wire(field: &Field) -> FieldSchema {
    let mut type_params = Vec::new();
    let mut element_type = WireType::None;
    let mut param = |key: &str, value: u32| {
        type_params.push(KeyValuePair { key: key.to_owned(), value: value.to_string() });
    };
    match &field.data_type {
        DataType::VarChar { max_length } => param("max_length", *max_length),
        DataType::FloatVector { dim } => param("dim", *dim),
        DataType::Array { element, capacity } => {
            element_type = wire_type(element);
            param("max_capacity", *capacity);
            if let DataType::VarChar { max_length } = &**element {
                param("max_length", *max_length);
            }
        }
        _ => {}
    }
    FieldSchema {
        field_id: field.id,
        name: field.name.clone(),
        is_primary_key: field.primary,
        description: field.description.clone(),
        data_type: wire_type(&field.data_type).into(),
        type_params,
        auto_id: field.auto_id,
        element_type: element_type.into(),
        default_value: field.default.as_ref().and_then(|value| default_to_wire(value, &field.data_type)),
        is_partition_key: field.partition_key,
        nullable: field.nullable,
        ..FieldSchema::default()
    }
}

fn default_to_wire(value: &Value, data_type: &DataType) -> Option<ValueField> {
    let data = match (value, data_type) {
        (Value::Bool(value), _) => Given::BoolData(*value),
        (Value::Int(value), DataType::Int64) => Given::LongData(*value),
        // The engine admits only numbers that fit the field, and these fields are narrower.
        (Value::Int(value), _) => Given::IntData(i32::try_from(*value).ok()?),
        (Value::Float(value), _) => Given::FloatData(*value),
        (Value::Double(value), _) => Given::DoubleData(*value),
        (Value::Text(value), _) => Given::StringData(value.clone()),
        _ => return None,
    };
    Some(ValueField { data: Some(data) })
}

/// Properties as clients read them.
pub(crate) fn to_pairs(map: &BTreeMap<String, String>) -> Vec<KeyValuePair> {
    map.iter().map(|(key, value)| KeyValuePair { key: key.clone(), value: value.clone() }).collect()
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
