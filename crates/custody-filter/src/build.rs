//! Checked construction: names become columns, operators become conditions, types must fit.

use std::collections::BTreeMap;

use crate::{
    FieldType, PrimaryKeys, Schema,
    error::Fault,
    expression::{JsonColumn, Kind, Leaf, Needed, Node, Operand, PathRef, Plan},
    json::{Paths, Step},
    limits::{MAX_CONDITIONS, MAX_DEPTH, MAX_PATHS},
    set::Set,
    value::{Arithmetic, Comparison, Literal, Scalar, compute},
};

/// A part of an expression: a value to compare, or a condition.
pub(crate) enum Part {
    Condition(Node),
    Value(Operand),
}

/// Builds a plan against a schema.
pub(crate) struct Builder<'s> {
    schema: &'s Schema,
    columns: Vec<Needed>,
    json: Vec<JsonColumn>,
    conditions: usize,
}

impl<'s> Builder<'s> {
    pub(crate) fn new(schema: &'s Schema) -> Self {
        Self { schema, columns: Vec::new(), json: Vec::new(), conditions: 0 }
    }

    /// The finished plan, and the primary keys if it asks for just those.
    pub(crate) fn finish(self, root: Node) -> (Plan, Option<PrimaryKeys>) {
        let is_primary = |column: usize| Some(self.columns[column].name.as_str()) == self.schema.primary_name();
        let keys = match &root {
            Node::Leaf(Leaf::Ints { column, low, high, outside: false }) if low == high && is_primary(*column) => {
                Some(PrimaryKeys::Ints(vec![*low]))
            }
            Node::Leaf(Leaf::Texts { column, comparison: Comparison::Equal, text }) if is_primary(*column) => {
                Some(PrimaryKeys::Texts(vec![text.clone()]))
            }
            Node::Leaf(Leaf::In { operand: Operand::Column { column, kind }, set }) if is_primary(*column) => {
                match kind {
                    Kind::Int => Some(set.int_keys()),
                    Kind::Text => Some(set.text_keys()),
                    _ => None,
                }
            }
            _ => None,
        };
        (Plan { root, columns: self.columns, json: self.json }, keys)
    }

    /// Whether the schema declares a field of exactly this name.
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.schema.field_type(name).is_some()
    }

    /// A name with the steps taken from it.
    pub(crate) fn name(&mut self, name: &str, mut steps: Vec<Step>, at: usize) -> Result<Operand, Fault> {
        if let Some(field_type) = self.schema.field_type(name) {
            return self.field(name, field_type, steps, at);
        }
        let Some(dynamic) = self.schema.dynamic_column() else {
            return Err(Fault::new(at, "no such field, and the collection has no dynamic field"));
        };
        if name != dynamic {
            steps.insert(0, Step::Key(name.to_owned()));
        }
        self.path(dynamic, steps, at)
    }

    fn field(&mut self, name: &str, field_type: &FieldType, steps: Vec<Step>, at: usize) -> Result<Operand, Fault> {
        let Some(kind) = Kind::of_field(field_type) else {
            return Err(Fault::new(at, format!("{} can't stand in a filter", field_type.name())));
        };
        match (kind, &steps[..]) {
            (Kind::Dynamic, _) => self.path(name, steps, at),
            (_, []) => Ok(Operand::Column { column: self.column(name, field_type), kind }),
            (Kind::List(Some(element)), [Step::Place(place)]) => {
                let column = self.column(name, field_type);
                Ok(Operand::Element { column, place: *place, kind: element.into() })
            }
            (Kind::List(_), _) => Err(Fault::new(at, "an Array is reached into by one whole number, as in tags[0]")),
            _ => Err(Fault::new(at, format!("{} can't be reached into by [ ]", field_type.name()))),
        }
    }

    fn column(&mut self, name: &str, field_type: &FieldType) -> usize {
        if let Some(column) = self.columns.iter().position(|column| column.name == name) {
            return column;
        }
        self.columns.push(Needed { name: name.to_owned(), field_type: field_type.clone() });
        self.columns.len() - 1
    }

    fn path(&mut self, name: &str, steps: Vec<Step>, at: usize) -> Result<Operand, Fault> {
        let column = self.column(name, &FieldType::Json);
        let json = self.json.iter().position(|json| json.column == column).unwrap_or_else(|| {
            self.json.push(JsonColumn { column, paths: Paths::new() });
            self.json.len() - 1
        });
        let is_root = steps.is_empty();
        let slot = self.json[json].paths.add(steps);
        if slot >= MAX_PATHS {
            return Err(Fault::new(at, format!("more than {MAX_PATHS} different JSON paths")));
        }
        Ok(Operand::Path(PathRef { json, slot, is_root }))
    }

    /// Keeps the elements of lists that a path leads to.
    pub(crate) fn keep_list(&mut self, operand: &Operand) {
        if let Operand::Path(path) = operand {
            self.json[path.json].paths.keep_list(path.slot);
        }
    }

    /// The column that a JSON path goes into.
    pub(crate) fn column_of(&self, path: PathRef) -> usize {
        self.json[path.json].column
    }

    /// A condition of its own, counted.
    pub(crate) fn leaf(&mut self, leaf: Leaf, at: usize) -> Result<Node, Fault> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(Fault::new(at, format!("more than {MAX_CONDITIONS} conditions; use 'in' with a list")));
        }
        Ok(Node::Leaf(leaf))
    }

    /// The part as a condition; a Bool value is one.
    pub(crate) fn condition(&mut self, part: Part, at: usize) -> Result<Node, Fault> {
        match part {
            Part::Condition(node) => Ok(node),
            Part::Value(Operand::Literal(Literal::Bool(value))) => Ok(Node::Constant(value)),
            Part::Value(Operand::Column { column, kind: Kind::Bool }) => self.leaf(Leaf::Flag { column }, at),
            Part::Value(element @ Operand::Element { kind: Kind::Bool, .. }) => {
                let right = Operand::Literal(Literal::Bool(true));
                self.leaf(Leaf::Compare { comparison: Comparison::Equal, sides: Box::new((element, right)) }, at)
            }
            Part::Value(value) if value.kind() == Kind::Dynamic => {
                Err(Fault::new(at, "a JSON value is no condition; compare it, as in '== true'"))
            }
            Part::Value(value) => {
                Err(Fault::new(at, format!("expected a condition, as in 'a > 5', but found {}", value.kind().name())))
            }
        }
    }

    /// Conditions of which all must be true.
    pub(crate) fn all(terms: Vec<Node>) -> Node {
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match term {
                Node::All(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        flat.sort_by_key(Node::cost);
        Node::All(flat)
    }

    /// Conditions of which one must be true. Several `==` of one column become one `in`.
    pub(crate) fn any(terms: Vec<Node>) -> Node {
        let mut flat = Vec::with_capacity(terms.len());
        let mut wanted: BTreeMap<usize, Vec<Literal>> = BTreeMap::new();
        for term in terms {
            match term {
                Node::Any(inner) => flat.extend(inner),
                Node::Leaf(Leaf::Ints { column, low, high, outside: false }) if low == high => {
                    wanted.entry(column).or_default().push(Literal::Int(low));
                }
                Node::Leaf(Leaf::Texts { column, comparison: Comparison::Equal, text }) => {
                    wanted.entry(column).or_default().push(Literal::Text(text));
                }
                other => flat.push(other),
            }
        }
        flat.extend(wanted.into_iter().filter_map(|(column, literals)| {
            let kind = literals.first().map(Kind::of_literal)?;
            Some(Node::Leaf(match <[Literal; 1]>::try_from(literals) {
                Ok([Literal::Int(value)]) => Leaf::Ints { column, low: value, high: value, outside: false },
                Ok([Literal::Text(text)]) => Leaf::Texts { column, comparison: Comparison::Equal, text },
                Ok(other) => in_column(column, kind, other.into()),
                Err(several) => in_column(column, kind, several),
            }))
        }));
        flat.sort_by_key(Node::cost);
        if flat.len() == 1 { flat.remove(0) } else { Node::Any(flat) }
    }

    /// `left operator right` in numbers.
    pub(crate) fn arithmetic(operator: Arithmetic, left: Part, right: Part, at: usize) -> Result<Operand, Fault> {
        let (Part::Value(left), Part::Value(right)) = (left, right) else {
            return Err(Fault::new(at, "a condition is no number to compute with"));
        };
        let kinds = [left.kind(), right.kind()];
        if let Some(kind) = kinds.into_iter().find(|kind| !kind.is_number() && *kind != Kind::Dynamic) {
            return Err(Fault::new(at, format!("arithmetic needs numbers, but found {}", kind.name())));
        }
        if operator == Arithmetic::Remainder && kinds.iter().any(|kind| matches!(kind, Kind::Single | Kind::Double)) {
            return Err(Fault::new(at, "'%' needs whole numbers"));
        }
        if let Operand::Literal(right) = &right {
            let is_zero = match right.scalar() {
                Scalar::Int(value) => value == 0,
                Scalar::Float(value) => value == 0.0,
                _ => false,
            };
            if is_zero && matches!(operator, Arithmetic::Divide | Arithmetic::Remainder) {
                return Err(Fault::new(at, "a division by zero"));
            }
        }
        if let (Operand::Literal(left), Operand::Literal(right)) = (&left, &right) {
            return match compute(operator, left.scalar(), right.scalar()) {
                Some(Scalar::Int(value)) => Ok(Operand::Literal(Literal::Int(value))),
                Some(Scalar::Float(value)) => Ok(Operand::Literal(Literal::Float(value))),
                _ => Err(Fault::new(at, "this arithmetic has no finite result")),
            };
        }
        let depth = left.depth().max(right.depth()) + 1;
        if depth > MAX_DEPTH {
            return Err(Fault::new(at, format!("more than {MAX_DEPTH} arithmetic operations in one value")));
        }
        let kind = match kinds {
            [Kind::Int, Kind::Int] if operator != Arithmetic::Power => Kind::Int,
            [Kind::Dynamic, _] | [_, Kind::Dynamic] => Kind::Dynamic,
            _ => Kind::Double,
        };
        Ok(Operand::Compute { operator, sides: Box::new((left, right)), kind, depth })
    }
}

fn in_column(column: usize, kind: Kind, values: Vec<Literal>) -> Leaf {
    Leaf::In { operand: Operand::Column { column, kind }, set: Box::new(Set::new(values)) }
}
