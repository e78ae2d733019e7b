//! Nearest-neighbour search: exact over chosen rows, by graph, or both where a graph is still behind.

use std::{cell::OnceCell, sync::PoisonError};

use super::{Collection, VectorIndex, query::MAX_ROWS};
use crate::{
    DataType, EngineError, Metric, SearchRequest, SearchResult,
    distance::{Nearest, Scorer},
    memory::{Place, Selection, View},
    rowset::RowSet,
};

/// Queries of one request.
const MAX_QUERIES: usize = 16_384;
/// Neighbours of all queries of one request together: each costs memory while the answer is made.
const MAX_NEIGHBOURS: usize = 1_000_000;
/// Where a filter leaves fewer rows than one in this many, looking at each of them beats walking the graph around the
/// others; by measurement, see the vector-index ADR.
const EXACT_SHARE: usize = 6;

/// A search of one vector field.
struct Search<'a> {
    view: &'a View,
    column: usize,
    dim: usize,
    metric: Metric,
    index: Option<VectorIndex>,
    selection: Selection,
    filtered: bool,
    /// The chosen rows by number, where they are not simply all live ones; made when a graph first needs it.
    chosen: OnceCell<Option<RowSet>>,
    request: &'a SearchRequest,
}

impl Collection {
    /// The nearest rows of each query vector.
    pub(crate) fn search(
        &self,
        view: &View,
        request: &SearchRequest,
        partitions: &[i64],
    ) -> Result<SearchResult, EngineError> {
        let search = self.plan(view, request, partitions)?;
        let columns = self.output_columns(&request.output_fields)?;
        let mut counts = Vec::with_capacity(request.vectors.len());
        let mut places = Vec::new();
        let mut scores = Vec::new();
        for query in &request.vectors {
            let found = search.nearest(query)?;
            let found = found.get(request.offset..).unwrap_or_default();
            counts.push(found.len());
            scores.extend(found.iter().map(|(score, _)| *score));
            places.extend(found.iter().map(|(_, place)| *place));
        }
        Ok(SearchResult { counts, keys: view.keys(&places), scores, rows: view.gather(&places, &columns)? })
    }

    fn plan<'a>(
        &self,
        view: &'a View,
        request: &'a SearchRequest,
        partitions: &[i64],
    ) -> Result<Search<'a>, EngineError> {
        let column = self.search_column(request.field.as_deref())?;
        let DataType::FloatVector { dim } = self.fields[column].data_type else {
            return Err(EngineError::InvalidRequest("the field to search is not a vector".into()));
        };
        check_request(request, dim)?;
        let each = (request.limit + request.offset).min(view.live.len());
        if each * request.vectors.len() > MAX_NEIGHBOURS {
            return Err(EngineError::InvalidRequest(format!(
                "{} query vectors with up to {each} neighbours each are more than {MAX_NEIGHBOURS} together: send fewer \
                 vectors at once, or lower the limit",
                request.vectors.len()
            )));
        }
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        let index = indexes.get(&self.fields[column].name).cloned();
        drop(indexes);
        let metric = match (&index, request.metric) {
            (Some(index), Some(asked)) if index.metric != asked => {
                return Err(EngineError::InvalidRequest(format!(
                    "metric type does not match: the index has {}, the search asks for {}",
                    index.metric.name(),
                    asked.name()
                )));
            }
            (Some(index), _) => index.metric,
            (None, asked) => asked.unwrap_or(Metric::Cosine),
        };
        let filter = self.filter(&request.filter, &request.params)?;
        let filtered = filter.is_some() || !partitions.is_empty();
        let selection = view.select(filter.as_ref(), partitions)?;
        Ok(Search {
            view,
            column,
            dim: dim as usize,
            metric,
            index,
            selection,
            filtered,
            chosen: OnceCell::new(),
            request,
        })
    }

    fn search_column(&self, field: Option<&str>) -> Result<usize, EngineError> {
        let mut vectors = self.fields.iter().enumerate().filter(|(_, field)| field.data_type.is_vector());
        let found = match field {
            Some(name) => {
                let missing = || EngineError::InvalidRequest(format!("vector field '{name}' does not exist"));
                vectors.find(|(_, field)| field.name == name).ok_or_else(missing)?
            }
            None => match (vectors.next(), vectors.next()) {
                (Some(only), None) => only,
                _ => return Err(EngineError::InvalidRequest("name the vector field to search (anns_field)".into())),
            },
        };
        Ok(found.0)
    }
}

fn check_request(request: &SearchRequest, dim: u32) -> Result<(), EngineError> {
    let fail = |what: String| Err(EngineError::InvalidRequest(what));
    if request.vectors.is_empty() || request.vectors.len() > MAX_QUERIES {
        return fail(format!("{} query vectors, allowed are 1 to {MAX_QUERIES}", request.vectors.len()));
    }
    if request.limit == 0 || request.limit.saturating_add(request.offset) > MAX_ROWS {
        return fail(format!("limit must be at least 1, and limit + offset at most {MAX_ROWS}"));
    }
    for vector in &request.vectors {
        if vector.len() != dim as usize {
            return fail(format!("a query vector has {} dimensions, the field has {dim}", vector.len()));
        }
        if vector.iter().any(|number| !number.is_finite()) {
            return fail("a query vector holds NaN or infinity".into());
        }
    }
    if request.ef.is_some_and(|ef| !(1..=32_768).contains(&ef)) {
        return fail("ef must be 1 to 32768".into());
    }
    Ok(())
}

impl Search<'_> {
    /// The nearest `limit + offset` rows, nearest first.
    fn nearest(&self, query: &[f32]) -> Result<Vec<(f32, Place)>, EngineError> {
        let wanted = self.request.limit + self.request.offset;
        let mut nearest = Nearest::new(self.metric, wanted);
        let scorer = Scorer::new(self.metric, query);
        let graph = self.index.as_ref().and_then(|index| index.graph.as_ref()).filter(|_| !self.exact());
        let Some(graph) = graph else {
            self.selection.places().for_each(|place| self.offer(&mut nearest, &scorer, place));
            return Ok(nearest.into_sorted());
        };
        // Read before the graph is searched: rows that get covered meanwhile are then looked at twice, not missed.
        let covered = graph.covered();
        let chosen = self.chosen.get_or_init(|| self.chosen_numbers());
        let allowed = |number| number < covered && chosen.as_ref().unwrap_or(&self.view.live).contains(number);
        for number in graph.search(query, wanted, self.request.ef, allowed)? {
            if let Some(place) = self.view.place(number) {
                self.offer(&mut nearest, &scorer, place);
            }
        }
        let young = self.selection.places_from(self.view, covered);
        young.for_each(|place| self.offer(&mut nearest, &scorer, place));
        Ok(nearest.into_sorted())
    }

    /// Whether to look at every chosen row.
    fn exact(&self) -> bool {
        let few = self.selection.len() * EXACT_SHARE < self.view.live.len();
        // The inner bound of a range leaves out the very rows that a graph finds first.
        self.request.exact || self.request.range_filter.is_some() || (self.filtered && few)
    }

    fn chosen_numbers(&self) -> Option<RowSet> {
        self.filtered.then(|| {
            let base = self.view.segments.first().map_or(0, |segment| segment.numbers[0]);
            let mut chosen = RowSet::from(base);
            self.selection.places().for_each(|place| chosen.insert(self.view.number(place)));
            chosen
        })
    }

    fn offer(&self, nearest: &mut Nearest<Place>, scorer: &Scorer<'_>, place: Place) {
        let score = scorer.score(self.view.vector(place, self.column, self.dim));
        if self.in_range(score) {
            nearest.offer(score, place);
        }
    }

    /// Milvus' range search: nearer than `radius`, and not nearer than `range_filter`.
    fn in_range(&self, score: f32) -> bool {
        use std::cmp::Ordering::Less;
        let inside = self.request.radius.is_none_or(|radius| self.metric.nearer(score, radius) == Less);
        inside && self.request.range_filter.is_none_or(|inner| self.metric.nearer(score, inner) != Less)
    }
}
