//! Conditions and their types: what may be compared with what, and the quickest form of it.

use crate::{
    build::{Builder, Part},
    error::Fault,
    expression::{Kind, Leaf, Node, Operand},
    like::Pattern,
    limits::{MAX_INNER_LISTS, MAX_WILD},
    set::Set,
    value::{Comparison, Literal, compare, order_int_float, truncated, whole},
};

/// Which elements a list must contain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Containment {
    One,
    All,
    Any,
}

impl Builder<'_> {
    /// `left comparison right`.
    pub(crate) fn compare(
        &mut self,
        comparison: Comparison,
        left: Part,
        right: Part,
        at: usize,
    ) -> Result<Node, Fault> {
        match (left, right) {
            (Part::Value(left), Part::Value(right)) => self.compare_values(comparison, left, right, at),
            (Part::Condition(node), Part::Value(Operand::Literal(Literal::Bool(value))))
            | (Part::Value(Operand::Literal(Literal::Bool(value))), Part::Condition(node))
                if comparison.is_equality() =>
            {
                let stays = value == (comparison == Comparison::Equal);
                Ok(if stays { node } else { Node::Not(Box::new(node)) })
            }
            _ => Err(Fault::new(
                at,
                "a condition can only be compared with true or false; join conditions by 'and', and write both signs \
                 of a range the same way, as in 1 < a <= 5",
            )),
        }
    }

    fn compare_values(
        &mut self,
        comparison: Comparison,
        left: Operand,
        right: Operand,
        at: usize,
    ) -> Result<Node, Fault> {
        let is_literal = |operand: &Operand| matches!(operand, Operand::Literal(_));
        if is_literal(&left) && !is_literal(&right) {
            return self.compare_values(comparison.flipped(), right, left, at);
        }
        let kinds = [left.kind(), right.kind()];
        check_comparable(kinds[0], kinds[1], at)?;
        if !comparison.is_equality()
            && let Some(kind) = kinds.into_iter().find(|kind| matches!(kind, Kind::Bool | Kind::List(_)))
        {
            return Err(Fault::new(at, format!("{} has no order; only '==' and '!=' compare it", kind.name())));
        }
        for (operand, other) in [(&left, kinds[1]), (&right, kinds[0])] {
            if matches!(other, Kind::List(_) | Kind::Dynamic) {
                self.keep_list(operand);
            }
        }
        match (left, right) {
            (Operand::Literal(left), Operand::Literal(right)) => {
                Ok(Node::Constant(compare(comparison, left.scalar(), right.scalar()) == Some(true)))
            }
            (left, Operand::Literal(literal)) => {
                let literal = fit(literal, kinds[0]);
                self.compare_literal(comparison, left, literal, at)
            }
            (left, right) => self.leaf(Leaf::Compare { comparison, sides: Box::new((left, right)) }, at),
        }
    }

    fn compare_literal(
        &mut self,
        comparison: Comparison,
        left: Operand,
        literal: Literal,
        at: usize,
    ) -> Result<Node, Fault> {
        let leaf = match (left, literal) {
            (Operand::Column { column, kind: Kind::Bool }, Literal::Bool(value)) => {
                let flag = self.leaf(Leaf::Flag { column }, at)?;
                let stays = value == (comparison == Comparison::Equal);
                return Ok(if stays { flag } else { Node::Not(Box::new(flag)) });
            }
            (Operand::Column { column, kind: Kind::Int }, literal) => {
                let (low, high) = int_bounds(comparison, &literal);
                Leaf::Ints { column, low, high, outside: comparison == Comparison::NotEqual }
            }
            (Operand::Column { column, kind: Kind::Single | Kind::Double }, literal) => {
                let (low, high) = float_bounds(comparison, &literal);
                Leaf::Floats { column, low, high, outside: comparison == Comparison::NotEqual }
            }
            (Operand::Column { column, kind: Kind::Text }, Literal::Text(text)) => {
                Leaf::Texts { column, comparison, text }
            }
            (left, literal) => Leaf::Compare { comparison, sides: Box::new((left, Operand::Literal(literal))) },
        };
        self.leaf(leaf, at)
    }

    /// `operand in list`.
    pub(crate) fn is_in(&mut self, operand: Part, list: Part, at: usize) -> Result<Node, Fault> {
        let operand = match operand {
            Part::Value(operand) if !matches!(operand, Operand::Literal(_)) => operand,
            _ => return Err(Fault::new(at, "'in' needs a field on its left")),
        };
        let Part::Value(Operand::Literal(Literal::List(items))) = list else {
            return Err(Fault::new(at, "'in' needs a list of values on its right, as in [1, 2]"));
        };
        let kind = operand.kind();
        if matches!(kind, Kind::List(_)) {
            return Err(Fault::new(at, "'in' looks for a single value; use array_contains_any for an Array"));
        }
        for item in &items {
            check_comparable(kind, Kind::of_literal(item), at)?;
        }
        if items.iter().any(|item| matches!(item, Literal::List(_))) {
            self.keep_list(&operand);
        }
        let set = set_of(items, kind, at)?;
        self.leaf(Leaf::In { operand, set: Box::new(set) }, at)
    }

    /// `operand like pattern`.
    pub(crate) fn like(&mut self, operand: Part, pattern: Part, at: usize) -> Result<Node, Fault> {
        let operand = match operand {
            Part::Value(operand)
                if matches!(operand.kind(), Kind::Text | Kind::Dynamic) && !matches!(operand, Operand::Literal(_)) =>
            {
                operand
            }
            _ => return Err(Fault::new(at, "'like' needs a VarChar field or a JSON path on its left")),
        };
        let Part::Value(Operand::Literal(Literal::Text(pattern))) = pattern else {
            return Err(Fault::new(at, "'like' needs a quoted pattern on its right"));
        };
        let Some(pattern) = Pattern::new(&pattern) else {
            let message = format!("more than {MAX_WILD} characters with a '_' among them between two '%'");
            return Err(Fault::new(at, message));
        };
        self.leaf(Leaf::Like { operand, pattern: Box::new(pattern) }, at)
    }

    /// `array_contains(list, wanted)` and its relatives.
    pub(crate) fn contains(&mut self, how: Containment, list: Part, wanted: Part, at: usize) -> Result<Node, Fault> {
        let list = self.list(list, at)?;
        let items = match (how, wanted) {
            (Containment::One, Part::Value(Operand::Literal(item))) => vec![item],
            (Containment::One, _) => return Err(Fault::new(at, "the second argument must be a value, not a field")),
            (_, Part::Value(Operand::Literal(Literal::List(items)))) => items,
            _ => return Err(Fault::new(at, "the second argument must be a list of values, as in [1, 2]")),
        };
        let element = if let Kind::List(Some(element)) = list.kind() { element.into() } else { Kind::Dynamic };
        for item in &items {
            check_comparable(element, Kind::of_literal(item), at)?;
        }
        let set = set_of(items, element, at)?;
        self.leaf(Leaf::Contains { list, all: how == Containment::All, set: Box::new(set) }, at)
    }

    /// `array_length(list)`.
    pub(crate) fn length(&mut self, list: Part, at: usize) -> Result<Operand, Fault> {
        Ok(Operand::Length(Box::new(self.list(list, at)?)))
    }

    fn list(&mut self, part: Part, at: usize) -> Result<Operand, Fault> {
        match part {
            Part::Value(list @ (Operand::Column { kind: Kind::List(_), .. } | Operand::Path(_))) => {
                self.keep_list(&list);
                Ok(list)
            }
            _ => Err(Fault::new(at, "the first argument must be an Array field or a JSON path")),
        }
    }

    /// `exists path`.
    pub(crate) fn exists(&mut self, part: &Part, at: usize) -> Result<Node, Fault> {
        match part {
            Part::Value(Operand::Path(path)) if !path.is_root => self.leaf(Leaf::Exists { path: *path }, at),
            _ => Err(Fault::new(at, "'exists' needs a key of a JSON or dynamic field, as in meta[\"key\"]")),
        }
    }

    /// `part is null`.
    pub(crate) fn is_null(&mut self, part: &Part, at: usize) -> Result<Node, Fault> {
        match part {
            Part::Value(Operand::Column { column, .. }) => self.leaf(Leaf::Null { column: *column }, at),
            Part::Value(Operand::Path(path)) if path.is_root => {
                let column = self.column_of(*path);
                self.leaf(Leaf::Null { column }, at)
            }
            Part::Value(Operand::Path(path)) => Ok(Node::Not(Box::new(self.leaf(Leaf::Exists { path: *path }, at)?))),
            _ => Err(Fault::new(at, "'is null' needs a field or a JSON path on its left")),
        }
    }
}

fn check_comparable(left: Kind, right: Kind, at: usize) -> Result<(), Fault> {
    if left.is_comparable_with(right) {
        return Ok(());
    }
    Err(Fault::new(at, format!("{} can't be compared with {}", left.name(), right.name())))
}

/// The values of a list, as values of the kind see them.
fn set_of(items: Vec<Literal>, kind: Kind, at: usize) -> Result<Set, Fault> {
    // Inner lists are compared one by one.
    if items.iter().filter(|item| matches!(item, Literal::List(_))).count() > MAX_INNER_LISTS {
        return Err(Fault::new(at, format!("more than {MAX_INNER_LISTS} lists within a list")));
    }
    Ok(Set::new(items.into_iter().map(|item| fit(item, kind)).collect()))
}

/// The literal as values of the kind see it.
fn fit(literal: Literal, kind: Kind) -> Literal {
    let is_single = match kind {
        Kind::List(Some(element)) => Kind::from(element) == Kind::Single,
        other => other == Kind::Single,
    };
    if is_single { literal.rounded_to_single() } else { literal }
}

/// No integer is within these.
const NO_INT: (i64, i64) = (1, 0);

/// The integers that a comparison accepts, or rejects if it is `!=`, as inclusive bounds.
fn int_bounds(comparison: Comparison, literal: &Literal) -> (i64, i64) {
    match literal {
        Literal::Int(value) => int_bounds_of(comparison, *value),
        Literal::Float(value) => match whole(*value) {
            Some(value) => int_bounds_of(comparison, value),
            None => int_bounds_between(comparison, *value),
        },
        _ => NO_INT,
    }
}

fn int_bounds_of(comparison: Comparison, value: i64) -> (i64, i64) {
    match comparison {
        Comparison::Equal | Comparison::NotEqual => (value, value),
        Comparison::Less => value.checked_sub(1).map_or(NO_INT, |high| (i64::MIN, high)),
        Comparison::LessOrEqual => (i64::MIN, value),
        Comparison::Greater => value.checked_add(1).map_or(NO_INT, |low| (low, i64::MAX)),
        Comparison::GreaterOrEqual => (value, i64::MAX),
    }
}

/// Bounds for a float that no integer equals.
fn int_bounds_between(comparison: Comparison, value: f64) -> (i64, i64) {
    let lowest_is_above = order_int_float(i64::MIN, value).is_some_and(std::cmp::Ordering::is_gt);
    // Saturates for floats beyond the integers.
    let below = truncated(value.floor());
    match comparison {
        Comparison::Equal | Comparison::NotEqual => NO_INT,
        Comparison::Less | Comparison::LessOrEqual if lowest_is_above => NO_INT,
        Comparison::Less | Comparison::LessOrEqual => (i64::MIN, below),
        Comparison::Greater | Comparison::GreaterOrEqual if lowest_is_above => (i64::MIN, i64::MAX),
        Comparison::Greater | Comparison::GreaterOrEqual => below.checked_add(1).map_or(NO_INT, |low| (low, i64::MAX)),
    }
}

/// No float is within these.
const NO_FLOAT: (f64, f64) = (1.0, 0.0);

/// The floats that a comparison accepts, or rejects if it is `!=`, as inclusive bounds.
fn float_bounds(comparison: Comparison, literal: &Literal) -> (f64, f64) {
    use std::cmp::Ordering;

    match literal {
        Literal::Float(value) => float_bounds_of(comparison, *value),
        Literal::Int(int) => {
            #[expect(clippy::cast_precision_loss, reason = "what the cast loses, the order below finds out")]
            let value = *int as f64;
            match (order_int_float(*int, value), comparison) {
                (Some(Ordering::Equal) | None, comparison) => float_bounds_of(comparison, value),
                (_, Comparison::Equal | Comparison::NotEqual) => NO_FLOAT,
                // No float is the integer: `value` is the next one above it, or below.
                (Some(Ordering::Less), Comparison::Less | Comparison::LessOrEqual) => {
                    float_bounds_of(Comparison::Less, value)
                }
                (Some(Ordering::Less), _) => float_bounds_of(Comparison::GreaterOrEqual, value),
                (Some(Ordering::Greater), Comparison::Less | Comparison::LessOrEqual) => {
                    float_bounds_of(Comparison::LessOrEqual, value)
                }
                (Some(Ordering::Greater), _) => float_bounds_of(Comparison::Greater, value),
            }
        }
        _ => NO_FLOAT,
    }
}

fn float_bounds_of(comparison: Comparison, value: f64) -> (f64, f64) {
    match comparison {
        Comparison::Equal | Comparison::NotEqual => (value, value),
        Comparison::Less => (f64::NEG_INFINITY, value.next_down()),
        Comparison::LessOrEqual => (f64::NEG_INFINITY, value),
        Comparison::Greater => (value.next_up(), f64::INFINITY),
        Comparison::GreaterOrEqual => (value, f64::INFINITY),
    }
}
