//! A collection to make: by its dimension alone, or by a schema.

use custody_engine::MAX_VARCHAR;
use milvus::proto::{
    common::KeyValuePair,
    milvus::{CreateCollectionRequest, CreateIndexRequest},
    schema::{CollectionSchema, DataType, FieldSchema, ValueField, value_field::Data as Given},
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    super::indexes::METRIC_TYPE,
    Body, Result, collection, consistency,
    indexes::{check, wanted},
};
use crate::{
    convert::{ConvertError, params::param, schema::from_wire},
    errors::Failure,
};

/// A collection with its indexes. With indexes it is loaded at once, as in Milvus.
#[derive(Debug)]
pub(super) struct New {
    pub(super) request: CreateCollectionRequest,
    pub(super) schema: CollectionSchema,
    pub(super) indexes: Vec<CreateIndexRequest>,
}

impl New {
    /// Refuses what could only be made in part: a collection is not left behind without its indexes.
    pub(super) fn check(&self) -> std::result::Result<(), Failure> {
        let properties = crate::convert::params::pairs(&self.request.properties);
        check(&from_wire(self.schema.clone(), properties)?, &self.indexes)
    }
}

pub(super) fn create(body: &mut Body<'_>) -> Result<New> {
    let (db_name, collection_name) = collection(body)?;
    let description = body.text("description")?;
    let metric = body.text("metricType")?;
    let mut settings = Settings::read(body)?;
    let mut indexes = wanted(body, &db_name, &collection_name)?;
    let schema = match body.object("schema")? {
        Some(mut part) => {
            let schema = given(&mut part)?;
            part.finish()?;
            schema
        }
        None if !indexes.is_empty() => return Err(body.missing("schema")),
        None => {
            let (schema, vector) = quick(body, &settings)?;
            let index = CreateIndexRequest { field_name: vector.clone(), index_name: vector, ..Default::default() };
            let names = (db_name.clone(), collection_name.clone());
            indexes.push(CreateIndexRequest { db_name: names.0, collection_name: names.1, ..index });
            settings.max_length = None;
            schema
        }
    };
    settings.finish()?;
    if !metric.is_empty() {
        complete(&schema, &mut indexes, &metric);
    }
    let description = if description.is_empty() { schema.description.clone() } else { description };
    let schema = CollectionSchema { name: collection_name.clone(), description, ..schema };
    let request = CreateCollectionRequest {
        db_name,
        collection_name,
        shards_num: settings.shards,
        consistency_level: settings.consistency,
        properties: body.pairs("properties")?,
        ..CreateCollectionRequest::default()
    };
    Ok(New { request, schema, indexes })
}

/// Gives the metric of the whole to indexes of vectors that name none.
fn complete(schema: &CollectionSchema, indexes: &mut [CreateIndexRequest], metric: &str) {
    let is_vector = |name: &str| {
        let field = schema.fields.iter().find(|field| field.name == name);
        field.is_some_and(|field| field.data_type() == DataType::FloatVector)
    };
    for index in indexes {
        if is_vector(&index.field_name) && !index.extra_params.iter().any(|pair| pair.key == METRIC_TYPE) {
            index.extra_params.push(pair(METRIC_TYPE, metric));
        }
    }
}

fn pair(key: &str, value: impl ToString) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_string() }
}

/// What `params` says of a collection.
struct Settings {
    dynamic: Option<bool>,
    max_length: Option<i64>,
    shards: i32,
    consistency: i32,
}

impl Settings {
    fn read(body: &mut Body<'_>) -> Result<Self> {
        let beside = (body.flag("enableDynamicField")?, body.integer("shardsNum")?, consistency(body)?);
        let inside = match body.object("params")? {
            None => (None, None, None, None),
            Some(mut part) => {
                let dynamic = part.flag("enableDynamicField")?;
                let inside =
                    (dynamic, part.integer("shardsNum")?, consistency(&mut part)?, part.integer("max_length")?);
                part.finish()?;
                inside
            }
        };
        let shards = beside.1.or(inside.1).unwrap_or_default();
        let shards = i32::try_from(shards).map_err(|_| param("shardsNum", "it is too large"))?;
        let consistency = beside.2.or(inside.2).unwrap_or_default();
        Ok(Self { dynamic: beside.0.or(inside.0), max_length: inside.3, shards, consistency: consistency.into() })
    }

    /// With a schema, the length is a field's.
    fn finish(&self) -> Result<()> {
        match self.max_length {
            Some(_) => Err(param("params.max_length", "a schema says it of each field")),
            None => Ok(()),
        }
    }
}

/// A schema of a key and a vector, and the vector's name.
fn quick(body: &mut Body<'_>, settings: &Settings) -> Result<(CollectionSchema, String)> {
    let Some(dimension) = body.integer("dimension")? else { return Err(body.missing("dimension, or schema")) };
    let name = |given: String, default: &str| if given.is_empty() { default.to_owned() } else { given };
    let id_type = name(body.text("idType")?, "Int64");
    let mut key = FieldSchema {
        name: name(body.text("primaryFieldName")?, "id"),
        is_primary_key: true,
        auto_id: body.flag("autoID")?.unwrap_or_default(),
        ..FieldSchema::default()
    };
    if id_type.eq_ignore_ascii_case("Int64") {
        key.data_type = DataType::Int64.into();
    } else if id_type.eq_ignore_ascii_case("VarChar") {
        key.data_type = DataType::VarChar.into();
        key.type_params = vec![pair("max_length", settings.max_length.unwrap_or(MAX_VARCHAR.into()))];
    } else {
        return Err(param("idType", "it must be Int64 or VarChar"));
    }
    let vector = name(body.text("vectorFieldName")?, "vector");
    let field = FieldSchema {
        name: vector.clone(),
        data_type: DataType::FloatVector.into(),
        type_params: vec![pair("dim", dimension)],
        ..FieldSchema::default()
    };
    let schema = CollectionSchema {
        fields: vec![key, field],
        enable_dynamic_field: settings.dynamic.unwrap_or(true),
        ..CollectionSchema::default()
    };
    Ok((schema, vector))
}

fn given(part: &mut Body<'_>) -> Result<CollectionSchema> {
    let auto_id = part.flag("autoId")?.unwrap_or_default();
    let fields = part.objects("fields")?;
    if fields.is_empty() {
        return Err(part.missing("fields"));
    }
    let field = |mut part: Body<'_>| {
        let mut field = self::field(&mut part)?;
        part.finish()?;
        field.auto_id |= auto_id && field.is_primary_key;
        Ok(field)
    };
    Ok(CollectionSchema {
        description: part.text("description")?,
        enable_dynamic_field: part.flag("enableDynamicField")?.unwrap_or_default(),
        fields: fields.into_iter().map(field).collect::<Result<_>>()?,
        ..CollectionSchema::default()
    })
}

fn field(part: &mut Body<'_>) -> Result<FieldSchema> {
    let data_type = kind(part, "dataType")?.ok_or_else(|| part.missing("dataType"))?;
    let place = part.name("defaultValue");
    let default = part.raw("defaultValue").map(|value| default_value(&place, data_type, value)).transpose()?;
    Ok(FieldSchema {
        name: part.required("fieldName")?,
        description: part.text("description")?,
        data_type: data_type.into(),
        element_type: kind(part, "elementDataType")?.unwrap_or(DataType::None).into(),
        is_primary_key: part.flag("isPrimary")?.unwrap_or_default(),
        auto_id: part.flag("autoId")?.unwrap_or_default(),
        is_partition_key: part.flag("isPartitionKey")?.unwrap_or_default(),
        is_clustering_key: part.flag("isClusteringKey")?.unwrap_or_default(),
        nullable: part.flag("nullable")?.unwrap_or_default(),
        type_params: part.pairs("elementTypeParams")?,
        default_value: default,
        ..FieldSchema::default()
    })
}

/// A type by Milvus' name for it.
fn kind(part: &mut Body<'_>, name: &str) -> Result<Option<DataType>> {
    let kind = part.text(name)?;
    if kind.is_empty() {
        return Ok(None);
    }
    let known = DataType::from_str_name(&kind);
    known.map(Some).ok_or_else(|| param(&part.name(name), "it is no type that Milvus has"))
}

fn default_value(place: &str, data_type: DataType, value: &RawValue) -> Result<ValueField> {
    fn read<T: DeserializeOwned>(place: &str, value: &RawValue) -> Result<T> {
        serde_json::from_str(value.get()).map_err(|_| param(place, "it does not fit the field's type"))
    }
    let data = match data_type {
        DataType::Bool => Given::BoolData(read(place, value)?),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Given::IntData(read(place, value)?),
        DataType::Int64 => Given::LongData(read(place, value)?),
        DataType::Float => Given::FloatData(read(place, value)?),
        DataType::Double => Given::DoubleData(read(place, value)?),
        DataType::VarChar | DataType::String => Given::StringData(read(place, value)?),
        other => return Err(ConvertError::Unsupported(format!("a default value of type {}", other.as_str_name()))),
    };
    Ok(ValueField { data: Some(data) })
}
