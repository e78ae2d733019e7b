//! Columns as clients send them (`FieldData`), to Arrow.
//!
//! A nullable column comes with a validity for each row, and either with the values of the valid rows alone (pymilvus and
//! the Rust SDK) or with one value for every row. A column of nulls alone may come without any values at all. Validity is
//! in `valid_data` of the values (new writers) or of the column (older ones).

use std::{collections::BTreeSet, sync::Arc};

use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, ListArray, StringArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType as ArrowType, Field as ArrowField};
use custody_engine::{DYNAMIC_FIELD, DataType, Field, Schema};
use milvus::proto::schema::{
    self as wire, FieldData, ScalarField, VectorField, field_data::Field as Payload, scalar_field::Data as Scalars,
    vector_field::Data as Vectors,
};

use super::{ConvertError, schema::wire_type, wire_name};

type Result<T> = std::result::Result<T, ConvertError>;

/// All columns of a write, by field name.
pub(crate) fn columns(schema: &Schema, data: Vec<FieldData>, rows: usize) -> Result<Vec<(String, ArrayRef)>> {
    let fields = schema.columns();
    let mut seen = BTreeSet::new();
    let mut columns = Vec::with_capacity(data.len());
    for column in data {
        let name = if column.is_dynamic { DYNAMIC_FIELD } else { column.field_name.as_str() };
        let field = fields
            .iter()
            .find(|field| field.name == name)
            .ok_or_else(|| ConvertError::UnknownField(name.to_owned()))?;
        if !seen.insert(field.name.clone()) {
            return Err(ConvertError::Twice(field.name.clone()));
        }
        columns.push((field.name.clone(), self::column(field, column, rows)?));
    }
    Ok(columns)
}

/// One column, of exactly `rows` rows.
pub(crate) fn column(field: &Field, data: FieldData, rows: usize) -> Result<ArrayRef> {
    let expected = wire_type(&field.data_type);
    let is_text = |number: i32| number == wire::DataType::String as i32 || number == wire::DataType::VarChar as i32;
    let fits = data.r#type == expected as i32 || is_text(data.r#type) && is_text(expected as i32);
    // Zero is what a client sends that leaves the type to the server.
    if data.r#type != 0 && !fits {
        return Err(wrong_type(field, wire_name(data.r#type)));
    }
    let layout = Layout::of(field, &data, rows)?;
    match (&field.data_type, data.field) {
        (DataType::FloatVector { dim }, Some(Payload::Vectors(vectors))) => vector_column(field, *dim, vectors, rows),
        (DataType::FloatVector { .. }, None) if rows == 0 => Ok(arrow_array::new_empty_array(&field.data_type.arrow())),
        (DataType::FloatVector { .. }, _) => Err(wrong_type(field, "no vectors")),
        (_, Some(Payload::Scalars(ScalarField { data: Some(scalars), .. }))) => scalar_column(&layout, scalars),
        (_, None | Some(Payload::Scalars(ScalarField { data: None, .. }))) => {
            layout.expect_no_values()?;
            Ok(arrow_array::new_null_array(&field.data_type.arrow(), rows))
        }
        (_, Some(Payload::Vectors(_))) => Err(wrong_type(field, "a vector")),
        (_, Some(Payload::StructArrays(_))) => Err(wrong_type(field, "a struct")),
    }
}

fn wrong_type(field: &Field, given: &'static str) -> ConvertError {
    ConvertError::Type { field: field.name.clone(), given, expected: wire_type(&field.data_type).as_str_name() }
}

/// Which of the rows have a value.
struct Layout<'a> {
    field: &'a Field,
    rows: usize,
    /// `None`: all of them.
    valid: Option<Vec<bool>>,
}

impl<'a> Layout<'a> {
    fn of(field: &'a Field, data: &FieldData, rows: usize) -> Result<Self> {
        let own = match &data.field {
            Some(Payload::Scalars(scalars)) => scalars.valid_data.as_slice(),
            Some(Payload::Vectors(vectors)) => vectors.valid_data.as_slice(),
            _ => &[],
        };
        let valid = if own.is_empty() { data.valid_data.as_slice() } else { own };
        if valid.is_empty() {
            return Ok(Self { field, rows, valid: None });
        }
        if valid.len() != rows {
            return Err(ConvertError::Rows { field: field.name.clone(), given: valid.len(), expected: rows });
        }
        if valid.iter().all(|valid| *valid) {
            return Ok(Self { field, rows, valid: None });
        }
        if !field.nullable && field.default.is_none() {
            return Err(ConvertError::Missing { field: field.name.clone() });
        }
        Ok(Self { field, rows, valid: Some(valid.to_vec()) })
    }

    fn wrong_rows(&self, given: usize) -> ConvertError {
        ConvertError::Rows { field: self.field.name.clone(), given, expected: self.rows }
    }

    /// How many rows have a value.
    fn values(&self) -> usize {
        self.valid.as_ref().map_or(self.rows, |valid| valid.iter().filter(|valid| **valid).count())
    }

    fn expect_no_values(&self) -> Result<()> {
        if self.values() == 0 { Ok(()) } else { Err(self.wrong_rows(0)) }
    }

    /// Puts each value in its row.
    fn place<T>(&self, values: Vec<T>) -> Result<Vec<Option<T>>> {
        let given = values.len();
        match &self.valid {
            None if given == self.rows => Ok(values.into_iter().map(Some).collect()),
            Some(valid) if given == self.rows => {
                Ok(values.into_iter().zip(valid).map(|(value, valid)| valid.then_some(value)).collect())
            }
            Some(valid) if given == self.values() => {
                let mut values = values.into_iter();
                Ok(valid.iter().map(|valid| if *valid { values.next() } else { None }).collect())
            }
            _ => Err(self.wrong_rows(given)),
        }
    }

    fn narrow<T: TryFrom<i32>>(&self, values: Vec<i32>) -> Result<Vec<Option<T>>> {
        let narrowed = values.into_iter().map(T::try_from).collect::<std::result::Result<Vec<T>, _>>();
        self.place(narrowed.map_err(|_| out_of_range(self.field, &self.field.data_type))?)
    }
}

fn out_of_range(field: &Field, data_type: &DataType) -> ConvertError {
    ConvertError::Range { field: field.name.clone(), expected: wire_type(data_type).as_str_name() }
}

fn scalar_column(layout: &Layout<'_>, scalars: Scalars) -> Result<ArrayRef> {
    let field = layout.field;
    Ok(match (&field.data_type, scalars) {
        (DataType::Bool, Scalars::BoolData(values)) => Arc::new(BooleanArray::from(layout.place(values.data)?)),
        (DataType::Int8, Scalars::IntData(values)) => Arc::new(Int8Array::from(layout.narrow(values.data)?)),
        (DataType::Int16, Scalars::IntData(values)) => Arc::new(Int16Array::from(layout.narrow(values.data)?)),
        (DataType::Int32, Scalars::IntData(values)) => Arc::new(Int32Array::from(layout.place(values.data)?)),
        (DataType::Int64, Scalars::LongData(values)) => Arc::new(Int64Array::from(layout.place(values.data)?)),
        (DataType::Float, Scalars::FloatData(values)) => Arc::new(Float32Array::from(layout.place(values.data)?)),
        (DataType::Double, Scalars::DoubleData(values)) => Arc::new(Float64Array::from(layout.place(values.data)?)),
        (DataType::VarChar { .. }, Scalars::StringData(values)) => {
            Arc::new(StringArray::from_iter(layout.place(values.data)?))
        }
        (DataType::Json, Scalars::JsonData(values)) => Arc::new(json_column(layout, values.data)?),
        (DataType::Array { element, .. }, Scalars::ArrayData(values)) => {
            Arc::new(array_column(layout, element, values.data)?)
        }
        (_, other) => return Err(wrong_type(field, scalars_name(&other))),
    })
}

fn json_column(layout: &Layout<'_>, values: Vec<Vec<u8>>) -> Result<StringArray> {
    let texts = layout.place(values)?.into_iter().map(|value| value.map(String::from_utf8).transpose());
    texts
        .collect::<std::result::Result<StringArray, _>>()
        .map_err(|_| ConvertError::NotUtf8 { field: layout.field.name.clone() })
}

fn array_column(layout: &Layout<'_>, element: &DataType, cells: Vec<ScalarField>) -> Result<ListArray> {
    let cells = layout.place(cells)?;
    let valid: NullBuffer = cells.iter().map(Option::is_some).collect::<Vec<bool>>().into();
    let cells = cells.into_iter().map(Option::unwrap_or_default).collect();
    let (lengths, items) = flatten(layout.field, element, cells)?;
    let item = Arc::new(ArrowField::new("item", element.arrow(), true));
    Ok(ListArray::new(item, OffsetBuffer::from_lengths(lengths), items, Some(valid)))
}

/// The elements of all cells, one after another, and how many each cell has.
fn flatten(field: &Field, element: &DataType, cells: Vec<ScalarField>) -> Result<(Vec<usize>, ArrayRef)> {
    macro_rules! gather {
        ($variant:path, $array:ty, $convert:expr) => {{
            let mut lengths = Vec::with_capacity(cells.len());
            let mut items = Vec::new();
            for cell in cells {
                if cell.valid_data.contains(&false) {
                    return Err(ConvertError::NullElement { field: field.name.clone() });
                }
                match cell.data {
                    None => lengths.push(0),
                    Some($variant(values)) => {
                        lengths.push(values.data.len());
                        for value in values.data {
                            items.push($convert(value).map_err(|_| out_of_range(field, element))?);
                        }
                    }
                    Some(other) => return Err(wrong_type(field, scalars_name(&other))),
                }
            }
            (lengths, Arc::new(<$array>::from(items)) as ArrayRef)
        }};
    }
    Ok(match element {
        DataType::Bool => gather!(Scalars::BoolData, BooleanArray, bool::try_from),
        DataType::Int8 => gather!(Scalars::IntData, Int8Array, i8::try_from),
        DataType::Int16 => gather!(Scalars::IntData, Int16Array, i16::try_from),
        DataType::Int32 => gather!(Scalars::IntData, Int32Array, i32::try_from),
        DataType::Int64 => gather!(Scalars::LongData, Int64Array, i64::try_from),
        DataType::Float => gather!(Scalars::FloatData, Float32Array, f32::try_from),
        DataType::Double => gather!(Scalars::DoubleData, Float64Array, f64::try_from),
        DataType::VarChar { .. } => gather!(Scalars::StringData, StringArray, String::try_from),
        DataType::Json | DataType::Array { .. } | DataType::FloatVector { .. } => {
            return Err(ConvertError::Unsupported(format!("an array of {}", wire_type(element).as_str_name())));
        }
    })
}

fn vector_column(field: &Field, dim: u32, vectors: VectorField, rows: usize) -> Result<ArrayRef> {
    let floats = match vectors.data {
        Some(Vectors::FloatVector(floats)) => floats.data,
        None => Vec::new(),
        Some(_) => return Err(wrong_type(field, "a vector of another type")),
    };
    let width = dim as usize;
    if vectors.dim != i64::from(dim) && !(floats.is_empty() && rows == 0) {
        return Err(ConvertError::Dimension { field: field.name.clone(), given: vectors.dim, expected: dim });
    }
    if floats.len() % width != 0 {
        return Err(ConvertError::CutVector { field: field.name.clone(), floats: floats.len(), dim });
    }
    if floats.len() / width != rows {
        return Err(ConvertError::Rows { field: field.name.clone(), given: floats.len() / width, expected: rows });
    }
    let ArrowType::FixedSizeList(item, width) = field.data_type.arrow() else {
        return Err(wrong_type(field, "a vector"));
    };
    Ok(Arc::new(FixedSizeListArray::new(item, width, Arc::new(Float32Array::from(floats)), None)))
}

fn scalars_name(scalars: &Scalars) -> &'static str {
    match scalars {
        Scalars::BoolData(_) => "Bool",
        Scalars::IntData(_) => "Int32 (or smaller)",
        Scalars::LongData(_) => "Int64",
        Scalars::FloatData(_) => "Float",
        Scalars::DoubleData(_) => "Double",
        Scalars::StringData(_) => "VarChar",
        Scalars::ArrayData(_) => "Array",
        Scalars::JsonData(_) => "JSON",
        _ => "a type that Custody does not support",
    }
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
