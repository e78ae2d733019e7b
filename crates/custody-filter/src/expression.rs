//! A checked filter: which columns it reads, and the tree of its conditions.

use crate::{
    FieldType,
    json::Paths,
    like::Pattern,
    set::Set,
    value::{Arithmetic, Comparison, Literal},
};

/// A checked filter as the parser leaves it.
pub(crate) struct Plan {
    pub(crate) root: Node,
    pub(crate) columns: Vec<Needed>,
    pub(crate) json: Vec<JsonColumn>,
}

/// A column that the filter reads.
pub(crate) struct Needed {
    pub(crate) name: String,
    pub(crate) field_type: FieldType,
}

/// A JSON column with the paths that the filter takes into it.
pub(crate) struct JsonColumn {
    /// Its place among the needed columns.
    pub(crate) column: usize,
    pub(crate) paths: Paths,
}

/// Conditions, true, false or unknown in a row.
pub(crate) enum Node {
    Constant(bool),
    Leaf(Leaf),
    Not(Box<Node>),
    /// True if all are.
    All(Vec<Node>),
    /// True if any is.
    Any(Vec<Node>),
}

/// One condition. Columns are places among the needed ones. What is large is boxed: the parser, which recurses, holds
/// conditions on its stack.
pub(crate) enum Leaf {
    /// A Bool column itself.
    Flag {
        column: usize,
    },
    /// An integer column within bounds, both included, or outside of them.
    Ints {
        column: usize,
        low: i64,
        high: i64,
        outside: bool,
    },
    /// Likewise a Float or Double column.
    Floats {
        column: usize,
        low: f64,
        high: f64,
        outside: bool,
    },
    /// A VarChar column against a text.
    Texts {
        column: usize,
        comparison: Comparison,
        text: String,
    },
    /// Any two values, row by row.
    Compare {
        comparison: Comparison,
        sides: Box<(Operand, Operand)>,
    },
    In {
        operand: Operand,
        set: Box<Set>,
    },
    Like {
        operand: Operand,
        pattern: Box<Pattern>,
    },
    Contains {
        list: Operand,
        all: bool,
        set: Box<Set>,
    },
    Exists {
        path: PathRef,
    },
    Null {
        column: usize,
    },
}

/// A path into a JSON column.
#[derive(Clone, Copy)]
pub(crate) struct PathRef {
    /// The place among the JSON columns.
    pub(crate) json: usize,
    /// The slot that its values have.
    pub(crate) slot: usize,
    /// Whether it leads to the whole value: no step was taken.
    pub(crate) is_root: bool,
}

/// Something that has a value in each row, or none.
#[derive(Clone)]
pub(crate) enum Operand {
    Literal(Literal),
    /// A column: a scalar's, or a whole list's.
    Column {
        column: usize,
        kind: Kind,
    },
    /// One element of an Array column.
    Element {
        column: usize,
        place: usize,
        kind: Kind,
    },
    Path(PathRef),
    Length(Box<Operand>),
    Compute {
        operator: Arithmetic,
        sides: Box<(Operand, Operand)>,
        kind: Kind,
        depth: usize,
    },
}

/// What is known of a value before any row is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    /// A float of 32 bits.
    Single,
    Double,
    Text,
    /// A list; of which elements, if they are of one kind.
    List(Option<Element>),
    /// Only the row knows.
    Dynamic,
}

/// What a list's elements are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Bool,
    Int,
    Single,
    Double,
    Text,
}

impl From<Element> for Kind {
    fn from(element: Element) -> Self {
        match element {
            Element::Bool => Self::Bool,
            Element::Int => Self::Int,
            Element::Single => Self::Single,
            Element::Double => Self::Double,
            Element::Text => Self::Text,
        }
    }
}

impl Kind {
    /// The kind of a field, but for a vector's.
    pub(crate) fn of_field(field_type: &FieldType) -> Option<Self> {
        Some(match field_type {
            FieldType::Bool => Self::Bool,
            FieldType::Int8 | FieldType::Int16 | FieldType::Int32 | FieldType::Int64 => Self::Int,
            FieldType::Float => Self::Single,
            FieldType::Double => Self::Double,
            FieldType::VarChar => Self::Text,
            FieldType::Json => Self::Dynamic,
            FieldType::Array(element) => Self::List(Some(Element::of_field(element)?)),
            FieldType::Vector => return None,
        })
    }

    pub(crate) fn of_literal(literal: &Literal) -> Self {
        match literal {
            Literal::Bool(_) => Self::Bool,
            Literal::Int(_) => Self::Int,
            Literal::Float(_) => Self::Double,
            Literal::Text(_) => Self::Text,
            Literal::List(_) => Self::List(None),
        }
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Single | Self::Double)
    }

    /// Whether values of both kinds can be equal.
    pub(crate) fn is_comparable_with(self, other: Self) -> bool {
        self == Self::Dynamic
            || other == Self::Dynamic
            || self == other
            || (self.is_number() && other.is_number())
            || matches!((self, other), (Self::List(left), Self::List(right)) if match (left, right) {
                (Some(left), Some(right)) => Self::from(left).is_comparable_with(right.into()),
                _ => true,
            })
    }

    /// How messages call a value of the kind.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bool => "Bool",
            Self::Int => "a whole number",
            Self::Single | Self::Double => "a floating-point number",
            Self::Text => "VarChar",
            Self::List(_) => "a list",
            Self::Dynamic => "JSON",
        }
    }
}

impl Element {
    fn of_field(field_type: &FieldType) -> Option<Self> {
        Some(match field_type {
            FieldType::Bool => Self::Bool,
            FieldType::Int8 | FieldType::Int16 | FieldType::Int32 | FieldType::Int64 => Self::Int,
            FieldType::Float => Self::Single,
            FieldType::Double => Self::Double,
            FieldType::VarChar => Self::Text,
            FieldType::Json | FieldType::Array(_) | FieldType::Vector => return None,
        })
    }
}

impl Operand {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Literal(literal) => Kind::of_literal(literal),
            Self::Column { kind, .. } | Self::Element { kind, .. } | Self::Compute { kind, .. } => *kind,
            Self::Path(_) => Kind::Dynamic,
            Self::Length(_) => Kind::Int,
        }
    }

    /// How deep arithmetic is nested.
    pub(crate) fn depth(&self) -> usize {
        if let Self::Compute { depth, .. } = self { *depth } else { 0 }
    }
}

impl Node {
    /// How dear it is to evaluate: cheap conditions go first and spare the dear ones rows.
    pub(crate) fn cost(&self) -> u8 {
        match self {
            Self::Constant(_) => 0,
            Self::Leaf(leaf) => leaf.cost(),
            Self::Not(_) | Self::All(_) | Self::Any(_) => 3,
        }
    }
}

impl Leaf {
    fn cost(&self) -> u8 {
        match self {
            Self::Flag { .. } | Self::Ints { .. } | Self::Floats { .. } | Self::Null { .. } => 0,
            Self::Texts { .. } => 1,
            Self::In { operand, .. } | Self::Like { operand, .. } => operand.cost(),
            Self::Contains { list, .. } => list.cost(),
            Self::Compare { sides, .. } => sides.0.cost().max(sides.1.cost()),
            Self::Exists { .. } => 4,
        }
    }
}

impl Operand {
    fn cost(&self) -> u8 {
        match self {
            Self::Literal(_) | Self::Column { .. } => 1,
            Self::Element { .. } => 2,
            Self::Compute { sides, .. } => sides.0.cost().max(sides.1.cost()).max(2),
            Self::Path(_) => 4,
            Self::Length(list) => list.cost(),
        }
    }
}
