//! Single values: literals of a filter and what rows hold, and how they compare and compute.

use std::cmp::Ordering;

use crate::list::List;

/// A value written in a filter, or given for a placeholder.
#[derive(Clone)]
pub(crate) enum Literal {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Literal>),
}

impl Literal {
    pub(crate) fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Float(value) => Scalar::Float(*value),
            Self::Text(value) => Scalar::Text(value),
            Self::List(items) => Scalar::List(List::Literals(items)),
        }
    }

    /// The literal as a Float column sees it: its numbers rounded to 32 bits, as Milvus compares them. Else
    /// `price == 0.1` would never be true.
    pub(crate) fn rounded_to_single(self) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "rounding is what is wanted")]
        match self {
            Self::Int(value) => Self::Float(f64::from(value as f32)),
            Self::Float(value) => Self::Float(f64::from(value as f32)),
            Self::List(items) => Self::List(items.into_iter().map(Self::rounded_to_single).collect()),
            other => other,
        }
    }
}

/// One value of a row.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    List(List<'a>),
}

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The comparison with its sides swapped.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            other => other,
        }
    }

    /// Whether it asks for equality alone, which every kind of value has.
    pub(crate) fn is_equality(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual)
    }

    pub(crate) fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// Compares two values; `None` is unknown: values of different kinds, or an order where there is none.
pub(crate) fn compare(comparison: Comparison, left: Scalar<'_>, right: Scalar<'_>) -> Option<bool> {
    let ordering = match (left, right) {
        (Scalar::Int(left), Scalar::Int(right)) => left.cmp(&right),
        (Scalar::Float(left), Scalar::Float(right)) => left.partial_cmp(&right)?,
        (Scalar::Int(left), Scalar::Float(right)) => order_int_float(left, right)?,
        (Scalar::Float(left), Scalar::Int(right)) => order_int_float(right, left)?.reverse(),
        (Scalar::Text(left), Scalar::Text(right)) => left.cmp(right),
        (Scalar::Bool(left), Scalar::Bool(right)) if comparison.is_equality() => left.cmp(&right),
        (Scalar::List(left), Scalar::List(right)) if comparison.is_equality() => {
            return Some(left.equals(right) == (comparison == Comparison::Equal));
        }
        _ => return None,
    };
    Some(comparison.accepts(ordering))
}

/// The exact order of an integer and a float: above 2^53 a cast would round one of them. `None` for NaN.
pub(crate) fn order_int_float(int: i64, float: f64) -> Option<Ordering> {
    match whole(float) {
        Some(whole) => Some(int.cmp(&whole)),
        None if float.is_nan() => None,
        None if float >= TWO_POW_63 => Some(Ordering::Less),
        None if float < -TWO_POW_63 => Some(Ordering::Greater),
        // The float lies strictly between two integers of 64 bits.
        None => {
            let floor = truncated(float.floor());
            Some(if int <= floor { Ordering::Less } else { Ordering::Greater })
        }
    }
}

const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;

/// The integer that equals the float, if there is one of 64 bits.
pub(crate) fn whole(float: f64) -> Option<i64> {
    (float.fract() == 0.0 && (-TWO_POW_63..TWO_POW_63).contains(&float)).then(|| truncated(float))
}

#[expect(clippy::cast_possible_truncation, reason = "the callers pass whole floats; others saturate")]
pub(crate) fn truncated(float: f64) -> i64 {
    float as i64
}

/// An arithmetic operator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

/// Computes; `None` is unknown: no numbers, a division by zero, an integer that overflows, a float that is not finite.
pub(crate) fn compute<'a>(operator: Arithmetic, left: Scalar<'_>, right: Scalar<'_>) -> Option<Scalar<'a>> {
    if let (Scalar::Int(left), Scalar::Int(right)) = (left, right) {
        let result = match operator {
            Arithmetic::Add => left.checked_add(right),
            Arithmetic::Subtract => left.checked_sub(right),
            Arithmetic::Multiply => left.checked_mul(right),
            Arithmetic::Divide => left.checked_div(right),
            // The smallest integer has a remainder by -1 although its quotient overflows.
            Arithmetic::Remainder if right == -1 => Some(0),
            Arithmetic::Remainder => left.checked_rem(right),
            Arithmetic::Power => return finite(as_float(left).powf(as_float(right))),
        };
        return result.map(Scalar::Int);
    }
    let (left, right) = (number(left)?, number(right)?);
    match operator {
        Arithmetic::Add => finite(left + right),
        Arithmetic::Subtract => finite(left - right),
        Arithmetic::Multiply => finite(left * right),
        Arithmetic::Divide => finite(left / right),
        Arithmetic::Remainder => None,
        Arithmetic::Power => finite(left.powf(right)),
    }
}

fn finite<'a>(value: f64) -> Option<Scalar<'a>> {
    value.is_finite().then_some(Scalar::Float(value))
}

fn number(value: Scalar<'_>) -> Option<f64> {
    match value {
        Scalar::Int(value) => Some(as_float(value)),
        Scalar::Float(value) => Some(value),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "arithmetic with floats is in floats; comparisons are exact")]
fn as_float(value: i64) -> f64 {
    value as f64
}
