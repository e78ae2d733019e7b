//! The fields a filter may speak of.

use std::collections::BTreeMap;

/// What a field holds, and so which Arrow column [`Columns`](crate::Columns) must give for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// True or false: a `BooleanArray`.
    Bool,
    /// An integer of 8 bits: an `Int8Array`.
    Int8,
    /// An integer of 16 bits: an `Int16Array`.
    Int16,
    /// An integer of 32 bits: an `Int32Array`.
    Int32,
    /// An integer of 64 bits: an `Int64Array`.
    Int64,
    /// A float of 32 bits: a `Float32Array`.
    Float,
    /// A float of 64 bits: a `Float64Array`.
    Double,
    /// Text: a `StringArray`.
    VarChar,
    /// Any JSON value: a `StringArray` of JSON text.
    Json,
    /// A list of scalars: a `ListArray` of the element's column.
    Array(Box<FieldType>),
    /// A vector: known by name, but no filter may use it.
    Vector,
}

impl FieldType {
    /// The type's name as Milvus spells it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Bool => "Bool",
            Self::Int8 => "Int8",
            Self::Int16 => "Int16",
            Self::Int32 => "Int32",
            Self::Int64 => "Int64",
            Self::Float => "Float",
            Self::Double => "Double",
            Self::VarChar => "VarChar",
            Self::Json => "JSON",
            Self::Array(_) => "Array",
            Self::Vector => "a vector",
        }
    }
}

/// The fields of a collection, as far as filters need them.
///
/// ```
/// use custody_filter::{FieldType, Schema};
///
/// let schema = Schema::new()
///     .primary("id", FieldType::Int64)
///     .field("tags", FieldType::Array(Box::new(FieldType::VarChar)))
///     .dynamic("$meta");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Schema {
    fields: BTreeMap<String, FieldType>,
    primary: Option<String>,
    dynamic: Option<String>,
}

impl Schema {
    /// A schema without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, field_type: FieldType) -> Self {
        self.fields.insert(name.into(), field_type);
        self
    }

    /// Adds the primary key.
    #[must_use]
    pub fn primary(mut self, name: impl Into<String>, field_type: FieldType) -> Self {
        let name = name.into();
        self.primary = Some(name.clone());
        self.field(name, field_type)
    }

    /// Names the column that holds each row's dynamic fields as one JSON object. A name that is no field is then a
    /// key in that object.
    #[must_use]
    pub fn dynamic(mut self, column: impl Into<String>) -> Self {
        self.dynamic = Some(column.into());
        self
    }

    pub(crate) fn field_type(&self, name: &str) -> Option<&FieldType> {
        self.fields.get(name)
    }

    pub(crate) fn primary_name(&self) -> Option<&str> {
        self.primary.as_deref()
    }

    pub(crate) fn dynamic_column(&self) -> Option<&str> {
        self.dynamic.as_deref()
    }
}
