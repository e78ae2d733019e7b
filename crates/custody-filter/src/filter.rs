//! The checked filter.

use std::fmt;

use arrow_buffer::BooleanBuffer;

use crate::{Columns, FilterError, Params, Schema, evaluate, expression::Plan, parser};

/// A filter that was read and checked against a schema, ready to be evaluated over any number of batches.
pub struct Filter {
    plan: Plan,
    primary_keys: Option<PrimaryKeys>,
}

/// The primary keys that a filter asks for. It has no `Debug` that shows them: they are values.
#[derive(Clone, PartialEq, Eq)]
pub enum PrimaryKeys {
    /// Of an Int64 key: distinct and sorted.
    Ints(Vec<i64>),
    /// Of a VarChar key: distinct and sorted.
    Texts(Vec<String>),
}

impl PrimaryKeys {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(keys) => keys.len(),
            Self::Texts(keys) => keys.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for PrimaryKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrimaryKeys({} keys)", self.len())
    }
}

impl Filter {
    /// Reads a filter and checks it against the schema. Empty text is true in every row. `params` are the values of
    /// placeholders such as `{name}`.
    pub fn parse(text: &str, schema: &Schema, params: &Params) -> Result<Self, FilterError> {
        let (plan, primary_keys) = parser::parse(text, schema, params).map_err(|fault| fault.place_in(text))?;
        Ok(Self { plan, primary_keys })
    }

    /// The names of the columns that [`Filter::evaluate`] will ask for, each once.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.plan.columns.iter().map(|column| column.name.as_str())
    }

    /// The primary keys, if the filter is just `key == x` or `key in [x, y]`, so that rows can be found by them.
    pub fn primary_keys(&self) -> Option<&PrimaryKeys> {
        self.primary_keys.as_ref()
    }

    /// The rows where the filter is true, as a bitmap of `rows` bits. A row where it is unknown is not among them.
    pub fn evaluate(&self, batch: &dyn Columns, rows: usize) -> Result<BooleanBuffer, FilterError> {
        evaluate::evaluate(&self.plan, batch, rows)
    }
}

impl fmt::Debug for Filter {
    /// Without the values and names in it, which may not reach a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Filter({} columns)", self.plan.columns.len())
    }
}
