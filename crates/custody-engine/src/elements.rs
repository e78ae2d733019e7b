//! What an array holds, as it is read from a stored record: scalars alone, so that no record nests.
//!
//! Reading nested lists calls itself for each level; a record of nothing but beginnings of lists would end the process
//! by its stack. The variants stand in the order of those they stand for, whose numbers are what is stored.

use serde::{Deserialize, Deserializer};

use crate::{DataType, Value};

#[derive(Deserialize)]
enum Element {
    Null,
    Bool(bool),
    Int(i64),
    Float(f32),
    Double(f64),
    Text(String),
    Json(String),
}

#[derive(Deserialize)]
enum ElementType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Float,
    Double,
    VarChar { max_length: u32 },
}

impl From<Element> for Value {
    fn from(element: Element) -> Self {
        match element {
            Element::Null => Self::Null,
            Element::Bool(value) => Self::Bool(value),
            Element::Int(value) => Self::Int(value),
            Element::Float(value) => Self::Float(value),
            Element::Double(value) => Self::Double(value),
            Element::Text(value) => Self::Text(value),
            Element::Json(value) => Self::Json(value),
        }
    }
}

impl From<ElementType> for DataType {
    fn from(element: ElementType) -> Self {
        match element {
            ElementType::Bool => Self::Bool,
            ElementType::Int8 => Self::Int8,
            ElementType::Int16 => Self::Int16,
            ElementType::Int32 => Self::Int32,
            ElementType::Int64 => Self::Int64,
            ElementType::Float => Self::Float,
            ElementType::Double => Self::Double,
            ElementType::VarChar { max_length } => Self::VarChar { max_length },
        }
    }
}

/// Reads the elements of an array.
pub(crate) fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Ok(Vec::<Element>::deserialize(deserializer)?.into_iter().map(Value::from).collect())
}

/// Reads the type of an array's elements.
pub(crate) fn data_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<DataType>, D::Error> {
    Ok(Box::new(ElementType::deserialize(deserializer)?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_of_each_scalar_comes_back() {
        let scalars = vec![
            Value::Null,
            Value::Bool(true),
            Value::Int(-3),
            Value::Float(0.5),
            Value::Double(-0.25),
            Value::Text("a".into()),
            Value::Json("{}".into()),
        ];
        let bytes = postcard::to_stdvec(&Value::Array(scalars.clone())).unwrap();
        assert!(postcard::from_bytes::<Value>(&bytes).unwrap() == Value::Array(scalars));
        let elements = [
            DataType::Bool,
            DataType::Int8,
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Float,
            DataType::Double,
            DataType::VarChar { max_length: 9 },
        ];
        for element in elements {
            let array = DataType::Array { element: Box::new(element), capacity: 4 };
            let bytes = postcard::to_stdvec(&array).unwrap();
            assert_eq!(postcard::from_bytes::<DataType>(&bytes).unwrap(), array);
        }
    }

    #[test]
    fn a_record_that_nests_deeper_than_any_stack_is_refused() {
        // Value 7 is an array, here of one element; type 9 is an array.
        let values = [7, 1].repeat(1_000_000);
        assert!(postcard::from_bytes::<Value>(&values).is_err());
        let types = [9].repeat(1_000_000);
        assert!(postcard::from_bytes::<DataType>(&types).is_err());
    }
}
