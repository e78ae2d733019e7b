//! Reading rows by filter.

use custody_engine::{CollectionInfo, QueryRequest, QueryResult};
use milvus::proto::milvus::{QueryRequest as WireQuery, QueryResults};

use super::{Adapter, Call};
use crate::{
    convert::{
        ConvertError,
        params::{Params, param, template},
        results::{COUNT, Output, count_column},
    },
    errors::{Failure, MilvusCode},
};

/// What Milvus' queries have and Custody's have not.
const REFUSED: [&str; 8] = [
    "group_by_fields",
    "order_by_fields",
    "order_by",
    "query_iter_last_pk",
    "query_iter_last_element_offset",
    "timezone",
    "time_fields",
    "aggregates",
];

pub(super) async fn query(node: &Adapter, call: &Call, request: WireQuery) -> Result<QueryResults, Failure> {
    if request.namespace.as_deref().is_some_and(|name| !name.is_empty()) {
        return Err(Failure::unsupported("a namespace"));
    }
    if !request.rls_principal.is_empty() {
        return Err(Failure::unsupported("row-level security (rls_principal)"));
    }
    let params = Params::of(&request.query_params)?;
    params.refuse(&REFUSED)?;
    let db = call.db(&request.db_name);
    let info = node.engine.describe_collection(db, &request.collection_name).await?;
    check_collection_id(&params, &info)?;
    let counts = request.output_fields.iter().any(|name| name.trim().eq_ignore_ascii_case(COUNT));
    let output =
        if counts { None } else { Some(Output::of(&info.schema, &request.output_fields)?.with_key(&info.schema)) };
    let limit = limit(&params)?;
    if request.expr.trim().is_empty() && limit.is_none() && !counts {
        return Err(Failure::invalid("a query without a filter needs a limit"));
    }
    let query = QueryRequest {
        filter: request.expr,
        params: template(request.expr_template_values)?,
        partitions: request.partition_names,
        output_fields: output.as_ref().map_or(request.output_fields, |output| output.fields.clone()),
        limit,
        offset: params.count("offset")?.unwrap_or_default(),
    };
    // Taken before the rows are read: a reader that goes on from here misses nothing.
    let session_ts = node.engine.next_timestamp();
    let result = node.engine.query(db, &request.collection_name, query).await?;
    let (fields_data, output_fields) = match (result, output) {
        (QueryResult::Count(count), _) => (vec![count_column(count)], vec![COUNT.to_owned()]),
        (QueryResult::Rows(rows), Some(output)) => (output.columns(&rows), output.names),
        (QueryResult::Rows(_), None) => {
            return Err(Failure::Reply(MilvusCode::Unexpected, "a count was answered with rows".to_owned()));
        }
    };
    Ok(QueryResults {
        fields_data,
        output_fields,
        session_ts,
        primary_field_name: info.schema.primary().name.clone(),
        collection_name: info.name,
        ..QueryResults::default()
    })
}

/// The most rows wanted; -1 says as many as there are.
fn limit(params: &Params) -> Result<Option<usize>, ConvertError> {
    match params.integer("limit")? {
        None | Some(-1) => Ok(None),
        Some(limit) => match usize::try_from(limit) {
            Ok(limit) if limit > 0 => Ok(Some(limit)),
            _ => Err(param("limit", "it must be at least 1")),
        },
    }
}

/// An iterator goes on in the collection in which it began, not in a later one of the same name.
pub(super) fn check_collection_id(params: &Params, info: &CollectionInfo) -> Result<(), Failure> {
    match params.integer("collection_id")? {
        Some(id) if id != info.id => {
            let reason = format!("collection '{}' is another one than this iterator began in", info.name);
            Err(Failure::Reply(MilvusCode::CollectionNotFound, reason))
        }
        _ => Ok(()),
    }
}
