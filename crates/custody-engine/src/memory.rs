//! A loaded collection: Arrow columns, a primary-key map, and which rows are live.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, Float32Array,
    cast::AsArray,
    types::{Float32Type, Int64Type},
};
use arrow_buffer::BooleanBuffer;
use arrow_select::{concat::concat, interleave::interleave};
use custody_filter::{Columns, Filter};

use crate::{
    EngineError, Field, PrimaryKeys, Rows, Value,
    rows::{Key, StoredRow},
    rowset::RowSet,
    value,
};

/// Segments are merged up to this many rows, so that a filter runs over long columns.
const SEGMENT_ROWS: usize = 65_536;

/// Consecutive rows as columns. Immutable: rows that go leave the live set, not the segment.
pub(crate) struct Segment {
    /// The rows' numbers, ascending.
    pub(crate) numbers: Vec<u64>,
    partitions: Vec<i64>,
    columns: Vec<ArrayRef>,
}

impl Segment {
    /// A segment of stored rows.
    pub(crate) fn from_stored(rows: &[StoredRow], fields: &[Field]) -> Self {
        let column = |(place, field): (usize, &Field)| {
            value::column(rows.iter().map(|row| row.values.get(place).unwrap_or(&Value::Null)), &field.data_type)
        };
        Self {
            numbers: rows.iter().map(|row| row.number).collect(),
            partitions: rows.iter().map(|row| row.partition).collect(),
            columns: fields.iter().enumerate().map(column).collect(),
        }
    }

    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn merge(&self, next: &Self) -> Result<Self, EngineError> {
        let columns = self.columns.iter().zip(&next.columns).map(|(a, b)| concat(&[a, b]).map_err(arrow_error));
        Ok(Self {
            numbers: [&self.numbers[..], &next.numbers].concat(),
            partitions: [&self.partitions[..], &next.partitions].concat(),
            columns: columns.collect::<Result<_, _>>()?,
        })
    }

    fn key(&self, row: usize, primary: usize) -> Key {
        let column = &self.columns[primary];
        match column.as_primitive_opt::<Int64Type>() {
            Some(keys) => Key::Int(keys.value(row)),
            None => Key::Text(column.as_string::<i32>().value(row).into()),
        }
    }

    /// All vectors of a vector column, one after another.
    pub(crate) fn vectors(&self, column: usize) -> &[f32] {
        let list = self.columns[column].as_fixed_size_list();
        let values: &Float32Array = list.values().as_primitive::<Float32Type>();
        values.values()
    }
}

/// A row's place: its segment, and its offset in it.
pub(crate) type Place = (u32, u32);

/// What readers work on: a consistent picture of the collection, cheap to take and unmoved by later writes.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) fields: Arc<Vec<Field>>,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) live: Arc<RowSet>,
    primary: usize,
}

impl View {
    /// The number of the row at a place.
    pub(crate) fn number(&self, (segment, row): Place) -> u64 {
        self.segments[segment as usize].numbers[row as usize]
    }

    /// Where the row of a number is.
    #[expect(clippy::cast_possible_truncation, reason = "segments and their rows are far fewer than 2^32")]
    pub(crate) fn place(&self, number: u64) -> Option<Place> {
        let after = self.segments.partition_point(|segment| segment.numbers[0] <= number);
        let segment = after.checked_sub(1)?;
        let row = self.segments[segment].numbers.binary_search(&number).ok()?;
        Some((segment as u32, row as u32))
    }

    /// The vector at a place of a vector column.
    pub(crate) fn vector(&self, (segment, row): Place, column: usize, dim: usize) -> &[f32] {
        let start = row as usize * dim;
        &self.segments[segment as usize].vectors(column)[start..start + dim]
    }

    /// The live rows that match a filter and lie in the given partitions (empty: in any).
    pub(crate) fn select(&self, filter: Option<&Filter>, partitions: &[i64]) -> Result<Selection, EngineError> {
        let mut bits = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let live = BooleanBuffer::collect_bool(segment.len(), |row| {
                self.live.contains(segment.numbers[row])
                    && (partitions.is_empty() || partitions.contains(&segment.partitions[row]))
            });
            let matching = match filter {
                Some(filter) => {
                    let columns = Named { fields: &self.fields, columns: &segment.columns };
                    &filter.evaluate(&columns, segment.len())? & &live
                }
                None => live,
            };
            bits.push(matching);
        }
        let len = bits.iter().map(BooleanBuffer::count_set_bits).sum();
        Ok(Selection { bits, len })
    }

    /// The rows at some places, of the named columns, in that order.
    pub(crate) fn gather(&self, places: &[Place], columns: &[usize]) -> Result<Rows, EngineError> {
        let picks: Vec<(usize, usize)> =
            places.iter().map(|(segment, row)| (*segment as usize, *row as usize)).collect();
        let gather = |column: &usize| {
            let field = self.fields[*column].clone();
            if picks.is_empty() {
                let empty = value::column(std::iter::empty(), &field.data_type);
                return Ok((field, empty));
            }
            let arrays: Vec<&dyn Array> = self.segments.iter().map(|segment| &*segment.columns[*column]).collect();
            Ok((field, interleave(&arrays, &picks).map_err(arrow_error)?))
        };
        Ok(Rows { len: places.len(), columns: columns.iter().map(gather).collect::<Result<_, EngineError>>()? })
    }

    /// The primary keys at some places.
    pub(crate) fn keys(&self, places: &[Place]) -> PrimaryKeys {
        let keys =
            places.iter().map(|(segment, row)| self.segments[*segment as usize].key(*row as usize, self.primary));
        collect_keys(keys, &self.fields[self.primary])
    }

    /// Sorts places by their rows' primary keys.
    pub(crate) fn sort_by_key(&self, places: &mut [Place]) {
        places.sort_by_cached_key(|(segment, row)| self.segments[*segment as usize].key(*row as usize, self.primary));
    }
}

/// Primary keys of a field from single ones; a key of the other type can't occur.
pub(crate) fn collect_keys(keys: impl Iterator<Item = Key>, primary: &Field) -> PrimaryKeys {
    if primary.data_type == crate::DataType::Int64 {
        PrimaryKeys::Int(keys.filter_map(|key| if let Key::Int(key) = key { Some(key) } else { None }).collect())
    } else {
        let text = |key| if let Key::Text(key) = key { Some(key.into_string()) } else { None };
        PrimaryKeys::Text(keys.filter_map(text).collect())
    }
}

struct Named<'a> {
    fields: &'a [Field],
    columns: &'a [ArrayRef],
}

impl Columns for Named<'_> {
    fn column(&self, name: &str) -> Option<&dyn Array> {
        let place = self.fields.iter().position(|field| field.name == name)?;
        Some(&*self.columns[place])
    }
}

/// Chosen rows of a view.
pub(crate) struct Selection {
    bits: Vec<BooleanBuffer>,
    len: usize,
}

impl Selection {
    /// How many rows are chosen.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The places of the chosen rows, in order of their numbers.
    #[expect(clippy::cast_possible_truncation, reason = "segments and their rows are far fewer than 2^32")]
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let rows = |(segment, bits): (usize, &'_ BooleanBuffer)| {
            let bits = bits.clone();
            (0..bits.len()).filter(move |row| bits.value(*row)).map(move |row| (segment as u32, row as u32))
        };
        self.bits.iter().enumerate().flat_map(rows)
    }

    /// The places of the chosen rows numbered `from` and up.
    #[expect(clippy::cast_possible_truncation, reason = "segments and their rows are far fewer than 2^32")]
    pub(crate) fn places_from<'a>(&'a self, view: &'a View, from: u64) -> impl Iterator<Item = Place> + 'a {
        let young = view.segments.iter().zip(&self.bits).enumerate();
        let young = young.filter(move |(_, (segment, _))| segment.numbers.last().is_some_and(|last| *last >= from));
        young.flat_map(move |(place, (segment, bits))| {
            let start = segment.numbers.partition_point(|number| *number < from);
            (start..segment.len()).filter(|row| bits.value(*row)).map(move |row| (place as u32, row as u32))
        })
    }
}

/// The columns in memory and what is needed to change them. One writer; readers take a [`View`].
pub(crate) struct Memory {
    view: View,
    by_key: HashMap<Key, u64>,
}

impl Memory {
    /// Takes rows in over columns; they are sorted by number here.
    pub(crate) fn load(fields: Arc<Vec<Field>>, mut rows: Vec<StoredRow>) -> Result<Self, EngineError> {
        rows.sort_by_key(|row| row.number);
        let primary = fields.iter().position(|field| field.primary).ok_or(EngineError::Record("schema"))?;
        let base = rows.first().map_or(0, |row| row.number);
        let live = Arc::new(RowSet::from(base));
        let mut memory = Self {
            view: View { fields, segments: Vec::new(), live, primary },
            by_key: HashMap::with_capacity(rows.len()),
        };
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(SEGMENT_ROWS));
            let segment = Segment::from_stored(&rows, &memory.view.fields);
            memory.append(segment)?;
            rows = rest;
        }
        Ok(memory)
    }

    pub(crate) fn view(&self) -> View {
        self.view.clone()
    }

    /// How many rows are live.
    pub(crate) fn len(&self) -> usize {
        self.view.live.len()
    }

    /// Adds rows, each in place of the one with its key.
    pub(crate) fn append(&mut self, segment: Segment) -> Result<(), EngineError> {
        if segment.len() == 0 {
            return Ok(());
        }
        let live = Arc::make_mut(&mut self.view.live);
        if self.view.segments.is_empty() && live.len() == 0 {
            *live = RowSet::from(segment.numbers[0]);
        }
        for (row, number) in segment.numbers.iter().enumerate() {
            if let Some(old) = self.by_key.insert(segment.key(row, self.view.primary), *number) {
                live.remove(old);
            }
            live.insert(*number);
        }
        self.view.segments.push(Arc::new(segment));
        self.merge_tail()
    }

    /// Keeps segments in falling sizes, so that a row is copied only a logarithm of times however small the writes.
    fn merge_tail(&mut self) -> Result<(), EngineError> {
        while let [.., last_but_one, last] = &self.view.segments[..] {
            if last_but_one.len() > 2 * last.len() || last_but_one.len() + last.len() > SEGMENT_ROWS {
                break;
            }
            let merged = Arc::new(last_but_one.merge(last)?);
            self.view.segments.truncate(self.view.segments.len() - 2);
            self.view.segments.push(merged);
        }
        Ok(())
    }

    /// Removes rows by key.
    pub(crate) fn remove(&mut self, keys: &[Key]) {
        let live = Arc::make_mut(&mut self.view.live);
        for key in keys {
            if let Some(number) = self.by_key.remove(key) {
                live.remove(number);
            }
        }
    }

    /// Leaves memory half changed.
    #[cfg(test)]
    pub(crate) fn lose_every_key(&mut self) {
        self.by_key.clear();
        Arc::make_mut(&mut self.view.live).remove(self.view.segments[0].numbers[0]);
    }

    /// The number of the row of a key.
    pub(crate) fn number(&self, key: &Key) -> Option<u64> {
        self.by_key.get(key).copied()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn arrow_error(error: arrow_schema::ArrowError) -> EngineError {
    EngineError::Storage(format!("columns in memory could not be joined: {error}"))
}
