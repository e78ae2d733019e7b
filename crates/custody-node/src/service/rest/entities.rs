//! Rows: writing, deleting, reading and searching them.

use std::collections::HashMap;

use custody_engine::{DataType, Field};
use milvus::proto::{
    common::{KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue},
    milvus::{
        DeleteRequest, InsertRequest, MutationResult, QueryRequest, QueryResults, SearchRequest, SearchResults,
        UpsertRequest, search_request::SearchInput,
    },
    schema::{
        FieldData, JsonArray, TemplateArrayValue, TemplateValue, template_array_value::Data as Items,
        template_value::Val,
    },
};
use prost::Message;
use serde_json::{json, value::RawValue};

use super::{
    super::{data, query as queries},
    Adapter, Answer, Body, Call, Result,
    answer::Table,
    body::integer,
    collection, consistency, rows,
};
use crate::{
    convert::{params::param, results::COUNT},
    errors::Failure,
};

/// How many rows a query or a search finds if it does not say; Milvus' number.
const DEFAULT_LIMIT: i64 = 100;

/// The parameter of the filter by which [`getting`] finds its keys.
const KEYS: &str = "keys";

/// Rows to write, as they came: their types are the collection's to say.
pub(super) struct Write {
    db: String,
    collection: String,
    partition: String,
    data: Box<RawValue>,
    partial: bool,
}

fn write(body: &mut Body<'_>) -> Result<Write> {
    let (db, collection) = collection(body)?;
    let partition = body.text("partitionName")?;
    let data = body.raw("data").ok_or_else(|| body.missing("data"))?.to_owned();
    Ok(Write { db, collection, partition, data, partial: false })
}

pub(super) fn insert(body: &mut Body<'_>) -> Result<Write> {
    write(body)
}

pub(super) fn upsert(body: &mut Body<'_>) -> Result<Write> {
    let partial = body.flag("partialUpdate")?.unwrap_or_default();
    Ok(Write { partial, ..write(body)? })
}

impl Write {
    async fn columns(&self, node: &Adapter, call: &Call) -> std::result::Result<(u32, Vec<FieldData>), Failure> {
        let info = node.engine.describe_collection(call.db(&self.db), &self.collection).await?;
        let rows = rows::split(&self.data)?;
        let columns = rows::columns(&info.schema, &rows, self.partial)?;
        // A body that can be sent has fewer rows than this number can count.
        Ok((u32::try_from(rows.len()).unwrap_or(u32::MAX), columns))
    }
}

pub(super) async fn inserting(
    node: &Adapter,
    call: &Call,
    write: Write,
) -> std::result::Result<MutationResult, Failure> {
    let (num_rows, fields_data) = write.columns(node, call).await?;
    let (db_name, collection_name, partition_name) = (write.db, write.collection, write.partition);
    let request = InsertRequest { db_name, collection_name, partition_name, ..InsertRequest::default() };
    data::insert(node, call, InsertRequest { num_rows, fields_data, ..request }).await
}

pub(super) async fn upserting(
    node: &Adapter,
    call: &Call,
    write: Write,
) -> std::result::Result<MutationResult, Failure> {
    let (num_rows, fields_data) = write.columns(node, call).await?;
    let partial_update = write.partial;
    let (db_name, collection_name, partition_name) = (write.db, write.collection, write.partition);
    let request = UpsertRequest { db_name, collection_name, partition_name, ..UpsertRequest::default() };
    data::upsert(node, call, UpsertRequest { num_rows, fields_data, partial_update, ..request }).await
}

pub(super) fn inserted(reply: MutationResult) -> Answer {
    let keys = reply.i_ds.unwrap_or_default();
    Answer::Written { count: "insertCount", ids: "insertIds", rows: reply.insert_cnt, keys }
}

pub(super) fn upserted(reply: MutationResult) -> Answer {
    let keys = reply.i_ds.unwrap_or_default();
    Answer::Written { count: "upsertCount", ids: "upsertIds", rows: reply.upsert_cnt, keys }
}

pub(super) fn delete(body: &mut Body<'_>) -> Result<DeleteRequest> {
    let (db_name, collection_name) = collection(body)?;
    let (expr, partition_name) = (body.required("filter")?, body.text("partitionName")?);
    let expr_template_values = template(body)?;
    let request = DeleteRequest { db_name, collection_name, partition_name, ..DeleteRequest::default() };
    Ok(DeleteRequest { expr, expr_template_values, ..request })
}

pub(super) fn deleted(reply: MutationResult) -> Answer {
    json!({ "deleteCount": reply.delete_cnt }).into()
}

/// The values of a filter's parameters.
fn template(body: &mut Body<'_>) -> Result<HashMap<String, TemplateValue>> {
    let place = body.name("exprParams");
    let Some(given) = body.raw("exprParams") else { return Ok(HashMap::new()) };
    let given: HashMap<String, &RawValue> =
        serde_json::from_str(given.get()).map_err(|_| param(&place, "it must be an object"))?;
    let value = |(name, value): (String, &RawValue)| match template_value(value) {
        Some(value) => Ok((name, TemplateValue { val: Some(value) })),
        None => Err(param(&format!("{place}.{name}"), "it must be a boolean, a number, a string or a list of these")),
    };
    given.into_iter().map(value).collect()
}

fn template_value(value: &RawValue) -> Option<Val> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'[' => serde_json::from_str(text).ok().map(|items| Val::ArrayVal(list(items))),
        b'"' => serde_json::from_str(text).ok().map(Val::StringVal),
        b't' | b'f' => serde_json::from_str(text).ok().map(Val::BoolVal),
        b'{' | b'n' => None,
        _ => match text.parse() {
            Ok(number) => Some(Val::Int64Val(number)),
            Err(_) => text.parse().ok().map(Val::FloatVal),
        },
    }
}

/// A list whose elements stay as they were written.
fn list(items: Vec<&RawValue>) -> TemplateArrayValue {
    let data = items.into_iter().map(|item| item.get().into()).collect();
    TemplateArrayValue { data: Some(Items::JsonData(JsonArray { data })) }
}

fn pair(key: &str, value: impl ToString) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_string() }
}

/// The fields wanted; all of them if none is named.
fn output(body: &mut Body<'_>) -> Result<Vec<String>> {
    let named = body.texts("outputFields")?;
    Ok(if named.is_empty() { vec!["*".to_owned()] } else { named })
}

pub(super) fn query(body: &mut Body<'_>) -> Result<QueryRequest> {
    let (db_name, collection_name) = collection(body)?;
    // Reads are strong whatever they ask for.
    consistency(body)?;
    let output_fields = output(body)?;
    let limit = body.integer("limit")?.unwrap_or(DEFAULT_LIMIT);
    let mut query_params = vec![pair("offset", body.integer("offset")?.unwrap_or_default())];
    // A count has no limit: clients send the one they send by default.
    if !output_fields.iter().any(|name| name.trim().eq_ignore_ascii_case(COUNT)) {
        query_params.push(pair("limit", limit));
    }
    Ok(QueryRequest {
        db_name,
        collection_name,
        expr: body.text("filter")?,
        expr_template_values: template(body)?,
        output_fields,
        partition_names: body.texts("partitionNames")?,
        query_params,
        ..QueryRequest::default()
    })
}

/// Rows by their keys.
pub(super) struct Get {
    request: QueryRequest,
    keys: Vec<Box<RawValue>>,
}

pub(super) fn get(body: &mut Body<'_>) -> Result<Get> {
    let (db_name, collection_name) = collection(body)?;
    consistency(body)?;
    let keys: Vec<_> = body.list("id")?.into_iter().map(RawValue::to_owned).collect();
    if keys.is_empty() {
        return Err(body.missing("id"));
    }
    let request = QueryRequest {
        db_name,
        collection_name,
        output_fields: output(body)?,
        partition_names: body.texts("partitionNames")?,
        ..QueryRequest::default()
    };
    Ok(Get { request, keys })
}

pub(super) async fn getting(node: &Adapter, call: &Call, get: Get) -> std::result::Result<QueryResults, Failure> {
    let Get { mut request, keys } = get;
    let info = node.engine.describe_collection(call.db(&request.db_name), &request.collection_name).await?;
    let primary = info.schema.primary();
    let keys: Vec<Box<RawValue>> = keys.iter().map(|key| self::key(primary, key)).collect::<Result<_>>()?;
    let keys = list(keys.iter().map(|key| &**key).collect());
    request.expr = format!("{} in {{{KEYS}}}", primary.name);
    request.expr_template_values = [(KEYS.to_owned(), TemplateValue { val: Some(Val::ArrayVal(keys)) })].into();
    queries::query(node, call, request).await
}

/// A key of the type that the primary field has.
fn key(primary: &Field, key: &RawValue) -> Result<Box<RawValue>> {
    let fits = match primary.data_type {
        DataType::Int64 => integer(key.get()).map(|number| number.to_string()),
        _ => key.get().starts_with('"').then(|| key.get().to_owned()),
    };
    let fits = fits.and_then(|text| RawValue::from_string(text).ok());
    fits.ok_or_else(|| param("id", format!("a key does not fit the type of field '{}'", primary.name)))
}

pub(super) fn found(reply: QueryResults) -> Answer {
    Answer::Rows(Table { columns: reply.fields_data, ..Table::default() })
}

pub(super) fn search(body: &mut Body<'_>) -> Result<SearchRequest> {
    let (db_name, collection_name) = collection(body)?;
    consistency(body)?;
    let mut search_params = search_params(body)?;
    let limit = body.integer("limit")?.unwrap_or(DEFAULT_LIMIT);
    search_params.push(pair("topk", limit));
    search_params.push(pair("offset", body.integer("offset")?.unwrap_or_default()));
    search_params.push(pair("anns_field", body.text("annsField")?));
    Ok(SearchRequest {
        db_name,
        collection_name,
        dsl: body.text("filter")?,
        expr_template_values: template(body)?,
        output_fields: body.texts("outputFields")?,
        partition_names: body.texts("partitionNames")?,
        search_input: Some(SearchInput::PlaceholderGroup(vectors(body)?)),
        search_params,
        ..SearchRequest::default()
    })
}

/// What `searchParams` asks for, in gRPC's names.
fn search_params(body: &mut Body<'_>) -> Result<Vec<KeyValuePair>> {
    let mut pairs = body.pairs("searchParams")?;
    for pair in &mut pairs {
        if pair.key == "metricType" {
            "metric_type".clone_into(&mut pair.key);
        }
        // What a search says beside these is said there alone.
        if ["topk", "limit", "offset", "anns_field"].contains(&pair.key.as_str()) {
            return Err(param(&format!("searchParams.{}", pair.key), "it stands beside searchParams"));
        }
    }
    Ok(pairs)
}

/// The query vectors, as gRPC carries them.
fn vectors(body: &mut Body<'_>) -> Result<Vec<u8>> {
    let given = body.list("data")?;
    if given.is_empty() {
        return Err(body.missing("data"));
    }
    let mut values = Vec::with_capacity(given.len());
    for (number, vector) in given.into_iter().enumerate() {
        let vector: Option<Vec<f32>> = serde_json::from_str(vector.get()).ok();
        let vector = vector.filter(|vector| vector.iter().all(|float| float.is_finite()));
        let vector = vector.ok_or_else(|| {
            param(&body.name(&format!("data[{number}]")), "it must be a list of numbers that fit 32-bit floats")
        })?;
        values.push(vector.iter().flat_map(|float| float.to_le_bytes()).collect());
    }
    let placeholder = PlaceholderValue {
        tag: "$0".to_owned(),
        r#type: PlaceholderType::FloatVector.into(),
        values,
        ..PlaceholderValue::default()
    };
    Ok(PlaceholderGroup { placeholders: vec![placeholder] }.encode_to_vec())
}

pub(super) fn neighbours(reply: SearchResults) -> Answer {
    let found = reply.results.unwrap_or_default();
    Answer::Rows(Table {
        columns: found.fields_data,
        keys: Some(found.ids.unwrap_or_default()),
        scores: found.scores,
        counts: Some(found.topks),
    })
}
