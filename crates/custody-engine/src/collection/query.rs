//! Reading and deleting rows by filter.

use custody_filter::{FieldType, Filter, PrimaryKeys as FilterKeys, Schema as FilterSchema};
use serde_json::{Map, Value as Json};

use super::{Collection, writer::Command};
use crate::{
    DYNAMIC_FIELD, DataType, EngineError, QueryRequest, QueryResult, WriteResult,
    memory::{Place, View},
    rows::Key,
};

/// The most rows that one answer may hold, as in Milvus.
pub(crate) const MAX_ROWS: usize = 16_384;

impl Collection {
    /// The rows that match, in order of their keys.
    pub(crate) fn query(
        &self,
        view: &View,
        request: &QueryRequest,
        partitions: &[i64],
    ) -> Result<QueryResult, EngineError> {
        let filter = self.filter(&request.filter, &request.params)?;
        let counts = request.output_fields.iter().any(|field| field.eq_ignore_ascii_case("count(*)"));
        if counts {
            if request.output_fields.len() > 1 || request.limit.is_some() {
                return Err(EngineError::InvalidRequest("count(*) stands alone, without a limit".into()));
            }
            return Ok(QueryResult::Count(view.select(filter.as_ref(), partitions)?.len() as u64));
        }
        let columns = self.output_columns(&request.output_fields)?;
        let mut places = self.matching(view, filter.as_ref(), partitions)?;
        view.sort_by_key(&mut places);
        let places = window(&places, request.offset, request.limit)?;
        Ok(QueryResult::Rows(view.gather(places, &columns)?))
    }

    /// Deletes the rows that match. By key it needs no rows in memory.
    pub(crate) async fn delete(
        &self,
        text: &str,
        params: &Map<String, Json>,
        partition: Option<i64>,
    ) -> Result<WriteResult, EngineError> {
        let filter = self.filter(text, params)?;
        let filter = filter.ok_or_else(|| EngineError::InvalidRequest("a delete needs a filter".into()))?;
        match (filter.primary_keys().map(keys_of), partition) {
            (Some(keys), None) => self.delete_keys(keys).await,
            _ => {
                let partitions = partition.into_iter().collect();
                self.ask(|reply| Command::DeleteWhere { filter, partitions, reply }).await
            }
        }
    }

    /// Parses a filter; an empty one is none.
    pub(super) fn filter(&self, text: &str, params: &Map<String, Json>) -> Result<Option<Filter>, EngineError> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(Filter::parse(text, &self.filter_schema(), params)?))
    }

    fn filter_schema(&self) -> FilterSchema {
        let mut schema = FilterSchema::new();
        for field in self.fields.iter() {
            if field.name == DYNAMIC_FIELD {
                schema = schema.dynamic(DYNAMIC_FIELD);
                continue;
            }
            let field_type = filter_type(&field.data_type);
            schema = if field.primary {
                schema.primary(&field.name, field_type)
            } else {
                schema.field(&field.name, field_type)
            };
        }
        schema
    }

    /// The columns that an answer holds: the asked-for fields in schema order, the primary key always.
    pub(super) fn output_columns(&self, wanted: &[String]) -> Result<Vec<usize>, EngineError> {
        let all = wanted.iter().any(|name| name == "*");
        for name in wanted.iter().filter(|name| *name != "*") {
            if self.column(name).is_none() && !self.dynamic {
                return Err(EngineError::InvalidRequest(format!("output field '{name}' does not exist")));
            }
        }
        // A name that isn't declared is a dynamic field's.
        let dynamic = |name: &str| wanted.iter().any(|wanted| wanted == name || self.column(wanted).is_none());
        let chosen = |(place, field): (usize, &crate::Field)| {
            let named = wanted.contains(&field.name) || (field.name == DYNAMIC_FIELD && dynamic(DYNAMIC_FIELD));
            (all || field.primary || named).then_some(place)
        };
        Ok(self.fields.iter().enumerate().filter_map(chosen).collect())
    }

    /// The places of the live rows that match; a filter that only names keys is answered from the key map.
    fn matching(&self, view: &View, filter: Option<&Filter>, partitions: &[i64]) -> Result<Vec<Place>, EngineError> {
        if partitions.is_empty()
            && let Some(keys) = filter.and_then(Filter::primary_keys)
        {
            let memory = self.memory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(memory) = memory.as_ref() {
                let found = keys_of(keys)
                    .iter()
                    .filter_map(|key| memory.number(key))
                    .collect::<std::collections::BTreeSet<_>>();
                // The map may be ahead of the view by a write; a row that only the map knows is not in the view.
                if found.iter().all(|number| view.live.contains(*number)) {
                    return Ok(found.into_iter().filter_map(|number| view.place(number)).collect());
                }
            }
        }
        Ok(view.select(filter, partitions)?.places().collect())
    }
}

/// The part of the places that offset and limit leave.
pub(super) fn window(places: &[Place], offset: usize, limit: Option<usize>) -> Result<&[Place], EngineError> {
    let rest = places.get(offset..).unwrap_or_default();
    let taken = &rest[..rest.len().min(limit.unwrap_or(rest.len()))];
    if taken.len() > MAX_ROWS {
        return Err(EngineError::InvalidRequest(format!(
            "the answer would hold {} rows, at most {MAX_ROWS} are allowed: set a limit, or page by key",
            taken.len()
        )));
    }
    Ok(taken)
}

fn keys_of(keys: &FilterKeys) -> Vec<Key> {
    match keys {
        FilterKeys::Ints(keys) => keys.iter().copied().map(Key::Int).collect(),
        FilterKeys::Texts(keys) => keys.iter().map(|key| Key::Text(key.as_str().into())).collect(),
    }
}

fn filter_type(data_type: &DataType) -> FieldType {
    match data_type {
        DataType::Bool => FieldType::Bool,
        DataType::Int8 => FieldType::Int8,
        DataType::Int16 => FieldType::Int16,
        DataType::Int32 => FieldType::Int32,
        DataType::Int64 => FieldType::Int64,
        DataType::Float => FieldType::Float,
        DataType::Double => FieldType::Double,
        DataType::VarChar { .. } => FieldType::VarChar,
        DataType::Json => FieldType::Json,
        DataType::Array { element, .. } => FieldType::Array(Box::new(filter_type(element))),
        DataType::FloatVector { .. } => FieldType::Vector,
    }
}
