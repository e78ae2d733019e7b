//! Evaluation: a bitmap for each condition over a few thousand rows at a time.
//!
//! Conditions have three values, as in SQL and Milvus: true, false, and unknown where a row has no value. Unknown and
//! true make unknown, unknown and false make false, and so on. No third bit is kept for it: a condition is asked either
//! for the rows where it is certainly true or for those where it is certainly false, and `not` swaps the question.

use arrow_array::{Array, PrimitiveArray, types::ArrowPrimitiveType};
use arrow_buffer::BooleanBuffer;

use crate::{
    Columns, FilterError,
    bits::Bits,
    column::Column,
    expression::{Leaf, Node, Operand, PathRef, Plan},
    json::Json,
    set::Set,
    value::{Comparison, Scalar, compare, compute},
};

/// Rows evaluated together; a multiple of 64.
const ROWS: usize = 4_096;

/// JSON values held at once: a filter with very many paths takes fewer rows at a time.
const JSON_VALUES: usize = 1 << 20;

/// Evaluates a plan over all rows.
pub(crate) fn evaluate(plan: &Plan, batch: &dyn Columns, rows: usize) -> Result<BooleanBuffer, FilterError> {
    if let Node::Constant(value) = plan.root {
        return Ok(if value { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) });
    }
    let mut columns = Vec::with_capacity(plan.columns.len());
    for needed in &plan.columns {
        let Some(array) = batch.column(&needed.name) else {
            return Err(FilterError::of_columns("a column that the filter reads is missing"));
        };
        columns.push(Column::bind(array, &needed.field_type, rows)?);
    }
    let slots: usize = plan.json.iter().map(|json| json.paths.slots()).sum();
    let step = (JSON_VALUES / slots.max(1)).clamp(64, ROWS) / 64 * 64;
    let mut parts = Vec::with_capacity(rows.div_ceil(step));
    for start in (0..rows).step_by(step) {
        let len = step.min(rows - start);
        let json = plan.json.iter().map(|_| JsonRows { read: Bits::none(len), values: Vec::new() }).collect();
        let mut chunk = Chunk { plan, columns: &columns, start, len, json };
        parts.push(chunk.node(&plan.root, true, &Bits::all(len))?);
    }
    Ok(Bits::concat(parts.into_iter(), rows))
}

/// Some consecutive rows.
struct Chunk<'a> {
    plan: &'a Plan,
    columns: &'a [Column<'a>],
    start: usize,
    len: usize,
    /// For each JSON column what was taken out of it so far.
    json: Vec<JsonRows<'a>>,
}

/// Values taken out of a JSON column, in slots row after row.
struct JsonRows<'a> {
    /// The rows read so far: each is read once, and only if a condition needs it.
    read: Bits,
    values: Vec<Option<Json<'a>>>,
}

impl<'a> Chunk<'a> {
    /// The rows among `alive` where the node is certainly `want`.
    fn node(&mut self, node: &'a Node, want: bool, alive: &Bits) -> Result<Bits, FilterError> {
        match node {
            Node::Constant(value) if *value == want => Ok(alive.clone()),
            Node::Constant(_) => Ok(Bits::none(self.len)),
            Node::Not(inner) => self.node(inner, !want, alive),
            Node::Leaf(leaf) => self.leaf(leaf, want, alive),
            Node::All(terms) if want => self.every(terms, want, alive),
            Node::Any(terms) if !want => self.every(terms, want, alive),
            Node::All(terms) | Node::Any(terms) => self.some(terms, want, alive),
        }
    }

    fn every(&mut self, terms: &'a [Node], want: bool, alive: &Bits) -> Result<Bits, FilterError> {
        let mut left = alive.clone();
        for term in terms {
            if left.is_empty() {
                break;
            }
            left = self.node(term, want, &left)?;
        }
        Ok(left)
    }

    fn some(&mut self, terms: &'a [Node], want: bool, alive: &Bits) -> Result<Bits, FilterError> {
        let mut rest = alive.clone();
        for term in terms {
            if rest.is_empty() {
                break;
            }
            let found = self.node(term, want, &rest)?;
            rest = rest.without(&found);
        }
        Ok(alive.clone().without(&rest))
    }

    fn leaf(&mut self, leaf: &'a Leaf, want: bool, alive: &Bits) -> Result<Bits, FilterError> {
        Ok(match leaf {
            Leaf::Flag { column } => self.known(*column, self.flags(*column), want, alive),
            Leaf::Ints { column, low, high, outside } => {
                let within = self.ints(*column, *low, *high);
                self.known(*column, within, want != *outside, alive)
            }
            Leaf::Floats { column, low, high, outside } => {
                let within = self.floats(*column, *low, *high);
                self.known(*column, within, want != *outside, alive)
            }
            Leaf::Texts { column, comparison, text } => self.texts(*column, *comparison, text, want, alive),
            Leaf::In { operand: Operand::Column { column, .. }, set } if self.is_int(*column) => {
                let found = self.ints_in(*column, set);
                self.known(*column, found, want, alive)
            }
            Leaf::Null { column } => {
                let valid = self.valid(*column);
                if want { alive.clone().without(&valid) } else { alive.clone().and(&valid) }
            }
            Leaf::In { operand, set } => {
                self.read_json(operand, alive)?;
                self.each(want, alive, |row| set.holds(self.value(operand, row)?))
            }
            Leaf::Like { operand, pattern } => {
                self.read_json(operand, alive)?;
                self.each(want, alive, |row| match self.value(operand, row)? {
                    Scalar::Text(text) => Some(pattern.matches(text)),
                    _ => None,
                })
            }
            Leaf::Compare { comparison, sides } => {
                let (left, right) = &**sides;
                self.read_json(left, alive)?;
                self.read_json(right, alive)?;
                self.each(want, alive, |row| compare(*comparison, self.value(left, row)?, self.value(right, row)?))
            }
            Leaf::Contains { list, all, set } => {
                self.read_json(list, alive)?;
                self.each(want, alive, |row| match self.value(list, row)? {
                    Scalar::List(list) => Some(if *all { set.is_within(list) } else { set.meets(list) }),
                    _ => None,
                })
            }
            Leaf::Exists { path } => {
                self.read_rows(path.json, alive)?;
                self.each(want, alive, |row| Some(!matches!(self.at_path(*path, row), None | Some(Json::Null))))
            }
        })
    }

    /// Turns a bitmap of a column's values into an answer: rows without a value are unknown.
    fn known(&self, column: usize, bits: Bits, want: bool, alive: &Bits) -> Bits {
        let bits = if want { bits } else { bits.not() };
        match self.columns[column].nulls() {
            None => bits.and(alive),
            Some(_) => bits.and(&self.valid(column)).and(alive),
        }
    }

    fn valid(&self, column: usize) -> Bits {
        match self.columns[column].nulls() {
            None => Bits::all(self.len),
            Some(nulls) => Bits::from_arrow(nulls.inner(), self.start, self.len),
        }
    }

    /// Asks row by row.
    fn each(&self, want: bool, alive: &Bits, test: impl Fn(usize) -> Option<bool>) -> Bits {
        let mut found = Bits::none(self.len);
        for row in alive.rows() {
            if test(row) == Some(want) {
                found.set(row);
            }
        }
        found
    }

    fn flags(&self, column: usize) -> Bits {
        match &self.columns[column] {
            Column::Bool(array) => Bits::from_arrow(array.values(), self.start, self.len),
            _ => Bits::none(self.len),
        }
    }

    fn is_int(&self, column: usize) -> bool {
        matches!(self.columns[column], Column::Int8(_) | Column::Int16(_) | Column::Int32(_) | Column::Int64(_))
    }

    fn ints(&self, column: usize, low: i64, high: i64) -> Bits {
        match &self.columns[column] {
            Column::Int8(array) => self.within(array, low, high, i8::MIN, i8::MAX),
            Column::Int16(array) => self.within(array, low, high, i16::MIN, i16::MAX),
            Column::Int32(array) => self.within(array, low, high, i32::MIN, i32::MAX),
            Column::Int64(array) => self.within(array, low, high, i64::MIN, i64::MAX),
            _ => Bits::none(self.len),
        }
    }

    /// The rows within bounds, compared in the column's own width.
    fn within<T>(&self, array: &PrimitiveArray<T>, low: i64, high: i64, least: T::Native, most: T::Native) -> Bits
    where
        T: ArrowPrimitiveType,
        T::Native: TryFrom<i64> + Into<i64> + PartialOrd,
    {
        if low > most.into() || high < least.into() {
            return Bits::none(self.len);
        }
        // A bound that does not fit lies beyond every value.
        let low = T::Native::try_from(low).unwrap_or(least);
        let high = T::Native::try_from(high).unwrap_or(most);
        #[expect(clippy::needless_bitwise_bool, reason = "without branches the loop becomes vector instructions")]
        Bits::of(self.rows_of(array), |value| (value >= low) & (value <= high))
    }

    fn rows_of<'c, T: ArrowPrimitiveType>(&self, array: &'c PrimitiveArray<T>) -> &'c [T::Native] {
        &array.values()[self.start..self.start + self.len]
    }

    #[expect(clippy::needless_bitwise_bool, reason = "without branches the loop becomes vector instructions")]
    fn floats(&self, column: usize, low: f64, high: f64) -> Bits {
        match &self.columns[column] {
            Column::Float(array) => {
                Bits::of(self.rows_of(array), |value| (f64::from(value) >= low) & (f64::from(value) <= high))
            }
            Column::Double(array) => Bits::of(self.rows_of(array), |value| (value >= low) & (value <= high)),
            _ => Bits::none(self.len),
        }
    }

    fn ints_in(&self, column: usize, set: &Set) -> Bits {
        let ints = set.ints();
        match &self.columns[column] {
            Column::Int8(array) => Bits::of(self.rows_of(array), |value| ints.contains(value.into())),
            Column::Int16(array) => Bits::of(self.rows_of(array), |value| ints.contains(value.into())),
            Column::Int32(array) => Bits::of(self.rows_of(array), |value| ints.contains(value.into())),
            Column::Int64(array) => Bits::of(self.rows_of(array), |value| ints.contains(value)),
            _ => Bits::none(self.len),
        }
    }

    fn texts(&self, column: usize, comparison: Comparison, text: &str, want: bool, alive: &Bits) -> Bits {
        let Column::Text(array) = &self.columns[column] else { return Bits::none(self.len) };
        let alive = alive.clone().and(&self.valid(column));
        let value = |row| array.value(self.start + row);
        // Equality looks at lengths first; an order can't.
        match comparison {
            Comparison::Equal => self.each(want, &alive, |row| Some(value(row) == text)),
            Comparison::NotEqual => self.each(want, &alive, |row| Some(value(row) != text)),
            _ => self.each(want, &alive, |row| Some(comparison.accepts(value(row).cmp(text)))),
        }
    }

    /// The value of an operand in a row. JSON must have been read.
    fn value<'c>(&'c self, operand: &'c Operand, row: usize) -> Option<Scalar<'c>> {
        match operand {
            Operand::Literal(literal) => Some(literal.scalar()),
            Operand::Column { column, .. } => self.columns[*column].scalar(self.start + row),
            Operand::Element { column, place, .. } => match self.columns[*column].scalar(self.start + row)? {
                Scalar::List(list) => list.get(*place),
                _ => None,
            },
            Operand::Path(path) => self.at_path(*path, row)?.scalar(),
            Operand::Length(list) => match self.value(list, row)? {
                Scalar::List(list) => i64::try_from(list.len()).ok().map(Scalar::Int),
                _ => None,
            },
            Operand::Compute { operator, sides, .. } => {
                compute(*operator, self.value(&sides.0, row)?, self.value(&sides.1, row)?)
            }
        }
    }

    fn at_path(&self, path: PathRef, row: usize) -> Option<&Json<'a>> {
        let slots = self.plan.json[path.json].paths.slots();
        self.json[path.json].values.get(row * slots + path.slot)?.as_ref()
    }

    /// Reads the JSON that an operand needs of these rows.
    fn read_json(&mut self, operand: &Operand, alive: &Bits) -> Result<(), FilterError> {
        match operand {
            Operand::Literal(_) | Operand::Column { .. } | Operand::Element { .. } => Ok(()),
            Operand::Path(path) => self.read_rows(path.json, alive),
            Operand::Length(list) => self.read_json(list, alive),
            Operand::Compute { sides, .. } => {
                self.read_json(&sides.0, alive)?;
                self.read_json(&sides.1, alive)
            }
        }
    }

    fn read_rows(&mut self, json: usize, alive: &Bits) -> Result<(), FilterError> {
        let source = &self.plan.json[json];
        let Column::Text(array) = &self.columns[source.column] else { return Ok(()) };
        let slots = source.paths.slots();
        let rows = &mut self.json[json];
        if rows.values.is_empty() {
            rows.values.resize(self.len * slots, None);
        }
        for row in alive.clone().without(&rows.read).rows() {
            if array.is_null(self.start + row) {
                continue;
            }
            let text = array.value(self.start + row);
            source
                .paths
                .read(text, &mut rows.values[row * slots..(row + 1) * slots])
                .map_err(|()| FilterError::of_columns("a JSON column holds text that is not JSON"))?;
        }
        rows.read = std::mem::replace(&mut rows.read, Bits::none(0)).or(alive);
        Ok(())
    }
}
