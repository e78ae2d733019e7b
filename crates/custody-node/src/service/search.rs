//! Nearest-neighbour search.

use custody_engine::{CollectionInfo, Metric, SearchRequest, SearchResult};
use milvus::proto::{
    common::{PlaceholderGroup, PlaceholderType},
    milvus::{SearchRequest as WireSearch, SearchResults, search_request::SearchInput},
    schema::SearchResultData,
};
use prost::Message;

use super::{Adapter, Call, iterate, query::check_collection_id};
use crate::{
    convert::{
        ConvertError,
        params::{Params, param, template},
        results::{Output, ids},
    },
    errors::Failure,
};

/// What Milvus' searches have and Custody's have not.
const REFUSED: [&str; 12] = [
    "group_by_field",
    "group_by_fields",
    "group_size",
    "strict_group_size",
    "order_by_fields",
    "json_path",
    "json_type",
    "strict_cast",
    "analyzer_name",
    "timezone",
    "time_fields",
    "rank_group_scorer",
];

/// A search as the client asked for it.
pub(super) struct Plan {
    pub(super) request: SearchRequest,
    output: Output,
    round_decimal: Option<u32>,
    pub(super) iterator: Option<iterate::Batch>,
}

pub(super) async fn search(node: &Adapter, call: &Call, request: WireSearch) -> Result<SearchResults, Failure> {
    refuse_features(&request)?;
    let db = call.db(&request.db_name).to_owned();
    let name = request.collection_name.clone();
    let info = node.engine.describe_collection(&db, &name).await?;
    let plan = plan(&info, request)?;
    let session_ts = node.engine.next_timestamp();
    let limit = plan.request.limit;
    let queries = plan.request.vectors.len();
    let (result, iterator) = match plan.iterator {
        Some(batch) => {
            let (result, state) = iterate::next(node, &db, &info, plan.request, batch).await?;
            (result, Some(state))
        }
        None => (node.engine.search(&db, &name, plan.request).await?, None),
    };
    let mut results = answer(&info, &plan.output, result, plan.round_decimal);
    results.num_queries = wide(queries);
    results.top_k = wide(limit);
    results.search_iterator_v2_results = iterator;
    Ok(SearchResults { results: Some(results), collection_name: info.name, session_ts, ..SearchResults::default() })
}

fn refuse_features(request: &WireSearch) -> Result<(), Failure> {
    let given = [
        (!request.sub_reqs.is_empty(), "a search of several fields at once (sub_reqs)"),
        (request.function_score.is_some(), "reranking (function_score)"),
        (!request.function_chains.is_empty(), "function_chains"),
        (request.highlighter.is_some(), "a highlighter"),
        (request.search_aggregation.is_some(), "search_aggregation"),
        (request.namespace.as_deref().is_some_and(|name| !name.is_empty()), "a namespace"),
        (!request.rls_principal.is_empty(), "row-level security (rls_principal)"),
        (matches!(request.search_input, Some(SearchInput::Ids(_))), "search by ids"),
    ];
    match given.into_iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(Failure::unsupported(what)),
        None => Ok(()),
    }
}

fn plan(info: &CollectionInfo, request: WireSearch) -> Result<Plan, Failure> {
    let params = Params::of(&request.search_params)?;
    params.refuse(&REFUSED)?;
    check_collection_id(&params, info)?;
    let output = Output::of(&info.schema, &request.output_fields)?;
    let limit = params.count("topk")?.map_or_else(|| params.count("limit"), |limit| Ok(Some(limit)))?;
    let metric = params.text("metric_type").map(|name| Metric::parse(&name)).transpose()?;
    let round_decimal = match params.integer("round_decimal")? {
        None | Some(-1) => None,
        Some(places @ 0..=6) => u32::try_from(places).ok(),
        Some(_) => return Err(param("round_decimal", "it must be -1 to 6").into()),
    };
    let Some(SearchInput::PlaceholderGroup(placeholders)) = request.search_input else {
        return Err(Failure::invalid("the search has no vector to look for"));
    };
    let iterator = iterate::Batch::of(&params)?;
    let search = SearchRequest {
        field: params.text("anns_field"),
        vectors: vectors(&placeholders)?,
        limit: limit.ok_or_else(|| Failure::invalid("the search has no limit (topk)"))?,
        offset: params.count("offset")?.unwrap_or_default(),
        filter: request.dsl,
        params: template(request.expr_template_values)?,
        partitions: request.partition_names,
        output_fields: output.fields.clone(),
        metric,
        ef: params.count("ef")?,
        radius: params.float("radius")?,
        range_filter: params.float("range_filter")?,
        exact: iterator.is_some() || params.flag("iterator")?,
    };
    Ok(Plan { request: search, output, round_decimal, iterator })
}

/// The query vectors.
pub(crate) fn vectors(placeholders: &[u8]) -> Result<Vec<Vec<f32>>, ConvertError> {
    let group = PlaceholderGroup::decode(placeholders)?;
    if group.placeholders.len() > 1 {
        return Err(param("placeholder_group", "it must hold one placeholder, with all vectors in it"));
    }
    let mut vectors = Vec::new();
    for placeholder in group.placeholders {
        match PlaceholderType::try_from(placeholder.r#type) {
            Ok(PlaceholderType::FloatVector) if !placeholder.element_level => {}
            Ok(other) => {
                return Err(ConvertError::Unsupported(format!("a search by {}", other.as_str_name())));
            }
            Err(_) => return Err(ConvertError::Unsupported("a search by vectors of an unknown type".to_owned())),
        }
        for bytes in placeholder.values {
            let (floats, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(param("vector", "its bytes are no multiple of four"));
            }
            vectors.push(floats.iter().map(|float| f32::from_le_bytes(*float)).collect());
        }
    }
    Ok(vectors)
}

fn answer(info: &CollectionInfo, output: &Output, result: SearchResult, round: Option<u32>) -> SearchResultData {
    let total = wide(result.keys.len());
    SearchResultData {
        fields_data: output.columns(&result.rows),
        scores: match round {
            Some(places) => result.scores.iter().map(|score| rounded(*score, places)).collect(),
            None => result.scores,
        },
        ids: Some(ids(result.keys)),
        topks: result.counts.iter().map(|count| wide(*count)).collect(),
        output_fields: output.names.clone(),
        primary_field_name: info.schema.primary().name.clone(),
        all_search_count: total,
        ..SearchResultData::default()
    }
}

fn rounded(score: f32, places: u32) -> f32 {
    let scale = f64::from(10_u32.pow(places));
    #[expect(clippy::cast_possible_truncation, reason = "the rounded score is as large as the score was")]
    let rounded = ((f64::from(score) * scale).round() / scale) as f32;
    rounded
}

fn wide(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use milvus::proto::common::PlaceholderValue;

    use super::*;

    fn group(kind: PlaceholderType, values: Vec<Vec<u8>>) -> Vec<u8> {
        let placeholder =
            PlaceholderValue { tag: "$0".into(), r#type: kind.into(), values, ..PlaceholderValue::default() };
        PlaceholderGroup { placeholders: vec![placeholder] }.encode_to_vec()
    }

    fn bytes(floats: &[f32]) -> Vec<u8> {
        floats.iter().flat_map(|float| float.to_le_bytes()).collect()
    }

    #[test]
    fn several_query_vectors_are_read_in_order() {
        let group = group(PlaceholderType::FloatVector, vec![bytes(&[1.0, -2.5]), bytes(&[0.0, 3.0])]);
        assert_eq!(vectors(&group), Ok(vec![vec![1.0, -2.5], vec![0.0, 3.0]]));
    }

    #[test]
    fn a_query_by_another_kind_of_vector_is_refused_by_name() {
        for kind in [PlaceholderType::BinaryVector, PlaceholderType::SparseFloatVector, PlaceholderType::VarChar] {
            let refused = vectors(&group(kind, vec![vec![0; 8]])).unwrap_err();
            assert!(refused.to_string().contains(kind.as_str_name()), "{refused}");
        }
    }

    #[test]
    fn a_cut_vector_and_a_damaged_group_are_refused() {
        assert!(matches!(
            vectors(&group(PlaceholderType::FloatVector, vec![vec![0; 7]])),
            Err(ConvertError::Param { .. })
        ));
        assert!(matches!(vectors(&[0xff, 0xff, 0xff]), Err(ConvertError::Decode(_))));
    }

    #[test]
    fn scores_are_rounded_to_the_places_asked_for() {
        assert!((rounded(0.123_456, 2) - 0.12).abs() < 1e-6);
        assert!((rounded(-1.5, 0) + 2.0).abs() < 1e-6);
        assert!((rounded(123_456.79, 1) - 123_456.8).abs() < 0.02);
    }
}
