//! From a client's columns to rows that fit the schema.

use arrow_array::{Array, ArrayRef};

use super::{Collection, writer::Command};
use crate::{DYNAMIC_FIELD, DataType, EngineError, Field, Value, WriteRequest, WriteResult, rows::StoredRow};

/// The columns of a request, put in the order of the schema.
struct Given<'a> {
    columns: Vec<Option<&'a ArrayRef>>,
}

impl Collection {
    /// Writes rows, each in place of the one with its key. With `upsert`, a key that the engine makes may be given.
    pub(crate) async fn write(
        &self,
        request: &WriteRequest,
        partition: i64,
        upsert: bool,
    ) -> Result<WriteResult, EngineError> {
        let given = self.arrange(request, upsert)?;
        if request.partial {
            let rows = (0..request.len).map(|row| self.patch(&given, row)).collect::<Result<_, _>>()?;
            return self.ask(|reply| Command::Patch { rows, partition, reply }).await;
        }
        let rows = (0..request.len)
            .map(|row| Ok(StoredRow { number: 0, partition, values: self.row(&given, row)? }))
            .collect::<Result<Vec<_>, EngineError>>()?;
        self.ask(|reply| Command::Write { rows, reply }).await
    }

    fn arrange<'a>(&self, request: &'a WriteRequest, upsert: bool) -> Result<Given<'a>, EngineError> {
        let fail = |what: String| Err(EngineError::InvalidRows(what));
        if request.len == 0 {
            return fail("there are no rows".into());
        }
        let mut columns = vec![None; self.fields.len()];
        for (name, array) in &request.columns {
            let Some(place) = self.column(name) else {
                return fail(match name.as_str() {
                    DYNAMIC_FIELD => "the collection has no dynamic fields: enable_dynamic_field is off".into(),
                    _ => format!("unknown field '{name}'"),
                });
            };
            let field = &self.fields[place];
            if array.len() != request.len {
                return fail(format!("field '{name}' has {} rows, the request {}", array.len(), request.len));
            }
            check_arrow(field, array)?;
            if field.auto_id && !upsert {
                return fail(format!("field '{name}' is made by autoID: leave it out"));
            }
            if columns[place].replace(array).is_some() {
                return fail(format!("field '{name}' is given twice"));
            }
        }
        Ok(Given { columns })
    }

    fn row(&self, given: &Given<'_>, row: usize) -> Result<Vec<Value>, EngineError> {
        let mut values = Vec::with_capacity(self.fields.len());
        for (field, column) in self.fields.iter().zip(&given.columns) {
            let value = match column {
                Some(column) => Value::read(&***column, row, &field.data_type),
                None => Value::Null,
            };
            let value = match (value, &field.default) {
                (Value::Null, Some(default)) => default.clone(),
                (value, _) => value,
            };
            if !(field.auto_id && value == Value::Null) {
                self.check(&value, field, column.is_some())?;
            }
            values.push(value);
        }
        Ok(values)
    }

    fn patch(&self, given: &Given<'_>, row: usize) -> Result<Vec<Option<Value>>, EngineError> {
        let read = |(field, column): (&Field, Option<&ArrayRef>)| match column {
            Some(column) => {
                let value = Value::read(&**column, row, &field.data_type);
                self.check(&value, field, true)?;
                Ok(Some(value))
            }
            None => Ok(None),
        };
        self.fields.iter().zip(given.columns.iter().copied()).map(read).collect()
    }

    fn check(&self, value: &Value, field: &Field, given: bool) -> Result<(), EngineError> {
        if !given && *value == Value::Null && !field.nullable {
            return Err(EngineError::InvalidRows(format!("field '{}' is missing", field.name)));
        }
        value.check(field)?;
        if let Value::Json(text) = value
            && self.dynamic
            && field.name == DYNAMIC_FIELD
            && !text.trim_start().starts_with('{')
        {
            return Err(EngineError::InvalidRows("dynamic fields must be one JSON object a row".into()));
        }
        Ok(())
    }
}

/// Checks that a column has the Arrow type of its field.
fn check_arrow(field: &Field, array: &ArrayRef) -> Result<(), EngineError> {
    use arrow_schema::DataType as Arrow;
    let fits = match (array.data_type(), &field.data_type) {
        (Arrow::FixedSizeList(_, width), DataType::FloatVector { dim }) if u32::try_from(*width) != Ok(*dim) => {
            return Err(EngineError::InvalidRows(format!(
                "field '{}': a vector has {width} dimensions, the field has {dim}",
                field.name
            )));
        }
        (Arrow::FixedSizeList(item, _), DataType::FloatVector { .. }) => item.data_type() == &Arrow::Float32,
        (Arrow::List(item), DataType::Array { element, .. }) => item.data_type() == &element.arrow(),
        (given, wanted) => given == &wanted.arrow(),
    };
    if fits {
        return Ok(());
    }
    Err(EngineError::InvalidRows(format!("field '{}': the values are not of the field's type", field.name)))
}
