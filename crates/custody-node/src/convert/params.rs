//! Parameters: pairs of text, and the values that a filter's `{name}` stand for.

use std::collections::{BTreeMap, HashMap};

use milvus::proto::{
    common::KeyValuePair,
    schema::{TemplateArrayValue, TemplateValue, template_array_value::Data as Items, template_value::Val},
};
use serde_json::{Map, Number, Value as Json};

use super::ConvertError;

type Result<T> = std::result::Result<T, ConvertError>;

/// Pairs as a map; of two with one key the later counts.
pub(crate) fn pairs(pairs: &[KeyValuePair]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

/// The values of a filter's parameters.
pub(crate) fn template(values: HashMap<String, TemplateValue>) -> Result<Map<String, Json>> {
    values.into_iter().map(|(name, value)| Ok((name.clone(), template_value(&name, value)?))).collect()
}

fn template_value(name: &str, value: TemplateValue) -> Result<Json> {
    Ok(match value.val {
        Some(Val::BoolVal(value)) => Json::Bool(value),
        Some(Val::Int64Val(value)) => Json::from(value),
        Some(Val::FloatVal(value)) => number(name, value)?,
        Some(Val::StringVal(value)) => Json::String(value),
        Some(Val::ArrayVal(value)) => template_array(name, value)?,
        Some(Val::BytesVal(_)) => {
            return Err(ConvertError::Unsupported(format!("the filter parameter '{name}' of type bytes")));
        }
        None => return Err(param(name, "it has no value")),
    })
}

fn template_array(name: &str, value: TemplateArrayValue) -> Result<Json> {
    let items: Vec<Json> = match value.data {
        None => Vec::new(),
        Some(Items::BoolData(items)) => items.data.into_iter().map(Json::Bool).collect(),
        Some(Items::LongData(items)) => items.data.into_iter().map(Json::from).collect(),
        Some(Items::DoubleData(items)) => {
            items.data.into_iter().map(|item| number(name, item)).collect::<Result<_>>()?
        }
        Some(Items::StringData(items)) => items.data.into_iter().map(Json::String).collect(),
        Some(Items::ArrayData(items)) => {
            items.data.into_iter().map(|item| template_array(name, item)).collect::<Result<_>>()?
        }
        Some(Items::JsonData(items)) => {
            let parse = |item: Vec<u8>| serde_json::from_slice(&item).map_err(|_| param(name, "it is not valid JSON"));
            items.data.into_iter().map(parse).collect::<Result<_>>()?
        }
    };
    Ok(Json::Array(items))
}

fn number(name: &str, value: f64) -> Result<Json> {
    Number::from_f64(value).map(Json::Number).ok_or_else(|| param(name, "NaN and infinity are not allowed"))
}

/// Something wrong with a parameter.
pub(crate) fn param(name: &str, why: impl Into<String>) -> ConvertError {
    ConvertError::Param { name: name.to_owned(), why: why.into() }
}

/// The parameters of a search or query. Clients put them side by side, inside one JSON object named `params`, or both.
pub(crate) struct Params(BTreeMap<String, Json>);

impl Params {
    /// Reads the pairs; what stands in `params` is laid beside the rest.
    pub(crate) fn of(given: &[KeyValuePair]) -> Result<Self> {
        let mut flat = BTreeMap::new();
        for pair in given {
            if pair.key != "params" {
                flat.insert(pair.key.clone(), Json::String(pair.value.clone()));
            }
        }
        if let Some(nested) = given.iter().find(|pair| pair.key == "params" && !pair.value.is_empty()) {
            match serde_json::from_str::<Json>(&nested.value) {
                Ok(Json::Object(nested)) => {
                    for (key, value) in nested {
                        flat.entry(key).or_insert(value);
                    }
                }
                _ => return Err(param("params", "it must be a JSON object")),
            }
        }
        Ok(Self(flat))
    }

    fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text, if given and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Json::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            other => Some(other.to_string()),
        }
    }

    /// A whole number of zero or more.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>> {
        self.parse(name, "it must be a whole number of zero or more")
    }

    /// A whole number.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>> {
        self.parse(name, "it must be a whole number")
    }

    /// A number.
    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>> {
        match self.parse::<f32>(name, "it must be a number")? {
            Some(value) if !value.is_finite() => Err(param(name, "NaN and infinity are not allowed")),
            value => Ok(value),
        }
    }

    /// A flag: `true` and `false` in any case.
    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        match self.text(name) {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(param(name, "it must be true or false")),
        }
    }

    fn parse<T: std::str::FromStr>(&self, name: &str, why: &str) -> Result<Option<T>> {
        self.text(name).map(|text| text.parse().map_err(|_| param(name, why))).transpose()
    }

    /// Refuses what Milvus has and Custody has not. An empty or false value asks for nothing.
    pub(crate) fn refuse(&self, names: &[&str]) -> Result<()> {
        let asked = |name: &&&str| {
            self.text(name).is_some_and(|text| !text.eq_ignore_ascii_case("false") && !["[]", "{}"].contains(&&*text))
        };
        match names.iter().find(asked) {
            Some(name) => Err(ConvertError::Unsupported(format!("the parameter '{name}'"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
