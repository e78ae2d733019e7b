//! Lists of values: a literal's, a JSON array's, an Array column's.

use crate::{
    column::Column,
    json::Json,
    value::{Comparison, Literal, Scalar, compare},
};

/// A list of a row or of a filter, whatever holds it.
#[derive(Clone, Copy)]
pub(crate) enum List<'a> {
    Literals(&'a [Literal]),
    Json(&'a [Json<'a>]),
    /// Consecutive values of an Array column's elements.
    Elements {
        elements: &'a Column<'a>,
        start: usize,
        len: usize,
    },
}

impl<'a> List<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Literals(items) => items.len(),
            Self::Json(items) => items.len(),
            Self::Elements { len, .. } => len,
        }
    }

    /// The value at a place; `None` where there is none, or null.
    pub(crate) fn get(self, place: usize) -> Option<Scalar<'a>> {
        match self {
            Self::Literals(items) => items.get(place).map(Literal::scalar),
            Self::Json(items) => items.get(place).and_then(Json::scalar),
            Self::Elements { elements, start, len } => {
                if place < len {
                    elements.scalar(start + place)
                } else {
                    None
                }
            }
        }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Option<Scalar<'a>>> {
        (0..self.len()).map(move |place| self.get(place))
    }

    /// Whether both hold equal values in the same order; a null equals nothing.
    pub(crate) fn equals(self, other: List<'_>) -> bool {
        let same = |place| match (self.get(place), other.get(place)) {
            (Some(left), Some(right)) => compare(Comparison::Equal, left, right) == Some(true),
            _ => false,
        };
        self.len() == other.len() && (0..self.len()).all(same)
    }
}
