//! Values given for the placeholders of a filter.

use serde_json::Value;

use crate::{json::MAX_LIST_DEPTH, value::Literal};

/// Values for `{name}` in a filter's text, as Milvus' expression templates have them: `true`, numbers, texts, and
/// lists of them.
pub type Params = serde_json::Map<String, Value>;

/// The literal that a placeholder's value stands for, and how many values its lists have.
pub(crate) fn literal(value: &Value) -> Result<(Literal, usize), &'static str> {
    let mut count = 0;
    let literal = convert(value, 0, &mut count)?;
    Ok((literal, count))
}

fn convert(value: &Value, depth: u8, count: &mut usize) -> Result<Literal, &'static str> {
    Ok(match value {
        Value::Bool(value) => Literal::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Literal::Int(value),
            (None, Some(value)) if number.is_f64() && value.is_finite() => Literal::Float(value),
            _ => return Err("the number given for this placeholder is too large"),
        },
        Value::String(value) => Literal::Text(value.clone()),
        Value::Array(items) if depth < MAX_LIST_DEPTH => {
            *count += items.len();
            Literal::List(items.iter().map(|item| convert(item, depth + 1, count)).collect::<Result<_, _>>()?)
        }
        Value::Array(_) => return Err("the lists given for this placeholder nest too deep"),
        Value::Null | Value::Object(_) => {
            return Err("the value given for this placeholder must be Bool, a number, text, or a list of them");
        }
    })
}
