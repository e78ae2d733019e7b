//! Typed schemas: what a collection's rows look like, and whether a schema makes sense.

use std::{collections::BTreeMap, sync::Arc};

use arrow_schema::{DataType as ArrowType, Field as ArrowField};
use serde::{Deserialize, Serialize};

use crate::{EngineError, Value};

/// The name of the column that holds a row's dynamic fields, as one JSON object.
pub const DYNAMIC_FIELD: &str = "$meta";

/// The largest vector that a field may hold, in dimensions.
pub const MAX_DIMENSION: u32 = 32_768;

/// The longest text a VarChar field may hold, in bytes.
pub const MAX_VARCHAR: u32 = 65_535;

/// The largest capacity of an Array field, in elements.
pub const MAX_CAPACITY: u32 = 4_096;

const MAX_FIELDS: usize = 64;
const MAX_NAME: usize = 255;

/// The type of a field. In memory each is an Arrow column: see [`DataType::arrow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataType {
    /// True or false.
    Bool,
    /// A signed integer of 8 bits.
    Int8,
    /// A signed integer of 16 bits.
    Int16,
    /// A signed integer of 32 bits.
    Int32,
    /// A signed integer of 64 bits.
    Int64,
    /// A float of 32 bits.
    Float,
    /// A float of 64 bits.
    Double,
    /// UTF-8 text of at most `max_length` bytes.
    VarChar {
        /// The most bytes a value may have.
        max_length: u32,
    },
    /// Any JSON value, kept as its text.
    Json,
    /// A list of at most `capacity` scalars of one type.
    Array {
        /// The elements' type: a scalar.
        #[serde(deserialize_with = "crate::elements::data_type")]
        element: Box<DataType>,
        /// The most elements a value may have.
        capacity: u32,
    },
    /// `dim` floats of 32 bits.
    FloatVector {
        /// The number of dimensions.
        dim: u32,
    },
}

impl DataType {
    /// The Arrow type that holds a column of this type.
    pub fn arrow(&self) -> ArrowType {
        match self {
            Self::Bool => ArrowType::Boolean,
            Self::Int8 => ArrowType::Int8,
            Self::Int16 => ArrowType::Int16,
            Self::Int32 => ArrowType::Int32,
            Self::Int64 => ArrowType::Int64,
            Self::Float => ArrowType::Float32,
            Self::Double => ArrowType::Float64,
            Self::VarChar { .. } | Self::Json => ArrowType::Utf8,
            Self::Array { element, .. } => ArrowType::List(Arc::new(ArrowField::new("item", element.arrow(), true))),
            Self::FloatVector { dim } => ArrowType::FixedSizeList(
                Arc::new(ArrowField::new("item", ArrowType::Float32, false)),
                i32::try_from(*dim).unwrap_or(i32::MAX),
            ),
        }
    }

    /// Whether this is a vector that an index can search.
    pub fn is_vector(&self) -> bool {
        matches!(self, Self::FloatVector { .. })
    }

    fn is_scalar(&self) -> bool {
        !matches!(self, Self::Json | Self::Array { .. } | Self::FloatVector { .. })
    }
}

/// One field of a schema.
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own, as in Milvus")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The field's id, unique in the collection; given by the engine (100 and up, as Milvus does).
    pub id: i64,
    /// The field's name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// What it holds.
    pub data_type: DataType,
    /// Whether it is the primary key: Int64 or VarChar.
    pub primary: bool,
    /// Whether the engine makes the primary keys.
    pub auto_id: bool,
    /// Whether a row may have no value here.
    pub nullable: bool,
    /// The value of a row that gives none.
    pub default: Option<Value>,
    /// Whether it is the partition key; kept for clients, rows are not split by it.
    pub partition_key: bool,
}

impl Field {
    /// A plain field; set the rest with struct update syntax.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self {
            id: 0,
            name: name.into(),
            description: String::new(),
            data_type,
            primary: false,
            auto_id: false,
            nullable: false,
            default: None,
            partition_key: false,
        }
    }

    /// The primary key.
    pub fn primary(name: impl Into<String>, data_type: DataType) -> Self {
        Self { primary: true, ..Self::new(name, data_type) }
    }
}

/// A collection's schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Free text.
    pub description: String,
    /// The declared fields, the dynamic one not among them.
    pub fields: Vec<Field>,
    /// Whether rows may carry fields that are not declared; they live in [`DYNAMIC_FIELD`].
    pub dynamic: bool,
    /// What clients set and expect back, uninterpreted.
    pub properties: BTreeMap<String, String>,
}

impl Schema {
    /// Checks a client's schema and numbers its fields.
    pub fn validate(mut self) -> Result<Self, EngineError> {
        let bad = |what: String| Err(EngineError::InvalidSchema(what));
        if self.fields.len() > MAX_FIELDS {
            return bad(format!("{} fields, at most {MAX_FIELDS} are allowed", self.fields.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (place, field) in self.fields.iter_mut().enumerate() {
            check_name("field", &field.name)?;
            if !seen.insert(field.name.clone()) {
                return bad(format!("two fields are named '{}'", field.name));
            }
            check_field(field)?;
            field.id = 100 + i64::try_from(place).unwrap_or(i64::MAX - 100);
        }
        match self.fields.iter().filter(|field| field.primary).count() {
            1 => {}
            0 => return bad("no primary key: mark one Int64 or VarChar field as primary".into()),
            _ => return bad("more than one primary key".into()),
        }
        if !self.fields.iter().any(|field| field.data_type.is_vector()) {
            return bad("no vector field: add at least one FloatVector".into());
        }
        Ok(self)
    }

    /// The primary key's field.
    pub fn primary(&self) -> &Field {
        // `validate` admits only schemas with one; the first field stands in for a record made without it.
        self.fields.iter().find(|field| field.primary).unwrap_or(&self.fields[0])
    }

    /// The field of a name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The vector fields.
    pub fn vectors(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.data_type.is_vector())
    }

    /// The columns of a row as they are stored: the declared fields in order, then the dynamic one if there is one.
    pub fn columns(&self) -> Vec<Field> {
        let mut columns = self.fields.clone();
        if self.dynamic {
            columns.push(Field { id: 1_000, nullable: true, ..Field::new(DYNAMIC_FIELD, DataType::Json) });
        }
        columns
    }
}

fn check_field(field: &Field) -> Result<(), EngineError> {
    let name = &field.name;
    let bad = |what: String| Err(EngineError::InvalidSchema(format!("field '{name}': {what}")));
    match &field.data_type {
        DataType::VarChar { max_length } if !(1..=MAX_VARCHAR).contains(max_length) => {
            return bad(format!("max_length is {max_length}, allowed are 1 to {MAX_VARCHAR}"));
        }
        DataType::FloatVector { dim } if !(1..=MAX_DIMENSION).contains(dim) => {
            return bad(format!("dim is {dim}, allowed are 1 to {MAX_DIMENSION}"));
        }
        DataType::Array { element, .. } if !element.is_scalar() => {
            return bad("an array's elements must be Bool, a number or VarChar".into());
        }
        DataType::Array { capacity, .. } if !(1..=MAX_CAPACITY).contains(capacity) => {
            return bad(format!("max_capacity is {capacity}, allowed are 1 to {MAX_CAPACITY}"));
        }
        _ => {}
    }
    if field.primary {
        if !matches!(field.data_type, DataType::Int64 | DataType::VarChar { .. }) {
            return bad("a primary key must be Int64 or VarChar".into());
        }
        if field.nullable || field.default.is_some() {
            return bad("a primary key can be neither nullable nor have a default".into());
        }
    } else if field.auto_id {
        return bad("only a primary key can be made by autoID".into());
    }
    if field.nullable && field.data_type.is_vector() {
        return bad("a vector can't be nullable".into());
    }
    if let Some(value) = &field.default {
        value.check(field)?;
    }
    Ok(())
}

/// Checks a name of a database, collection, partition, alias or field: a letter or underscore, then letters, digits and
/// underscores, at most 255 bytes.
pub(crate) fn check_name(kind: &'static str, name: &str) -> Result<(), EngineError> {
    let mut chars = name.chars();
    let first_fits = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let rest_fits = chars.all(|next| next.is_ascii_alphanumeric() || next == '_');
    if first_fits && rest_fits && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(EngineError::InvalidName { kind })
}

/// How near two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metric {
    /// Squared Euclidean distance: smaller is nearer.
    L2,
    /// Inner product: larger is nearer.
    Ip,
    /// Cosine of the angle: larger is nearer.
    Cosine,
}

impl Metric {
    /// The name that Milvus clients use.
    pub fn name(self) -> &'static str {
        match self {
            Self::L2 => "L2",
            Self::Ip => "IP",
            Self::Cosine => "COSINE",
        }
    }

    /// The metric of a name, in any case.
    pub fn parse(name: &str) -> Result<Self, EngineError> {
        match name.to_ascii_uppercase().as_str() {
            "L2" => Ok(Self::L2),
            "IP" => Ok(Self::Ip),
            "COSINE" => Ok(Self::Cosine),
            _ => Err(EngineError::InvalidIndex("metric_type must be L2, IP or COSINE".into())),
        }
    }
}

/// How an index finds its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexKind {
    /// Exact search over every vector.
    Flat,
    /// A graph (HNSW).
    Hnsw {
        /// Links of a node: 2 to 2,048.
        m: u32,
        /// Candidates weighed while building: 1 to 65,536.
        ef_construction: u32,
    },
    /// The engine's choice: a graph with defaults by measurement.
    Auto,
    /// An index of a scalar field: accepted for the clients' sake; filters run over columns in memory without it.
    Scalar,
}

/// An index of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// The index's name.
    pub name: String,
    /// The field it serves.
    pub field: String,
    /// How it finds its answers.
    pub kind: IndexKind,
    /// The metric of a vector index.
    pub metric: Option<Metric>,
    /// The parameters as the client gave them, given back by describe.
    pub params: BTreeMap<String, String>,
}
