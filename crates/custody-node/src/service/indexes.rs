//! Indexes.

use custody_engine::{EngineError, Field, IndexKind, IndexProgress, IndexSpec, Metric};
use milvus::proto::{
    common::{IndexState, KeyValuePair, Status},
    milvus::{
        CreateIndexRequest, DescribeIndexRequest, DescribeIndexResponse, DropIndexRequest,
        GetIndexBuildProgressRequest, GetIndexBuildProgressResponse, GetIndexStateRequest, GetIndexStateResponse,
        GetIndexStatisticsRequest, GetIndexStatisticsResponse, IndexDescription,
    },
};

use super::{Adapter, Call};
use crate::{
    convert::params::{Params, pairs},
    errors::Failure,
};

pub(super) const INDEX_TYPE: &str = "index_type";
pub(super) const METRIC_TYPE: &str = "metric_type";

/// Links of a graph's node, where the client leaves them open.
const DEFAULT_M: usize = 16;
/// Candidates weighed while a graph is built, where the client leaves them open.
const DEFAULT_EF_CONSTRUCTION: usize = 200;

pub(super) async fn create(node: &Adapter, call: &Call, request: CreateIndexRequest) -> Result<Status, Failure> {
    let db = call.db(&request.db_name);
    let info = node.engine.describe_collection(db, &request.collection_name).await?;
    let Some(field) = info.schema.field(&request.field_name) else {
        let reason = format!("field '{}' does not exist", request.field_name);
        return Err(EngineError::InvalidIndex(reason).into());
    };
    let name = if request.index_name.is_empty() { field.name.clone() } else { request.index_name };
    let spec = spec(field, name, &request.extra_params)?;
    node.engine.create_index(db, &request.collection_name, spec).await?;
    Ok(Status::default())
}

/// The index that a client asks for on a field.
pub(super) fn spec(field: &Field, name: String, given: &[KeyValuePair]) -> Result<IndexSpec, Failure> {
    let params = Params::of(given)?;
    let wanted = params.text(INDEX_TYPE).unwrap_or_else(|| "AUTOINDEX".to_owned());
    let is_vector = field.data_type.is_vector();
    let kind = match (is_vector, wanted.to_ascii_uppercase().as_str()) {
        (true, "AUTOINDEX") => IndexKind::Auto,
        (true, "FLAT") => IndexKind::Flat,
        (true, "HNSW") => IndexKind::Hnsw {
            m: number(&params, "M", DEFAULT_M)?,
            ef_construction: number(&params, "efConstruction", DEFAULT_EF_CONSTRUCTION)?,
        },
        (false, "AUTOINDEX" | "INVERTED" | "BITMAP" | "STL_SORT" | "TRIE") => IndexKind::Scalar,
        (true, _) => {
            let reason = format!("index type {wanted} is not supported by Custody: use AUTOINDEX, HNSW or FLAT");
            return Err(Failure::invalid(reason));
        }
        (false, _) => {
            let reason = format!("index type {wanted} does not fit field '{}', which is not a vector", field.name);
            return Err(Failure::invalid(reason));
        }
    };
    let metric = match params.text(METRIC_TYPE) {
        Some(metric) if is_vector => Some(Metric::parse(&metric)?),
        None if is_vector => Some(Metric::Cosine),
        _ => None,
    };
    let mut params = pairs(given);
    params.insert(INDEX_TYPE.to_owned(), wanted);
    if let Some(metric) = metric {
        params.insert(METRIC_TYPE.to_owned(), metric.name().to_owned());
    }
    Ok(IndexSpec { name, field: field.name.clone(), kind, metric, params })
}

fn number(params: &Params, name: &str, default: usize) -> Result<u32, Failure> {
    let value = params.count(name)?.unwrap_or(default);
    u32::try_from(value).map_err(|_| Failure::invalid(format!("parameter '{name}': {value} is too large")))
}

pub(super) async fn drop(node: &Adapter, call: &Call, request: DropIndexRequest) -> Result<Status, Failure> {
    let named = if request.index_name.is_empty() { &request.field_name } else { &request.index_name };
    match node.engine.drop_index(call.db(&request.db_name), &request.collection_name, named).await {
        // As in Milvus, dropping what is not there is no error.
        Ok(()) | Err(EngineError::IndexNotFound(_)) => Ok(Status::default()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn describe(
    node: &Adapter,
    call: &Call,
    request: DescribeIndexRequest,
) -> Result<DescribeIndexResponse, Failure> {
    let wanted = Wanted { index: &request.index_name, field: &request.field_name };
    let found = select(node, call.db(&request.db_name), &request.collection_name, &wanted).await?;
    Ok(DescribeIndexResponse {
        index_descriptions: found.iter().map(description).collect(),
        ..DescribeIndexResponse::default()
    })
}

pub(super) async fn statistics(
    node: &Adapter,
    call: &Call,
    request: GetIndexStatisticsRequest,
) -> Result<GetIndexStatisticsResponse, Failure> {
    let wanted = Wanted { index: &request.index_name, field: "" };
    let found = select(node, call.db(&request.db_name), &request.collection_name, &wanted).await?;
    Ok(GetIndexStatisticsResponse {
        index_descriptions: found.iter().map(description).collect(),
        ..GetIndexStatisticsResponse::default()
    })
}

pub(super) async fn state(
    node: &Adapter,
    call: &Call,
    request: GetIndexStateRequest,
) -> Result<GetIndexStateResponse, Failure> {
    let wanted = Wanted { index: &request.index_name, field: &request.field_name };
    let found = select(node, call.db(&request.db_name), &request.collection_name, &wanted).await?;
    let behind = found.iter().any(|(_, progress)| progress.pending_rows > 0);
    let state = if behind { IndexState::InProgress } else { IndexState::Finished };
    Ok(GetIndexStateResponse { state: state.into(), ..GetIndexStateResponse::default() })
}

pub(super) async fn progress(
    node: &Adapter,
    call: &Call,
    request: GetIndexBuildProgressRequest,
) -> Result<GetIndexBuildProgressResponse, Failure> {
    let wanted = Wanted { index: &request.index_name, field: &request.field_name };
    let found = select(node, call.db(&request.db_name), &request.collection_name, &wanted).await?;
    Ok(GetIndexBuildProgressResponse {
        indexed_rows: found.iter().map(|(_, progress)| rows(progress.indexed_rows)).sum(),
        total_rows: found.iter().map(|(_, progress)| rows(progress.total_rows)).sum(),
        ..GetIndexBuildProgressResponse::default()
    })
}

/// Which indexes a client asks for; an empty name is any.
struct Wanted<'a> {
    index: &'a str,
    field: &'a str,
}

async fn select(
    node: &Adapter,
    db: &str,
    collection: &str,
    wanted: &Wanted<'_>,
) -> Result<Vec<(IndexSpec, IndexProgress)>, EngineError> {
    let mut found = node.engine.describe_indexes(db, collection).await?;
    found.retain(|(spec, _)| {
        (wanted.index.is_empty() || spec.name == wanted.index)
            && (wanted.field.is_empty() || spec.field == wanted.field)
    });
    if found.is_empty() {
        let named = [wanted.index, wanted.field].into_iter().find(|name| !name.is_empty());
        return Err(EngineError::IndexNotFound(named.unwrap_or(collection).to_owned()));
    }
    Ok(found)
}

fn description((spec, progress): &(IndexSpec, IndexProgress)) -> IndexDescription {
    let state = if progress.pending_rows == 0 { IndexState::Finished } else { IndexState::InProgress };
    IndexDescription {
        index_name: spec.name.clone(),
        field_name: spec.field.clone(),
        params: crate::convert::schema::to_pairs(&spec.params),
        indexed_rows: rows(progress.indexed_rows),
        total_rows: rows(progress.total_rows),
        pending_index_rows: rows(progress.pending_rows),
        state: state.into(),
        ..IndexDescription::default()
    }
}

fn rows(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use custody_engine::DataType;

    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Vec<KeyValuePair> {
        pairs.iter().map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() }).collect()
    }

    fn vector() -> Field {
        Field::new("v", DataType::FloatVector { dim: 4 })
    }

    fn reason(failure: Failure) -> String {
        match failure {
            Failure::Reply(_, reason) => reason,
            Failure::Grpc(_, reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn graph_settings_are_read_beside_the_type_and_inside_params() {
        let hnsw = IndexKind::Hnsw { m: 8, ef_construction: 64 };
        let beside = given(&[("index_type", "HNSW"), ("metric_type", "L2"), ("M", "8"), ("efConstruction", "64")]);
        assert_eq!(spec(&vector(), "v".into(), &beside).unwrap().kind, hnsw);
        let inside = given(&[("index_type", "hnsw"), ("params", r#"{"M": 8, "efConstruction": 64}"#)]);
        let inside = spec(&vector(), "v".into(), &inside).unwrap();
        assert_eq!(inside.kind, hnsw);
        assert_eq!(inside.metric, Some(Metric::Cosine));
    }

    #[test]
    fn what_was_given_is_given_back_with_type_and_metric_spelled_out() {
        let spec = spec(&vector(), "v".into(), &[]).unwrap();
        assert_eq!(spec.kind, IndexKind::Auto);
        let expected: BTreeMap<String, String> =
            [("index_type", "AUTOINDEX"), ("metric_type", "COSINE")].map(|(k, v)| (k.into(), v.into())).into();
        assert_eq!(spec.params, expected);
    }

    #[test]
    fn an_index_type_that_is_not_there_is_refused_by_name() {
        let refused = spec(&vector(), "v".into(), &given(&[("index_type", "IVF_FLAT")])).unwrap_err();
        assert!(reason(refused).contains("IVF_FLAT"));
        let scalar = Field::new("n", DataType::Int64);
        let refused = spec(&scalar, "n".into(), &given(&[("index_type", "HNSW")])).unwrap_err();
        assert!(reason(refused).contains("HNSW"));
    }

    #[test]
    fn a_metric_that_is_not_there_is_refused() {
        let refused = spec(&vector(), "v".into(), &given(&[("metric_type", "HAMMING")])).unwrap_err();
        assert!(reason(refused).contains("L2, IP or COSINE"));
    }

    #[test]
    fn settings_that_are_no_numbers_are_refused() {
        for value in ["-1", "many", "1.5", "99999999999999999999"] {
            let given = given(&[("index_type", "HNSW"), ("M", value)]);
            assert!(reason(spec(&vector(), "v".into(), &given).unwrap_err()).contains("'M'"), "{value}");
        }
    }

    #[test]
    fn an_index_on_a_scalar_is_accepted_under_milvus_names() {
        let scalar = Field::new("n", DataType::Int64);
        for name in ["INVERTED", "BITMAP", "STL_SORT", "Trie", "AUTOINDEX"] {
            let spec = spec(&scalar, "n".into(), &given(&[("index_type", name)])).unwrap();
            assert_eq!((spec.kind, spec.metric), (IndexKind::Scalar, None));
        }
    }
}
