//! Search iterators (`search_iter_v2`): batches of neighbours, each beginning where the last ended.
//!
//! The client brings the score at which its last batch ended. That says where to go on only up to rows with one and the
//! same score, so the node remembers for each iterator how many rows of that score it has given out. If it has forgotten,
//! after a restart, the iterator goes on at the next score, as Milvus' do.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use custody_engine::{CollectionInfo, Metric, SearchRequest, SearchResult};
use milvus::proto::schema::SearchIteratorV2Results;

use super::Adapter;
use crate::{
    convert::{
        ConvertError,
        params::{Params, param},
    },
    errors::Failure,
};

/// The most rows in a batch, and with one score; the engine searches for no more at once.
const MOST: usize = 16_384;

/// How many iterators are remembered; the oldest are forgotten.
const REMEMBERED: usize = 4_096;

/// Where an iterator stands.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Position {
    /// The score of the last row given out.
    bound: f32,
    /// How many rows of that score were given out.
    given: usize,
}

/// Where each iterator stands, by its number; numbers grow with time.
#[derive(Default)]
pub(super) struct Iterators(Mutex<BTreeMap<u64, Position>>);

impl Iterators {
    fn get(&self, number: u64) -> Option<Position> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied()
    }

    fn set(&self, number: u64, position: Position) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(number, position);
        while known.len() > REMEMBERED {
            known.pop_first();
        }
    }
}

/// A batch that a client asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    size: usize,
    /// The score of the last row of the batch before.
    after: Option<f32>,
    /// The number of the iterator; a new one has none yet.
    number: Option<u64>,
}

impl Batch {
    /// Reads the parameters of an iterator, if there are any.
    pub(super) fn of(params: &Params) -> Result<Option<Self>, ConvertError> {
        if !params.flag("search_iter_v2")? {
            return Ok(None);
        }
        let size = params.count("search_iter_batch_size")?.filter(|size| (1..=MOST).contains(size));
        let number = |token: String| {
            u64::from_str_radix(&token, 16).map_err(|_| param("search_iter_id", "no iterator has this token"))
        };
        Ok(Some(Self {
            size: size.ok_or_else(|| param("search_iter_batch_size", format!("it must be 1 to {MOST}")))?,
            after: params.float("search_iter_last_bound")?,
            number: params.text("search_iter_id").map(number).transpose()?,
        }))
    }

    /// Where to begin: at a score, after so many rows of that score.
    fn begin(&self, known: Option<Position>, metric: Metric) -> Option<Position> {
        let after = self.after?;
        match known {
            Some(position) if same(position.bound, after) => Some(position),
            _ => Some(Position { bound: next_score(metric, after), given: 0 }),
        }
    }
}

/// Finds the next batch.
pub(super) async fn next(
    node: &Adapter,
    db: &str,
    info: &CollectionInfo,
    mut request: SearchRequest,
    batch: Batch,
) -> Result<(SearchResult, SearchIteratorV2Results), Failure> {
    if request.vectors.len() != 1 {
        return Err(Failure::invalid("a search iterator takes exactly one vector"));
    }
    if request.offset != 0 {
        return Err(Failure::invalid("a search iterator takes no offset"));
    }
    let metric = metric(info, &request);
    let begin = batch.begin(batch.number.and_then(|number| node.iterators.get(number)), metric);
    if let Some(begin) = begin {
        if begin.given + batch.size > MOST {
            return Err(Failure::invalid(format!("over {MOST} rows have one and the same score: narrow the filter")));
        }
        // A bound of the client's own counts until the iterator is past it.
        let bound = request.range_filter.filter(|own| nearer(metric, begin.bound, *own)).unwrap_or(begin.bound);
        request.range_filter = Some(bound);
        request.offset = if same(bound, begin.bound) { begin.given } else { 0 };
    }
    request.limit = batch.size;
    let result = node.engine.search(db, &info.name, request).await?;
    let end = end(begin, &result.scores);
    let number = batch.number.unwrap_or_else(|| node.engine.next_timestamp());
    if let Some(end) = end {
        node.iterators.set(number, end);
    }
    let last_bound = end.map(|end| end.bound).or(batch.after).unwrap_or_default();
    Ok((result, SearchIteratorV2Results { token: format!("{number:016x}"), last_bound }))
}

/// The metric of the search: the index's, or the one asked for.
fn metric(info: &CollectionInfo, request: &SearchRequest) -> Metric {
    let field = request.field.as_ref().or_else(|| info.schema.vectors().next().map(|field| &field.name));
    let index = info.indexes.iter().find(|index| Some(&index.field) == field);
    index.and_then(|index| index.metric).or(request.metric).unwrap_or(Metric::Cosine)
}

/// The first score after the one given.
fn next_score(metric: Metric, after: f32) -> f32 {
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

/// As the engine orders scores.
fn same(one: f32, other: f32) -> bool {
    one.total_cmp(&other).is_eq()
}

/// Where a batch with these scores ends; nowhere if it has none.
fn end(begin: Option<Position>, scores: &[f32]) -> Option<Position> {
    let bound = *scores.last()?;
    let here = scores.iter().rev().take_while(|score| same(**score, bound)).count();
    let before = begin.filter(|begin| same(begin.bound, bound)).map_or(0, |begin| begin.given);
    Some(Position { bound, given: before + here })
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

    fn batch(after: Option<f32>) -> Batch {
        Batch { size: 2, after, number: Some(7) }
    }

    #[test]
    fn a_plain_search_is_no_iterator() {
        assert_eq!(Batch::of(&params(&[("topk", "10")])), Ok(None));
        assert_eq!(Batch::of(&params(&[("search_iter_v2", "False")])), Ok(None));
    }

    #[test]
    fn an_iterator_without_a_fitting_batch_size_or_with_a_foreign_token_is_refused() {
        for size in ["0", "16385", "-1", "x"] {
            assert!(Batch::of(&params(&[("search_iter_v2", "True"), ("search_iter_batch_size", size)])).is_err());
        }
        assert!(Batch::of(&params(&[("search_iter_v2", "True")])).is_err());
        let foreign = [("search_iter_v2", "True"), ("search_iter_batch_size", "1"), ("search_iter_id", "not ours")];
        assert!(Batch::of(&params(&foreign)).is_err());
    }

    #[test]
    fn the_first_batch_begins_at_the_nearest_row() {
        assert_eq!(batch(None).begin(None, Metric::L2), None);
    }

    #[test]
    fn the_next_batch_begins_after_the_rows_of_the_last_score_that_were_given() {
        let known = Position { bound: 1.0, given: 3 };
        assert_eq!(batch(Some(1.0)).begin(Some(known), Metric::L2), Some(known));
    }

    #[test]
    fn a_forgotten_iterator_goes_on_at_the_next_score() {
        for (metric, known) in [(Metric::L2, None), (Metric::Ip, Some(Position { bound: 9.0, given: 3 }))] {
            let begin = batch(Some(1.0)).begin(known, metric).unwrap();
            assert_eq!(begin.given, 0);
            assert!(nearer(metric, 1.0, begin.bound));
        }
    }

    #[test]
    fn rows_of_one_score_are_counted_over_batches() {
        let first = end(None, &[1.0, 2.0, 2.0]);
        assert_eq!(first, Some(Position { bound: 2.0, given: 2 }));
        assert_eq!(end(first, &[2.0, 2.0, 2.0]), Some(Position { bound: 2.0, given: 5 }));
        assert_eq!(end(first, &[2.0, 3.0]), Some(Position { bound: 3.0, given: 1 }));
        assert_eq!(end(first, &[]), None);
    }

    #[test]
    fn the_oldest_iterators_are_forgotten() {
        let iterators = Iterators::default();
        for number in 0..=REMEMBERED as u64 {
            iterators.set(number, Position { bound: 1.0, given: 1 });
        }
        assert_eq!(iterators.get(0), None);
        assert!(iterators.get(REMEMBERED as u64).is_some());
    }
}
