//! Search iterators (`search_iter_v2`): batches of neighbours, each beginning where the last ended.
//!
//! Nothing is kept between two batches: the client brings the score at which the last one ended, and the next one begins
//! at the next score that a float can have. Rows with one and the same score therefore never stand in two batches: a batch
//! ends before them or has all of them.

use custody_engine::{Metric, PrimaryKeys, SearchRequest, SearchResult};
use milvus::proto::schema::SearchIteratorV2Results;

use super::Adapter;
use crate::{
    convert::{
        ConvertError,
        params::{Params, param},
    },
    errors::Failure,
};

/// The most rows in a batch; the engine searches for no more at once.
const MOST: usize = 16_384;

/// A batch that a client asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    size: usize,
    /// The score of the last row of the batch before.
    after: Option<f32>,
    /// What the client knows this iterator by.
    token: Option<String>,
}

impl Batch {
    /// Reads the parameters of an iterator, if there are any.
    pub(super) fn of(params: &Params) -> Result<Option<Self>, ConvertError> {
        if !params.flag("search_iter_v2")? {
            return Ok(None);
        }
        let size = params.count("search_iter_batch_size")?;
        Ok(Some(Self {
            size: size
                .filter(|size| (1..MOST).contains(size))
                .ok_or_else(|| param("search_iter_batch_size", format!("it must be 1 to {}", MOST - 1)))?,
            after: params.float("search_iter_last_bound")?,
            token: params.text("search_iter_id"),
        }))
    }
}

/// Finds the next batch.
pub(super) async fn next(
    node: &Adapter,
    db: &str,
    collection: &str,
    mut request: SearchRequest,
    batch: Batch,
) -> Result<(SearchResult, SearchIteratorV2Results), Failure> {
    if request.vectors.len() != 1 {
        return Err(Failure::invalid("a search iterator takes exactly one vector"));
    }
    if request.offset != 0 {
        return Err(Failure::invalid("a search iterator takes no offset"));
    }
    let metric = metric(node, db, collection, &request).await?;
    if let Some(after) = batch.after {
        let begin = begin(metric, after);
        let later = request.range_filter.is_none_or(|bound| nearer(metric, bound, begin));
        request.range_filter = if later { Some(begin) } else { request.range_filter };
    }
    // One row more than the batch tells whether its last score goes on beyond it.
    request.limit = batch.size + 1;
    let mut result = node.engine.search(db, collection, request.clone()).await?;
    let mut end = end(&result.scores, batch.size);
    if end == 0 && !result.scores.is_empty() {
        // More rows than the batch holds have one score: they come together.
        request.limit = MOST;
        result = node.engine.search(db, collection, request).await?;
        let first = result.scores.first().copied();
        end = result.scores.iter().take_while(|score| first.is_some_and(|first| same(first, **score))).count();
        if end == MOST {
            return Err(Failure::invalid(format!("more than {MOST} rows have the same score: narrow the filter")));
        }
    }
    truncate(&mut result, end);
    let last_bound = result.scores.last().copied().or(batch.after).unwrap_or_default();
    let token = batch.token.unwrap_or_else(|| format!("{:016x}", node.engine.next_timestamp()));
    Ok((result, SearchIteratorV2Results { token, last_bound }))
}

/// The metric of the search: the index's, or the one asked for.
async fn metric(node: &Adapter, db: &str, collection: &str, request: &SearchRequest) -> Result<Metric, Failure> {
    if let Some(metric) = request.metric {
        return Ok(metric);
    }
    let info = node.engine.describe_collection(db, collection).await?;
    let field = request.field.clone().or_else(|| info.schema.vectors().next().map(|field| field.name.clone()));
    let index = info.indexes.iter().find(|index| Some(&index.field) == field.as_ref());
    Ok(index.and_then(|index| index.metric).unwrap_or(Metric::Cosine))
}

/// The first score after the one given.
fn begin(metric: Metric, after: f32) -> f32 {
    match metric {
        Metric::L2 => after.next_up(),
        Metric::Ip | Metric::Cosine => after.next_down(),
    }
}

/// Whether the one score is nearer than the other.
fn nearer(metric: Metric, one: f32, other: f32) -> bool {
    match metric {
        Metric::L2 => one < other,
        Metric::Ip | Metric::Cosine => one > other,
    }
}

/// Scores are finite; zero and minus zero are the same.
fn same(one: f32, other: f32) -> bool {
    one.partial_cmp(&other).is_some_and(std::cmp::Ordering::is_eq)
}

/// How many of the scores make a batch: all up to its size, less those whose score goes on beyond it.
fn end(scores: &[f32], size: usize) -> usize {
    let Some(beyond) = scores.get(size) else { return scores.len() };
    scores[..size].iter().rposition(|score| !same(*score, *beyond)).map_or(0, |place| place + 1)
}

fn truncate(result: &mut SearchResult, rows: usize) {
    result.counts = vec![rows.min(result.scores.len())];
    result.scores.truncate(rows);
    match &mut result.keys {
        PrimaryKeys::Int(keys) => keys.truncate(rows),
        PrimaryKeys::Text(keys) => keys.truncate(rows),
    }
    result.rows.len = result.rows.len.min(rows);
    for (_, column) in &mut result.rows.columns {
        *column = column.slice(0, column.len().min(rows));
    }
}

#[cfg(test)]
mod tests {
    use milvus::proto::common::KeyValuePair;

    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let pairs: Vec<KeyValuePair> =
            pairs.iter().map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() }).collect();
        Params::of(&pairs).unwrap()
    }

    #[test]
    fn a_plain_search_is_no_iterator() {
        assert_eq!(Batch::of(&params(&[("topk", "10")])), Ok(None));
        assert_eq!(Batch::of(&params(&[("search_iter_v2", "False")])), Ok(None));
    }

    #[test]
    fn an_iterator_without_a_fitting_batch_size_is_refused() {
        for size in ["0", "16384", "-1", "x"] {
            assert!(Batch::of(&params(&[("search_iter_v2", "True"), ("search_iter_batch_size", size)])).is_err());
        }
        assert!(Batch::of(&params(&[("search_iter_v2", "True")])).is_err());
    }

    #[test]
    fn a_batch_ends_before_a_score_that_goes_on_beyond_it() {
        assert_eq!(end(&[1.0, 2.0, 3.0], 2), 2);
        assert_eq!(end(&[1.0, 2.0, 2.0], 2), 1);
        assert_eq!(end(&[2.0, 2.0, 2.0], 2), 0);
        assert_eq!(end(&[1.0, 2.0], 2), 2);
        assert_eq!(end(&[], 2), 0);
    }

    #[test]
    fn the_next_batch_begins_right_after_the_last_score() {
        assert!(begin(Metric::L2, 1.0) > 1.0);
        assert!(begin(Metric::Cosine, 1.0) < 1.0);
        assert!(nearer(Metric::L2, 1.0, begin(Metric::L2, 1.0)));
        assert!(nearer(Metric::Ip, 1.0, begin(Metric::Ip, 1.0)));
    }
}
